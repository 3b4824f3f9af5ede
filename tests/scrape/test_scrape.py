"""Scraping, of good targets and of targets that misbehave."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from profbucket.errors import ProfbucketError
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.labels import Matcher
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from profbucket.query.querier import Querier
from profbucket.scrape.fetch import ByteBudget, fetch, is_guarded
from profbucket.scrape.scraper import SPREAD_SECONDS, Outcome, _start_offset, scrape
from profbucket.scrape.targets import PROFILE_TYPES, TARGETS_KEY, Target, parse_targets
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from profbucket.times import LATEST
from tests.support import scrape_targets as servers
from tests.support.agent.programs import SCRIPTS, program
from tests.support.go_tool import GoPprof
from tests.support.paths import ROOT
from tests.support.scrape_targets import closed_url, run_server, run_shop
from tests.support.serving import served

HEAP = (ROOT / "tests" / "data" / "shop-0.0.1" / "heap-1.pb.gz").read_bytes()


def make_target(url: str, **entry: Any) -> Target:
    [target] = parse_targets(json.dumps([{"url": url, "service": "shop", "profiles": ["heap"], **entry}]))
    return target


def fetch_heap(target: Target, limits: Limits = Limits(), seconds: float = 30, **more: Any) -> bytes:
    deadline = time.monotonic() + seconds
    return fetch(target, "heap", deadline=deadline, limits=limits, budget=ByteBudget(limits), **more)


def test_a_scrape_stores_all_profiles_of_a_go_program(shop: Path, go_pprof: GoPprof, tmp_path: Path) -> None:
    """Each with its profile type and the labels of the target."""
    storage = open_storage((tmp_path / "profiles").as_uri())
    with run_shop(shop) as url:
        target = make_target(
            url, profiles=list(PROFILE_TYPES), seconds=1, labels={"version": "9"}, timeout_seconds=120
        )
        [outcome] = scrape([target], Collector(storage), spread_seconds=0)
    assert outcome.failed == {}
    assert len(outcome.stored) + len(outcome.empty) == len(PROFILE_TYPES)
    querier = Querier(storage)
    for name, profile_type in PROFILE_TYPES.items():
        query = Query("shop", profile_type, 0, LATEST, (Matcher("version", "=", "9"),))
        if name not in outcome.empty:
            [meta] = querier.find(query).profiles
            assert dict(meta.labels)["instance"] == url.removeprefix("http://")
    cpu = querier.merge(Query("shop", ProfileType.CPU, 0, LATEST)).data
    (tmp_path / "cpu.pb.gz").write_bytes(cpu)
    assert "main.priceCart" in go_pprof("-top", tmp_path / "cpu.pb.gz").check().text


def test_the_headers_of_a_target_are_sent(tmp_path: Path) -> None:
    with run_server(servers.serve(HEAP)) as server:
        target = make_target(
            server.url, headers={"Authorization": "Bearer x"}, profiles=["heap", "profile"], seconds=7
        )
        list(scrape([target], Collector(open_storage("memory:")), spread_seconds=0))
    assert server.paths == ["/debug/pprof/heap", "/debug/pprof/profile?seconds=7"]
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer x"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (servers.hang, "timed out"),
        (servers.drip, "timed out"),
        (servers.drip_body, "timed out"),
        (servers.send_endlessly, "PROFBUCKET_MAX_BODY_BYTES"),
        (servers.send_html, "not a pprof"),
        (servers.truncate, "ended 998 bytes early"),
        (servers.send_garbage, "invalid HTTP response"),
        (servers.redirect("http://169.254.169.254/computeMetadata/v1/"), "redirect to another host"),
        (servers.redirect("http://127.0.0.1:1/", 308), "redirect to another host"),
        (servers.redirect("//other/"), "redirect to another host"),
        (servers.redirect("file:///etc/passwd"), "redirect to another host"),
        (servers.redirect("http://[", 301), "redirect to another host"),
        (servers.redirect("/again"), "more than 3 redirects"),
        (servers.redirect(""), "redirect to another host"),
        (servers.serve(b""), "no bytes were sent"),
        (servers.serve(gzip.compress(b"x" * 100)), "not a pprof"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:30]),
)
def test_a_target_that_misbehaves_is_a_failure_and_stores_nothing(
    answer: Callable[..., None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profbucket.scrape.scraper._GRACE_SECONDS", 100.0)  # the target's own timeout must end it
    storage = open_storage("memory:")
    limits = Limits(body_bytes=2_000_000)
    with run_server(answer) as server:
        target = make_target(server.url, profiles=["heap"], timeout_seconds=1)
        [outcome] = scrape([target], Collector(storage, limits), limits, spread_seconds=0)
    assert message in outcome.failed["heap"]
    assert "%" not in outcome.failed["heap"]
    assert outcome.stored == []
    assert storage.index.services() == []


def test_a_redirect_to_the_same_host_is_followed() -> None:
    def answer(handler: Any, over: Any) -> None:
        (servers.serve(HEAP) if handler.path == "/there" else servers.redirect("/there"))(handler, over)

    with run_server(answer) as server:
        assert fetch_heap(make_target(server.url)) == HEAP
    assert server.paths == ["/debug/pprof/heap", "/there"]


def test_hanging_targets_do_not_delay_other_services() -> None:
    storage = open_storage("memory:")
    with run_server(servers.hang) as hanging, run_server(servers.serve(HEAP)) as good:
        many = [
            make_target(hanging.url, service="hangs", labels={"n": str(n)}, timeout_seconds=3) for n in range(40)
        ]
        outcomes: list[Outcome] = list(
            scrape([*many, make_target(good.url, timeout_seconds=60)], Collector(storage), spread_seconds=0)
        )
    assert outcomes[0].target.url.startswith(good.url)
    assert len(outcomes[0].stored) == 1
    assert len(outcomes) == 41


class BatchSink(Collector):
    """Notes the sizes of batches."""

    def __init__(self, storage: Storage, limits: Limits = Limits()) -> None:
        super().__init__(storage, limits)
        self.sizes: list[int] = []

    def store_batch(
        self, uploads: Sequence[Upload], *, has_deadline: bool = False
    ) -> list[Meta | ProfbucketError]:
        self.sizes.append(len(uploads))
        return super().store_batch(uploads)


def test_the_profiles_of_a_service_are_stored_together() -> None:
    """Even if one of its targets hangs."""
    sink = BatchSink(open_storage("memory:"))
    with run_server(servers.hang) as hanging, run_server(servers.serve(HEAP)) as good:
        shop = [make_target(good.url, labels={"n": str(n)}, profiles=["heap", "block"]) for n in range(20)]
        web = [make_target(good.url, service="web", labels={"n": str(n)}) for n in range(3)]
        hung = make_target(hanging.url, timeout_seconds=1)
        outcomes = list(scrape([*shop, *web, hung], sink, spread_seconds=0))
    assert sorted(sink.sizes) == [3, 40]
    assert sum(len(outcome.stored) for outcome in outcomes) == 43
    assert [outcome.failed for outcome in outcomes if outcome.failed] == [{"heap": "timed out"}]


@pytest.mark.parametrize(
    ("batch_bytes", "limits"),
    [(3 * len(HEAP), Limits()), (4 << 20, Limits(inflight_bytes=20 * len(HEAP)))],
    ids=["of one service", "that fill half of the memory for downloads"],
)
def test_profiles_that_are_large_do_not_wait_for_all_others(
    batch_bytes: int, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last target of each service answers when profiles have been stored."""
    are_stored = threading.Event()

    class Sink(Collector):
        def store_batch(
            self, uploads: Sequence[Upload], *, has_deadline: bool = False
        ) -> list[Meta | ProfbucketError]:
            result = super().store_batch(uploads, has_deadline=has_deadline)
            are_stored.set()
            return result

    def answer_last(handler: Any, over: Any) -> None:
        are_stored.wait(timeout=30)
        servers.serve(HEAP)(handler, over)

    monkeypatch.setattr("profbucket.scrape.scraper._BATCH_BYTES", batch_bytes)
    with run_server(servers.serve(HEAP)) as good, run_server(answer_last) as last:
        many = [make_target(good.url, service=f"s{n // 8}", labels={"n": str(n)}) for n in range(16)]
        many += [make_target(last.url, service=f"s{n}", timeout_seconds=20) for n in range(2)]
        outcomes = list(scrape(many, Sink(open_storage("memory:"), limits), limits, spread_seconds=0))
    assert are_stored.is_set()
    assert [len(outcome.stored) for outcome in outcomes] == [1] * 18


