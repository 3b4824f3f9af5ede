"""Profiles on their way, and a collector that is away."""

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
from tests.support.agent.faulty_collector import Sick, sick
from tests.support.serving import free_port

KEY = "pb_" + "k" * 43


def profile(value: int) -> bytes:
    encoder = Encoder((("cpu", "nanoseconds"),), ("cpu", "nanoseconds"), 10)
    encoder.add([encoder.location(("f", "f.py", 1, 2))], (value,), {})
    return encoder.encode(time.time_ns(), 1)


@contextmanager
def sending(url: str, service: str = "sent", most_bytes: int = 1 << 20, **labels: str) -> Iterator[Outbox]:
    """An outbox that sends to *url* until the block ends, and tries again soon."""
    settings = Settings.create(url, service, labels, KEY)
    outbox = Outbox(settings, most_bytes=most_bytes, first_wait=0.01)
    thread = threading.Thread(target=outbox.run, daemon=True)
    thread.start()
    try:
        yield outbox
    finally:
        outbox.close(time.monotonic())
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def stub() -> Iterator[Sick]:
    with sick() as one:
        yield one


def stored(url: str, service: str) -> int:
    """How many CPU profiles the collector has."""
    return len(HttpClient(url).find(Query(service, ProfileType.CPU, 0, LATEST)).profiles)


def test_a_profile_is_posted_with_its_service_type_labels_and_key(collector: str) -> None:
    with sick(collector) as one, sending(one.url, "agents-shop", version="a,b=c d") as outbox:
        outbox.put("cpu", profile(1))
        [post] = one.wait_for(lambda posts: len(posts) == 1)
        assert post.headers["Authorization"] == f"Bearer {KEY}"
        outbox.close(time.monotonic() + 60)
        assert outbox.done.wait(60)
    query = Query("agents-shop", ProfileType.CPU, 0, LATEST, (Matcher("version", "=", "a,b=c d"),))
    assert len(HttpClient(collector).find(query).profiles) == 1


