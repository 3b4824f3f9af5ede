"""Posts, compactions, reindex, fsck and expiry interleaved: each profile counts once at every step.

Two actors are tried in all interleavings, three in a sample; ``python -m tests.soak.interleavings`` tries more.
"""

from collections import Counter, deque
from collections.abc import Iterator
from functools import cache
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.storage.store import Storage
from tests.support.property_tests import examples
from tests.support.storage.histories import (
    CASES,
    HISTORIES,
    WRITERS,
    Case,
    Trial,
    is_possible,
    new_storage,
    replayable,
)
from tests.support.storage.interleaving import Graph, NotDeterministic

_SCHEDULES = st.lists(st.integers(0, 2), max_size=60)


@pytest.fixture(autouse=True, scope="module")
def _replayable() -> Iterator[None]:
    with replayable():
        yield


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_each_profile_counts_once_in_all_interleavings(case: Case) -> None:
    number = Trial(*case).explore()
    assert number
    assert number.interleavings > len(case)


@cache
def make_trial(case: Case) -> Trial:
    return Trial(*case)


@given(
    st.tuples(st.sampled_from(sorted(HISTORIES)), st.tuples(*[st.sampled_from(WRITERS)] * 3)).filter(
        lambda case: is_possible(*case)
    ),
    _SCHEDULES,
)
@examples(60)
def test_each_profile_counts_once_whatever_three_do(case: Case, schedule: list[int]) -> None:
    make_trial(case).run(schedule)


def count_objects(storage: Storage) -> int:
    return len(list(storage.bucket.list("", "~")))


def add_object(storage: Storage) -> None:
    storage.bucket.put(str(count_objects(storage)), b"", {})


def test_interleavings_that_lose_an_update_are_found() -> None:
    ends: Counter[int] = Counter()
    for node in Graph(new_storage(), [add_object, add_object]).explore():
        if node.is_final:
            ends[count_objects(node.snapshot.storage)] += node.interleavings
    assert ends == {2: 2, 1: 4}


def test_an_actor_that_does_not_depend_on_results_only_is_refused() -> None:
    numbers = count()

    def put_next(storage: Storage) -> None:
        storage.bucket.put(f"n{next(numbers)}", b"", {})
        count_objects(storage)

    with pytest.raises(NotDeterministic):
        deque(Graph(new_storage(), [put_next, add_object]).explore(), 0)
