"""Acceptance suite of every index. Subclasses define the fixture ``index``, an empty one."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product, zip_longest
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profbucket.limits import Limits
from profbucket.model.blocks import Block
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, SampleType, Total
from profbucket.model.profile_type import COMMON_TYPES, ProfileType
from profbucket.model.series import MAX_SAMPLE_TYPES, group_series
from profbucket.model.tasks import Task
from profbucket.storage.ports import Change, ExpectedBlocks, Index, Selection, Series, SeriesSelection
from profbucket.times import LATEST, SECOND
from tests.support.storage.examples import ALL_TIME, NOW, TRICKY_TEXTS, make_block, make_meta

CPU, HEAP, TRACE, WALL = ProfileType.CPU, ProfileType.HEAP, ProfileType.TRACE, ProfileType.WALL
TYPES = (*COMMON_TYPES, ProfileType("unusual"), ProfileType("z-9_"), ProfileType("a" * 63))

# Two services, three profile types, five label sets, repeated times: small enough to test all selections.
MIXED = [
    make_meta(NOW + step // 2, service=service, type=profile_type, labels=labels, data=b"%d" % step)
    for step, (service, profile_type, labels) in enumerate(
        (service, profile_type, labels)
        for labels in ("", "v=1", "v=2", "v=1,w=1", "w=1")
        for profile_type in (CPU, HEAP, TRACE)
        for service in ("api", "api2")
    )
]
SERIES = sorted({meta.series for meta in MIXED})
SELECTIONS = st.builds(
    Selection,
    service=st.sampled_from(["api", "api2", "ap"]),
    type=st.sampled_from([None, CPU, HEAP, TRACE, ProfileType.MUTEX]),
    start=st.integers(NOW - 1, NOW + 16),
    end=st.integers(NOW - 1, NOW + 16),
    series=st.none() | st.sets(st.sampled_from([*SERIES, "0" * 32])),
    after=st.none() | st.sampled_from(MIXED).map(lambda meta: meta.position),
    limit=st.none() | st.integers(0, 20),
)


def add_all(index: Index, metas: Iterable[Meta]) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(index.add, metas))


def add_mixed(index: Index, metas: Sequence[Meta]) -> None:
    """Add *metas* alone and in batches of one service, some in both ways."""
    for number, meta in enumerate(metas):
        if number % 7 == 0:
            index.add(meta)
    for service in {meta.service for meta in metas}:
        own = [meta for meta in metas if meta.service == service]
        for begin in range(0, len(own), 5):
            index.add_batch(own[begin : begin + 7])
            index.add_batch(own[begin : begin + 7])


def select_all(service: str = "api") -> Selection:
    return Selection(service, None, *ALL_TIME)


def select_expected(selection: Selection, metas: Iterable[Meta]) -> list[Meta]:
    """Return the result of a find of *selection* among *metas*: a plain implementation of the port."""
    found = [meta for meta in metas if meta.service == selection.service]
    found = [meta for meta in found if selection.start <= meta.created_at <= selection.end]
    if selection.type is not None:
        found = [meta for meta in found if meta.type == selection.type]
    if selection.series is not None:
        found = [meta for meta in found if meta.series in selection.series]
    found.sort(key=lambda meta: (meta.created_at, meta.id))
    if selection.after is not None:
        found = [meta for meta in found if (meta.created_at, meta.id) > selection.after]
    return found if selection.limit is None else found[: selection.limit]


def replace_time(meta: Meta, created_at: int) -> Meta:
    return make_meta(created_at, service=meta.service, type=meta.type, labels=meta.labels)


def key(series: Series) -> tuple[str, str, ProfileType, Labels]:
    return series.id, series.service, series.type, series.labels


def select_keys(index: Index, *fields: Any, **named: Any) -> list[tuple[str, str, ProfileType, Labels]]:
    """Return the keys of the series that a ``SeriesSelection`` with these fields selects."""
    return list(map(key, index.series(SeriesSelection(*fields, **named))))


class IndexSuite:
    """Tests of ``index``."""

    @pytest.mark.parametrize(
        "meta",
        [
            make_meta(),
            make_meta(labels="version=0.0.1,env=prod", data=b"x" * 30, totals=[Total("cpu", "nanoseconds", 120)]),
            make_meta(type=TRACE, service="größe/1 🔥", labels="%F0%9F%94%A5=%25%2C%3D"),
            make_meta(0),
            make_meta(LATEST),
            make_meta(
                totals=[Total("", "", 0), Total("größe", "a:b=c,d", -(2**63)), Total("c", "count", 2**63 - 1)]
            ),
            make_meta(totals=[Total("c", "count", 2**80)]),  # a sum of many 64-bit numbers needs more than 64
            make_meta(totals=[Total("n" * 60, "u" * 4, -(2**63)) for _ in range(Limits().sample_types)]),
            replace(make_meta(), size=2**40),
        ],
        ids=["bare", "usual", "unicode", "1970", "2262", "totals", "large total", "many totals", "large size"],
    )
    def test_an_entry_comes_back_in_every_field(self, index: Index, meta: Meta) -> None:
        assert index.add(meta) is True
        assert list(index.find(select_all(meta.service))) == [meta]
        [columns] = index.snapshot_columns(select_all(meta.service))[1]
        assert list(columns.metas()) == [meta]

    @pytest.mark.parametrize("text", TRICKY_TEXTS)
    def test_any_text_can_be_a_service_and_a_label(self, index: Index, text: str) -> None:
        labels = Labels.from_pairs([(text, "key"), ("value", text), ("both", f"{text}{text}")])
        meta = make_meta(service=text, labels=labels)
        add_all(index, [meta, make_meta(service="other", labels=labels)])
        assert list(index.find(select_all(text))) == [meta]
        assert list(index.find(Selection(text, CPU, *ALL_TIME, [meta.series]))) == [meta]
        assert select_keys(index, text, None) == [(meta.series, text, CPU, labels)]
        assert index.services() == sorted(["other", text])

    def test_texts_that_only_look_alike_are_different_services(self, index: Index) -> None:
        alike = [
            "api",
            "API",
            "Api",
            "api ",
            " api",
            "ap\u0131",
            "a\u0301pi",
            "\u00e1pi",
            "api\u200b",
            "api%",
            "ap_",
        ]
        add_all(index, [make_meta(service=service) for service in alike])
        assert index.services() == sorted(alike)
        for service in alike:
            assert [meta.service for meta in index.find(select_all(service))] == [service]

    def test_a_label_set_may_be_large(self, index: Index) -> None:
        labels = Labels.from_pairs((f"label-{number}", "ü" * 90) for number in range(64))
        meta = make_meta(labels=labels)
        index.add(meta)
        assert list(index.find(select_all())) == [meta]
        assert select_keys(index, "api", CPU) == [(meta.series, "api", CPU, labels)]

    def test_a_second_add_changes_nothing_and_says_so(self, index: Index) -> None:
        meta = make_meta(labels="v=1", totals=[Total("cpu", "nanoseconds", 1)])
        assert index.add(meta) is True
        assert index.add(meta) is False
        assert index.add(replace(meta, size=99, totals=())) is False
        assert list(index.find(select_all())) == [meta]

    def test_a_find_in_an_empty_index_finds_nothing(self, index: Index) -> None:
        assert list(index.find(select_all())) == []
        assert index.series(SeriesSelection("api", None)) == []
        assert index.services() == []

    def test_a_find_returns_the_oldest_entries_first(self, index: Index) -> None:
        times = [NOW + offset for offset in (5, 0, 3 * SECOND, 1, -SECOND, 2, -1, 10**6)]
        metas = [make_meta(time, labels=f"v={number % 3}") for number, time in enumerate(times)]
        for meta in metas:
            index.add(meta)
        assert [meta.created_at for meta in index.find(select_all())] == sorted(times)

    def test_entries_of_the_same_time_are_ordered_by_id(self, index: Index) -> None:
        metas = [
            make_meta(NOW, type=profile_type, labels=f"v={number}", data=b"%d" % number)
            for number in range(5)
            for profile_type in (TRACE, CPU, HEAP)
        ]
        add_all(index, metas)
        ids = [meta.id for meta in index.find(select_all())]
        assert ids == sorted(meta.id for meta in metas)
        of_series = Selection("api", None, NOW, NOW, {meta.series for meta in metas})
        assert [meta.id for meta in index.find(of_series)] == ids

    @pytest.mark.parametrize("series", [False, True], ids=["any series", "some series"])
    def test_a_range_includes_both_ends_to_the_nanosecond(self, index: Index, series: bool) -> None:
        metas = [make_meta(NOW + offset) for offset in (-1, 0, 1, 2)]
        add_all(index, metas)
        for first in range(-2, 4):
            for last in range(-2, 4):
                selection = Selection("api", CPU, NOW + first, NOW + last, [metas[0].series] if series else None)
                found = [meta.created_at - NOW for meta in index.find(selection)]
                assert found == [offset for offset in (-1, 0, 1, 2) if first <= offset <= last]

    def test_the_first_and_the_last_nanosecond_can_be_found(self, index: Index) -> None:
        first, last = make_meta(0), make_meta(LATEST)
        add_all(index, [first, last])
        assert list(index.find(Selection("api", CPU, 0, 0))) == [first]
        assert list(index.find(Selection("api", CPU, LATEST, LATEST))) == [last]
        assert list(index.find(Selection("api", CPU, 0, LATEST, after=first.position))) == [last]

    def test_a_selection_has_one_profile_type_or_any(self, index: Index) -> None:
        metas = [make_meta(NOW + number, type=profile_type) for number, profile_type in enumerate(TYPES)]
        add_all(index, metas)
        for meta in metas:
            assert list(index.find(Selection("api", meta.type, *ALL_TIME))) == [meta]
        assert list(index.find(select_all())) == metas

    def test_only_entries_of_the_series_are_found(self, index: Index) -> None:
        a, b, c = (make_meta(NOW, labels=f"v={value}") for value in "abc")
        later = make_meta(NOW + 1, labels="v=a")
        other = make_meta(NOW, service="other", labels="v=a")
        heap = make_meta(NOW, type=HEAP, labels="v=a")
        add_all(index, [a, b, c, later, other, heap])

        def found(*series: str, profile_type: ProfileType | None = CPU) -> list[Meta]:
            return list(index.find(Selection("api", profile_type, *ALL_TIME, series)))

        assert found(a.series) == [a, later]
        assert found(c.series, a.series) == select_expected(
            Selection("api", CPU, *ALL_TIME, (a.series, c.series)), [a, c, later]
        )
        assert found(heap.series, profile_type=None) == [heap]
        # An unknown series, one of another service or profile type, and a repeated one.
        assert found("0" * 32) == []
        assert found(other.series) == []
        assert found(heap.series) == []
        assert found(b.series, b.series, "0" * 32) == [b]

    def test_an_empty_set_of_series_selects_nothing(self, index: Index) -> None:
        index.add(make_meta())
        assert list(index.find(Selection("api", CPU, *ALL_TIME, series=[]))) == []
        assert list(index.find(Selection("api", CPU, *ALL_TIME, series=frozenset()))) == []

    def test_thousands_of_series_can_be_selected_at_once(self, index: Index) -> None:
        metas = [
            make_meta(NOW + (number * 7919) % 300, labels=f"pod={number}", data=b"%d" % number)
            for number in range(300)
        ]
        add_all(index, metas)
        unknown = {f"{number:032x}" for number in range(2000)}
        all_series = {meta.series for meta in metas}
        few = {meta.series for meta in metas[::50]}
        for series in (all_series | unknown, all_series, few | unknown):
            selection = Selection("api", CPU, NOW + 3, NOW + 290, series)
            assert list(index.find(selection)) == select_expected(selection, metas)
            page = replace(selection, limit=10, after=(NOW + 100, ""))
            assert list(index.find(page)) == select_expected(page, metas)
        assert len(index.series(SeriesSelection("api", CPU))) == 300

    @pytest.mark.parametrize("series", [False, True], ids=["any series", "some series"])
    def test_a_limit_keeps_the_oldest(self, index: Index, series: bool) -> None:
        metas = [make_meta(NOW + number, labels=f"v={number % 2}") for number in range(10)]
        add_all(index, metas[::-1])
        ids = {meta.series for meta in metas} if series else None
        for limit in (0, 1, 3, 9, 10, 11, 10_000):
            assert list(index.find(Selection("api", CPU, *ALL_TIME, ids, limit=limit))) == metas[:limit]

    @pytest.mark.parametrize("profile_type", [CPU, None], ids=["one type", "any type"])
    @pytest.mark.parametrize("series", [False, True], ids=["any series", "some series"])
    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_pages_contain_each_entry_once_and_in_order(
        self, index: Index, limit: int, series: bool, profile_type: ProfileType | None
    ) -> None:
        add_all(index, MIXED)
        selection = Selection("api", profile_type, *ALL_TIME, SERIES if series else None, limit=limit)
        pages: list[Meta] = []
        while page := list(index.find(selection)):
            assert len(page) <= limit
            pages += page
            selection = replace(selection, after=page[-1].position)
        assert pages == select_expected(replace(selection, after=None, limit=None), MIXED)

    def test_a_page_begins_after_a_position_that_need_not_exist(self, index: Index) -> None:
        metas = [make_meta(NOW + number) for number in (0, 2, 4)]
        add_all(index, metas)

        def find_after(created_at: int, profile_id: str = "", start: int = 0) -> list[Meta]:
            return list(index.find(Selection("api", CPU, start, LATEST, after=(created_at, profile_id))))

        assert find_after(0) == metas
        assert find_after(*metas[0].position) == metas[1:]
        assert find_after(NOW + 1, "api/cpu/gone") == metas[1:]
        assert find_after(NOW + 2) == metas[1:]
        assert find_after(NOW + 2, metas[1].id[:-1]) == metas[1:]
        assert find_after(NOW + 2, metas[1].id + "0") == metas[2:]
        assert find_after(*metas[2].position) == []
        assert find_after(LATEST, "~") == []
        # A position before the range has no effect.
        assert find_after(NOW - 5, "zzz", start=NOW + 2) == metas[1:]
        assert find_after(NOW + 2, "", start=NOW + 2) == metas[1:]

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(selection=SELECTIONS)
    def test_any_selection_returns_what_the_port_defines(self, index: Index, selection: Selection) -> None:
        if not index.services():
            add_all(index, MIXED)
        assert list(index.find(selection)) == select_expected(selection, MIXED)
        selection = replace(selection, after=None, limit=None)
        blocks, columns = index.snapshot_columns(selection)
        assert blocks == []
        assert len({column.type for column in columns}) == len(columns)
        metas = sorted((meta for column in columns for meta in column.metas()), key=lambda meta: meta.position)
        assert metas == select_expected(selection, MIXED)

    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(selection=SELECTIONS)
    def test_entries_of_batches_are_found_as_others(self, index: Index, selection: Selection) -> None:
        if not index.services():
            add_mixed(index, MIXED)
        assert list(index.find(selection)) == select_expected(selection, MIXED)

    def test_entries_of_batches_are_committed_and_removed_as_others(self, index: Index) -> None:
        batch = [make_meta(NOW + number, type=CPU, labels=f"v={number % 2}") for number in range(6)]
        heap = [make_meta(NOW + number, type=HEAP) for number in range(2)]
        alone = make_meta(NOW + 9)
        index.add(alone)
        index.add_batch(batch + heap)
        first = make_block([*batch[1:4], alone])
        expected = ExpectedBlocks("api", CPU, NOW, NOW + 9, frozenset())
        missing = make_meta(NOW + 4, labels="missing=1")
        assert not index.commit(Change(first, [batch[1].id, missing.id], (), expected))
        assert not index.commit(Change(first, [batch[1].id], (), expected._replace(ids=frozenset({first.id}))))
        assert list(index.find(select_all())) == sorted([*batch, *heap, alone], key=lambda meta: meta.position)
        assert index.commit(Change(first, [meta.id for meta in (*batch[1:4], alone)], (), expected))
        left = sorted([batch[0], *batch[4:], *heap], key=lambda meta: meta.position)
        blocks, entries = index.snapshot(select_all())
        assert (blocks, list(entries)) == ([first], left)
        assert not index.commit(Change(make_block(batch, name="again"), [batch[0].id, batch[1].id], ()))
        assert index.commit(Change(None, [batch[0].id], ()))
        index.remove([batch[4].id, heap[0].id, missing.id])
        assert list(index.find(select_all())) == [heap[1], batch[5]]
        assert index.commit(Change(None, [batch[5].id], ()))
        assert list(index.find(select_all())) == [heap[1]]
        assert index.profile_types("api") == [CPU, HEAP]
        index.add_batch(batch)  # posted again
        assert batch[5] in list(index.find(select_all()))
        index.remove([meta.id for meta in (*batch, *heap)])
        assert index.profile_types("api") == [CPU]
        index.remove([first.id])
        assert index.services() == []

    def test_series_are_those_of_a_service_and_one_profile_type_or_any(self, index: Index) -> None:
        add_all(index, MIXED)
        for profile_type in (CPU, HEAP, TRACE, None):
            assert set(select_keys(index, "api", profile_type)) == {
                key(Series.of(meta))
                for meta in MIXED
                if meta.service == "api" and profile_type in (None, meta.type)
            }
            found = select_keys(index, "api", profile_type)
            assert len(found) == len(set(found))
        assert index.series(SeriesSelection("api", ProfileType.MUTEX)) == []
        assert index.series(SeriesSelection("ap", None)) == []

    def test_services_are_sorted_by_code_points_without_duplicates(self, index: Index) -> None:
        services = ["b", "a", "Z", "ä", "a-1", "a/1", "_a", "é", "🔥", "\uffee", "10", "9"]
        add_all(
            index,
            [
                make_meta(NOW + n, service=service, type=profile_type)
                for service in services
                for n, profile_type in enumerate((CPU, HEAP))
            ],
        )
        assert index.services() == sorted(services)

    def test_the_types_of_entries_and_blocks_are_listed_sorted(self, index: Index) -> None:
        assert index.profile_types("api") == []
        removed = make_meta(type=ProfileType("removed"))
        add_all(index, [removed, make_meta(service="other", type=ProfileType("elsewhere"))])
        add_all(index, [make_meta(NOW + n, type=profile_type) for n, profile_type in enumerate(TYPES)])
        member = make_meta(type=ProfileType("compacted"))
        index.add(member)
        assert index.commit(Change(make_block([member]), [member.id], []))
        index.remove([removed.id])
        assert index.profile_types("api") == sorted([*TYPES, member.type])
        assert all(isinstance(profile_type, ProfileType) for profile_type in index.profile_types("api"))

    def test_tasks_are_listed_once_they_are_due_oldest_first(self, index: Index) -> None:
        texts = [*TRICKY_TEXTS, "", "api"]
        tasks = [
            Task(text, CPU if n % 2 else None, 3600 * n, NOW, NOW + n * SECOND) for n, text in enumerate(texts)
        ]
        tasks.append(Task("api", HEAP, 0, 0, LATEST))
        for task in tasks[::-1]:
            assert index.add_task(task) is True
            assert index.add_task(task) is False
        assert index.due_tasks(NOW - 1, 100) == []
        assert index.due_tasks(NOW + 2 * SECOND, 100) == tasks[:3]
        assert index.due_tasks(NOW + 2 * SECOND, 2) == tasks[:2]
        assert index.due_tasks(LATEST, 100) == tasks
        assert index.services() == []
        assert list(index.find(select_all())) == []

    def test_a_task_is_replaced_once(self, index: Index) -> None:
        task = Task("api", CPU, 3600, NOW, NOW + SECOND)
        index.add_task(task)
        claims = [task.postpone(NOW + number * SECOND) for number in range(10, 18)]
        with ThreadPoolExecutor(8) as threads:
            claimed = list(threads.map(lambda claim: index.replace_task(task, claim), claims))
        assert claimed.count(True) == 1
        [claim] = index.due_tasks(LATEST, 100)
        assert claim == claims[claimed.index(True)]
        index.add_task(task)  # a profile arrived meanwhile
        assert index.replace_task(claim, task) is True
        assert index.due_tasks(LATEST, 100) == [task]
        assert index.replace_task(claim) is False
        assert index.replace_task(task) is True
        assert index.due_tasks(LATEST, 100) == []

    def test_a_service_without_entries_is_not_listed(self, index: Index) -> None:
        removed, kept = make_meta(service="removed"), make_meta(service="kept")
        add_all(index, [removed, kept])
        index.remove([removed.id])
        assert index.services() == ["kept"]

    def test_removed_entries_are_not_found_and_all_others_are(self, index: Index) -> None:
        add_all(index, MIXED)
        removed, kept = MIXED[::3], [meta for meta in MIXED if meta not in MIXED[::3]]
        index.remove(meta.id for meta in removed)
        for service in ("api", "api2"):
            any_series = select_all(service)
            assert list(index.find(any_series)) == select_expected(any_series, kept)
            by_series = replace(any_series, series=SERIES)
            assert list(index.find(by_series)) == select_expected(by_series, kept)
            assert {series.id for series in index.series(SeriesSelection(service, None))} >= {
                meta.series for meta in kept if meta.service == service
            }

    def test_removing_a_missing_entry_is_no_error(self, index: Index) -> None:
        meta = make_meta()
        index.remove([meta.id])
        index.remove([])
        index.add(meta)
        index.remove([make_meta(NOW + 1).id, "no id", ""])
        assert list(index.find(select_all())) == [meta]
        index.remove([meta.id, meta.id])
        index.remove([meta.id])
        assert list(index.find(select_all())) == []

    def test_a_removed_entry_can_be_added_again(self, index: Index) -> None:
        meta = make_meta(labels="v=1")
        index.add(meta)
        index.remove([meta.id])
        assert index.add(meta) is True
        assert list(index.find(Selection("api", CPU, *ALL_TIME, [meta.series]))) == [meta]
        assert select_keys(index, "api", CPU) == [key(Series.of(meta))]

    def test_hundreds_of_entries_can_be_removed_at_once(self, index: Index) -> None:
        metas = [make_meta(NOW + number) for number in range(600)]
        add_all(index, metas)
        index.remove([meta.id for meta in metas[:599]])
        assert list(index.find(select_all())) == metas[599:]

    def test_a_find_can_be_closed_early_any_number_of_times(self, index: Index) -> None:
        metas = [make_meta(NOW + number) for number in range(20)]
        add_all(index, metas)
        finds = []
        for _ in range(100):
            finds.append(index.find(select_all()))
            assert next(finds[-1]) == metas[0]
        for find in finds:
            find.close()  # type: ignore[attr-defined]
            assert list(find) == []
        assert index.add(make_meta(NOW + 20)) is True
        assert len(list(index.find(select_all()))) == 21

    def test_concurrent_finds_are_independent(self, index: Index) -> None:
        add_all(index, MIXED)
        a, b = select_all("api"), Selection("api2", CPU, *ALL_TIME, SERIES)
        pairs = list(zip_longest(index.find(a), index.find(b)))
        assert [meta for meta, _ in pairs if meta] == select_expected(a, MIXED)
        assert [meta for _, meta in pairs if meta] == select_expected(b, MIXED)

    def test_a_find_in_progress_survives_writes(self, index: Index) -> None:
        """Entries that exist all the time are found once and in order, whatever is added and removed."""
        metas = [make_meta(NOW + 10 * number, labels=f"v={number % 3}") for number in range(60)]
        add_all(index, metas)
        find = index.find(select_all())
        found = [next(find) for _ in range(5)]
        removed, added = metas[20:30], [make_meta(NOW + 10 * number + 5) for number in range(60)]
        index.remove(meta.id for meta in removed)
        add_all(index, added)
        found += find
        assert [meta.position for meta in found] == sorted({meta.position for meta in found})
        assert {meta.id for meta in found} >= {meta.id for meta in metas if meta not in removed}
        assert {meta.id for meta in found} <= {meta.id for meta in [*metas, *added]}

    def test_one_of_concurrent_adds_of_an_entry_reports_it_as_new(self, index: Index) -> None:
        with ThreadPoolExecutor(8) as threads:
            for number in range(15):
                meta = make_meta(NOW + number, labels=f"v={number}")
                assert list(threads.map(index.add, [meta] * 8)).count(True) == 1
        assert len(list(index.find(select_all()))) == 15

    def test_concurrently_added_entries_are_found_once_add_returns(self, index: Index) -> None:
        metas = [
            make_meta(NOW + number % 50, labels=f"v={number % 11}", data=b"%d" % number) for number in range(200)
        ]

        def add_and_find(meta: Meta) -> bool:
            is_new = index.add(meta)
            return is_new and meta in list(index.find(Selection("api", CPU, meta.created_at, meta.created_at)))

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(add_and_find, metas))
        assert list(index.find(select_all())) == select_expected(select_all(), metas)

    def test_a_find_may_be_continued_in_another_thread(self, index: Index) -> None:
        add_all(index, MIXED)
        find = index.find(select_all())
        first = next(find)
        with ThreadPoolExecutor(1) as threads:
            rest = threads.submit(list, find).result()
        assert [first, *rest] == select_expected(select_all(), MIXED)

    def test_a_commit_moves_members_from_the_head_into_a_block(self, index: Index) -> None:
        metas = [make_meta(NOW + number, labels=f"v={number % 2}") for number in range(6)]
        add_all(index, metas)
        block = make_block(metas[:4])
        assert index.commit(Change(block, [meta.id for meta in metas[:4]], [])) is True
        assert list(index.find(select_all())) == metas[4:]
        assert index.blocks("api", CPU, *ALL_TIME) == [block]
        blocks, entries = index.snapshot(select_all())
        assert (blocks, list(entries)) == ([block], metas[4:])

    def test_a_block_comes_back_in_every_field(self, index: Index) -> None:
        service = "größe/1 🔥"
        block = replace(
            make_block([make_meta(0, service=service, type=HEAP), make_meta(5, service=service, type=HEAP)]),
            size=2**41,
        )
        last = make_block([make_meta(LATEST)])
        assert index.commit(Change(block, [], []))
        assert index.commit(Change(last, [], []))
        assert index.blocks(service, HEAP, *ALL_TIME) == index.blocks(service, None, *ALL_TIME) == [block]
        assert index.blocks("api", CPU, LATEST, LATEST) == [last]

    @pytest.mark.parametrize("missing", ["a member", "a block", "nothing, but the block exists"])
    def test_a_refused_commit_changes_nothing(self, index: Index, missing: str) -> None:
        metas = [make_meta(NOW + number) for number in range(4)]
        add_all(index, metas)
        old, block = make_block(metas[:2]), make_block(metas)
        assert index.commit(Change(old, [meta.id for meta in metas[:2]], []))
        members, replaced = [metas[2].id, metas[3].id], [old.id]
        if missing == "a member":
            members.append(metas[0].id)
        elif missing == "a block":
            replaced.append(make_block(metas, name="another").id)
        else:
            block = old
            replaced = []
        assert index.commit(Change(block, members, replaced)) is False
        blocks, entries = index.snapshot(select_all())
        assert (blocks, list(entries)) == ([old], metas[2:])

    def test_a_commit_expects_the_blocks_that_overlap_a_range(self, index: Index) -> None:
        hour = 3600 * SECOND
        metas = [make_meta(NOW + number * hour) for number in range(6)]
        add_all(index, metas)
        early, late, heap = (
            make_block(metas[:2]),
            make_block(metas[3:5]),
            make_block([make_meta(NOW, type=HEAP)]),
        )
        for block in (early, late, heap):
            assert index.commit(Change(block, [], []))

        def commit(start: int, end: int, ids: Sequence[str], block: Block | None = None) -> bool:
            expected = ExpectedBlocks("api", CPU, NOW + start * hour, NOW + end * hour, frozenset(ids))
            return index.commit(Change(block, [] if block else [metas[5].id], [], expected))

        new = make_block([metas[2]])
        for refused in ([], [late.id], [early.id, late.id], [early.id, heap.id], [new.id]):
            assert commit(0, 2, refused, new) is False
            assert commit(0, 2, refused) is False
        assert index.blocks("api", CPU, *ALL_TIME) == [early, late]
        assert list(index.find(select_all())) == metas
        assert commit(0, 2, [early.id], new) is True
        assert commit(0, 2, [early.id], make_block([metas[2]], name="again")) is False
        assert commit(0, 2, [early.id, new.id]) is True
        assert commit(2, 4, [late.id, new.id], make_block([metas[2]], name="third")) is True
        assert list(index.find(select_all())) == metas[:5]
        assert len(index.blocks("api", CPU, *ALL_TIME)) == 4

    def test_a_commit_without_a_block_removes_and_one_that_replaces_itself_overwrites(self, index: Index) -> None:
        metas = [make_meta(NOW + number) for number in range(4)]
        add_all(index, metas)
        block, other = make_block(metas[:2]), make_block(metas[2:])
        assert index.commit(Change(block, [], []))
        assert index.commit(Change(other, [], []))
        changed = replace(block, size=block.size + 1)
        assert index.commit(Change(changed, [], [])) is False
        assert index.commit(Change(changed, [metas[0].id], [block.id])) is True
        assert (
            index.commit(Change(replace(changed, id=make_block(metas).id), [], [changed.id, "_/blocks/none"]))
            is False
        )
        assert index.blocks("api", CPU, *ALL_TIME) == [changed, other]
        assert index.commit(Change(None, [metas[1].id, metas[0].id], [])) is False
        assert index.commit(Change(None, [metas[1].id], [changed.id])) is True
        assert index.blocks("api", CPU, *ALL_TIME) == [other]
        assert list(index.find(select_all())) == metas[2:]

    def test_several_changes_are_committed_together(self, index: Index) -> None:
        """Also if they have the entries of one batch, and expect what they change."""
        metas = [
            make_meta(NOW + number, type=profile_type) for number in range(4) for profile_type in (CPU, HEAP, WALL)
        ]
        index.add_batch(metas)
        alone = make_meta(NOW + 9, type=HEAP)
        index.add(alone)
        old = make_block([make_meta(NOW, type=WALL, data=b"old")])
        earlier = make_block([make_meta(NOW - 9, type=HEAP)])
        assert index.commit(Change(old, []), Change(earlier, []))

        def change(profile_type: ProfileType, *replaced: str) -> Change:
            members = [meta for meta in (*metas, alone) if meta.type == profile_type]
            expected = ExpectedBlocks("api", profile_type, NOW, NOW + 9, frozenset(replaced))
            return Change(make_block(members), [meta.id for meta in members], replaced, expected)

        changes = [change(CPU), change(HEAP), change(WALL, old.id)]
        missing = make_meta(NOW + 4, type=HEAP, data=b"missing").id
        for refused in (
            changes[1]._replace(members=[*changes[1].members, missing]),
            changes[1]._replace(replaced=["_/blocks/none"]),
            changes[1]._replace(block=earlier),
            change(HEAP, old.id)._replace(replaced=()),
        ):
            assert index.commit(changes[0], refused, changes[2]) is False
            blocks, entries = index.snapshot(select_all())
            assert blocks == [earlier, old]
            assert list(entries) == sorted([*metas, alone], key=lambda meta: meta.position)
        assert index.commit(*changes) is True
        blocks, entries = index.snapshot(select_all())
        new = {change.block.id for change in changes if change.block}
        assert {block.id for block in blocks} == new | {earlier.id}
        assert list(entries) == []
        assert index.commit(*changes) is False
        assert index.profile_types("api") == sorted([CPU, HEAP, WALL])

    def test_of_concurrent_commits_that_share_an_entry_one_succeeds(self, index: Index) -> None:
        for attempt in range(3):
            metas = [
                make_meta(NOW + number, type=profile_type, data=b"%d" % attempt)
                for number, profile_type in enumerate((CPU, HEAP, WALL))
            ]
            index.add_batch(metas)
            rivals = [
                [
                    Change(make_block([meta], name=f"{number}"), [meta.id])
                    for meta in (metas[number], metas[number - 1])
                ]
                for number in range(3)
            ]
            with ThreadPoolExecutor(3) as threads:
                committed = list(threads.map(lambda changes: index.commit(*changes), rivals))
            assert committed.count(True) == 1
            blocks, entries = index.snapshot(select_all())
            winners = [change.block for change in rivals[committed.index(True)]]
            assert sorted(block.id for block in blocks) == sorted(block.id for block in winners if block)
            assert list(entries) == [metas[(committed.index(True) + 1) % 3]]
            index.remove([*(block.id for block in blocks), *(meta.id for meta in metas)])

    def test_of_commits_that_expect_the_same_blocks_one_succeeds(self, index: Index) -> None:
        for attempt in range(3):
            meta = make_meta(NOW, data=b"%d" % attempt)
            rivals = [make_block([meta], name=f"{attempt} {number}") for number in range(6)]
            expected = ExpectedBlocks("api", CPU, NOW, NOW, frozenset())
            with ThreadPoolExecutor(6) as threads:
                committed = list(threads.map(lambda block: index.commit(Change(block, [], [], expected)), rivals))  # noqa: B023
            assert committed.count(True) == 1
            assert index.blocks("api", CPU, *ALL_TIME) == [rivals[committed.index(True)]]
            index.remove([block.id for block in rivals])

    def test_a_commit_replaces_blocks_with_one(self, index: Index) -> None:
        metas = [make_meta(NOW + number) for number in range(4)]
        halves = [make_block(metas[:2]), make_block(metas[2:])]
        for half in halves:
            assert index.commit(Change(half, [], []))
        whole = make_block(metas, period=86400)
        assert index.commit(Change(whole, [], [half.id for half in halves]))
        assert index.blocks("api", CPU, *ALL_TIME) == [whole]

    def test_one_of_concurrent_commits_of_the_same_members_succeeds(self, index: Index) -> None:
        for attempt in range(5):
            metas = [make_meta(NOW + number, data=b"%d" % attempt) for number in range(20)]
            add_all(index, metas)
            rivals = [make_block(metas[number:], name=f"{number}") for number in range(6)]
            with ThreadPoolExecutor(6) as threads:
                committed = list(
                    threads.map(
                        lambda pair, metas=metas: index.commit(
                            Change(pair[1], [meta.id for meta in metas[pair[0] :]], [])
                        ),
                        enumerate(rivals),
                    )
                )
            assert committed.count(True) == 1
            winner = committed.index(True)
            blocks, entries = index.snapshot(select_all())
            assert blocks == [rivals[winner]]
            assert list(entries) == metas[:winner]
            index.remove([rivals[winner].id, *(meta.id for meta in metas)])

    def test_a_snapshot_has_head_and_blocks_as_of_one_moment(self, index: Index) -> None:
        """Entries that are read after they were compacted are still those of the snapshot."""
        metas = [make_meta(NOW + number, labels=f"v={number % 2}") for number in range(50)]
        add_all(index, metas)
        for series in (None, {metas[0].series, metas[1].series}):
            blocks, entries = index.snapshot(Selection("api", CPU, *ALL_TIME, series))
            block = make_block(metas)
            assert index.commit(Change(block, [meta.id for meta in metas], []))
            assert (blocks, list(entries)) == ([], metas)
            blocks, entries = index.snapshot(Selection("api", CPU, *ALL_TIME, series))
            assert (blocks, list(entries)) == ([block], [])
            index.remove([block.id])
            add_all(index, metas)

    def test_a_profile_is_always_in_the_head_or_in_one_block(self, index: Index) -> None:
        metas = [make_meta(NOW + number) for number in range(40)]
        add_all(index, metas)
        members_of = {
            block.id: members
            for members in (metas[i : i + 8] for i in range(0, 40, 8))
            for block in [make_block(members)]
        }

        def compact() -> None:
            for members in members_of.values():
                assert index.commit(Change(make_block(members), [meta.id for meta in members], []))

        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(compact)
            snapshots = 0
            while not done.done() or not snapshots:
                blocks, entries = index.snapshot(select_all())
                seen = [meta for block in blocks for meta in members_of[block.id]] + list(entries)
                assert sorted(meta.created_at for meta in seen) == [meta.created_at for meta in metas]
                snapshots += 1
            done.result()

    def test_blocks_are_those_that_overlap_a_range(self, index: Index) -> None:
        hour = 3600 * SECOND
        early, long, late = (
            [make_meta(NOW + a * hour), make_meta(NOW + b * hour)] for a, b in ((0, 1), (0, 24), (2, 3))
        )
        blocks = [make_block(members, name=name) for name, members in zip("abc", (early, long, late), strict=True)]
        heap = make_block([make_meta(NOW, type=HEAP)])
        other = make_block([make_meta(NOW, service="other")])
        for block in (*blocks, heap, other):
            assert index.commit(Change(block, [], []))

        def find_ids(start: int, end: int, profile_type: ProfileType | None = CPU) -> list[str]:
            overlapping = index.blocks("api", profile_type, NOW + start, NOW + end)
            in_snapshot, _ = index.snapshot(Selection("api", profile_type, NOW + start, NOW + end))
            assert overlapping == in_snapshot == sorted(overlapping, key=lambda block: block.position)
            return sorted(block.id for block in overlapping)

        a, b, c = (block.id for block in blocks)
        assert find_ids(-1, -1) == []
        assert find_ids(0, 0) == sorted([a, b])
        assert find_ids(hour, hour) == sorted([a, b])
        assert find_ids(hour + 1, 2 * hour - 1) == [b]
        assert find_ids(hour + 1, 2 * hour) == sorted([b, c])
        assert find_ids(3 * hour + 1, 24 * hour) == [b]
        assert find_ids(24 * hour, 99 * hour) == [b]
        assert find_ids(24 * hour + 1, 99 * hour) == []
        assert find_ids(5, 4) == []
        assert find_ids(0, 0, None) == sorted([a, b, heap.id])

    def test_a_service_whose_profiles_are_all_in_blocks_is_listed(self, index: Index) -> None:
        metas = [make_meta(NOW, labels="v=1"), make_meta(NOW, service="web")]
        add_all(index, metas)
        block = make_block(metas[:1])
        assert index.commit(Change(block, [metas[0].id], []))
        assert index.services() == ["api", "web"]
        assert select_keys(index, "api", None) == [key(Series.of(metas[0]))]
        index.remove([block.id])
        assert index.blocks("api", CPU, *ALL_TIME) == []
        assert index.services() == ["web"]

    def test_a_series_can_be_added_without_entries(self, index: Index) -> None:
        meta = make_meta(labels="v=1")
        for _ in range(2):
            index.add_series(Series.of(meta))
        assert index.commit(Change(make_block([meta]), [], []))
        before = index.series(SeriesSelection("api", CPU))
        assert [key(series) for series in before] == [key(Series.of(meta))]
        assert index.add(meta)
        assert index.series(SeriesSelection("api", CPU)) == before

    def test_a_series_has_all_sample_types_of_its_profiles(self, index: Index) -> None:
        samples, cpu = Total("samples", "count", 1), Total("größe", "", 0)
        many = [Total("n" * 60, f"{number}", 2) for number in range(Limits().sample_types)]
        for number, totals in enumerate([[samples, cpu], [samples, cpu], [cpu], [], many]):
            index.add(make_meta(NOW + number, labels="v=1", totals=totals))
        index.add(make_meta(NOW, labels="v=2", totals=[cpu, samples]))
        index.add(make_meta(NOW, labels="v=3"))
        index.add(make_meta(NOW, type=HEAP, labels="v=1"))
        index.add_series(Series.of(make_meta(NOW, type=HEAP, labels="v=1", totals=[samples])))
        names = {
            (series.type, series.labels.get("v")): {sample_type[:2] for sample_type in series.sample_types}
            for series in index.series(SeriesSelection("api", None))
        }
        assert names == {
            (CPU, "1"): {("samples", "count"), ("größe", ""), *(total[:2] for total in many)},
            (CPU, "2"): {("größe", ""), ("samples", "count")},
            (CPU, "3"): set(),
            (HEAP, "1"): {("samples", "count")},
        }

    def test_a_series_keeps_a_limited_number_of_sample_types(self, index: Index) -> None:
        width = Limits().sample_types
        for number in range(MAX_SAMPLE_TYPES // width + 2):
            totals = [Total(f"type-{number}-{column}", "count", 1) for column in range(width)]
            index.add(make_meta(NOW + number, labels="v=1", totals=totals))
            index.add_series(Series.of(make_meta(NOW + number, labels="v=2", totals=totals[:3])))
        for _ in range(2):
            many, few = sorted(index.series(SeriesSelection("api")), key=lambda series: series.labels.pairs)
            assert (len(many.sample_types), many.has_more_types) == (MAX_SAMPLE_TYPES, True)
            assert (len(few.sample_types), few.has_more_types) == (3 * number + 3, False)
            groups = index.series_groups(SeriesSelection("api"))
            assert sorted(group.has_more_types for group in groups) == [False, True]
            index.tidy_series(all_services=True)

    def test_a_kind_of_sample_type_comes_back(self, index: Index) -> None:
        sample_types = (SampleType("cpu", "nanoseconds", "sum"), SampleType("inuse", "bytes"))
        series = Series.of(make_meta())._replace(sample_types=sample_types)
        index.add_series(series)
        assert index.series(SeriesSelection("api", CPU))[0].sample_types == sample_types

    def test_series_of_all_services_can_be_selected(self, index: Index) -> None:
        add_all(index, MIXED)
        expected = {key(Series.of(meta)) for meta in MIXED}
        assert set(select_keys(index, None, None)) == expected
        of_heap = set(select_keys(index, None, HEAP))
        assert of_heap == {item for item in expected if item[2] == HEAP}

    def test_groups_are_those_of_the_selected_series(self, index: Index) -> None:
        day = 86_400 * SECOND
        totals = [Total("samples", "count", 1), Total("cpu", "nanoseconds", 2, "sum")]
        metas = [replace(meta, totals=tuple(totals[: len(meta.labels)])) for meta in MIXED]
        add_all(index, [*metas, *(replace_time(meta, NOW + 9 * day) for meta in MIXED if meta.service == "api2")])
        for service, profile_type, labels, start in product(
            ("api", "api2", "ap", None), (CPU, None), ("", "v=1", "v=1,w=1", "u=1"), (0, NOW + 5 * day)
        ):
            selection = SeriesSelection(service, profile_type, Labels.parse(labels), start)
            groups = index.series_groups(selection)
            assert sorted(groups) == sorted(group_series(index.series(selection)))
            assert len(groups) == len(set(groups))
        assert len(index.series_groups(SeriesSelection("api", CPU))) == 3

    @pytest.mark.parametrize("service", ["api", None])
    @pytest.mark.parametrize("profile_type", [CPU, None])
    @pytest.mark.parametrize("labels", ["v=1", "w=1", "v=1,w=1", "v=2,w=1", "w=", "u=1", "V=1", "v=%31"])
    def test_series_can_be_selected_by_labels(
        self, index: Index, service: str | None, profile_type: ProfileType | None, labels: str
    ) -> None:
        add_all(index, MIXED)
        wanted = Labels.parse(labels)
        found = index.series(SeriesSelection(service, profile_type, wanted))
        assert len(found) == len(set(found))
        assert {key(series) for series in found} == {
            key(Series.of(meta))
            for meta in MIXED
            if service in (None, meta.service)
            and profile_type in (None, meta.type)
            and set(wanted) <= set(meta.labels)
        }

    def test_any_text_can_be_a_label_to_select_by(self, index: Index) -> None:
        metas = [make_meta(labels=Labels.from_pairs([(text, text), ("text", text)])) for text in TRICKY_TEXTS]
        add_all(index, metas)
        for meta in metas:
            for pairs in (meta.labels.pairs, meta.labels.pairs[:1], meta.labels.pairs[1:]):
                assert select_keys(index, "api", CPU, Labels(pairs)) == [key(Series.of(meta))]

    def test_label_values_are_those_of_the_series_of_each_type(self, index: Index) -> None:
        add_all(index, MIXED)
        metas = [make_meta(labels=Labels.from_pairs([("t", text), (text, "")])) for text in TRICKY_TEXTS]
        add_all(index, [make_meta(service="empty"), *metas])
        assert index.label_values("api", 100) == {
            CPU: {"v": ["1", "2"], "w": ["1"], "t": sorted(TRICKY_TEXTS)} | {text: [""] for text in TRICKY_TEXTS},
            HEAP: {"v": ["1", "2"], "w": ["1"]},
            TRACE: {"v": ["1", "2"], "w": ["1"]},
        }
        assert index.label_values("api", 3)[CPU]["t"] == sorted(TRICKY_TEXTS)[:3]
        assert index.label_values("empty", 3) == {CPU: {}}
        assert index.label_values("missing", 3) == {}

    def test_tidying_changes_no_answer(self, index: Index) -> None:
        """Neither of a backend without retention, nor of series that are added or seen again later."""
        day = 86_400 * SECOND
        metas = [replace_time(meta, meta.created_at + step * day) for step in range(3) for meta in MIXED]
        metas += [make_meta(time, labels=f"v={time}") for time in (0, LATEST)]
        for begin in range(0, len(metas), 31):
            add_all(index, metas[begin : begin + 31])
            if begin == 31:
                index.add_series(Series.of(make_meta(service="blocks only", totals=[Total("cpu", "ns", 1)])))
            before = sorted(index.series(SeriesSelection()))
            for all_services in (False, True, False):
                index.tidy_series(all_services=all_services)
                assert sorted(index.series(SeriesSelection())) == before
        expected = {key(Series.of(meta)) for meta in metas}
        assert set(select_keys(index)) == expected | {key(Series.of(make_meta(service="blocks only")))}

    def test_series_can_be_added_while_they_are_tidied(self, index: Index) -> None:
        metas = [make_meta(NOW, service=f"api-{number % 3}", labels=f"v={number}") for number in range(60)]
        with ThreadPoolExecutor(4) as threads:
            tidying = [threads.submit(index.tidy_series, all_services=bool(number % 2)) for number in range(8)]
            assert all(threads.map(index.add, metas))
            for future in tidying:
                future.result()
        assert set(select_keys(index)) == {key(Series.of(meta)) for meta in metas}

    def test_series_are_selected_by_time_to_a_day(self, index: Index) -> None:
        day = 86_400 * SECOND
        for number, times in enumerate([(0, 1), (LATEST,), (NOW,), (NOW, NOW + 9 * day), (NOW + 3 * day,)]):
            add_all(index, [make_meta(time, labels=f"v={number}") for time in times])

        def select(start: int, end: int) -> str:
            found = select_keys(index, "api", start=start, end=end)
            assert found == select_keys(index, None, CPU, start=start, end=end)
            assert len(select_keys(index, "api", start=start, end=end, limit=1)) == min(len(found), 1)
            return "".join(sorted(labels.get("v") for *_, labels in found))

        assert select(0, LATEST) == "01234"
        assert select(0, 0) == select(0, day) == "0"
        assert select(LATEST, LATEST) == "1"
        assert select(NOW, NOW) == "23"
        assert select(NOW + 2 * day, NOW + 4 * day) == "34"
        assert select(NOW + 3 * day, NOW + 3 * day) == "34"
        assert select(NOW + 5 * day, NOW + 6 * day) == "3"
        assert select(NOW + 9 * day, NOW + 9 * day) == "3"
        assert select(NOW + 11 * day, NOW + 12 * day) == ""
        [series] = index.series(SeriesSelection("api", CPU, Labels.parse("v=2")))
        assert NOW - day < series.first_seen <= NOW <= series.last_seen < NOW + day
