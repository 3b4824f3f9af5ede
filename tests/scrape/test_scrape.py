"""Fetching profiles, from targets good and bad."""

import gzip
import json
import socket
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
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier
from profbucket.scrape.fetch import ByteBudget, fetch, is_guarded
from profbucket.scrape.scraper import SPREAD_SECONDS, Outcome, _start_offset, scrape
from profbucket.scrape.targets import PROFILE_TYPES, TARGETS_KEY, Target, parse_targets
from profbucket.storage.open import open_storage
from profbucket.times import LATEST
from tests.support import scrape_targets as bad
from tests.support.agent.programs import SCRIPTS, program
from tests.support.go_tool import GoPprof
from tests.support.paths import ROOT
from tests.support.scrape_targets import answering, nowhere, pulled
from tests.support.serving import served

HEAP = (ROOT / "tests" / "data" / "shop-0.0.1" / "heap-1.pb.gz").read_bytes()


def target(url: str, **entry: Any) -> Target:
    [one] = parse_targets(json.dumps([{"url": url, "service": "shop", "profiles": ["heap"], **entry}]))
    return one


def fetched(one: Target, limits: Limits = Limits(), seconds: float = 30, **more: Any) -> bytes:
    deadline = time.monotonic() + seconds
    return fetch(one, "heap", deadline=deadline, limits=limits, budget=ByteBudget(limits), **more)


def test_a_scrape_stores_what_the_go_program_shows(shop: Path, go_pprof: GoPprof, tmp_path: Path) -> None:
    """All kinds, each with its type and the target's labels, a live Go program's."""
    storage = open_storage((tmp_path / "profiles").as_uri())
    with pulled(shop) as url:
        one = target(url, profiles=list(PROFILE_TYPES), seconds=1, labels={"version": "9"}, timeout_seconds=120)
        [outcome] = scrape([one], Collector(storage), spread_seconds=0)
    assert outcome.failed == {}
    assert len(outcome.stored) + len(outcome.empty) == len(PROFILE_TYPES)
    querier = Querier(storage)
    for name, kind in PROFILE_TYPES.items():
        query = Query("shop", kind, 0, LATEST, (Matcher("version", "=", "9"),))
        if name not in outcome.empty:
            [meta] = querier.find(query).profiles
            assert dict(meta.labels)["instance"] == url.removeprefix("http://")
    cpu = querier.merge(Query("shop", ProfileType.CPU, 0, LATEST)).data
    (tmp_path / "cpu.pb.gz").write_bytes(cpu)
    assert "main.priceCart" in go_pprof("-top", tmp_path / "cpu.pb.gz").check().text


def test_a_target_is_asked_with_its_headers(tmp_path: Path) -> None:
    with answering(bad.serve(HEAP)) as asked:
        one = target(asked.url, headers={"Authorization": "Bearer x"}, profiles=["heap", "profile"], seconds=7)
        list(scrape([one], Collector(open_storage("memory:")), spread_seconds=0))
    assert asked.paths == ["/debug/pprof/heap", "/debug/pprof/profile?seconds=7"]
    assert {headers["Authorization"] for headers in asked.headers} == {"Bearer x"}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (bad.hang, "timed out"),
        (bad.drip, "timed out"),
        (bad.drip_body, "timed out"),
        (bad.endless, "PROFBUCKET_MAX_BODY_BYTES"),
        (bad.lie, "not a pprof"),
        (bad.cut, "ended 998 bytes early"),
        (bad.garbage, "invalid HTTP response"),
        (bad.redirect("http://169.254.169.254/computeMetadata/v1/"), "redirect to another host"),
        (bad.redirect("http://127.0.0.1:1/", 308), "redirect to another host"),
        (bad.redirect("//other/"), "redirect to another host"),
        (bad.redirect("file:///etc/passwd"), "redirect to another host"),
        (bad.redirect("http://[", 301), "redirect to another host"),
        (bad.redirect("/again"), "more than 3 redirects"),
        (bad.redirect(""), "redirect to another host"),
        (bad.serve(b""), "no bytes were sent"),
        (bad.serve(gzip.compress(b"x" * 100)), "not a pprof"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:30]),
)
def test_a_target_that_lies_or_hangs_is_a_sentence_and_stores_nothing(
    answer: Callable[..., None], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "profbucket.scrape.scraper._GRACE_SECONDS", 100.0
    )  # it is not to be what ends a target's time
    storage = open_storage("memory:")
    limits = Limits(body_bytes=2_000_000)
    with answering(answer) as asked:
        one = target(asked.url, profiles=["heap"], timeout_seconds=1)
        [outcome] = scrape([one], Collector(storage, limits), limits, spread_seconds=0)
    assert sentence in outcome.failed["heap"]
    assert "%" not in outcome.failed["heap"]
    assert outcome.stored == []
    assert storage.index.services() == []


