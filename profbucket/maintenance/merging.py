"""Merge the blocks of a lane into larger ones.

The result is read back first, as its readers will. Blocks that cannot be read back as one are merged in halves;
one that cannot be read stays apart, and an error is logged.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from profbucket.errors import ProfbucketError
from profbucket.maintenance.lane import Action, Lane, Step, finished_until
from profbucket.maintenance.read_back import read_back
from profbucket.model.blocks import Block
from profbucket.storage.ports import Change, ObjectRange
from profbucket.times import SECOND

if TYPE_CHECKING:
    from profbucket.pprof.block.content import BlockContent

_log = logging.getLogger(__name__)


def merge_blocks(lane: Lane, periods: Sequence[int], start: int, end: int) -> Iterator[Step]:
    """Merge the blocks from *start* to *end* that measure the same, for each of the finished *periods*."""
    known = lane.index.blocks(lane.service, lane.type, start, end)
    for period in periods:
        finished = finished_until(lane.policy, period, lane.clock())
        candidates = [block for block in known if block.period <= period and block.last < finished]
        for group in _group_by_period(candidates, period):
            for chunk in _split_by_limits(lane, group):
                if _may_merge(chunk, period):
                    yield from _merge_chunk(lane, chunk, period, known)


def _split_by_limits(lane: Lane, blocks_to_merge: Sequence[Block]) -> Iterator[list[Block]]:
    """Split blocks into chunks that are each within the limits of one block."""
    chunk: list[Block] = []
    for block in blocks_to_merge:
        extended = [*chunk, block]
        size, count = sum(item.ends[-1] for item in extended), sum(item.count for item in extended)
        if chunk and (size > lane.limits.block_bytes or count > lane.limits.block):
            yield chunk
            extended = [block]
        chunk = extended
    if chunk:
        yield chunk


def _merge_chunk(lane: Lane, chunk: Sequence[Block], period: int, known: list[Block]) -> Iterator[Step]:
    """Merge the blocks of *chunk*; those that cannot be read back as one are merged in halves, or stay.

    In *known*, the result takes their place.
    """
    from profbucket.pprof.block.build import merge_blocks

    contents = _read_blocks(lane, chunk)
    if len(contents) < len(chunk):
        lane.is_unfinished = True
        return  # one has expired, or was merged by a concurrent run
    try:
        built = merge_blocks(contents, lane.limits)
        merged = built.to_block(period, lane.clock())
        read_back(merged, built.data, lane.limits)
    except ProfbucketError as error:
        parts = _split_unmergeable(lane, contents, error)
        contents.clear()
        for part in parts:
            if len(part) > 1:
                yield from _merge_chunk(lane, part, period, known)
        return
    lane.put(merged, built.data)
    committed = lane.commit(merged, Change(merged, (), [block.id for block in chunk]))
    if committed:
        lane.has_replaced = True
        known[:] = [block for block in known if block not in chunk] + [merged]
    yield Step(Action.MERGED if committed else Action.CONFLICT, merged.id, merged.count)


def _read_blocks(lane: Lane, chunk: Sequence[Block]) -> "list[BlockContent]":
    """Return the contents of the blocks in *chunk* that still have an object."""
    from profbucket.pprof.block.content import BlockContent

    contents = lane.bucket.get_many([ObjectRange(block.id) for block in chunk])
    return [
        BlockContent(block, data, lane.limits)
        for block, data in zip(chunk, contents, strict=True)
        if data is not None
    ]


def _split_unmergeable(
    lane: Lane, contents: "Sequence[BlockContent]", error: ProfbucketError
) -> Sequence[Sequence[Block]]:
    """Return parts of the blocks *contents*, whose merge failed with *error*, to be merged instead."""
    readable = []
    for content in contents:
        try:
            read_back(content.block, content.data, lane.limits)
            readable.append(content.block)
        except ProfbucketError as damage:
            lane.log_error(
                damage, "the block %s stays apart, because it cannot be read: %s", content.block.id, damage
            )
    if len(readable) < len(contents):
        return [readable]
    _log.info("%d blocks from %s on do not fit into one: %s", len(readable), readable[0].id, error)
    middle = len(readable) // 2
    return [readable[:middle], readable[middle:]]


def _may_merge(chunk: Sequence[Block], period: int) -> bool:
    """Return whether *chunk* has several blocks, and one of them has not been tried for this *period* yet.

    A block of a shorter period that is older than one of the period was left out when that was made.
    """
    tried_at = max((block.written_at for block in chunk if block.period >= period), default=0)
    return len(chunk) > 1 and any(block.period < period and block.written_at >= tried_at for block in chunk)


def _group_by_period(candidates: Sequence[Block], period: int) -> Iterator[list[Block]]:
    """Yield the blocks within each *period* that can be merged."""
    nanos = period * SECOND

    def key(block: Block) -> tuple[int, str]:
        return block.first // nanos, block.measures

    for (number, _), group in groupby(sorted(candidates, key=lambda block: (*key(block), *block.position)), key):
        yield [block for block in group if block.last < (number + 1) * nanos]
