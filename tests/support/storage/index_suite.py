"""What every index must do: fill in the fixture ``index`` with an empty one."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import zip_longest

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Index, Selection, Series
from profbucket.times import LATEST, SECOND
from tests.support.storage.examples import EVER, NOW, TEXTS, block, meta

CPU, HEAP, TRACE = ProfileType.CPU, ProfileType.HEAP, ProfileType.TRACE

# Two services, three types, five label sets, times that repeat: small enough to ask everything.
MIXED = [
    meta(NOW + step // 2, service=service, type=kind, labels=labels, data=b"%d" % step)
    for step, (service, kind, labels) in enumerate(
        (service, kind, labels)
        for labels in ("", "v=1", "v=2", "v=1,w=1", "w=1")
        for kind in (CPU, HEAP, TRACE)
        for service in ("api", "api2")
    )
]
SERIES = sorted({one.series for one in MIXED})
SELECTIONS = st.builds(
    Selection,
    service=st.sampled_from(["api", "api2", "ap"]),
    type=st.sampled_from([None, CPU, HEAP, TRACE, ProfileType.MUTEX]),
    start=st.integers(NOW - 1, NOW + 16),
    end=st.integers(NOW - 1, NOW + 16),
    series=st.none() | st.sets(st.sampled_from([*SERIES, "0" * 32])),
    after=st.none() | st.sampled_from(MIXED).map(lambda one: one.position),
    limit=st.none() | st.integers(0, 20),
)


def add(index: Index, metas: Iterable[Meta]) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(index.add, metas))


def everything(service: str = "api") -> Selection:
    return Selection(service, None, *EVER)


def expected(selection: Selection, metas: Iterable[Meta]) -> list[Meta]:
    """What a find of *selection* must give where *metas* are: the port's words once more, as simply as can be."""
    found = [one for one in metas if one.service == selection.service]
    found = [one for one in found if selection.start <= one.created_at <= selection.end]
    if selection.type is not None:
        found = [one for one in found if one.type == selection.type]
    if selection.series is not None:
        found = [one for one in found if one.series in selection.series]
    found.sort(key=lambda one: (one.created_at, one.id))
    if selection.after is not None:
        found = [one for one in found if (one.created_at, one.id) > selection.after]
    return found if selection.limit is None else found[: selection.limit]