def test_what_was_fetched_is_stored_though_a_target_never_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def fetch(target: Target, *_: Any, budget: ByteBudget, **__: Any) -> bytes:
        if dict(target.labels).get("stuck"):
            over.wait()
        budget.reserve(len(HEAP))
        return HEAP

    monkeypatch.setattr("profbucket.scrape.scraper._GRACE_SECONDS", 1.0)
    monkeypatch.setattr("profbucket.scrape.scraper.fetch", fetch)
    good = make_target("http://127.0.0.1:1", timeout_seconds=1)
    stuck = make_target("http://127.0.0.1:1", timeout_seconds=1, labels={"stuck": "1"})
    first, second = scrape([stuck, good], Collector(open_storage("memory:")), spread_seconds=0)
    over.set()
    assert (first.target, len(first.stored)) == (good, 1)
    assert (second.target, second.failed) == (stuck, {"heap": "timed out"})


def test_a_storage_that_fails_is_the_failure_of_each_profile(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Collector):
        def store_batch(self, uploads: object, *, has_deadline: bool = False) -> Any:
            raise RuntimeError("broken")

    with run_server(servers.serve(HEAP)) as server:
        target = make_target(server.url)
        [outcome] = scrape([target], Broken(open_storage("memory:")), spread_seconds=0)
    assert outcome.failed == {"heap": "internal error; see the log"}
    assert "RuntimeError: broken" in caplog.text


