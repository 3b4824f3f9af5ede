"""The queue of profiles to send, with collectors that fail."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from profbucket.agent.encoding import Encoder
from profbucket.agent.sending import Outbox
from profbucket.agent.settings import Settings
from profbucket.cli.http_client import HttpClient
from profbucket.errors import Invalid, Misconfigured
from profbucket.model.labels import Matcher
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.times import LATEST
from tests.support.agent.faulty_collector import FaultyCollector, run_faulty_collector
from tests.support.serving import free_port

KEY = "pb_" + "k" * 43


def profile(value: int) -> bytes:
    """Return a CPU profile of the present with one sample."""
    encoder = Encoder((("cpu", "nanoseconds"),), ("cpu", "nanoseconds"), 10)
    encoder.add([encoder.location(("f", "f.py", 1, 2))], (value,), {})
    return encoder.encode(time.time_ns(), 1)


@contextmanager
def sending(url: str, service: str = "sent", max_bytes: int = 1 << 20, **labels: str) -> Iterator[Outbox]:
    """Run an outbox that sends to *url* and retries after milliseconds."""
    settings = Settings.create(url, service, labels, KEY)
    outbox = Outbox(settings, max_bytes=max_bytes, first_backoff_seconds=0.01)
    thread = threading.Thread(target=outbox.run, daemon=True)
    thread.start()
    try:
        yield outbox
    finally:
        outbox.close(time.monotonic())
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def stub() -> Iterator[FaultyCollector]:
    with run_faulty_collector() as stub:
        yield stub


def stored(url: str, service: str) -> int:
    """Return how many CPU profiles the collector has."""
    return len(HttpClient(url).find(Query(service, ProfileType.CPU, 0, LATEST)).profiles)


def test_a_profile_is_posted_with_its_service_type_labels_and_key(collector: str) -> None:
    with run_faulty_collector(collector) as stub, sending(stub.url, "agents-shop", version="a,b=c d") as outbox:
        outbox.put({"cpu": profile(1)})
        [post] = stub.wait_for(lambda posts: len(posts) >= 1)
        assert post.headers["Authorization"] == f"Bearer {KEY}"
        outbox.close(time.monotonic() + 60)
        assert outbox.done.wait(60)
    query = Query("agents-shop", ProfileType.CPU, 0, LATEST, (Matcher("version", "=", "a,b=c d"),))
    assert len(HttpClient(collector).find(query).profiles) == 1


@pytest.mark.parametrize("fault", [500, 503, 429, 408, "lost", "hang"])
def test_a_failed_upload_is_retried_with_the_same_bytes_and_stored_once(
    collector: str, fault: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector fails, is busy, hangs, or its responses are lost."""
    service = f"again-{fault}"
    monkeypatch.setattr("profbucket.agent.sending._TIMEOUT_SECONDS", 0.5 if fault == "hang" else 15.0)
    with run_faulty_collector(collector) as stub:
        stub.fault = fault
        with sending(stub.url, service) as outbox:
            for value in (1, 2, 3):
                outbox.put({"cpu": profile(value)})
            stub.wait_for(lambda posts: len(posts) >= 3)
            stub.fault = ""
            monkeypatch.setattr("profbucket.agent.sending._TIMEOUT_SECONDS", 15.0)
            stub.wait_for(lambda posts: len({post.body for post in posts}) >= 3)
            outbox.close(time.monotonic() + 60)
            assert outbox.done.wait(60)
        assert stub.posts[0].body == stub.posts[1].body == stub.posts[2].body
        assert stub.posts[0].path == stub.posts[1].path
    assert stored(collector, service) == 3


def test_uploads_are_retried_until_the_collector_is_back(collector: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "profbucket.agent")
    port = free_port()
    with sending(f"http://127.0.0.1:{port}", "gone") as outbox:
        for value in (1, 2, 3):
            outbox.put({"cpu": profile(value)})
        while "cannot reach" not in caplog.text:
            assert not outbox.done.wait(0.01)
        with run_faulty_collector(collector, port) as stub:
            stub.wait_for(lambda posts: len(posts) >= 3)
            outbox.close(time.monotonic() + 60)
            assert outbox.done.wait(60)
    assert stored(collector, "gone") == 3


def minute(*values: int) -> dict[str, bytes]:
    """Return profiles that were taken together, of different types."""
    return {f"type{value}": profile(value) for value in values}


def stored_types(url: str, service: str) -> list[str]:
    return sorted(meta.type for meta in HttpClient(url).find(Query(service, None, 0, LATEST)).profiles)


