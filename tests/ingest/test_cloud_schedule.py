"""The schedule of Cloud Profiler's agents."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from profbucket.ingest.cloud_schedule import Schedule, Work
from profbucket.times import SECOND

DEPLOYMENT = {"target": "shop", "labels": {"version": "1"}}
START = 1_795_850_000 * SECOND


def simulate(
    schedule: Schedule, profile_types: list[str], seconds: int, *, latency: int = SECOND // 10
) -> tuple[list[tuple[int, Work]], int]:
    """Return the grants of an agent that asks again as soon as it may, each with its time, and its requests."""
    now, grants, requests = START, [], 0
    while now < START + seconds * SECOND:
        answer = schedule.next(DEPLOYMENT, profile_types, now)
        requests += 1
        if isinstance(answer, int):
            assert answer > 0
            now += answer
        else:
            grants.append((now, answer))
            now += answer.duration
        now += latency
    return grants, requests


def test_an_agent_takes_a_profile_each_period_and_the_types_alternate() -> None:
    grants, requests = simulate(Schedule(60), ["CPU", "WALL"], 3600)
    assert 59 <= len(grants) <= 60
    assert {one.duration for _, one in grants} == {10 * SECOND}
    names = [one.profile_type for _, one in grants]
    assert all(first != second for first, second in pairwise(names))
    assert requests <= 2 * len(grants) + 2
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(grants)]
    assert min(gaps) >= 50 * SECOND


def test_a_type_that_takes_no_time_is_taken_once_a_period_on_average() -> None:
    grants, requests = simulate(Schedule(60), ["HEAP"], 600 * 60)
    assert 450 <= len(grants) <= 750
    assert {one.duration for _, one in grants} == {0}
    assert requests <= 2.5 * 600


@given(
    period=st.integers(5, 86_400),
    draw=st.floats(0, 1, exclude_max=True),
    now=st.integers(0, 2**62),
    names=st.lists(st.sampled_from(["CPU", "WALL", "HEAP"]), min_size=1, unique=True),
)
def test_the_end_of_the_wait_is_within_the_next_window(
    period: int, draw: float, now: int, names: list[str]
) -> None:
    schedule = Schedule(period, lambda: draw)
    answer = schedule.next(DEPLOYMENT, names, now)
    if isinstance(answer, int):
        assert 0 < answer <= 65 * SECOND
        if answer < 65 * SECOND and "HEAP" not in names:
            assert isinstance(schedule.next(DEPLOYMENT, names, now + answer), Work)
    else:
        assert answer.duration in (0, min(10 * SECOND, period * SECOND // 2))
        if answer.duration:  # an agent that has finished is refused
            assert isinstance(schedule.next(DEPLOYMENT, names, now + answer.duration), int)


def test_deployments_have_different_turns() -> None:
    offsets = set()
    for number in range(50):
        answer = Schedule(60, lambda: 0).next({"target": str(number)}, ["CPU"], START)
        offsets.add(answer // SECOND if isinstance(answer, int) else -1)
    assert len(offsets) > 20
