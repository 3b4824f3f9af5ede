"""Which blocks count, by the bucket alone.

A bucket may hold blocks with members in common: those that became part of another stay for a while, and a
compaction that was cut off leaves one that nobody knows. No profile may count twice, so of such blocks those are
chosen that the index has, then those with more members.
"""

from collections.abc import Iterator, Sequence

from profbucket.errors import Invalid, NotFound
from profbucket.model.blocks import Block, from_metadata
from profbucket.model.ids import ProfileId, ProfileName, block_prefix
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import LONGEST, Object, Selection
from profbucket.storage.store import Storage
from profbucket.times import format_stamp


def blocks_in(
    storage: Storage, service: str, kind: ProfileType, since: int
) -> Iterator[tuple[Object, Block | None]]:
    """The objects where blocks lie, and the block that each is, if any; none that ends before *since*."""
    below = block_prefix(service, kind)
    begin = f"{below}{format_stamp(max(since - LONGEST, 0))}" if since else below
    for there in storage.bucket.list(begin, f"{below[:-1]}0"):
        try:
            metadata = there.metadata if there.metadata is not None else storage.bucket.stat(there.key).metadata
            block = from_metadata(there.key, metadata or {})
        except NotFound:
            continue  # deleted meanwhile
        except Invalid:
            yield there, None
            continue
        if block.last >= since:
            yield there, block


def chosen(storage: Storage, blocks: Sequence[Block], known: Sequence[Block]) -> list[Block]:
    """Those of *blocks*, all of one service and type, that count where the index has *known*; by position."""
    kept: list[Block] = []
    ids = {block.id for block in known}
    for group in _overlapping([block for block in blocks if block.id in ids or not _is_draft(storage, block)]):
        if len(group) == 1:
            kept += group
            continue
        group.sort(key=lambda block: (block.id not in ids, -block.count, block.written_at, block.id))
        taken: set[ProfileName] = set()
        for block, members in zip(group, storage.lists(group), strict=True):
            names = set(members.names()) if members else set()
            if names and taken.isdisjoint(names):
                taken |= names
                kept.append(block)
    return sorted(kept, key=lambda block: block.position)


def _is_draft(storage: Storage, block: Block) -> bool:
    """Whether all members of a *block* that the index does not have are in the head: it was never committed."""
    [members] = storage.lists([block])
    head = storage.index.find(Selection(block.service, block.type, block.first, block.last))
    return members is not None and len(members.member_ids(head)) == len(members)


def _overlapping(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Part *blocks* where none of them holds both what is before and what is after."""
    group: list[Block] = []
    last = -1
    for block in sorted(blocks, key=lambda block: block.position):
        if group and block.first > last:
            yield group
            group = []
        group.append(block)
        last = max(last, block.last)
    if group:
        yield group


class Held:
    """The members of *blocks*, which are those of one service and type, ordered by position.

    Asked in the order of time, it holds the lists of those blocks only that are there at that time.
    """

    def __init__(self, storage: Storage, blocks: Sequence[Block]) -> None:
        self._upcoming = iter(zip(blocks, storage.lists(blocks), strict=True))
        self._first = [block.first for block in blocks][::-1]
        self._open: list[tuple[int, set[ProfileName]]] = []

    def __contains__(self, profile_id: ProfileId) -> bool:
        at = profile_id.created_at
        while self._first and self._first[-1] <= at:
            self._first.pop()
            block, members = next(self._upcoming)
            self._open.append((block.last, set(members.names()) if members else set()))
        self._open = [(last, names) for last, names in self._open if last >= at]
        return any(profile_id.name in names for _, names in self._open)