class TestBatches:
    def test_profiles_that_were_taken_together_are_sent_together(self, collector: str) -> None:
        with run_faulty_collector(collector) as stub, sending(stub.url, "minutes", version="a,b=c d") as outbox:
            for values in ((1, 2, 3), (4, 5)):
                outbox.put(minute(*values))
            posts = stub.wait_for(lambda posts: len(posts) >= 2)
            outbox.close(time.monotonic() + 60)
            assert outbox.done.wait(60)
        assert [post.types for post in posts] == [["type1", "type2", "type3"], ["type4", "type5"]]
        assert posts[0].headers["Authorization"] == f"Bearer {KEY}"
        query = Query("minutes", None, 0, LATEST, (Matcher("version", "=", "a,b=c d"),))
        assert len(HttpClient(collector).find(query).profiles) == 5

    @pytest.mark.parametrize("fault", [500, 503, 429, 408, "lost", "hang", "old"])
    def test_a_failed_batch_is_repeated_and_stored_once(
        self, collector: str, fault: int | str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Together or one by one: the collector stores a profile once."""
        service = f"batch-{fault}"
        monkeypatch.setattr("profbucket.agent.sending._TIMEOUT_SECONDS", 0.5 if fault == "hang" else 15.0)
        with run_faulty_collector(collector) as stub:
            stub.fault = fault
            with sending(stub.url, service) as outbox:
                outbox.put(minute(1, 2, 3))
                stub.wait_for(lambda posts: len(posts) >= 3)
                stub.fault = ""
                monkeypatch.setattr("profbucket.agent.sending._TIMEOUT_SECONDS", 15.0)
                outbox.close(time.monotonic() + 60)
                assert outbox.done.wait(60)
            assert len({profile.data for profile in stub.profiles}) == 3
        assert stored_types(collector, service) == ["type1", "type2", "type3"]

    def test_a_collector_without_batches_is_asked_for_one_once(self, stub: FaultyCollector) -> None:
        stub.fault = "old"
        with sending(stub.url) as outbox:
            outbox.put(minute(1, 2))
            outbox.put(minute(3, 4))
            posts = stub.wait_for(lambda posts: len(posts) >= 5)
        assert [post.types for post in posts] == [["type1", "type2"], ["type1"], ["type2"], ["type3"], ["type4"]]

    @pytest.mark.parametrize("status", [400, 413, 500])
    def test_a_batch_that_is_refused_is_sent_one_by_one(
        self, stub: FaultyCollector, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The next batch is sent as a whole."""
        stub.fault = status
        with sending(stub.url) as outbox:
            outbox.put(minute(1, 2))
            stub.wait_for(lambda posts: len(posts) >= 2)
            stub.fault = ""
            stub.wait_for(lambda posts: posts[-1].types == ["type2"])
            outbox.put(minute(3, 4))
            stub.wait_for(lambda posts: posts[-1].types == ["type3", "type4"])
        assert stub.posts[0].types == ["type1", "type2"]

    def test_of_a_batch_that_is_partly_stored_the_rest_is_rejected_or_sent_again(
        self, stub: FaultyCollector, caplog: pytest.LogCaptureFixture
    ) -> None:
        stub.fault, stub.answer = 207, b'{"code": 207, "body": [{"code": 200}, {"code": 422}, {"code": 503}]}'
        with sending(stub.url) as outbox:
            outbox.put(minute(1, 2, 3))
            stub.wait_for(lambda posts: len(posts) >= 1)
            stub.fault = ""
            posts = stub.wait_for(lambda posts: len(posts) >= 2)
        assert posts[1].types == ["type3"]
        assert "rejected a type2 profile: HTTP status 422" in caplog.text

    @pytest.mark.parametrize(
        "answer", [b"", b"[]", b'{"body": [{"code": 200}]}', b'{"body": [{"code": "x"}, {}]}']
    )
    def test_a_response_that_cannot_be_read_is_not_trusted(self, stub: FaultyCollector, answer: bytes) -> None:
        stub.fault, stub.answer = 207, answer
        with sending(stub.url) as outbox:
            outbox.put(minute(1, 2))
            posts = stub.wait_for(lambda posts: len(posts) >= 3)
        assert [post.types for post in posts] == [["type1", "type2"], ["type1"], ["type2"]]

    def test_a_full_queue_drops_whole_batches(
        self, stub: FaultyCollector, caplog: pytest.LogCaptureFixture
    ) -> None:
        stub.fault = 503
        caplog.set_level(logging.INFO, "profbucket.agent")
        size = sum(map(len, minute(1, 2).values()))
        with sending(stub.url, max_bytes=2 * size + 20) as outbox:
            for value in (1, 3, 5, 7):
                outbox.put(minute(value, value + 1))
            stub.fault = ""
            stub.wait_for(lambda posts: posts[-1:] != [] and posts[-1].types == ["type7", "type8"])
            outbox.close(time.monotonic() + 60)
            assert outbox.done.wait(60)
        assert "accepts profiles again; 4 were dropped" in caplog.text

    def test_nothing_is_not_sent(self, stub: FaultyCollector) -> None:
        with sending(stub.url) as outbox:
            outbox.put({})
            outbox.put(minute(1))
            stub.wait_for(lambda posts: len(posts) >= 1)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 301])
