"""Selection of profiles for a merge with a limit, and the end of retries."""

from collections.abc import Callable, Iterator
from dataclasses import replace
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
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.query.querier import Querier
from profbucket.query.query_merger import pick_evenly
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.storage.compaction_suite import ALL_TIME, HOUR, MIDNIGHT, compact, post_profiles


def metas(count: int) -> list[Meta]:
    return [Meta(str(i), "api", ProfileType.CPU, Labels(), i, 1) for i in range(count)]


@given(st.integers(0, 500), st.integers(1, 60))
def test_the_requested_number_is_picked_in_order_and_evenly(total: int, count: int) -> None:
    picked, found = pick_evenly(metas(total), count)
    assert found == total
    assert len(picked) == min(total, count)
    positions = [meta.created_at for meta in picked]
    assert positions == sorted(set(positions))
    if total > count:
        ideal = total / count
        gaps = [later - earlier for earlier, later in pairwise([*positions, total])]
        assert positions[0] == 0
        assert max(gaps) <= 4 * ideal + 1


class WeaklyReferencedMeta(Meta):
    """A meta that a ``WeakSet`` can hold."""

    __slots__ = ("__weakref__",)


def test_picking_holds_at_most_twice_the_requested_number() -> None:
    alive: WeakSet[Meta] = WeakSet()
    counts = []

    def stream() -> Iterator[Meta]:
        for i in range(10_000):
            meta = WeaklyReferencedMeta(str(i), "api", ProfileType.CPU, Labels(), i, 1)
            alive.add(meta)
            counts.append(len(alive))
            yield meta

    pick_evenly(stream(), 10)
    assert max(counts) <= 2 * 10 + 2


class ReplacingIndex(MemoryIndex):
    """An index in which blocks are always replaced once they are read."""

    calls = 0

    def blocks(self, service: str, profile_type: ProfileType | None, start: int, end: int) -> list[Block]:
        self.calls += 1
        return super().blocks(service, profile_type, start, end) if start == end else []


QUERY = Query("api", ProfileType.CPU, *ALL_TIME)


@pytest.mark.parametrize(
    "ask",
    [
        lambda querier, _: querier.find(QUERY),
        lambda querier, _: querier.merge(QUERY),
        lambda querier, _: querier.merge(replace(QUERY, limit=1)),
        lambda querier, _: querier.merge(QUERY, MergeOptions(aggregate=Aggregate.DELTA)),
        lambda querier, _: querier.timeline(QUERY),
        lambda querier, profile_id: querier.read(profile_id),
    ],
    ids=["find", "merge", "merge with limit", "delta", "timeline", "read"],
)
def test_a_query_fails_as_unavailable_if_blocks_are_replaced_all_the_time(
    ask: Callable[[Querier, ProfileId], Any],
) -> None:
    bucket, index = MemoryBucket(), ReplacingIndex()
    storage = Storage(bucket, index)
    metas = post_profiles(storage, [0, 1])
    compact(storage, MIDNIGHT + 20 * HOUR)
    for obj in list(bucket.list("", "~")):
        bucket.delete(obj.key)
    index.calls = 0
    with pytest.raises(Unavailable) as error:
        ask(Querier(storage), ProfileId.parse(metas[0].id))
    assert error.value.code == "compaction_in_progress"
    assert 5 <= index.calls <= 10