def test_a_redirect_on_the_same_host_is_followed() -> None:
    def answer(handler: Any, over: Any) -> None:
        (bad.serve(HEAP) if handler.path == "/there" else bad.redirect("/there"))(handler, over)

    with answering(answer) as asked:
        assert fetched(target(asked.url)) == HEAP
    assert asked.paths == ["/debug/pprof/heap", "/there"]


def test_dead_targets_do_not_delay_the_others() -> None:
    """Forty that hang, and one that is well: it is over before any of those."""
    storage = open_storage("memory:")
    with answering(bad.hang) as dead, answering(bad.serve(HEAP)) as well:
        many = [target(dead.url, labels={"n": str(n)}, timeout_seconds=3) for n in range(40)]
        outcomes: list[Outcome] = list(
            scrape([*many, target(well.url, timeout_seconds=60)], Collector(storage), spread_seconds=0)
        )
    assert outcomes[0].target.url.startswith(well.url)
    assert len(outcomes[0].stored) == 1
    assert len(outcomes) == 41


def test_a_target_whose_name_is_never_found_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    over = threading.Event()
    monkeypatch.setattr("profbucket.scrape.scraper._GRACE_SECONDS", 0.2)
    monkeypatch.setattr("profbucket.scrape.scraper.fetch", lambda *_, **__: over.wait())
    one = target("http://127.0.0.1:1", timeout_seconds=1)
    [outcome] = scrape([one], Collector(open_storage("memory:")), spread_seconds=0)
    over.set()
    assert outcome.failed == {"heap": "timed out"}


def test_all_that_is_fetched_at_once_is_bounded() -> None:
    limits = Limits(inflight_bytes=100_000)
    budget = ByteBudget(limits)
    with answering(bad.serve(bytes(80_000))) as asked:
        deadline = time.monotonic() + 30
        first = fetch(target(asked.url), "heap", deadline=deadline, limits=limits, budget=budget)
        with pytest.raises(ProfbucketError, match="PROFBUCKET_MAX_INFLIGHT_BYTES"):
            fetch(target(asked.url), "heap", deadline=deadline, limits=limits, budget=budget)
        budget.release(len(first))
        assert len(fetch(target(asked.url), "heap", deadline=deadline, limits=limits, budget=budget)) == 80_000


def test_a_profile_without_samples_is_no_failure() -> None:
    from profbucket.agent.encoding import Encoder

    empty = Encoder((("contentions", "count"), ("delay", "nanoseconds")), ("contentions", "count"), 1).encode(1, 0)
    with answering(bad.serve(empty)) as asked:
        [outcome] = scrape([target(asked.url)], Collector(open_storage("memory:")), spread_seconds=0)
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
        "100.100.100.200",
        "224.0.0.1",
    ],
)
def test_guarded_addresses(address: str) -> None:
    assert is_guarded(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "::1", "fd12::1", "8.8.8.8", "192.168.1.1"])
def test_usual_addresses_are_not_guarded(address: str) -> None:
    assert not is_guarded(address)


