"""Timelines: exact sums, in dense lists, within limits."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid, TooMany
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.pprof.numbers import wrap_int64
from profbucket.query.timeline import build_timeline, parse_step
from profbucket.storage.totals import Totals
from profbucket.times import SECOND, parse_time

CPU = (("samples", "count"), ("cpu", "nanoseconds"))


class DataPoint(NamedTuple):
    """The totals of one profile: a value for each of its sample types, which are pairs of type and unit."""

    created_at: int
    labels: Labels
    sample_types: Sequence[tuple[str, str]]
    values: Sequence[int]


def make_point(second: float, labels: str = "", *values: int) -> DataPoint:
    return DataPoint(int(second * SECOND), Labels.parse(labels), CPU[: len(values)], values)


POINTS = st.lists(
    st.builds(
        make_point,
        st.integers(0, 500),
        st.sampled_from(["", "v=1", "v=2", "v=1,pod=a", "pod=b"]),
        st.integers(-5, 2**70),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=30,
)


def to_totals(points: Sequence[DataPoint]) -> list[Totals]:
    """Return the points in columns, of which each has up to three."""
    totals = []
    for begin in range(0, len(points), 3):
        chunk = sorted(points[begin : begin + 3], key=lambda point: point.created_at)
        rows = range(len(chunk))
        labels, types = ([point.labels for point in chunk], [point.sample_types for point in chunk])
        totals.append(
            Totals(
                "api",
                [point.created_at for point in chunk],
                rows,
                labels,
                rows,
                types,
                [point.values for point in chunk],
                ProfileType.OTHER,
            )
        )
    return totals


@given(POINTS, st.sampled_from([1, 7, 60, 1000]), st.sampled_from([(), ("v",), ("v", "pod"), ("none",)]))
def test_every_value_is_added_to_its_step_and_group(
    points: list[DataPoint], step: int, group_by: tuple[str, ...]
) -> None:
    body = build_timeline(to_totals(points), 0, 500 * SECOND, group_by, step)
    begin = parse_time(body["start"], 0) // SECOND
    assert begin % step == 0
    actual: Counter[tuple[object, ...]] = Counter()
    for group in body["groups"]:
        name = tuple((label["key"], label["value"]) for label in group["labels"])
        assert len(group["profiles"]) == len(group["values"][0]) == len(body["groups"][0]["profiles"])
        for position in range(len(group["profiles"])):
            actual[name, begin + position * step, "profiles"] += group["profiles"][position]
            for sample_type, column in zip(body["sample_types"], group["values"], strict=True):
                actual[name, begin + position * step, sample_type["type"]] += column[position]
    expected: Counter[tuple[object, ...]] = Counter()
    for point in points:
        name = tuple((key, point.labels.get(key) or "") for key in group_by)
        position = point.created_at // SECOND // step * step
        expected[name, position, "profiles"] += 1
        for (sample_type, _), value in zip(point.sample_types, point.values, strict=True):
            expected[name, position, sample_type] += value
    wrapped = {key: wrap_int64(value) for key, value in expected.items()}
    assert {k: v for k, v in actual.items() if v} == {k: v for k, v in wrapped.items() if v}


@given(st.integers(0, 10**10), st.integers(0, 10**9))
def test_the_default_step_makes_at_most_two_hundred_steps(first: int, length: int) -> None:
    body = build_timeline(to_totals([make_point(first, "", 1)]), first * SECOND, (first + length) * SECOND)
    assert len(body["groups"][0]["profiles"]) <= 200
    assert length < 1000 or len(body["groups"][0]["profiles"]) > 20


def test_the_default_step_is_not_shorter_than_the_time_between_profiles() -> None:
    """Steps of 30 s would be empty half of the time for each of two processes that send a profile a minute."""
    minutes = range(0, 3600, 60)
    points = [make_point(minute + offset, f"pod={offset}", 1) for offset in (5, 35) for minute in minutes]
    body = build_timeline(to_totals(points), 5 * SECOND, 3600 * SECOND, ("pod",))
    assert body["step"] == 60
    assert all(set(group["profiles"][:-1]) == {1} for group in body["groups"])
    assert build_timeline(to_totals(points[:1]), 5 * SECOND, 3600 * SECOND)["step"] == 30


def test_the_steps_cover_the_range_and_a_range_from_0_begins_with_the_first_point() -> None:
    points = [make_point(130, "", 1)]
    assert build_timeline(to_totals(points), 0, 250 * SECOND, (), 60)["groups"][0]["profiles"] == [1, 0, 0]
    body = build_timeline(to_totals(points), 30 * SECOND, 250 * SECOND, (), 60)
    assert (body["start"], body["groups"][0]["profiles"]) == ("1970-01-01T00:00:00Z", [0, 0, 1, 0, 0])


def test_too_many_steps_are_rejected_before_they_are_allocated() -> None:
    points = [make_point(5, "", 1)]
    with pytest.raises(TooMany) as error:
        build_timeline(to_totals(points), 0, 10**9 * SECOND, (), 1)
    assert error.value.code == "max_steps_exceeded"


def test_the_smallest_of_too_many_groups_are_combined() -> None:
    points = [make_point(n, f"pod={n}", 10) for n in range(20)] + [make_point(n, "pod=3", 1) for n in range(20)]
    body = build_timeline(to_totals(points), 0, 30 * SECOND, ("pod",), 60, limits=Limits(groups=3))
    assert len(body["groups"]) == 3
    assert body["groups"][-1]["labels"] == []
    assert body["groups"][-1]["others"] == 18
    assert {"key": "pod", "value": "3"} in [label for group in body["groups"] for label in group["labels"]]
    assert sum(group["profiles"][0] for group in body["groups"]) == 40
    assert sum(group["values"][0][0] for group in body["groups"]) == 220


def test_each_sample_type_has_a_column() -> None:
    heap = DataPoint(0, Labels(), (("inuse", "bytes"),), (5,))
    body = build_timeline(to_totals([heap, make_point(1, "", 1, 2)]), 0, SECOND, (), 60)
    assert body["sample_types"] == [
        {"type": "inuse", "unit": "bytes"},
        {"type": "samples", "unit": "count"},
        {"type": "cpu", "unit": "nanoseconds"},
    ]
    assert body["groups"][0]["values"] == [[5], [1], [2]]


def test_sample_types_are_in_the_order_in_which_profiles_had_them_first() -> None:
    """Compaction changes which totals are read first."""
    wall = DataPoint(0, Labels(), (("wall", "nanoseconds"), ("samples", "count")), (1, 2))
    parts = [to_totals([point]) for point in (make_point(1, "", 3, 4), wall, make_point(2, "", 5, 6))]
    expected = [("wall", "nanoseconds"), ("samples", "count"), ("cpu", "nanoseconds")]
    for order in permutations(parts):
        body = build_timeline([totals for part in order for totals in part], 0, 5 * SECOND, (), 60)
        assert [(entry["type"], entry["unit"]) for entry in body["sample_types"]] == expected
        assert [column[0] for column in body["groups"][0]["values"]] == [1, 10, 10]


@pytest.mark.parametrize(
    ("text", "step"), [("", None), ("5", 5), ("5s", 5), ("2m", 120), ("1h", 3600), ("1d", 86_400)]
)
def test_a_step_is_seconds_or_has_a_unit(text: str, step: int | None) -> None:
    assert parse_step(text) == step


@pytest.mark.parametrize("text", ["0", "0s", "-1", "1.5", "1y", "m", "٣", "9999999999"])
def test_an_invalid_step_is_rejected(text: str) -> None:
    with pytest.raises(Invalid) as error:
        parse_step(text)
    assert error.value.code == "invalid_step"


def test_groups_beyond_the_limit_take_no_memory_per_step() -> None:
    """5,000 groups of 2,000 steps would take 240 MB."""
    points = [make_point(number % 1000, f"v={number}", 1, 2) for number in range(5000)]
    tracemalloc.start()
    try:
        body = build_timeline(to_totals(points), 0, 1999 * SECOND, ("v",), 1)
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(body["groups"]) == 100
    assert sum(sum(group["profiles"]) for group in body["groups"]) == 5000
    assert memory < 40 << 20


def test_many_sample_types_are_limited_before_the_lists_are_made() -> None:
    points = [DataPoint(SECOND, Labels(), [(f"type-{number}", "count")], [1]) for number in range(20_000)]
    tracemalloc.start()
    try:
        with pytest.raises(TooMany) as caught:
            build_timeline(to_totals(points), 0, 1999 * SECOND, (), 1)
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "max_timeline_numbers_exceeded"
    assert memory < 40 << 20


@pytest.mark.parametrize(
    ("aggregate", "kept"),
    [(Aggregate.SUM, 0), (Aggregate.AVERAGE, 8), (Aggregate.LATEST, 8), (Aggregate.DELTA, 24)],
)
def test_the_values_that_are_kept_are_limited(aggregate: Aggregate, kept: int) -> None:
    """Two series of two sample types in two steps: an average for each, or all values of counters."""
    points = [make_point(number, f"v={number % 2}", 1, 2) for number in range(12)]

    def build(values: int) -> dict[str, Any]:
        limits = Limits(timeline_values=values, sample_kinds=(("*", "*", "*", "cumulative"),))
        return build_timeline(to_totals(points), 0, 11 * SECOND, (), 6, limits=limits, aggregate=aggregate)

    assert build(kept) == build(1000)
    if kept:
        with pytest.raises(TooMany) as caught:
            build(kept - 1)
        assert caught.value.code == "max_timeline_values_exceeded"
