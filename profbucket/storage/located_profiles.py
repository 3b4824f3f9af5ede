"""Profiles and where they are stored, in the order of lists."""

from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from profbucket.model.blocks import Block, Members
from profbucket.model.meta import Meta


class LocatedProfile(NamedTuple):
    """A profile and where it is stored: in the head, or in this row of a block with these members."""

    meta: Meta
    block: Block | None = None
    row: int = 0
    members: Members | None = None


def merge_in_order(
    head: Iterator[LocatedProfile], blocks: Sequence[Block], members: Iterator[Iterator[LocatedProfile]]
) -> Iterator[LocatedProfile]:
    """Merge *head* with the *members* of *blocks*, which are opened when their time comes; drop duplicates."""
    upcoming = deque(enumerate(blocks, 1))
    heap: list[tuple[tuple[int, str], int, LocatedProfile, Iterator[LocatedProfile]]] = []

    def push(number: int, stream: Iterator[LocatedProfile]) -> None:
        if (first := next(stream, None)) is not None:
            heap.append((first.meta.position, number, first, stream))
            heapify(heap)

    push(0, head)
    last_position = None
    while heap or upcoming:
        while upcoming and (not heap or upcoming[0][1].first <= heap[0][0][0]):
            number, _ = upcoming.popleft()
            push(number, next(members))
        if not heap:
            continue
        position, number, profile, stream = heap[0]
        if position != last_position:
            yield profile
        last_position = position
        if (following := next(stream, None)) is None:
            heappop(heap)
        else:
            heapreplace(heap, (following.meta.position, number, following, stream))
