"""Posts, compactions, reindex, fsck and expiry interleaved: each profile counts once at every step.

While a lost index is rebuilt, any call may be preceded by all of another actor's.
Pairs of actors that change little are tried in all interleavings, all others, and three actors, in a sample;
``python -m tests.soak.interleavings`` tries all interleavings of all pairs.
"""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.storage.histories import ACTORS, CASES, HISTORIES, Case, Trial, in_one_thread_each
from tests.support.storage.interleaving import explore

_SCHEDULES = st.lists(st.integers(0, 2), max_size=60)


def _is_small(case: Case) -> bool:
    """Return whether a case has few interleavings, because its actors change little."""
    history, actors = case
    changes_little = history == "replaced hours" or (
        history == "hours" and not any("day" in name for name in actors)
    )
    return changes_little and not any("posts" in name for name in actors)


@pytest.fixture(autouse=True, scope="module")
def _in_one_thread_each() -> Iterator[None]:
    with in_one_thread_each():
        yield


@cache
def make_trial(case: Case) -> Trial:
    return Trial(*case)


@pytest.mark.parametrize("case", [case for case in CASES if _is_small(case)])
def test_each_profile_counts_once_in_all_interleavings(case: Case) -> None:
    assert explore(make_trial(case).run) > 30


@pytest.mark.parametrize("actors", [actors for history, actors in CASES if history == "lost index"])
def test_each_profile_counts_once_wherever_one_interrupts_the_rebuilding_of_the_index(
    actors: tuple[str, ...],
) -> None:
    trial = make_trial(("lost index", actors))
    calls = trial.run([])
    for number in range(sum(call.actor == 0 for call in calls)):
        trial.run([0] * number + [1] * len(calls) * 10)


@given(st.sampled_from([case for case in CASES if not _is_small(case)]), _SCHEDULES)
@settings(max_examples=200)
def test_each_profile_counts_once_in_a_sample_of_interleavings(case: Case, schedule: list[int]) -> None:
    make_trial(case).run(schedule)


@given(
    st.sampled_from(sorted(HISTORIES)),
    st.lists(st.sampled_from(sorted(ACTORS.keys() - {"expiry"})), min_size=3, max_size=3),
    _SCHEDULES,
)
@settings(max_examples=150)
def test_each_profile_counts_once_whatever_three_do(history: str, actors: list[str], schedule: list[int]) -> None:
    make_trial((history, tuple(actors))).run(schedule)
