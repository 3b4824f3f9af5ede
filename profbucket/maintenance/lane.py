"""One lane of compaction: its head, the merges of its blocks, the objects that nothing needs any more.

A lane is all profiles of one service and profile type. Compaction changes no answer. A block is read back first,
as its readers will; then its object is put, and one transaction of the index adds the block and removes what it
replaces. A run that is cut off leaves at most an object that is not in the index, which a later run deletes. Each
attempt uses its own object key, so of two concurrent attempts at the same members only one commits.

A block that cannot be read back is split. What cannot be compacted stays as it is, and an error is logged.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from profbucket.errors import Damaged, Misconfigured, ProfbucketError, StoragePermissionError, Unavailable
from profbucket.limits import Limits
from profbucket.maintenance.read_back import read_back
from profbucket.maintenance.unneeded import find_unneeded
from profbucket.model import blocks
from profbucket.model.blocks import Block
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import period_task
from profbucket.periods import CompactionPolicy
from profbucket.storage.damage import content_metadata
from profbucket.storage.lookup import BlockReplaced
from profbucket.storage.ports import CommitTooLarge, ExpectedBlocks, ObjectRange, Selection
from profbucket.storage.store import Storage
from profbucket.times import SECOND, format_time

if TYPE_CHECKING:
    from profbucket.pprof.block.build import BlockContent, BuiltBlock

_log = logging.getLogger(__name__)


class Action(StrEnum):
    """The effect of one step of a compaction."""

    COMPACTED = "compacted"  # profiles of the head became a block
    MERGED = "merged"  # blocks became one block
    CONFLICT = "conflict"  # a concurrent run committed first
    DELETED = "deleted"  # an object that no reader needs was deleted
    DEDUPLICATED = "deduplicated"  # entries of profiles that are in a block already were removed


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its action, the key of its object, and the number of profiles in it."""

    action: Action
    object_key: str
    profiles: int