def test_a_target_that_exceeds_its_timeout_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    over = threading.Event()
    monkeypatch.setattr("profbucket.scrape.scraper._GRACE_SECONDS", 0.2)
    monkeypatch.setattr("profbucket.scrape.scraper.fetch", lambda *_, **__: bytes(over.wait() - 1))
    target = make_target("http://127.0.0.1:1", timeout_seconds=1)
    [outcome] = scrape([target], Collector(open_storage("memory:")), spread_seconds=0)
    over.set()
    assert outcome.failed == {"heap": "timed out"}


def test_the_memory_of_all_downloads_is_limited() -> None:
    limits = Limits(inflight_bytes=100_000)
    budget = ByteBudget(limits)
    with run_server(servers.serve(bytes(80_000))) as server:
        deadline = time.monotonic() + 30
        first = fetch(make_target(server.url), "heap", deadline=deadline, limits=limits, budget=budget)
        with pytest.raises(ProfbucketError, match="PROFBUCKET_MAX_INFLIGHT_BYTES"):
            fetch(make_target(server.url), "heap", deadline=deadline, limits=limits, budget=budget)
        budget.release(len(first))
        assert (
            len(fetch(make_target(server.url), "heap", deadline=deadline, limits=limits, budget=budget)) == 80_000
        )


def test_a_profile_without_samples_is_empty_not_failed() -> None:
    from profbucket.agent.encoding import Encoder

    empty = Encoder((("contentions", "count"), ("delay", "nanoseconds")), ("contentions", "count"), 1).encode(1, 0)
    with run_server(servers.serve(empty)) as server:
        [outcome] = scrape([make_target(server.url)], Collector(open_storage("memory:")), spread_seconds=0)
    assert (outcome.empty, outcome.failed, outcome.stored) == (["heap"], {}, [])


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fe80::1%eth0",
        "::169.254.169.254",
        "::100.100.100.200",
        "::ffff:0:169.254.169.254",
        "64:ff9b::100.100.100.200",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1:0:a9:fea9:fe00::",
        "64:ff9b:1::169.254.169.254",
        "64:ff9b:1:ffff::169.254.169.254",
        "2002:6464:64c8::",
        "2001:0:a9fe:a9fe::",
        "2001:0:808:808::5601:5601",
        "2001:db8::5efe:169.254.169.254",
        "2001:db8::200:5efe:169.254.169.254",
        "ff02::1",
        "100.100.100.200",
        "224.0.0.1",
    ],
)
def test_guarded_addresses(address: str) -> None:
    assert is_guarded(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.5",
        "::1",
        "::",
        "fd12::1",
        "8.8.8.8",
        "::ffff:10.0.0.5",
        "64:ff9b::808:808",
        "64:ff9b:1::808:808",
        "2002:808:808::",
        "2001:db8::a9fe:a9fe",
    ],
)
def test_other_addresses_are_not_guarded(address: str) -> None:
    assert not is_guarded(address)


