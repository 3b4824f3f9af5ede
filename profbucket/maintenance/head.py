"""Compact the head: profiles become blocks, of one lane or of all lanes of a service.

A block is read back first, as its readers will; then its object is put, and one transaction of the index adds the
block and removes the entries of its members. A block that cannot be read back is split. What cannot be compacted
stays in the head, and an error is logged.

The blocks of several lanes are committed together, because their profiles share batches: an index may have one
record for a batch, which it would otherwise write again for each lane. If such a commit is refused, each block is
committed by itself.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from profbucket.errors import Damaged, ProfbucketError
from profbucket.maintenance.chunks import Content, group_by_type, read_batches, split_by_documents
from profbucket.maintenance.lane import Action, Compaction, Lane, Step, finished_until
from profbucket.maintenance.read_back import read_back
from profbucket.model.blocks import Block
from profbucket.model.meta import Meta
from profbucket.storage.lookup import BlockReplaced
from profbucket.storage.ports import Change, CommitTooLarge, ExpectedBlocks, Selection
from profbucket.times import SECOND, format_time

if TYPE_CHECKING:
    from profbucket.pprof.block.build import BuiltBlock

_JOINT_FACTOR = 5  # a list of entries of all types is this many times as long as a list of one type

_log = logging.getLogger(__name__)


def compact_head(compaction: Compaction, start: int, end: int) -> Iterator[Step]:
    """Turn the head from *start* to *end* into blocks, as far as its short periods have finished."""
    end = min(end, finished_until(compaction.policy, compaction.policy.short, compaction.clock()) - 1)
    period = compaction.policy.short * SECOND
    limit = min(compaction.limits.block_members, compaction.index.max_members)
    if compaction.type is None:
        limit *= _JOINT_FACTOR
    after = None
    while start <= end and not compaction.has_failed:
        begin = start
        if end - start >= period:
            # First find the next period, then read its entries: Firestore bills every entry that is read.
            first = compaction.find_oldest(start, end, after)
            if first is None:
                return
            begin = first.created_at // period * period
        last = min(begin // period * period + period - 1, end)
        selection = Selection(compaction.service, compaction.type, begin, last, after=after, limit=limit)
        entries = list(compaction.index.find(selection))
        if len(entries) < limit:
            start = last + 1
        if entries:
            after = entries[-1].position
            yield from _compact_entries(compaction, entries)


def _compact_entries(compaction: Compaction, entries: Sequence[Meta]) -> Iterator[Step]:
    """Compact *entries*, ordered by position, as far as their lanes have not failed."""
    first_at, last_at = entries[0].created_at, entries[-1].created_at
    known = compaction.index.blocks(compaction.service, compaction.type, first_at, last_at)
    heads = []
    for profile_type, of_type in group_by_type(entries).items():
        if profile_type.is_pprof and not (lane := compaction.lane_of(profile_type)).has_failed:
            overlapping = [block for block in known if block.type == profile_type]
            heads.append(head := _LaneHead(lane, of_type, overlapping))
            yield from head.remove_compacted()
    for chunk in split_by_documents([head.entries for head in heads], compaction.index.max_members):
        yield from _compact_chunk(compaction, heads, chunk)


def _compact_chunk(compaction: Compaction, heads: Sequence["_LaneHead"], chunk: Sequence[Meta]) -> Iterator[Step]:
    """Compact *chunk*, entries of the lanes of *heads*: one block of each together, then the next of each."""
    contents = read_batches(compaction.lookup, chunk) if len(heads) > 1 else {}
    by_type = group_by_type(chunk)
    for head in heads:
        head.plan(by_type.get(head.lane.type, []), contents)
    while drafts := [draft for head in heads if (draft := head.build())]:
        yield from _commit(drafts)
    for head in heads:
        head.plan([], {})  # keep no contents while the next are read


class _Draft(NamedTuple):
    """A block that has an object and is not in the index yet, and the entries of its members."""

    head: "_LaneHead"
    block: Block
    members: Sequence[Meta]

    def to_change(self) -> Change:
        block = self.block
        # No other run may have added a block: its members may have been posted again since.
        expected = ExpectedBlocks.among(self.head.known, block.service, block.type, block.first, block.last)
        return Change(block, [meta.id for meta in self.members], (), expected)


def _commit(drafts: Sequence[_Draft]) -> Iterator[Step]:
    """Commit *drafts*, of different lanes, together, or if that is refused, one by one."""
    if len(drafts) > 1 and _commit_together(drafts):
        for draft in drafts:
            draft.head.known.append(draft.block)
            yield Step(Action.COMPACTED, draft.block.id, draft.block.count, with_next=draft is not drafts[-1])
        return
    for draft in drafts:
        yield from draft.head.commit(draft)


def _commit_together(drafts: Sequence[_Draft]) -> bool:
    if any(draft.head.lane.is_too_slow(draft.block) for draft in drafts):
        return False
    try:
        return drafts[0].head.lane.index.commit(*(draft.to_change() for draft in drafts))
    except CommitTooLarge as error:
        _log.info("blocks of %d lanes are committed one by one: %s", len(drafts), error)
        return False


class _LaneHead:
    """Entries of a lane that become blocks. *known* are the blocks that overlap them, and those that are built.

    Errors end only the compaction of this lane.
    """

    def __init__(self, lane: Lane, entries: list[Meta], known: list[Block]) -> None:
        self.lane = lane
        self.entries = entries
        self.known = known
        self._pending: list[Sequence[Meta]] = []  # last first
        self._contents: Mapping[str, Content] = {}

    def plan(self, entries: Sequence[Meta], contents: Mapping[str, Content]) -> None:
        """Let :meth:`build` build blocks of *entries*, ordered by position; *contents* have been read before."""
        size = self.lane.limits.block_members
        self._contents = contents
        self._pending = [entries[begin : begin + size] for begin in range(0, len(entries), size)][::-1]

    def remove_compacted(self) -> Iterator[Step]:
        """Remove those entries that are in a known block: the profiles were posted again.

        If that cannot be decided, or a concurrent run changes the blocks, all entries stay in the head, and none
        is compacted.
        """
        entries, self.entries = self.entries, []
        try:
            compacted_ids = self._find_compacted(entries)
            committed = not compacted_ids or self._remove(entries, compacted_ids)
        except BlockReplaced:
            committed = False  # a concurrent run is merging these blocks
        except Damaged as error:
            message = "cannot compact service %s, type %s from %s: %s"
            begin = format_time(entries[0].created_at)
            self.lane.log_error(error, message, self.lane.service, self.lane.type, begin, error)
            return  # what is in a block is unknown
        except Exception as error:  # noqa: BLE001 - unforeseen damage must not keep others from being compacted
            self.lane.fail(error)
            return
        if not committed:
            self.lane.is_unfinished = True
            return  # a concurrent run did the same, or merged the blocks
        if compacted_ids:
            yield Step(Action.DEDUPLICATED, entries[0].id, len(compacted_ids))
        self.entries = [meta for meta in entries if meta.id not in compacted_ids]

    def _find_compacted(self, entries: Sequence[Meta]) -> set[str]:
        """Return the ids of those *entries* that are in a known block: the profiles were posted again."""
        compacted_ids: set[str] = set()
        for members in self.lane.lookup.read_current_members(self.known):
            if isinstance(members, Damaged):
                raise members
            if members is not None:
                compacted_ids.update(members.member_ids(entries))
        return compacted_ids

    def _remove(self, entries: Sequence[Meta], compacted_ids: Collection[str]) -> bool:
        """Remove *entries* with *compacted_ids*; return ``False`` if the blocks are not the known ones."""
        lane, ids, size = self.lane, sorted(compacted_ids), self.lane.index.max_members
        first_at, last_at = entries[0].created_at, entries[-1].created_at
        expected = ExpectedBlocks.among(self.known, lane.service, lane.type, first_at, last_at)
        return all(
            lane.index.commit(Change(None, ids[begin : begin + size], (), expected))
            for begin in range(0, len(ids), size)
        )

    def build(self) -> _Draft | None:
        """Build the next block and put its object; return ``None`` if there is nothing left to build."""
        try:
            while self._pending and not self.lane.has_failed:
                if draft := self._build(self._pending.pop()):
                    return draft
        except Exception as error:  # noqa: BLE001 - as above
            self.lane.fail(error)
        return None

    def _build(self, entries: Sequence[Meta]) -> _Draft | None:
        """Build a block of those of *entries* that fit into one; others are built later, or stay in the head."""
        built, left_out = _build_block(self.lane, entries, self._contents)
        if built is None:
            return None
        compacted_ids = {meta.id for meta in built.members.metas()}
        members = [meta for meta in entries if meta.id in compacted_ids]
        if remaining := [meta for meta in entries if meta.id not in compacted_ids and meta.id not in left_out]:
            self._pending.append(remaining)
        block = built.to_block(self.lane.policy.short, self.lane.clock())
        try:
            read_back(block, built.data, self.lane.limits)
        except ProfbucketError as error:
            self._halve(members, error)
            return None
        self.lane.put(block, built.data)
        return _Draft(self, block, members)

    def commit(self, draft: _Draft) -> Iterator[Step]:
        """Commit *draft* by itself."""
        try:
            committed = self.lane.commit(draft.block, draft.to_change())
        except CommitTooLarge as error:
            self._halve(draft.members, error)
            return
        except Exception as error:  # noqa: BLE001 - as above
            self.lane.fail(error)
            return
        if committed:
            self.known.append(draft.block)
        else:
            self._pending.clear()
        yield Step(Action.COMPACTED if committed else Action.CONFLICT, draft.block.id, draft.block.count)

    def _halve(self, members: Sequence[Meta], error: Exception) -> None:
        """Let *members* become more than one block, because one block failed with *error*."""
        if len(members) == 1:
            _log_not_compacted(self.lane, members[0], error)
            return
        _log.info("%d profiles from %s on do not fit into one block: %s", len(members), members[0].id, error)
        middle = len(members) // 2
        self._pending += [members[middle:], members[:middle]]


def _build_block(
    lane: Lane, entries: Sequence[Meta], contents: Mapping[str, Content]
) -> "tuple[BuiltBlock | None, Collection[str]]":
    """Build a block of the first of *entries* and all that fit it; read those that are not in *contents*.

    Return it, unless it would be empty, and the ids of the profiles that cannot be in any block.
    """
    from profbucket.pprof.block.build import BlockBuilder

    builder = BlockBuilder(lane.limits)
    left_out = set()
    reads = lane.lookup.read_profiles([meta for meta in entries if meta.id not in contents])
    for meta in entries:
        data = contents[meta.id] if meta.id in contents else next(reads)
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
