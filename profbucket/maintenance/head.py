"""Compact the head of a lane: profiles become blocks.

A block is read back first, as its readers will; then its object is put, and one transaction of the index adds the
block and removes the entries of its members. A block that cannot be read back is split. What cannot be compacted
stays in the head, and an error is logged.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from profbucket.errors import Damaged, ProfbucketError
from profbucket.maintenance.lane import Action, Lane, Step, finished_until
from profbucket.maintenance.read_back import read_back
from profbucket.model.blocks import Block
from profbucket.model.meta import Meta
from profbucket.storage.lookup import BlockReplaced
from profbucket.storage.ports import CommitTooLarge, ExpectedBlocks, Selection
from profbucket.times import SECOND, format_time

if TYPE_CHECKING:
    from profbucket.pprof.block.build import BuiltBlock

_log = logging.getLogger(__name__)


def compact_head(lane: Lane, start: int, end: int) -> Iterator[Step]:
    """Turn the head from *start* to *end* into blocks, as far as its short periods have finished."""
    end = min(end, finished_until(lane.policy, lane.policy.short, lane.clock()) - 1)
    period = lane.policy.short * SECOND
    after = None
    while start <= end:
        begin = start
        if end - start >= period:
            # First find the next period, then read its entries: Firestore bills every entry that is read.
            first = lane.find_oldest(start, end, after)
            if first is None:
                return
            begin = first.created_at // period * period
        limit = min(lane.limits.block_members, lane.index.max_members)
        last = min(begin // period * period + period - 1, end)
        selection = Selection(lane.service, lane.type, begin, last, after=after, limit=limit)
        entries = list(lane.index.find(selection))
        if len(entries) < limit:
            start = last + 1
        if not entries:
            continue
        after = entries[-1].position
        # All commits expect that no other run adds a block: its members may have been posted again since.
        first_at, last_at = entries[0].created_at, entries[-1].created_at
        known = lane.index.blocks(lane.service, lane.type, first_at, last_at)
        try:
            compacted_ids = _find_compacted(lane, entries, known)
        except BlockReplaced:
            lane.is_unfinished = True
            return  # a concurrent run is merging these blocks
        except Damaged as error:
            lane.log_error(
                error,
                "cannot compact service %s, type %s from %s: %s",
                lane.service,
                lane.type,
                format_time(begin),
                error,
            )
            continue  # what is in a block is unknown
        if compacted_ids:
            expected = ExpectedBlocks.among(known, lane.service, lane.type, first_at, last_at)
            if not lane.index.commit(None, compacted_ids, (), expected):
                lane.is_unfinished = True
                continue  # a concurrent run did the same, or merged the blocks
            yield Step(Action.DEDUPLICATED, entries[0].id, len(compacted_ids))
        yield from _build_blocks(lane, [meta for meta in entries if meta.id not in compacted_ids], known)


def _find_compacted(lane: Lane, entries: Sequence[Meta], known: Sequence[Block]) -> set[str]:
    """Return the ids of those *entries* that are in a block of *known*: the profiles were posted again."""
    compacted_ids: set[str] = set()
    for members in lane.lookup.read_current_members(known):
        if isinstance(members, Damaged):
            raise members
        if members is not None:
            compacted_ids.update(members.member_ids(entries))
    return compacted_ids


def _build_blocks(lane: Lane, entries: Sequence[Meta], known: list[Block]) -> Iterator[Step]:
    """Compact *entries* into as few blocks as possible. Profiles that do not fit into any stay in the head.

    *known* are the blocks that overlap the entries; those that are built are appended.
    """
    remaining = entries
    while remaining:
        built, left_out = _build_block(lane, remaining)
        if built is None:
            return
        compacted_ids = {meta.id for meta in built.members.metas()}
        members = [meta for meta in remaining if meta.id in compacted_ids]
        remaining = [meta for meta in remaining if meta.id not in compacted_ids and meta.id not in left_out]
        block = built.to_block(lane.policy.short, lane.clock())
        try:
            read_back(block, built.data, lane.limits)
        except ProfbucketError as error:
            yield from _build_halves(lane, members, known, error)
            continue
        expected = ExpectedBlocks.among(known, block.service, block.type, block.first, block.last)
        try:
            committed = lane.write(block, built.data, compacted_ids, (), expected)
        except CommitTooLarge as error:
            yield from _build_halves(lane, members, known, error)
            continue
        yield Step(Action.COMPACTED if committed else Action.CONFLICT, block.id, block.count)
        if not committed:
            return
        known.append(block)


def _build_halves(lane: Lane, members: Sequence[Meta], known: list[Block], error: Exception) -> Iterator[Step]:
    """Compact *members* into more than one block, because one block failed with *error*."""
    if len(members) == 1:
        _log_not_compacted(lane, members[0], error)
        return
    _log.info("%d profiles from %s on do not fit into one block: %s", len(members), members[0].id, error)
    middle = len(members) // 2
    yield from _build_blocks(lane, members[:middle], known)
    yield from _build_blocks(lane, members[middle:], known)


def _build_block(lane: Lane, entries: Sequence[Meta]) -> "tuple[BuiltBlock | None, Collection[str]]":
    """Build a block of the first of *entries* and all that fit it.

    Return it, unless it would be empty, and the ids of the profiles that cannot be in any block.
    """
    from profbucket.pprof.block.build import BlockBuilder

    builder = BlockBuilder(lane.limits)
    left_out = set()
    for meta, data in zip(entries, lane.lookup.read_profiles(entries), strict=True):
        if data is None:  # it has expired, and so will its entry
            left_out.add(meta.id)
        elif isinstance(data, Damaged):
            _log_not_compacted(lane, meta, data)
            left_out.add(meta.id)
        else:
            builder.add(meta, data)
        if builder.is_full:
            break
    built = builder.build()
    for meta, invalid in builder.invalid:
        _log_not_compacted(lane, meta, invalid)
        left_out.add(meta.id)
    return built, left_out


def _log_not_compacted(lane: Lane, meta: Meta, error: Exception) -> None:
    lane.log_error(
        error,
        "service %s, type %s: the profile %s stays in the head, because it cannot be compacted: %s",
        meta.service,
        meta.type,
        meta.id,
        error,
    )