class IndexClaims:
    """Claims about ``index``."""

    @pytest.mark.parametrize(
        "one",
        [
            meta(),
            meta(labels="version=0.0.1,env=prod", data=b"x" * 30, totals=[Total("cpu", "nanoseconds", 120)]),
            meta(type=TRACE, service="größe/1 🔥", labels="%F0%9F%94%A5=%25%2C%3D"),
            meta(0),
            meta(LATEST),
            meta(totals=[Total("", "", 0), Total("größe", "a:b=c,d", -(2**63)), Total("c", "count", 2**63 - 1)]),
            meta(totals=[Total("c", "count", 2**80)]),  # a sum of many 64-bit numbers needs more than 64
            replace(meta(), size=2**40),
        ],
        ids=["bare", "usual", "unicode", "1970", "2262", "totals", "great total", "great size"],
    )
    def test_an_entry_comes_back_in_every_field(self, index: Index, one: Meta) -> None:
        assert index.add(one) is True
        assert list(index.find(everything(one.service))) == [one]

    @pytest.mark.parametrize("text", TEXTS)
    def test_any_text_can_be_a_service_and_a_label(self, index: Index, text: str) -> None:
        labels = Labels.from_pairs([(text, "key"), ("value", text), ("both", f"{text}{text}")])
        one = meta(service=text, labels=labels)
        add(index, [one, meta(service="other", labels=labels)])
        assert list(index.find(everything(text))) == [one]
        assert list(index.find(Selection(text, CPU, *EVER, [one.series]))) == [one]
        assert index.series(text, None) == [Series(one.series, text, CPU, labels)]
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
        add(index, [meta(service=service) for service in alike])
        assert index.services() == sorted(alike)
        for service in alike:
            assert [one.service for one in index.find(everything(service))] == [service]

    def test_a_label_set_may_be_large(self, index: Index) -> None:
        labels = Labels.from_pairs((f"label-{number}", "ü" * 90) for number in range(64))
        one = meta(labels=labels)
        index.add(one)
        assert list(index.find(everything())) == [one]
        assert index.series("api", CPU) == [Series(one.series, "api", CPU, labels)]

    def test_a_second_add_changes_nothing_and_says_so(self, index: Index) -> None:
        one = meta(labels="v=1", totals=[Total("cpu", "nanoseconds", 1)])
        assert index.add(one) is True
        assert index.add(one) is False
        assert index.add(replace(one, size=99, totals=())) is False
        assert list(index.find(everything())) == [one]

    def test_a_find_in_an_empty_index_finds_nothing(self, index: Index) -> None:
        assert list(index.find(everything())) == []
        assert index.series("api", None) == []
        assert index.services() == []

    def test_entries_come_oldest_first_in_whatever_order_they_were_added(self, index: Index) -> None:
        times = [NOW + offset for offset in (5, 0, 3 * SECOND, 1, -SECOND, 2, -1, 10**6)]
        metas = [meta(time, labels=f"v={number % 3}") for number, time in enumerate(times)]
        for one in metas:
            index.add(one)
        assert [one.created_at for one in index.find(everything())] == sorted(times)

    def test_entries_of_the_same_time_are_ordered_by_id(self, index: Index) -> None:
        metas = [
            meta(NOW, type=kind, labels=f"v={number}", data=b"%d" % number)
            for number in range(5)
            for kind in (TRACE, CPU, HEAP)
        ]
        add(index, metas)
        ids = [one.id for one in index.find(everything())]
        assert ids == sorted(one.id for one in metas)
        of_series = Selection("api", None, NOW, NOW, {one.series for one in metas})
        assert [one.id for one in index.find(of_series)] == ids

    @pytest.mark.parametrize("series", [False, True], ids=["any series", "some series"])
    def test_both_ends_of_a_range_are_in_it_to_the_nanosecond(self, index: Index, series: bool) -> None:
        metas = [meta(NOW + offset) for offset in (-1, 0, 1, 2)]
        add(index, metas)
        for first in range(-2, 4):
            for last in range(-2, 4):
                selection = Selection("api", CPU, NOW + first, NOW + last, [metas[0].series] if series else None)
                found = [one.created_at - NOW for one in index.find(selection)]
                assert found == [offset for offset in (-1, 0, 1, 2) if first <= offset <= last]

    def test_the_first_and_the_last_nanosecond_are_times_like_others(self, index: Index) -> None:
        first, last = meta(0), meta(LATEST)
        add(index, [first, last])
        assert list(index.find(Selection("api", CPU, 0, 0))) == [first]
        assert list(index.find(Selection("api", CPU, LATEST, LATEST))) == [last]
        assert list(index.find(Selection("api", CPU, 0, LATEST, after=first.position))) == [last]

    def test_a_type_is_asked_for_or_any(self, index: Index) -> None:
        metas = [meta(NOW + number, type=kind) for number, kind in enumerate(ProfileType)]
        add(index, metas)
        for one in metas:
            assert list(index.find(Selection("api", one.type, *EVER))) == [one]
        assert list(index.find(everything())) == metas

    def test_only_entries_of_the_series_are_found(self, index: Index) -> None:
        a, b, c = (meta(NOW, labels=f"v={value}") for value in "abc")
        later = meta(NOW + 1, labels="v=a")
        other = meta(NOW, service="other", labels="v=a")
        heap = meta(NOW, type=HEAP, labels="v=a")
        add(index, [a, b, c, later, other, heap])

        def found(*series: str, kind: ProfileType | None = CPU) -> list[Meta]:
            return list(index.find(Selection("api", kind, *EVER, series)))

        assert found(a.series) == [a, later]
        assert found(c.series, a.series) == expected(
            Selection("api", CPU, *EVER, (a.series, c.series)), [a, c, later]
        )
        assert found(heap.series, kind=None) == [heap]
        # A series that is not there, of another service, of another type, or named twice.
        assert found("0" * 32) == []
        assert found(other.series) == []
        assert found(heap.series) == []
        assert found(b.series, b.series, "0" * 32) == [b]

    def test_no_series_at_all_is_another_thing_than_any_series(self, index: Index) -> None:
        index.add(meta())
        assert list(index.find(Selection("api", CPU, *EVER, series=[]))) == []
        assert list(index.find(Selection("api", CPU, *EVER, series=frozenset()))) == []

    def test_thousands_of_series_can_be_asked_for_at_once(self, index: Index) -> None:
        """... and those that exist are found in order, wherever among them they stand."""
        metas = [
            meta(NOW + (number * 7919) % 300, labels=f"pod={number}", data=b"%d" % number) for number in range(300)
        ]
        add(index, metas)
        unknown = {f"{number:032x}" for number in range(2000)}
        every = {one.series for one in metas}
        few = {one.series for one in metas[::50]}
        for series in (every | unknown, every, few | unknown):
            selection = Selection("api", CPU, NOW + 3, NOW + 290, series)
            assert list(index.find(selection)) == expected(selection, metas)
            cut = replace(selection, limit=10, after=(NOW + 100, ""))
            assert list(index.find(cut)) == expected(cut, metas)
        assert len(index.series("api", CPU)) == 300

    @pytest.mark.parametrize("series", [False, True], ids=["any series", "some series"])
    def test_a_limit_keeps_the_oldest(self, index: Index, series: bool) -> None:
        metas = [meta(NOW + number, labels=f"v={number % 2}") for number in range(10)]
        add(index, metas[::-1])
        ids = {one.series for one in metas} if series else None
        for limit in (0, 1, 3, 9, 10, 11, 10_000):
            assert list(index.find(Selection("api", CPU, *EVER, ids, limit=limit))) == metas[:limit]

    @pytest.mark.parametrize("kind", [CPU, None], ids=["one type", "any type"])
    @pytest.mark.parametrize("series", [False, True], ids=["any series", "some series"])
    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_pages_together_give_each_entry_once_and_in_order(
        self, index: Index, limit: int, series: bool, kind: ProfileType | None
    ) -> None:
        add(index, MIXED)
        selection = Selection("api", kind, *EVER, SERIES if series else None, limit=limit)
        pages: list[Meta] = []
        while page := list(index.find(selection)):
            assert len(page) <= limit
            pages += page
            selection = replace(selection, after=page[-1].position)
        assert pages == expected(replace(selection, after=None, limit=None), MIXED)

    def test_a_page_begins_behind_a_position_whether_or_not_an_entry_stands_there(self, index: Index) -> None:
        metas = [meta(NOW + number) for number in (0, 2, 4)]
        add(index, metas)

        def behind(time: int, profile_id: str = "", start: int = 0) -> list[Meta]:
            return list(index.find(Selection("api", CPU, start, LATEST, after=(time, profile_id))))

        assert behind(0) == metas
        assert behind(*metas[0].position) == metas[1:]
        assert behind(NOW + 1, "api/cpu/gone") == metas[1:]
        assert behind(NOW + 2) == metas[1:]
        assert behind(NOW + 2, metas[1].id[:-1]) == metas[1:]
        assert behind(NOW + 2, metas[1].id + "0") == metas[2:]
        assert behind(*metas[2].position) == []
        assert behind(LATEST, "~") == []
        # Before the range begins it changes nothing.
        assert behind(NOW - 5, "zzz", start=NOW + 2) == metas[1:]
        assert behind(NOW + 2, "", start=NOW + 2) == metas[1:]

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(selection=SELECTIONS)
    def test_any_selection_finds_what_the_port_says(self, index: Index, selection: Selection) -> None:
        if not index.services():
            add(index, MIXED)
        assert list(index.find(selection)) == expected(selection, MIXED)

    def test_series_are_those_of_a_service_and_of_a_type_or_any(self, index: Index) -> None:
        add(index, MIXED)
        for kind in (CPU, HEAP, TRACE, None):
            assert set(index.series("api", kind)) == {
                Series(one.series, one.service, one.type, one.labels)
                for one in MIXED
                if one.service == "api" and kind in (None, one.type)
            }
            assert len(index.series("api", kind)) == len(set(index.series("api", kind)))
        assert index.series("api", ProfileType.MUTEX) == []
        assert index.series("ap", None) == []

    def test_services_are_sorted_by_code_points_and_named_once(self, index: Index) -> None:
        services = ["b", "a", "Z", "ä", "a-1", "a/1", "_a", "é", "🔥", "\uffee", "10", "9"]
        add(
            index,
            [meta(NOW + n, service=one, type=kind) for one in services for n, kind in enumerate((CPU, HEAP))],
        )
        assert index.services() == sorted(services)

    def test_a_service_without_entries_is_none(self, index: Index) -> None:
        gone, stays = meta(service="gone"), meta(service="stays")
        add(index, [gone, stays])
        index.remove([gone.id])
        assert index.services() == ["stays"]

    def test_what_is_removed_is_found_no_more_and_all_else_is(self, index: Index) -> None:
        add(index, MIXED)
        removed, kept = MIXED[::3], [one for one in MIXED if one not in MIXED[::3]]
        index.remove(one.id for one in removed)
        for service in ("api", "api2"):
            every = everything(service)
            assert list(index.find(every)) == expected(every, kept)
            some = replace(every, series=SERIES)
            assert list(index.find(some)) == expected(some, kept)
            assert {one.id for one in index.series(service, None)} >= {
                one.series for one in kept if one.service == service
            }

    def test_to_remove_what_is_not_there_is_no_error(self, index: Index) -> None:
        one = meta()
        index.remove([one.id])
        index.remove([])
        index.add(one)
        index.remove([meta(NOW + 1).id, "no id", ""])
        assert list(index.find(everything())) == [one]
        index.remove([one.id, one.id])
        index.remove([one.id])
        assert list(index.find(everything())) == []

    def test_what_was_removed_can_be_added_again(self, index: Index) -> None:
        one = meta(labels="v=1")
        index.add(one)
        index.remove([one.id])
        assert index.add(one) is True
        assert list(index.find(Selection("api", CPU, *EVER, [one.series]))) == [one]
        assert index.series("api", CPU) == [Series(one.series, "api", CPU, one.labels)]

    def test_hundreds_can_be_removed_at_once(self, index: Index) -> None:
        metas = [meta(NOW + number) for number in range(600)]
        add(index, metas)
        index.remove([one.id for one in metas[:599]])
        assert list(index.find(everything())) == metas[599:]

    def test_a_find_can_be_left_early_any_number_of_times(self, index: Index) -> None:
        metas = [meta(NOW + number) for number in range(20)]
        add(index, metas)
        left = []
        for _ in range(100):
            left.append(index.find(everything()))
            assert next(left[-1]) == metas[0]
        for under_way in left:
            under_way.close()  # type: ignore[attr-defined]
            assert list(under_way) == []
        assert index.add(meta(NOW + 20)) is True
        assert len(list(index.find(everything()))) == 21

    def test_finds_that_overlap_do_not_disturb_one_another(self, index: Index) -> None:
        add(index, MIXED)
        a, b = everything("api"), Selection("api2", CPU, *EVER, SERIES)
        pairs = list(zip_longest(index.find(a), index.find(b)))
        assert [one for one, _ in pairs if one] == expected(a, MIXED)
        assert [one for _, one in pairs if one] == expected(b, MIXED)

    def test_a_find_under_way_survives_writes(self, index: Index) -> None:
        """What is there all the while is found once and in order, whatever is added and removed."""
        metas = [meta(NOW + 10 * number, labels=f"v={number % 3}") for number in range(60)]
        add(index, metas)
        under_way = index.find(everything())
        found = [next(under_way) for _ in range(5)]
        removed, added = metas[20:30], [meta(NOW + 10 * number + 5) for number in range(60)]
        index.remove(one.id for one in removed)
        add(index, added)
        found += under_way
        assert [one.position for one in found] == sorted({one.position for one in found})
        assert {one.id for one in found} >= {one.id for one in metas if one not in removed}
        assert {one.id for one in found} <= {one.id for one in [*metas, *added]}

    def test_of_concurrent_adds_of_an_entry_one_is_the_first(self, index: Index) -> None:
        with ThreadPoolExecutor(8) as threads:
            for number in range(15):
                one = meta(NOW + number, labels=f"v={number}")
                assert list(threads.map(index.add, [one] * 8)).count(True) == 1
        assert len(list(index.find(everything()))) == 15

    def test_concurrent_adds_are_all_found_by_the_time_they_return(self, index: Index) -> None:
        metas = [meta(NOW + number % 50, labels=f"v={number % 11}", data=b"%d" % number) for number in range(200)]

        def add_and_look(one: Meta) -> bool:
            new = index.add(one)
            return new and one in list(index.find(Selection("api", CPU, one.created_at, one.created_at)))

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(add_and_look, metas))
        assert list(index.find(everything())) == expected(everything(), metas)

    def test_a_find_may_be_read_in_another_thread(self, index: Index) -> None:
        add(index, MIXED)
        under_way = index.find(everything())
        first = next(under_way)
        with ThreadPoolExecutor(1) as threads:
            rest = threads.submit(list, under_way).result()
        assert [first, *rest] == expected(everything(), MIXED)

    def test_a_commit_moves_members_out_of_the_head_into_a_block(self, index: Index) -> None:
        metas = [meta(NOW + number, labels=f"v={number % 2}") for number in range(6)]
        add(index, metas)
        one = block(metas[:4])
        assert index.commit(one, [m.id for m in metas[:4]], []) is True
        assert list(index.find(everything())) == metas[4:]
        assert index.blocks("api", CPU, *EVER) == [one]
        blocks, entries = index.snapshot(everything())
        assert (blocks, list(entries)) == ([one], metas[4:])

    def test_a_block_comes_back_in_every_field(self, index: Index) -> None:
        service = "größe/1 🔥"
        one = replace(
            block([meta(0, service=service, type=HEAP), meta(5, service=service, type=HEAP)]), size=2**41
        )
        last = block([meta(LATEST)])
        assert index.commit(one, [], [])
        assert index.commit(last, [], [])
        assert index.blocks(service, HEAP, *EVER) == index.blocks(service, None, *EVER) == [one]
        assert index.blocks("api", CPU, LATEST, LATEST) == [last]

    @pytest.mark.parametrize("missing", ["a member", "a block", "nothing, but it is there already"])
    def test_a_commit_that_is_refused_changes_nothing(self, index: Index, missing: str) -> None:
        metas = [meta(NOW + number) for number in range(4)]
        add(index, metas)
        old, one = block(metas[:2]), block(metas)
        assert index.commit(old, [m.id for m in metas[:2]], [])
        members, replaced = [metas[2].id, metas[3].id], [old.id]
        if missing == "a member":
            members.append(metas[0].id)
        elif missing == "a block":
            replaced.append(block(metas, name="another").id)
        else:
            one = old
            replaced = []
        assert index.commit(one, members, replaced) is False
        blocks, entries = index.snapshot(everything())
        assert (blocks, list(entries)) == ([old], metas[2:])

    def test_a_commit_replaces_blocks_by_one(self, index: Index) -> None:
        metas = [meta(NOW + number) for number in range(4)]
        halves = [block(metas[:2]), block(metas[2:])]
        for half in halves:
            assert index.commit(half, [], [])
        whole = block(metas, period=86400)
        assert index.commit(whole, [], [half.id for half in halves])
        assert index.blocks("api", CPU, *EVER) == [whole]

    def test_of_two_commits_at_once_that_want_the_same_members_one_is_done(self, index: Index) -> None:
        for turn in range(5):
            metas = [meta(NOW + number, data=b"%d" % turn) for number in range(20)]
            add(index, metas)
            rivals = [block(metas[number:], name=f"{number}") for number in range(6)]
            with ThreadPoolExecutor(6) as threads:
                done = list(
                    threads.map(
                        lambda pair, metas=metas: index.commit(pair[1], [m.id for m in metas[pair[0] :]], []),
                        enumerate(rivals),
                    )
                )
            assert done.count(True) == 1
            winner = done.index(True)
            blocks, entries = index.snapshot(everything())
            assert blocks == [rivals[winner]]
            assert list(entries) == metas[:winner]
            index.remove([rivals[winner].id, *(m.id for m in metas)])

    def test_a_snapshot_sees_the_head_as_it_was_with_its_blocks(self, index: Index) -> None:
        """... also what it reads of it later, when a block has taken it."""
        metas = [meta(NOW + number, labels=f"v={number % 2}") for number in range(50)]
        add(index, metas)
        for series in (None, {metas[0].series, metas[1].series}):
            blocks, entries = index.snapshot(Selection("api", CPU, *EVER, series))
            one = block(metas)
            assert index.commit(one, [m.id for m in metas], [])
            assert (blocks, list(entries)) == ([], metas)
            blocks, entries = index.snapshot(Selection("api", CPU, *EVER, series))
            assert (blocks, list(entries)) == ([one], [])
            index.remove([one.id])
            add(index, metas)

    def test_at_every_moment_a_profile_is_in_the_head_or_in_one_block(self, index: Index) -> None:
        metas = [meta(NOW + number) for number in range(40)]
        add(index, metas)
        held = {one.id: part for part in (metas[i : i + 8] for i in range(0, 40, 8)) for one in [block(part)]}

        def compact() -> None:
            for part in held.values():
                assert index.commit(block(part), [m.id for m in part], [])

        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(compact)
            looks = 0
            while not done.done() or not looks:
                blocks, entries = index.snapshot(everything())
                seen = [m for one in blocks for m in held[one.id]] + list(entries)
                assert sorted(m.created_at for m in seen) == [m.created_at for m in metas]
                looks += 1
            done.result()

    def test_blocks_are_those_that_overlap_a_range_of_a_service_and_a_type_or_any(self, index: Index) -> None:
        hour = 3600 * SECOND
        early, long, late = ([meta(NOW + a * hour), meta(NOW + b * hour)] for a, b in ((0, 1), (0, 24), (2, 3)))
        blocks = [block(members, name=name) for name, members in zip("abc", (early, long, late), strict=True)]
        heap = block([meta(NOW, type=HEAP)])
        other = block([meta(NOW, service="other")])
        for one in (*blocks, heap, other):
            assert index.commit(one, [], [])

        def found(start: int, end: int, kind: ProfileType | None = CPU) -> list[str]:
            there = index.blocks("api", kind, NOW + start, NOW + end)
            snapped, _ = index.snapshot(Selection("api", kind, NOW + start, NOW + end))
            assert there == snapped == sorted(there, key=lambda one: one.position)
            return sorted(one.id for one in there)

        a, b, c = (one.id for one in blocks)
        assert found(-1, -1) == []
        assert found(0, 0) == sorted([a, b])
        assert found(hour, hour) == sorted([a, b])
        assert found(hour + 1, 2 * hour - 1) == [b]
        assert found(hour + 1, 2 * hour) == sorted([b, c])
        assert found(3 * hour + 1, 24 * hour) == [b]
        assert found(24 * hour, 99 * hour) == [b]
        assert found(24 * hour + 1, 99 * hour) == []
        assert found(5, 4) == []
        assert found(0, 0, None) == sorted([a, b, heap.id])

    def test_a_service_whose_profiles_are_all_in_blocks_is_one(self, index: Index) -> None:
        metas = [meta(NOW, labels="v=1"), meta(NOW, service="web")]
        add(index, metas)
        one = block(metas[:1])
        assert index.commit(one, [metas[0].id], [])
        assert index.services() == ["api", "web"]
        assert index.series("api", None) == [Series(metas[0].series, "api", CPU, metas[0].labels)]
        index.remove([one.id])
        assert index.blocks("api", CPU, *EVER) == []
        assert index.services() == ["web"]

    def test_a_series_can_be_known_without_entries(self, index: Index) -> None:
        one = meta(labels="v=1")
        series = Series(one.series, "api", CPU, one.labels)
        for _ in range(2):
            index.add_series(series)
        assert index.commit(block([one]), [], [])
        assert index.series("api", CPU) == [series]
        assert index.add(one)
        assert index.series("api", CPU) == [series]
