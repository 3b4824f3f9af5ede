"""Compaction: profiles of the head become blocks, blocks become larger blocks, replaced objects are deleted.

Compaction changes no answer. A block is one object, which is put first; then one transaction of the index adds
the block and removes what it replaces. A run that is cut off leaves at most an object that is not in the index,
which a later run deletes. Each attempt uses its own object key, so of two concurrent attempts at the same members
only one commits.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from profbucket.errors import Invalid, NotFound
from profbucket.limits import Limits
from profbucket.model import blocks
from profbucket.model.blocks import Block
from profbucket.model.ids import ProfileId, block_prefix
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.storage.listing import list_prefix, with_metadata
from profbucket.storage.lookup import BlockReplaced
from profbucket.storage.ports import MAX_BLOCK_NANOS, Object, ObjectRange, Selection
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND, format_time

if TYPE_CHECKING:
    from profbucket.pprof.block.build import BuiltBlock

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


class Compactor:
    """Compaction of *storage*. *clock* returns nanoseconds since 1970, *timer* returns seconds."""

    def __init__(
        self,
        storage: Storage,
        limits: Limits = Limits(),
        policy: CompactionPolicy = CompactionPolicy(),
        clock: Callable[[], int] = time.time_ns,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket = storage.bucket
        self._index = storage.index
        self._lookup = storage.lookup
        self._limits = limits
        self._policy = policy
        self._clock = clock
        self._timer = timer
        self.complete = True  # whether the last run had time for everything

    def run(self, seconds: float | None = None, service: str | None = None) -> Iterator[Step]:
        """Compact one *service* or all, and yield each step once it is done.

        No step begins after that many *seconds*; the next run continues. Services and profile types take turns, in
        random order, so that a large one does not delay the others.
        """
        deadline = None if seconds is None else self._timer() + seconds
        services = self._index.services() if service is None else [service]
        tasks = [
            self._run_task(name, profile_type)
            for name in services
            for profile_type in ProfileType
            if profile_type.is_pprof
        ]
        random.shuffle(tasks)
        queue = deque(tasks)
        while queue and (deadline is None or self._timer() < deadline):
            task = queue.popleft()
            if (step := next(task, None)) is not None:
                yield step
                queue.append(task)
        self.complete = not queue

    def _run_task(self, service: str, profile_type: ProfileType) -> Iterator[Step]:
        """Do all steps for one service and profile type."""
        yield from self._compact_head(service, profile_type)
        yield from self._merge_blocks(service, profile_type)
        yield from self._delete_unneeded(service, profile_type)

    def _compact_head(self, service: str, profile_type: ProfileType) -> Iterator[Step]:
        """Turn the head of each finished short period into blocks."""
        end = self._finished_until(self._policy.short) - 1
        period = self._policy.short * SECOND
        after = None
        while True:
            # First find the next period, then read its entries: Firestore bills every entry that is read.
            first = next(self._index.find(Selection(service, profile_type, 0, end, after=after, limit=1)), None)
            if first is None:
                return
            begin = first.created_at // period * period
            limit = self._limits.block_members
            selection = Selection(service, profile_type, begin, begin + period - 1, after=after, limit=limit)
            entries = list(self._index.find(selection))
            after = entries[-1].position if entries else first.position
            if not entries:
                continue  # a concurrent run compacted them
            try:
                compacted_ids = self._find_compacted(service, profile_type, entries)
            except BlockReplaced:
                return  # a concurrent run is merging these blocks
            if compacted_ids:
                self._index.remove(compacted_ids)
                yield Step(Action.DEDUPLICATED, entries[0].id, len(compacted_ids))
            remaining: Sequence[Meta] = [meta for meta in entries if meta.id not in compacted_ids]
            while remaining:
                step, remaining = self._build_block(remaining)
                if step is None:
                    break
                yield step

    def _find_compacted(self, service: str, profile_type: ProfileType, entries: Sequence[Meta]) -> set[str]:
        """Return the ids of those *entries* that are in a block: the profiles were posted again."""
        overlapping = self._index.blocks(service, profile_type, entries[0].created_at, entries[-1].created_at)
        member_lists = self._lookup.read_current_members(overlapping)
        return {profile_id for members in member_lists if members for profile_id in members.member_ids(entries)}

    def _build_block(self, entries: Sequence[Meta]) -> tuple[Step | None, Sequence[Meta]]:
        """Build a block of the first of *entries* and all that fit it; return the step and the entries left."""
        from profbucket.pprof.block.build import BlockBuilder

        builder = BlockBuilder(self._limits)
        ranges = [ObjectRange(ProfileId.parse(meta.id).object_key) for meta in entries]
        for meta, data in zip(entries, self._bucket.get_many(ranges), strict=True):
            if data is not None:  # otherwise it has expired, and so will its entry
                builder.add(meta, data)
            if builder.is_full:
                break
        built = builder.build()
        if built is None:
            return None, ()
        ids = {meta.id for meta in built.members.metas()}
        block, committed = self._write(built, self._policy.short, ids, ())
        step = Step(Action.COMPACTED if committed else Action.CONFLICT, block.id, block.count)
        return step, [meta for meta in entries if meta.id not in ids] if committed else ()

    def _merge_blocks(self, service: str, profile_type: ProfileType) -> Iterator[Step]:
        """Merge the blocks of each finished long period that measure the same."""
        period = self._policy.long * SECOND
        finished = self._index.blocks(service, profile_type, 0, self._finished_until(self._policy.long) - 1)
        finished.sort(key=lambda block: (block.first // period, block.measures, *block.position))
        for (number, _), group in groupby(finished, lambda block: (block.first // period, block.measures)):
            within_period = [block for block in group if block.last < (number + 1) * period]
            for chunk in self._split_by_limits(within_period):
                if len(chunk) > 1:
                    yield from self._merge_chunk(chunk)

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

    def _merge_chunk(self, chunk: Sequence[Block]) -> Iterator[Step]:
        from profbucket.pprof.block.build import BlockContent, merge_blocks

        contents = []
        ranges = [ObjectRange(block.id) for block in chunk]
        for block, data in zip(chunk, self._bucket.get_many(ranges), strict=True):
            if data is not None:
                contents.append(BlockContent(block, data, self._limits))
        if len(contents) < len(chunk):
            return  # one has expired, or was merged by a concurrent run
        try:
            built = merge_blocks(contents, self._limits)
        except Invalid as error:
            _log.error("cannot merge the blocks of %s: %s", format_time(chunk[0].first), error)
            return
        block, committed = self._write(built, self._policy.long, (), [block.id for block in chunk])
        yield Step(Action.MERGED if committed else Action.CONFLICT, block.id, block.count)

    def _write(
        self, built: "BuiltBlock", period: int, members: Collection[str], replaced: Collection[str]
    ) -> tuple[Block, bool]:
        """Put and commit a block; return its record and whether it is in the index."""
        block = built.to_block(period, self._clock())
        self._bucket.put(block.id, built.data, blocks.to_metadata(block))
        if 2 * (self._clock() - block.written_at) > self._policy.grace * SECOND:
            return block, False  # too slow: another run may delete the object before the commit
        committed = self._index.commit(block, members, replaced)
        # A commit is also refused if an earlier attempt of the same call succeeded and its answer was lost.
        return block, committed or self._lookup.has_block(block)

    def _delete_unneeded(self, service: str, profile_type: ProfileType) -> Iterator[Step]:
        """Delete the objects of blocks that no reader can need any more."""
        since = self._delete_since()
        indexed = None
        for obj in list_prefix(self._bucket, block_prefix(service, profile_type), since):
            if indexed is None:
                indexed = self._index.blocks(service, profile_type, since, LATEST)
            if not any(block.id == obj.key for block in indexed) and self._is_unneeded(obj, indexed):
                self._bucket.delete(obj.key)
                yield Step(Action.DELETED, obj.key, 0)

    def _delete_since(self) -> int:
        """Return the time from which blocks are listed.

        Listing is billed per object, and unneeded blocks are nearly always recent: once a day all are listed.
        """
        now, long = self._finished_until(self._policy.short), self._policy.long * SECOND
        return 0 if now % long == 0 else max(now - MAX_BLOCK_NANOS - 2 * long, 0)

    def _is_unneeded(self, obj: Object, indexed: Sequence[Block]) -> bool:
        """Return whether a block that is not in the index was replaced, or abandoned, a grace period ago.

        Its replacement has the same members and so overlaps it: all overlapping blocks must be older than that.
        """
        latest = self._clock() - self._policy.grace * SECOND
        try:
            block = blocks.from_metadata(obj.key, with_metadata(self._bucket, obj).metadata or {})
        except (NotFound, Invalid):
            return False
        return block.written_at < latest and all(
            other.written_at < latest for other in indexed if other.overlaps(block.first, block.last)
        )

    def _finished_until(self, period: int) -> int:
        """Return the end of the last period, in seconds, that has been over for long enough; in nanoseconds."""
        now = self._clock() - self._policy.wait * SECOND
        return max(now // (period * SECOND) * period * SECOND, 0)
