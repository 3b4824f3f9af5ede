"""Totals added up in steps of time."""

from hypothesis import given
from hypothesis import strategies as st

from profbucket.labels import Labels
from profbucket.meta import Meta, ProfileType, Total
from profbucket.timeline import default_step, timeline
from profbucket.times import SECOND, format_time

START = 1_700_000_000 * SECOND


def meta(at: int, value: int, kind: str = "cpu", **labels: str) -> Meta:
    of = Labels.of(labels.items())
    return Meta("id", "api", ProfileType.CPU, of, at, 1, (Total(kind, "nanoseconds", value),))


@given(st.lists(st.tuples(st.integers(0, 3600 * SECOND), st.integers(-9, 9)), max_size=9), st.integers(1, 4000))
def test_no_profile_and_no_value_is_lost(found: list[tuple[int, int]], step: int) -> None:
    metas = [meta(START + at, value) for at, value in found]
    answer = timeline(metas, START, START + 3600 * SECOND, step)
    assert sum(sum(group["profiles"]) for group in answer["groups"]) == len(metas)
    assert sum(sum(group["values"][0]) for group in answer["groups"]) == sum(value for _, value in found)


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_without_a_step_there_are_two_hundred_at_most(one: int, other: int) -> None:
    start, end = sorted((one, other))
    step = default_step(start, end)
    assert end // SECOND // step - start // SECOND // step <= 200


def test_steps_begin_at_multiples_and_hold_what_is_in_them() -> None:
    """1,700,000,000 seconds are 20 into a minute."""
    metas = [meta(START, 1), meta(START + 39 * SECOND, 2), meta(START + 40 * SECOND, 4)]
    answer = timeline(metas, START, START + 60 * SECOND, 60)
    assert answer["start"] == format_time(START - 20 * SECOND)
    assert answer["groups"][0]["profiles"] == [2, 1]
    assert answer["groups"][0]["values"] == [[3, 4]]


def test_groups_have_values_for_all_sample_types() -> None:
    """A label that is missing is a group of its own, and a type that a group lacks is zero in it."""
    metas = [meta(START, 1, version="1"), meta(START, 2, kind="wall"), meta(START, 4, version="1")]
    answer = timeline(metas, START, START + SECOND, 1, ["version"])
    assert [one["type"] for one in answer["sample_types"]] == ["cpu", "wall"]
    assert [(group["labels"][0]["value"], group["values"]) for group in answer["groups"]] == [
        ("", [[0, 0], [2, 0]]),
        ("1", [[5, 0], [0, 0]]),
    ]