class Lane:
    """The compaction of the profiles of *service* and *profile_type* in *storage*.

    ``errors`` have been logged; what they are about stays as it is. ``is_unfinished`` tells whether to try again,
    because a concurrent run changed something or the storage failed, ``has_replaced`` whether there are objects to
    delete later.
    """

    def __init__(  # noqa: PLR0917
        self,
        storage: Storage,
        service: str,
        profile_type: ProfileType,
        limits: Limits,
        policy: CompactionPolicy,
        clock: Callable[[], int],
    ) -> None:
        self.service = service
        self.type = profile_type
        self.errors: list[Exception] = []
        self.is_unfinished = False
        self.has_replaced = False
        self._storage = storage
        self._bucket = storage.bucket
        self._index = storage.index
        self._lookup = storage.lookup
        self._limits = limits
        self._policy = policy
        self._clock = clock

    def compact_head(self, start: int, end: int) -> Iterator[Step]:
        """Turn the head from *start* to *end* into blocks, as far as its short periods have finished."""
        end = min(end, finished_until(self._policy, self._policy.short, self._clock()) - 1)
        period = self._policy.short * SECOND
        after = None
        while start <= end:
            begin = start
            if end - start >= period:
                # First find the next period, then read its entries: Firestore bills every entry that is read.
                first = self.find_oldest(start, end, after)
                if first is None:
                    return
                begin = first.created_at // period * period
            limit = min(self._limits.block_members, self._index.max_members)
            last = min(begin // period * period + period - 1, end)
            selection = Selection(self.service, self.type, begin, last, after=after, limit=limit)
            entries = list(self._index.find(selection))
            if len(entries) < limit:
                start = last + 1
            if not entries:
                continue
            after = entries[-1].position
            # All commits expect that no other run adds a block: its members may have been posted again since.
            first_at, last_at = entries[0].created_at, entries[-1].created_at
            known = self._index.blocks(self.service, self.type, first_at, last_at)
            try:
                compacted_ids = self._find_compacted(entries, known)
            except BlockReplaced:
                self.is_unfinished = True
                return  # a concurrent run is merging these blocks
            except Damaged as error:
                self._log_error(
                    error,
                    "cannot compact service %s, type %s from %s: %s",
                    self.service,
                    self.type,
                    format_time(begin),
                    error,
                )
                continue  # what is in a block is unknown
            if compacted_ids:
                expected = ExpectedBlocks.among(known, self.service, self.type, first_at, last_at)
                if not self._index.commit(None, compacted_ids, (), expected):
                    self.is_unfinished = True
                    continue  # a concurrent run did the same, or merged the blocks
                yield Step(Action.DEDUPLICATED, entries[0].id, len(compacted_ids))
            yield from self._build_blocks([meta for meta in entries if meta.id not in compacted_ids], known)

    def find_oldest(self, start: int, end: int, after: tuple[int, str] | None = None) -> Meta | None:
        """Return the first entry of the head from *start* to *end*, and after a position."""
        return next(self._index.find(Selection(self.service, self.type, start, end, after=after, limit=1)), None)

    def merge_blocks(self, periods: Sequence[int], start: int, end: int) -> Iterator[Step]:
        """Merge the blocks from *start* to *end* that measure the same, for each of the finished *periods*."""
        known = self._index.blocks(self.service, self.type, start, end)
        for period in periods:
            finished = finished_until(self._policy, period, self._clock())
            candidates = [block for block in known if block.period <= period and block.last < finished]
            for group in _group_by_period(candidates, period):
                for chunk in self._split_by_limits(group):
                    if _may_merge(chunk, period):
                        yield from self._merge_chunk(chunk, period, known)

    def add_merge(self, period: int, at: int) -> None:
        """Add the task that merges the blocks around the time *at* for the next period longer than *period*."""
        for longer in self._policy.levels:
            if longer > period:
                self._index.add_task(period_task(self._policy, self.service, self.type, longer, at))
                return

    def delete_unneeded(self, start: int, end: int) -> Iterator[Step]:
        """Delete the objects of blocks from *start* to *end* that no reader can need any more."""
        latest = self._clock() - self._policy.grace * SECOND
        for object_key in find_unneeded(self._storage, self.service, self.type, start, end, latest):
            self._bucket.delete(object_key)
            yield Step(Action.DELETED, object_key, 0)

    def _find_compacted(self, entries: Sequence[Meta], known: Sequence[Block]) -> set[str]:
        """Return the ids of those *entries* that are in a block of *known*: the profiles were posted again."""
        compacted_ids: set[str] = set()
        for members in self._lookup.read_current_members(known):
            if isinstance(members, Damaged):
                raise members
            if members is not None:
                compacted_ids.update(members.member_ids(entries))
        return compacted_ids

    def _build_blocks(self, entries: Sequence[Meta], known: list[Block]) -> Iterator[Step]:
        """Compact *entries* into as few blocks as possible. Profiles that do not fit into any stay in the head.

        *known* are the blocks that overlap the entries; those that are built are appended.
        """
        remaining = entries
        while remaining:
            built, left_out = self._build_block(remaining)
            if built is None:
                return
            compacted_ids = {meta.id for meta in built.members.metas()}
            members = [meta for meta in remaining if meta.id in compacted_ids]
            remaining = [meta for meta in remaining if meta.id not in compacted_ids and meta.id not in left_out]
            block = built.to_block(self._policy.short, self._clock())
            try:
                read_back(block, built.data, self._limits)
            except ProfbucketError as error:
                yield from self._build_halves(members, known, error)
                continue
            expected = ExpectedBlocks.among(known, block.service, block.type, block.first, block.last)
            try:
                committed = self._write(block, built.data, compacted_ids, (), expected)
            except CommitTooLarge as error:
                yield from self._build_halves(members, known, error)
                continue
            yield Step(Action.COMPACTED if committed else Action.CONFLICT, block.id, block.count)
            if not committed:
                return
            self.add_merge(block.period, block.first)
            known.append(block)

    def _build_halves(self, members: Sequence[Meta], known: list[Block], error: Exception) -> Iterator[Step]:
        """Compact *members* into more than one block, because one block failed with *error*."""
        if len(members) == 1:
            self._log_not_compacted(members[0], error)
            return
        _log.info("%d profiles from %s on do not fit into one block: %s", len(members), members[0].id, error)
        middle = len(members) // 2
        yield from self._build_blocks(members[:middle], known)
        yield from self._build_blocks(members[middle:], known)

    def _build_block(self, entries: Sequence[Meta]) -> "tuple[BuiltBlock | None, Collection[str]]":
        """Build a block of the first of *entries* and all that fit it.

        Return it, unless it would be empty, and the ids of the profiles that cannot be in any block.
        """
        from profbucket.pprof.block.build import BlockBuilder

        builder = BlockBuilder(self._limits)
        left_out = set()
        for meta, data in zip(entries, self._lookup.read_profiles(entries), strict=True):
            if data is None:  # it has expired, and so will its entry
                left_out.add(meta.id)
            elif isinstance(data, Damaged):
                self._log_not_compacted(meta, data)
                left_out.add(meta.id)
            else:
                builder.add(meta, data)
            if builder.is_full:
                break
        built = builder.build()
        for meta, invalid in builder.invalid:
            self._log_not_compacted(meta, invalid)
            left_out.add(meta.id)
        return built, left_out

    def fail(self, error: Exception) -> None:
        """Log an error that ended a part of the compaction."""
        self.is_unfinished |= isinstance(error, Unavailable | StoragePermissionError | Misconfigured)
        known = isinstance(error, ProfbucketError)
        _log.error(
            "cannot compact service %s, type %s: %s",
            self.service,
            self.type,
            error,
            exc_info=None if known else error,
        )
        self.errors.append(error)

    def _log_not_compacted(self, meta: Meta, error: Exception) -> None:
        self._log_error(
            error,
            "service %s, type %s: the profile %s stays in the head, because it cannot be compacted: %s",
            meta.service,
            meta.type,
            meta.id,
            error,
        )

    def _log_error(self, error: Exception, message: str, *args: object) -> None:
        _log.error(message, *args)
        self.errors.append(error)

    def _split_by_limits(self, blocks_to_merge: Sequence[Block]) -> Iterator[list[Block]]:
        """Split blocks into chunks that are each within the limits of one block."""
        chunk: list[Block] = []
        for block in blocks_to_merge:
            extended = [*chunk, block]
            size, count = sum(item.ends[-1] for item in extended), sum(item.count for item in extended)
            if chunk and (size > self._limits.block_bytes or count > self._limits.block):
                yield chunk
                extended = [block]
            chunk = extended
        if chunk:
            yield chunk

    def _merge_chunk(self, chunk: Sequence[Block], period: int, known: list[Block]) -> Iterator[Step]:
        """Merge the blocks of *chunk*; those that cannot be read back as one are merged in halves, or stay.

        In *known*, the result takes their place.
        """
        from profbucket.pprof.block.build import merge_blocks

        contents = self._read_blocks(chunk)
        if len(contents) < len(chunk):
            self.is_unfinished = True
            return  # one has expired, or was merged by a concurrent run
        try:
            built = merge_blocks(contents, self._limits)
            merged = built.to_block(period, self._clock())
            read_back(merged, built.data, self._limits)
        except ProfbucketError as error:
            parts = self._split_unmergeable(contents, error)
            contents.clear()
            for part in parts:
                if len(part) > 1:
                    yield from self._merge_chunk(part, period, known)
            return
        committed = self._write(merged, built.data, (), [block.id for block in chunk])
        if committed:
            self.has_replaced = True
            known[:] = [block for block in known if block not in chunk] + [merged]
        yield Step(Action.MERGED if committed else Action.CONFLICT, merged.id, merged.count)

    def _read_blocks(self, chunk: Sequence[Block]) -> "list[BlockContent]":
        """Return the contents of the blocks in *chunk* that still have an object."""
        from profbucket.pprof.block.build import BlockContent

        contents = self._bucket.get_many([ObjectRange(block.id) for block in chunk])
        return [
            BlockContent(block, data, self._limits)
            for block, data in zip(chunk, contents, strict=True)
            if data is not None
        ]

    def _split_unmergeable(
        self, contents: "Sequence[BlockContent]", error: ProfbucketError
    ) -> Sequence[Sequence[Block]]:
        """Return parts of the blocks *contents*, whose merge failed with *error*, to be merged instead."""
        readable = []
        for content in contents:
            try:
                read_back(content.block, content.data, self._limits)
                readable.append(content.block)
            except ProfbucketError as damage:
                self._log_error(
                    damage, "the block %s stays apart, because it cannot be read: %s", content.block.id, damage
                )
        if len(readable) < len(contents):
            return [readable]
        _log.info("%d blocks from %s on do not fit into one: %s", len(readable), readable[0].id, error)
        middle = len(readable) // 2
        return [readable[:middle], readable[middle:]]

    def _write(
        self,
        block: Block,
        data: bytes,
        members: Collection[str],
        replaced: Collection[str],
        expected: ExpectedBlocks | None = None,
    ) -> bool:
        """Put and commit *block* as :meth:`Index.commit` does; return whether it is in the index."""
        committed = self._put_and_commit(block, data, members, replaced, expected)
        self.is_unfinished |= not committed
        return committed

    def _put_and_commit(
        self,
        block: Block,
        data: bytes,
        members: Collection[str],
        replaced: Collection[str],
        expected: ExpectedBlocks | None,
    ) -> bool:
        self._bucket.put(block.id, data, blocks.to_metadata(block) | content_metadata(data))
        if 2 * (self._clock() - block.written_at) > self._policy.grace * SECOND:
            return False  # too slow: another run may delete the object before the commit
        try:
            committed = self._index.commit(block, members, replaced, expected)
        except CommitTooLarge:
            if not self._lookup.has_block(block):
                raise
            return True
        # A commit is also refused if an earlier attempt of the same call succeeded and its answer was lost.
        return committed or self._lookup.has_block(block)


def finished_until(policy: CompactionPolicy, period: int, clock: int) -> int:
    """Return the end of the last *period* (seconds) that has been over for long enough; in nanoseconds."""
    now = clock - policy.wait * SECOND
    return max(now // (period * SECOND) * period * SECOND, 0)


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