def test_a_rejected_profile_is_not_retried(
    stub: FaultyCollector, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    stub.fault = status
    with sending(stub.url) as outbox:
        outbox.put({"cpu": profile(1)})
        stub.wait_for(lambda posts: len(posts) >= 1)
        stub.fault = ""
        outbox.put({"wall": profile(2)})
        stub.wait_for(lambda posts: len(posts) >= 2)
    assert [post.types for post in stub.posts] == [["cpu"], ["wall"]]
    assert f"HTTP status {status}" in caplog.text


def test_a_profile_that_makes_the_collector_fail_does_not_block_the_others(stub: FaultyCollector) -> None:
    stub.fault = 500
    with sending(stub.url) as outbox:
        first = profile(1)
        outbox.put({"cpu": first})
        outbox.put({"wall": profile(2)})
        stub.wait_for(lambda posts: posts[-1:] != [] and posts[-1].types == ["wall"])
    assert sum(post.body == first for post in stub.posts) == 10


def test_retry_after_is_honoured(stub: FaultyCollector) -> None:
    """Even if the backoff is shorter."""
    stub.fault, stub.retry_after = 503, "2"
    with sending(stub.url) as outbox:
        begin = time.monotonic()
        outbox.put({"cpu": profile(1)})
        stub.wait_for(lambda posts: len(posts) >= 2)
        assert time.monotonic() - begin >= 2


def test_a_full_queue_drops_the_oldest_profiles(stub: FaultyCollector, caplog: pytest.LogCaptureFixture) -> None:
    """Logs it once, and afterwards how many were dropped."""
    stub.fault = 503
    profiles = [profile(value) for value in range(100)]
    caplog.set_level(logging.INFO, "profbucket.agent")
    with sending(stub.url, max_bytes=10 * len(profiles[0]) + 200) as outbox:
        for data in profiles:
            outbox.put({"cpu": data})
        count = len(stub.posts)
        stub.fault = ""
        stub.wait_for(lambda posts: bool(posts) and posts[-1].body == profiles[-1])
        outbox.close(time.monotonic() + 60)
        assert outbox.done.wait(60)
    kept = {post.body for post in stub.posts[count + 1 :]}
    assert kept <= set(profiles[-12:])
    assert caplog.text.count("dropping the oldest profiles") == 1
    assert "accepts profiles again; " in caplog.text


def test_an_unanswered_request_times_out(stub: FaultyCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profbucket.agent.sending._TIMEOUT_SECONDS", 0.2)
    stub.fault = "hang"
    with sending(stub.url) as outbox:
        outbox.put({"cpu": profile(1)})
        stub.wait_for(lambda posts: len(posts) >= 2)


def test_keys_are_not_logged_or_shown(stub: FaultyCollector, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings.create(stub.url.replace("//", f"//x:{KEY}@"), "sent", {}, "")
    assert settings.headers["Authorization"].startswith("Basic ")
    stub.fault = 401
    with sending(stub.url.replace("//", f"//x:{KEY}@")) as outbox:
        outbox.put({"cpu": profile(1)})
        stub.wait_for(lambda posts: len(posts) >= 1)
    assert "HTTP status 401" in caplog.text
    assert KEY not in caplog.text + repr(settings) + settings.url


@pytest.mark.parametrize(
    "url", ["", "localhost:10100", "ftp://x", "http://", f"x:{KEY}@host", "http://[", "http://h:99999"]
)
def test_an_invalid_url_is_an_error_at_start(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Settings.create(url, "shop")
    assert caught.value.code == "invalid_url"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"service": ""}, "service"),
        ({"labels": {"": "x"}}, "label without a key"),
        ({"labels": {"a": "x\n"}}, "control character"),
        ({"key": "a\nb"}, "has invalid characters"),
        ({"every": 5.0, "seconds": 6.0}, "seconds=6.0, every=5.0"),
        ({"seconds": 0.0}, "seconds=0.0"),
    ],
)
def test_an_invalid_argument_is_an_error_at_start(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises((Misconfigured, Invalid), match=sentence):
        Settings.create("http://localhost", **{"service": "shop", **arguments})  # type: ignore[arg-type]