@pytest.mark.parametrize("fault", [500, 503, 429, "lost", "hang"])
def test_what_fails_for_a_while_is_sent_again_in_the_same_bytes_and_counts_once(
    collector: str, fault: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that fails, is busy, hangs, or whose answers are lost: afterwards each profile is there once."""
    service = f"again-{fault}"
    monkeypatch.setattr("profbucket.agent.sending._SECONDS", 0.5 if fault == "hang" else 15.0)
    with sick(collector) as one:
        one.fault = fault
        with sending(one.url, service) as outbox:
            for value in (1, 2, 3):
                outbox.put("cpu", profile(value))
            one.wait_for(lambda posts: len(posts) >= 3)
            one.fault = ""
            monkeypatch.setattr("profbucket.agent.sending._SECONDS", 15.0)
            one.wait_for(lambda posts: len({post.body for post in posts}) == 3)
            outbox.close(time.monotonic() + 60)
            assert outbox.done.wait(60)
        assert one.posts[0].body == one.posts[1].body == one.posts[2].body
        assert one.posts[0].path == one.posts[1].path
    assert stored(collector, service) == 3


def test_a_collector_that_is_gone_is_tried_until_it_is_there_again(
    collector: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "profbucket.agent")
    port = free_port()
    with sending(f"http://127.0.0.1:{port}", "gone") as outbox:
        for value in (1, 2, 3):
            outbox.put("cpu", profile(value))
        while "cannot be reached" not in caplog.text:
            assert not outbox.done.wait(0.01)
        with sick(collector, port) as one:
            one.wait_for(lambda posts: len(posts) == 3)
            outbox.close(time.monotonic() + 60)
            assert outbox.done.wait(60)
    assert stored(collector, "gone") == 3


@pytest.mark.parametrize("status", [400, 401, 404, 413, 301])
def test_a_refusal_is_final(stub: Sick, status: int, caplog: pytest.LogCaptureFixture) -> None:
    stub.fault = status
    with sending(stub.url) as outbox:
        outbox.put("cpu", profile(1))
        stub.wait_for(lambda posts: len(posts) == 1)
        stub.fault = ""
        outbox.put("other", profile(2))
        stub.wait_for(lambda posts: len(posts) == 2)
    assert [post.type for post in stub.posts] == ["cpu", "other"]
    assert f"it answers {status}" in caplog.text


def test_a_profile_that_the_collector_fails_over_does_not_keep_the_others_back(stub: Sick) -> None:
    stub.fault = 500
    with sending(stub.url) as outbox:
        first = profile(1)
        outbox.put("cpu", first)
        outbox.put("other", profile(2))
        stub.wait_for(lambda posts: posts[-1:] != [] and posts[-1].type == "other")
    assert sum(post.body == first for post in stub.posts) == 10


def test_retry_after_is_waited_for(stub: Sick) -> None:
    """An answer that says 2 seconds is not followed by a try within these, whatever the own wait is."""
    stub.fault, stub.retry_after = 503, "2"
    with sending(stub.url) as outbox:
        begin = time.monotonic()
        outbox.put("cpu", profile(1))
        stub.wait_for(lambda posts: len(posts) == 2)
        assert time.monotonic() - begin >= 2


def test_what_waits_is_bounded_and_the_oldest_goes_first(stub: Sick, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so once, and afterwards how many were dropped."""
    stub.fault = 503
    profiles = [profile(value) for value in range(100)]
    caplog.set_level(logging.INFO, "profbucket.agent")
    with sending(stub.url, most_bytes=10 * len(profiles[0]) + 200) as outbox:
        for one in profiles:
            outbox.put("cpu", one)
        count = len(stub.posts)
        stub.fault = ""
        stub.wait_for(lambda posts: bool(posts) and posts[-1].body == profiles[-1])
        outbox.close(time.monotonic() + 60)
        assert outbox.done.wait(60)
    kept = {post.body for post in stub.posts[count + 1 :]}
    assert kept <= set(profiles[-12:])
    assert caplog.text.count("profiles are dropped") == 1
    assert "takes profiles again; " in caplog.text


def test_a_collector_that_does_not_answer_is_given_up_in_time(stub: Sick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profbucket.agent.sending._SECONDS", 0.2)
    stub.fault = "hang"
    with sending(stub.url) as outbox:
        outbox.put("cpu", profile(1))
        stub.wait_for(lambda posts: len(posts) == 2)


def test_keys_are_in_no_log_and_no_text(stub: Sick, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings.create(stub.url.replace("//", f"//x:{KEY}@"), "sent", {}, "")
    assert settings.headers["Authorization"].startswith("Basic ")
    stub.fault = 401
    with sending(stub.url.replace("//", f"//x:{KEY}@")) as outbox:
        outbox.put("cpu", profile(1))
        stub.wait_for(lambda posts: len(posts) == 1)
    assert "it answers 401" in caplog.text
    assert KEY not in caplog.text + repr(settings) + settings.url


@pytest.mark.parametrize(
    "url", ["", "localhost:10100", "ftp://x", "http://", f"x:{KEY}@host", "http://[", "http://h:99999"]
)
def test_a_url_that_is_none_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(Misconfigured, match="not a collector's URL") as refused:
        Settings.create(url, "shop")
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"service": ""}, "service"),
        ({"labels": {"": "x"}}, "label without a name"),
        ({"labels": {"a": "x\n"}}, "control character"),
        ({"key": "a\nb"}, "characters that are in no key"),
        ({"every": 5.0, "seconds": 6.0}, "seconds=6.0 of every=5.0"),
        ({"seconds": 0.0}, "seconds=0.0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_the_start(
    arguments: dict[str, object], sentence: str
) -> None:
    with pytest.raises((Misconfigured, Invalid), match=sentence):
        Settings.create("http://localhost", **{"service": "shop", **arguments})  # type: ignore[arg-type]