def resolving(*addresses: str) -> Callable[[str, int], Sequence[tuple[Any, ...]]]:
    def resolve(_: str, port: int) -> Sequence[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


def test_a_name_that_leads_to_a_guarded_address_is_refused() -> None:
    with pytest.raises(ProfbucketError, match=r"169\.254\.169\.254 is a link-local"):
        fetched(target("http://innocent.example:80"), resolve=resolving("127.0.0.1", "169.254.169.254"))
    with pytest.raises(ProfbucketError, match=r"169\.254\.7\.7 is a link-local"):
        fetched(target("http://169.254.7.7"))
    with pytest.raises(ProfbucketError, match=r"metadata\.google\.internal is a cloud metadata service"):
        fetched(target("http://Metadata.Google.Internal."), resolve=resolving("127.0.0.1"))


def test_what_was_checked_is_what_is_connected_to() -> None:
    """A name that leads elsewhere when it is asked for again is asked for once."""
    with answering(bad.serve(HEAP)) as asked:
        port = asked.url.rpartition(":")[2]
        answers = [resolving("127.0.0.1"), resolving("169.254.169.254")]

        def rebinding(host: str, at: int) -> Sequence[tuple[Any, ...]]:
            return answers.pop(0)(host, at)

        one = target(f"http://rebinding.example:{port}")
        assert fetched(one, resolve=rebinding) == HEAP
        assert asked.headers[0]["Host"] == f"rebinding.example:{port}"
    assert len(answers) == 1


def test_what_is_listed_by_name_is_let_through() -> None:
    with answering(bad.serve(HEAP)) as asked:
        port = asked.url.rpartition(":")[2]
        one = target(f"http://metadata.google.internal:{port}", allow=["metadata.google.internal"])
        assert fetched(one, resolve=resolving("127.0.0.1")) == HEAP


# The function, and the command


def post(url: str) -> tuple[int, Any]:
    try:
        with urlopen(Request(url, method="POST")) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def early(url: str, name: str) -> str:
    """A service of which the function fetches *url* within a second: when in its half minute hangs on both."""
    names = (f"{name}-{number}" for number in count())
    return next(one for one in names if _start_offset(target(url, service=one)) * SPREAD_SECONDS < 1)


def test_the_function_scrapes_a_go_program_beside_targets_that_are_not_well(
    shop: Path, go_pprof: GoPprof, tmp_path: Path
) -> None:
    """End to end, under functions-framework: the good one's profiles are found by its labels; all are counted."""
    url = (tmp_path / "profiles").as_uri()
    with ExitStack() as stack:
        good = stack.enter_context(pulled(shop))
        lies = [bad.hang, bad.lie, bad.endless, bad.redirect("http://metadata.google.internal/")]
        others = [stack.enter_context(answering(lie)).url for lie in lies]
        service = early(good, "shop")
        entries = [{"url": good, "service": service, "labels": {"version": "0.0.9"}, "seconds": 1}]
        entries += [
            {"url": other, "service": early(other, "bad"), "seconds": 1, "timeout_seconds": 5}
            for other in [*others, nowhere()]
        ]
        open_storage(url).bucket.put(TARGETS_KEY, json.dumps(entries).encode(), {})
        with served(url, tmp_path / "log", target="scrape", PROFBUCKET_ANONYMOUS="1") as function:
            status, answer = post(function)
        with served(url, tmp_path / "read", target="merge") as merge:
            ask = f"{merge}/merge?service={service}&type=cpu&from=now-1h&version=0.0.9"
            top = go_pprof("-top", ask).check().text
    assert "main.priceCart" in top
    body = answer["body"]
    assert (status, body["targets"]) == (200, 6)
    assert body["stored"] + body["empty"] == 6
    assert body["failed"] == 5 * 6
    assert {one["service"] for one in body["results"] if one["stored"]} == {service}
    log = (tmp_path / "log").read_text()
    assert f"scraped 6 targets, {body['stored']} stored, {body['empty']} empty, 30 failed" in log


def test_the_function_says_what_it_lacks(tmp_path: Path) -> None:
    url = (tmp_path / "profiles").as_uri()
    with served(url, tmp_path / "log", target="scrape") as function:
        status, answer = post(function)
        assert (status, answer["error"]) == (
            500,
            f"there are no targets: put their list into the bucket as {TARGETS_KEY}",
        )
        open_storage(url).bucket.put(TARGETS_KEY, b"[{}]", {})
        assert post(function)[1]["error"].startswith("target 1: url is required")
        with pytest.raises(HTTPError, match="405"):
            urlopen(function)


def test_the_command_scrapes_a_file_of_targets(shop: Path, tmp_path: Path, collector: str) -> None:
    """Ids on stdout, sentences on stderr, exit code 1 where something failed."""
    file = tmp_path / "targets.json"
    command = [str(SCRIPTS / "profbucket"), "scrape", "--targets", str(file), "--spread", "0", "--url", collector]
    with pulled(shop) as good:
        entries = [{"url": good, "service": "pulled", "profiles": ["heap", "goroutine"]}]
        file.write_text(json.dumps(entries))
        done = program(command).check()
        assert [line.split("/")[:2] for line in done.text.split()] == [["pulled", "heap"], ["pulled", "goroutine"]]
        file.write_text(json.dumps([*entries, {"url": nowhere(), "service": "gone", "profiles": ["heap"]}]))
        done = program(command)
    assert (done.returncode, len(done.text.split())) == (1, 2)
    assert "Connection refused" in done.stderr
    file.write_text("[]]")
    assert "not valid JSON" in program(command).stderr