def resolve_to(*addresses: str) -> Callable[[str, int], Sequence[tuple[Any, ...]]]:
    def resolve(_: str, port: int) -> Sequence[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


def test_a_name_that_resolves_to_a_guarded_address_is_refused() -> None:
    with pytest.raises(ProfbucketError, match=r"169\.254\.169\.254 is a link-local"):
        fetch_heap(make_target("http://innocent.example:80"), resolve=resolve_to("127.0.0.1", "169.254.169.254"))
    with pytest.raises(ProfbucketError, match=r"169\.254\.7\.7 is a link-local"):
        fetch_heap(make_target("http://169.254.7.7"))
    with pytest.raises(ProfbucketError, match=r"metadata\.google\.internal is a cloud metadata service"):
        fetch_heap(make_target("http://Metadata.Google.Internal."), resolve=resolve_to("127.0.0.1"))


def test_the_connection_is_made_to_the_checked_address() -> None:
    """Against DNS rebinding: the name is resolved only once."""
    with run_server(servers.serve(HEAP)) as server:
        port = server.url.rpartition(":")[2]
        answers = [resolve_to("127.0.0.1"), resolve_to("169.254.169.254")]

        def rebinding(host: str, at: int) -> Sequence[tuple[Any, ...]]:
            return answers.pop(0)(host, at)

        target = make_target(f"http://rebinding.example:{port}")
        assert fetch_heap(target, resolve=rebinding) == HEAP
        assert server.headers[0]["Host"] == f"rebinding.example:{port}"
    assert len(answers) == 1


def test_a_guarded_name_in_allow_is_permitted() -> None:
    with run_server(servers.serve(HEAP)) as server:
        port = server.url.rpartition(":")[2]
        target = make_target(f"http://metadata.google.internal:{port}", allow=["metadata.google.internal"])
        assert fetch_heap(target, resolve=resolve_to("127.0.0.1")) == HEAP


def post(url: str) -> tuple[int, Any]:
    try:
        with urlopen(Request(url, method="POST")) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def service_with_early_start(url: str, name: str) -> str:
    """Return a service for which the function scrapes *url* within a second: its offset depends on both."""
    services = (f"{name}-{number}" for number in count())
    return next(
        service for service in services if _start_offset(make_target(url, service=service)) * SPREAD_SECONDS < 1
    )


def test_the_function_scrapes_good_and_bad_targets(shop: Path, go_pprof: GoPprof, tmp_path: Path) -> None:
    """End to end, under functions-framework."""
    url = (tmp_path / "profiles").as_uri()
    with ExitStack() as stack:
        good = stack.enter_context(run_shop(shop))
        answers = [
            servers.hang,
            servers.send_html,
            servers.send_endlessly,
            servers.redirect("http://metadata.google.internal/"),
        ]
        others = [stack.enter_context(run_server(answer)).url for answer in answers]
        service = service_with_early_start(good, "shop")
        entries = [{"url": good, "service": service, "labels": {"version": "0.0.9"}, "seconds": 1}]
        entries += [
            {"url": other, "service": service_with_early_start(other, "bad"), "seconds": 1, "timeout_seconds": 5}
            for other in [*others, closed_url()]
        ]
        open_storage(url).bucket.put(TARGETS_KEY, json.dumps(entries).encode(), {})
        with served(url, tmp_path / "log", target="scrape", PROFBUCKET_ANONYMOUS="1") as function:
            status, response = post(function)
        with served(url, tmp_path / "read", target="merge") as merge:
            merge_url = f"{merge}/merge?service={service}&type=cpu&from=now-1h&version=0.0.9"
            top = go_pprof("-top", merge_url).check().text
    assert "main.priceCart" in top
    body = response["body"]
    assert (status, body["targets"]) == (200, 6)
    assert body["stored"] + body["empty"] == 6
    assert body["failed"] == 5 * 6
    assert {result["service"] for result in body["results"] if result["stored"]} == {service}
    log = (tmp_path / "log").read_text()
    assert f"scraped 6 targets, {body['stored']} stored, {body['empty']} empty, 30 failed" in log


def test_the_function_reports_missing_and_invalid_targets(tmp_path: Path) -> None:
    url = (tmp_path / "profiles").as_uri()
    with served(url, tmp_path / "log", target="scrape") as function:
        status, response = post(function)
        assert (status, response["error_code"]) == (500, "missing_targets")
        open_storage(url).bucket.put(TARGETS_KEY, b"[{}]", {})
        status, response = post(function)
        assert (status, response["error_code"]) == (500, "invalid_targets")
        assert response["error"].startswith("target 1: url is required")
        with pytest.raises(HTTPError, match="405"):
            urlopen(function)


def test_starts_are_spread_over_a_short_time() -> None:
    """A function is billed while it waits. The command has the same default."""
    assert SPREAD_SECONDS == 5
    assert "[default: 5]" in " ".join(
        program([str(SCRIPTS / "profbucket"), "scrape", "--help"]).check().text.split()
    )


def test_the_command_scrapes_a_file_of_targets(shop: Path, tmp_path: Path, collector: str) -> None:
    """Prints ids to stdout and errors to stderr, and exits with 1 after a failure."""
    file = tmp_path / "targets.json"
    command = [str(SCRIPTS / "profbucket"), "scrape", "--targets", str(file), "--spread", "0", "--url", collector]
    with run_shop(shop) as good:
        entries = [{"url": good, "service": "pulled", "profiles": ["heap", "goroutine"]}]
        file.write_text(json.dumps(entries))
        done = program(command).check()
        assert [line.split("/")[:2] for line in done.text.split()] == [["pulled", "heap"], ["pulled", "goroutine"]]
        file.write_text(json.dumps([*entries, {"url": closed_url(), "service": "gone", "profiles": ["heap"]}]))
        done = program(command)
    assert (done.returncode, len(done.text.split())) == (1, 2)
    assert "Connection refused" in done.stderr
    file.write_text("[]]")
    assert "not valid JSON" in program(command).stderr
