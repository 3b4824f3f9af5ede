"""Queries over several services: which they are, pages, limits, and the number of calls that a query makes."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from threading import Barrier, current_thread
from typing import Any

import pytest

from profbucket.errors import Invalid, NotFound, TooMany
from profbucket.limits import Limits
from profbucket.model.blocks import Block
from profbucket.model.labels import Matcher, parse_matchers
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.pprof import decode
from profbucket.query.querier import Querier
from profbucket.query.query_merger import pick_evenly
from profbucket.query.services import ask_each, parse_condition, select_services
from profbucket.storage.damage import DamageReport
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import Selection, Series, SeriesSelection
from profbucket.storage.store import Storage
from profbucket.storage.totals import Totals
from profbucket.times import SECOND
from tests.support.storage.compaction_suite import ALL_TIME, HOUR, MIDNIGHT, compact, post_profiles

CPU = ProfileType.CPU
SERVICES = ["billing", "shop-api", "shop-web", "shop-worker"]
ALL = Query("~.*", CPU, *ALL_TIME, services=tuple(SERVICES))


class CountingIndex(MemoryIndex):
    """An index that counts the calls of a query, and the entries that it returned."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        self.calls[selection.service] += 1
        blocks, entries = super().snapshot(selection)
        return blocks, map(self._count, entries)

    def _count(self, meta: Meta) -> Meta:
        self.calls["entries"] += 1
        return meta

    def services(self) -> list[str]:
        self.calls["services"] += 1
        return super().services()

    def series(self, selection: SeriesSelection) -> list[Series]:
        self.calls[f"series of {selection.service}"] += 1
        return super().series(selection)


@pytest.fixture
def storage() -> Storage:
    """Return profiles of four services, one a minute from each in turn."""
    storage = Storage(MemoryBucket(), CountingIndex())
    for offset, service in enumerate(SERVICES):
        post_profiles(storage, range(offset, 120, len(SERVICES)), service)
    return storage


@pytest.mark.parametrize(
    ("condition", "services"),
    [
        ("~shop-.*", ["shop-api", "shop-web", "shop-worker"]),
        ("~shop", []),  # matches the whole name
        ("~shop-(api|web)", ["shop-api", "shop-web"]),
        ("!~shop-.*", ["billing"]),
        ("~", []),
        ("!~", SERVICES),
    ],
)
def test_a_condition_selects_services_by_their_whole_names(condition: str, services: list[str]) -> None:
    parsed = parse_condition(condition)
    assert parsed is not None
    if services:
        assert select_services(SERVICES, [parsed], lambda _: True, Limits()) == tuple(services)
    else:
        with pytest.raises(NotFound):
            select_services(SERVICES, [parsed], lambda _: True, Limits())


def test_all_of_several_conditions_must_be_met() -> None:
    conditions = [Matcher("service", "=~", "shop-.*"), Matcher("service", "!=", "shop-web")]
    assert select_services(SERVICES, conditions, lambda _: True, Limits()) == ("shop-api", "shop-worker")


def test_a_name_is_no_condition() -> None:
    assert [parse_condition(name) for name in ("shop", "", "shop~", "!shop", "=~x")] == [None] * 5


@pytest.mark.parametrize(("condition", "code"), [("~(", "invalid_regex"), ("~a\nb", "invalid_matcher")])
def test_a_malformed_condition_is_refused(condition: str, code: str) -> None:
    with pytest.raises(Invalid) as error:
        parse_condition(condition)
    assert error.value.code == code


def test_more_services_than_the_limit_are_refused() -> None:
    condition = Matcher("service", "=~", ".*")
    assert len(select_services(SERVICES, [condition], lambda _: True, Limits(services=4))) == 4
    with pytest.raises(TooMany) as error:
        select_services(SERVICES, [condition], lambda _: True, Limits(services=3))
    assert error.value.code == "max_services_exceeded"


