"""What a merge with a limit picks, and when a question is given up."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from weakref import WeakSet

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Unavailable
from profbucket.model.blocks import Block
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier, pick_evenly
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.storage.compaction_suite import ALL_TIME, HOUR, MIDNIGHT, compact, post_profiles


def metas(count: int) -> list[Meta]:
    return [Meta(str(i), "api", ProfileType.CPU, Labels(), i, 1) for i in range(count)]


@given(st.integers(0, 500), st.integers(1, 60))
def test_as_many_as_asked_for_are_picked_in_order_and_evenly(total: int, count: int) -> None:
    picked, found = pick_evenly(metas(total), count)
    assert found == total
    assert len(picked) == min(total, count)
    places = [meta.created_at for meta in picked]
    assert places == sorted(set(places))
    if total > count:
        ideal = total / count
        gaps = [later - earlier for earlier, later in pairwise([*places, total])]
        assert places[0] == 0
        assert max(gaps) <= 4 * ideal + 1


class Watched(Meta):
    """A meta that can be seen to be let go."""

    __slots__ = ("__weakref__",)


def test_picking_holds_no_more_than_twice_what_is_asked_for() -> None:
    alive: WeakSet[Meta] = WeakSet()
    held = []

    def stream() -> Iterator[Meta]:
        for i in range(10_000):
            one = Watched(str(i), "api", ProfileType.CPU, Labels(), i, 1)
            alive.add(one)
            held.append(len(alive))
            yield one

    pick_evenly(stream(), 10)
    assert max(held) <= 2 * 10 + 2


class Restless(MemoryIndex):
    """An index whose blocks have always become parts of others once they are read."""

    asked = 0

    def blocks(self, service: str, type: ProfileType | None, start: int, end: int) -> list[Block]:  # noqa: A002
        self.asked += 1
        return super().blocks(service, type, start, end) if start == end else []


ASKED = Query("api", ProfileType.CPU, *ALL_TIME)


@pytest.mark.parametrize(
    "question",
    [
        lambda querier, _: querier.find(ASKED),
        lambda querier, _: querier.merge(ASKED),
        lambda querier, _: querier.timeline(ASKED),
        lambda querier, profile_id: querier.read(profile_id),
    ],
    ids=["find", "merge", "timeline", "read"],
)
def test_where_blocks_move_all_the_time_a_question_is_given_up_and_can_be_asked_again(
    question: Callable[[Querier, ProfileId], Any],
) -> None:
    bucket, index = MemoryBucket(), Restless()
    storage = Storage(bucket, index)
    metas = post_profiles(storage, [0, 1])
    compact(storage, MIDNIGHT + 20 * HOUR)
    for there in list(bucket.list("", "~")):
        bucket.delete(there.key)
    index.asked = 0
    with pytest.raises(Unavailable) as error:
        question(Querier(storage), ProfileId.parse(metas[0].id))
    assert error.value.code == "compaction_in_progress"
    assert 5 <= index.asked <= 10