def test_services_that_the_caller_may_not_access_are_as_if_they_did_not_exist() -> None:
    def select(name: str, services: list[str], may_access: Callable[[str], bool]) -> Any:
        return select_services(services, [Matcher("service", "=~", name)], may_access, Limits(services=3))

    def may_access(service: str) -> bool:
        return service != "billing"

    assert select(".*", SERVICES, may_access) == ("shop-api", "shop-web", "shop-worker")  # nor do they count
    with pytest.raises(NotFound) as forbidden:
        select("billing", SERVICES, may_access)
    with pytest.raises(NotFound) as missing:
        select("billing", SERVICES[1:], may_access)
    assert (str(forbidden.value), forbidden.value.code) == (str(missing.value), missing.value.code)


@pytest.mark.parametrize("limit", [1, 7, 119, 120, 200])
@pytest.mark.parametrize("compacted", [False, True])
def test_pages_are_in_one_order_over_all_services(storage: Storage, limit: int, compacted: bool) -> None:
    if compacted:
        compact(storage, MIDNIGHT + HOUR + 600 * SECOND)
    querier, query, ids = Querier(storage), replace(ALL, limit=limit), []
    while True:
        page = querier.find(query)
        ids += [meta.id for meta in page.profiles]
        if page.next is None:
            break
        query = replace(query, after=page.profiles[-1].position)
    alone = [meta for own in ALL.each_service() for meta in storage.lookup.find(own)]
    assert ids == [meta.id for meta in sorted(alone, key=lambda meta: meta.position)]


def test_a_page_of_many_services_reads_few_entries() -> None:
    """Once there is a page, the other services are read up to where it ends."""
    index = CountingIndex()
    storage = Storage(MemoryBucket(), index)
    services = tuple(f"service-{number:02}" for number in range(40))
    for service in services:
        post_profiles(storage, range(20), service)
    page = Querier(storage).find(replace(ALL, services=services, limit=10))
    assert {meta.created_at for meta in page.profiles} == {MIDNIGHT}
    assert index.calls["entries"] < 16 * 11 + 24 * 2


def test_some_services_are_looked_up_at_once() -> None:
    together = Barrier(4)
    queries = [replace(ALL, service=service, services=()) for service in SERVICES]

    def ask(query: Query) -> str:
        together.wait(timeout=60)
        return query.service

    assert list(ask_each(iter(queries), ask)) == SERVICES


def test_an_error_of_one_service_ends_the_lookup_of_all() -> None:
    asked: list[str] = []

    def ask(query: Query) -> str:
        asked.append(query.service)
        if query.service == "service-03":
            raise NotFound("gone")
        return query.service

    queries = (replace(ALL, service=f"service-{number:02}", services=()) for number in range(100))
    with pytest.raises(NotFound):
        list(ask_each(queries, ask))
    assert len(asked) < 20


ASKS: list[Callable[[Querier, Query], Any]] = [
    lambda querier, query: querier.find(query),
    lambda querier, query: querier.merge(query),
    lambda querier, query: querier.merge(replace(query, limit=5)),
    lambda querier, query: querier.merge(query, MergeOptions(keep_labels=True)),
    lambda querier, query: querier.timeline(query, ["service"], 60),
]
LOOK_UPS = [*ASKS, lambda querier, query: list(querier.totals(query))]
LOOK_UP_NAMES = ["find", "merge", "merge with limit", "merge with labels", "timeline", "totals"]


@pytest.mark.parametrize("ask", LOOK_UPS, ids=LOOK_UP_NAMES)
def test_a_query_calls_the_index_once_for_each_service(
    storage: Storage, ask: Callable[[Querier, Query], Any]
) -> None:
    index, querier = storage.index, Querier(storage)
    assert isinstance(index, CountingIndex)
    services = querier.select_services([Matcher("service", "=~", "shop-.*")])
    ask(querier, replace(ALL, start=MIDNIGHT, end=MIDNIGHT + 2 * HOUR, services=services))
    del index.calls["entries"]
    assert index.calls == {"services": 1, "shop-api": 1, "shop-web": 1, "shop-worker": 1}


@pytest.mark.parametrize("ask", LOOK_UPS, ids=LOOK_UP_NAMES)
def test_the_deadline_holds_while_services_are_looked_up(
    storage: Storage, ask: Callable[[Querier, Query], Any]
) -> None:
    seconds = count(0, 20)
    querier = Querier(storage, Limits(merge_seconds=50), timer=lambda: next(seconds))
    with pytest.raises(TooMany) as error:
        ask(querier, replace(ALL, start=MIDNIGHT, end=MIDNIGHT + 2 * HOUR))
    assert error.value.code == "max_merge_seconds_exceeded"
    assert isinstance(storage.index, CountingIndex)
    assert storage.index.calls["shop-worker"] == 0


@pytest.mark.parametrize(
    ("limits", "options", "code"),
    [
        (Limits(merge=100), MergeOptions(), "max_merge_exceeded"),
        (Limits(merge_bytes=10_000), MergeOptions(), "max_merge_bytes_exceeded"),
        (Limits(aggregate=100), MergeOptions(aggregate=Aggregate.LATEST), "max_aggregate_exceeded"),
    ],
)
def test_the_limits_of_a_merge_hold_for_all_services_together(
    storage: Storage, limits: Limits, options: MergeOptions, code: str
) -> None:
    querier = Querier(storage, limits)
    for own in ALL.each_service():
        querier.merge(own, options)
    with pytest.raises(TooMany) as error:
        querier.merge(ALL, options)
    assert error.value.code == code


def test_with_a_limit_each_service_has_its_share(storage: Storage) -> None:
    result = Querier(storage).merge(replace(ALL, limit=20))
    assert (result.found, result.merged) == (120, 20)
    picked, _ = pick_evenly((meta.service for own in ALL.each_service() for meta in storage.lookup.find(own)), 20)
    assert set(Counter(picked).values()) <= {4, 5, 6}


def test_a_timeline_from_the_beginning_starts_with_the_first_profile_of_any_service(storage: Storage) -> None:
    late = replace(ALL, services=("shop-worker", "shop-web"))
    expected = Querier(storage).timeline(Query("shop-web", CPU, 0, MIDNIGHT + 2 * HOUR), (), 60)
    timeline = Querier(storage).timeline(replace(late, end=MIDNIGHT + 2 * HOUR), (), 60)
    assert timeline["start"] == expected["start"]
    assert sum(timeline["groups"][0]["profiles"]) == 60


def test_nothing_found_in_any_service_says_so(storage: Storage) -> None:
    query = replace(ALL, matchers=parse_matchers("v=9"))
    for ask in ASKS:
        with pytest.raises(NotFound, match="service=~"):
            ask(Querier(storage), query)


def test_the_comment_names_the_condition_and_the_number_of_services(storage: Storage) -> None:
    message = decode(Querier(storage).merge(ALL).data).message
    comment = message.string_table[message.comment[0]].decode()
    assert comment.startswith(
        "service=~.* type=cpu merged 120 profiles of 4 services from 2026-11-23T00:00:00Z to "
    )


def test_the_file_of_a_merge_has_a_plain_name(storage: Storage) -> None:
    assert Querier(storage).merge(ALL).filename == "services-cpu.pb.gz"


def test_labels_are_those_of_all_services(storage: Storage) -> None:
    labels = Querier(storage).label_values(["shop-api", "shop-web"], None)
    assert labels.profile_types == (CPU,)
    assert labels.values == {"v": ["0", "1", "2"]}


def test_a_timeline_over_a_long_range_reads_one_service_after_the_other(storage: Storage) -> None:
    long = replace(ALL, start=MIDNIGHT - 100 * 24 * HOUR, end=MIDNIGHT + 2 * HOUR)
    short = replace(long, start=MIDNIGHT)
    threads: set[str] = set()
    read = storage.lookup.read_totals

    def read_totals(query: Query, damage: DamageReport | None = None) -> Iterator[Totals]:
        threads.add(current_thread().name)
        return read(query, damage)

    storage.lookup.read_totals = read_totals  # type: ignore[method-assign]
    counts = {}
    for query in (long, short):
        threads.clear()
        timeline = Querier(storage).timeline(query, ["service"], 24 * 3600)
        counts[query] = [sum(group["profiles"]) for group in timeline["groups"]]
        assert any(name.startswith("service") for name in threads) == (query is short)
    assert counts[long] == counts[short] == [30] * 4
