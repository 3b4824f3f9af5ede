"""Compaction: profiles of the head become blocks, blocks become larger blocks, and what was replaced is deleted.

Nothing that is found changes by it. A block is one object, put first; then one transaction of the index adds it
and removes what it holds. A run that is cut off anywhere leaves at most an object that nobody knows, which a later
run deletes. Each attempt has a key of its own, and of two at the same members one commits.
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
from profbucket.storage.lookup import BlockReplaced
from profbucket.storage.ports import LONGEST, Object, ObjectRange, Selection
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND, format_stamp, format_time

if TYPE_CHECKING:
    from profbucket.pprof.block.build import BuiltBlock

_log = logging.getLogger("profbucket")


class Action(StrEnum):
    """What a step of a compaction has done."""

    COMPACTED = "compacted"  # profiles of the head are a block
    MERGED = "merged"  # blocks are one block
    CONFLICT = "conflict"  # another run was quicker
    DELETED = "deleted"  # an object is gone that nothing needed
    DEDUPLICATED = "deduplicated"  # entries are gone of profiles that were posted again and are in a block


@dataclass(frozen=True, slots=True)
class Step:
    """One step: so many *profiles* are concerned, and *key* is the object's."""

    deed: Action
    key: str
    profiles: int


class Compactor:
    """Compacts *storage*. *clock* gives nanoseconds since 1970, *timer* counts seconds."""

    def __init__(
        self,
        storage: Storage,
        limits: Limits = Limits(),
        periods: CompactionPolicy = CompactionPolicy(),
        clock: Callable[[], int] = time.time_ns,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket = storage.bucket
        self._index = storage.index
        self._storage = storage
        self._limits = limits
        self._periods = periods
        self._clock = clock
        self._timer = timer
        self.complete = True  # whether the last run came to its end

    def run(self, seconds: float | None = None, service: str | None = None) -> Iterator[Step]:
        """Yield each step once it is done, of *service* or of all, as long as there is something to do.

        After so many *seconds* no step is begun any more; the next run goes on. All services and types take turns,
        in another order each time, so that a long one does not keep the others waiting.
        """
        end = None if seconds is None else self._timer() + seconds
        services = self._storage.services() if service is None else [service]
        lanes = [self._lane(name, kind) for name in services for kind in ProfileType if kind.is_pprof]
        random.shuffle(lanes)
        waiting = deque(lanes)
        while waiting and (end is None or self._timer() < end):
            lane = waiting.popleft()
            if (step := next(lane, None)) is not None:
                yield step
                waiting.append(lane)
        self.complete = not waiting

    def _lane(self, service: str, kind: ProfileType) -> Iterator[Step]:
        """All there is to do for one service and type."""
        yield from self._compact(service, kind)
        yield from self._unite(service, kind)
        yield from self._sweep(service, kind)

    def _compact(self, service: str, kind: ProfileType) -> Iterator[Step]:
        """Make blocks of the head's finished periods."""
        end = self._over(self._periods.short) - 1
        period = self._periods.short * SECOND
        after = None
        while True:
            # Which period is next, and then what is in it: each entry that is read is paid for.
            first = next(self._index.find(Selection(service, kind, 0, end, after=after, limit=1)), None)
            if first is None:
                return
            begin = first.created_at // period * period
            limit = self._limits.block_members
            selection = Selection(service, kind, begin, begin + period - 1, after=after, limit=limit)
            members = list(self._index.find(selection))
            after = members[-1].position if members else first.position
            if not members:
                continue  # another run was quicker
            try:
                known = self._already_in_blocks(service, kind, members)
            except BlockReplaced:
                return  # another run is at it
            if known:
                self._index.remove(known)
                yield Step(Action.DEDUPLICATED, members[0].id, len(known))
            left: Sequence[Meta] = [meta for meta in members if meta.id not in known]
            while left:
                taken, left = self._take(left)
                if taken is None:
                    break
                yield taken

    def _already_in_blocks(self, service: str, kind: ProfileType, members: Sequence[Meta]) -> set[str]:
        """The ids of those *members* that a block holds already: posted again after it was made."""
        there = self._index.blocks(service, kind, members[0].created_at, members[-1].created_at)
        return {one for listed in self._storage.live_lists(there) if listed for one in listed.member_ids(members)}

    def _take(self, members: Sequence[Meta]) -> tuple[Step | None, Sequence[Meta]]:
        """Make a block of the first of *members* and all that fit it; return the others, too."""
        from profbucket.pprof.block.build import BlockBuilder

        builder = BlockBuilder(self._limits)
        keys = [ObjectRange(ProfileId.parse(meta.id).object_key) for meta in members]
        for meta, data in zip(members, self._bucket.get_many(keys), strict=True):
            if data is not None:  # else it has expired: its entry goes soon
                builder.add(meta, data)
            if builder.is_full:
                break
        built = builder.build()
        if built is None:
            return None, ()
        ids = {meta.id for meta in built.members.metas()}
        block, done = self._write(built, self._periods.short, ids, ())
        step = Step(Action.COMPACTED if done else Action.CONFLICT, block.id, block.count)
        return step, [meta for meta in members if meta.id not in ids] if done else ()

    def _unite(self, service: str, kind: ProfileType) -> Iterator[Step]:
        """Make one block of those of each finished long period."""
        period = self._periods.long * SECOND
        there = self._index.blocks(service, kind, 0, self._over(self._periods.long) - 1)
        there.sort(key=lambda block: (block.first // period, block.measures, *block.position))
        for (number, _), some in groupby(there, lambda block: (block.first // period, block.measures)):
            group = [block for block in some if block.last < (number + 1) * period]
            for chunk in self._chunks(group):
                if len(chunk) > 1:
                    yield from self._unite_one(chunk)

    def _chunks(self, group: Sequence[Block]) -> Iterator[list[Block]]:
        """Part *group* so that each part is within the caps of a block."""
        chunk: list[Block] = []
        for block in group:
            more = [*chunk, block]
            size, count = sum(one.ends[-1] for one in more), sum(one.count for one in more)
            if chunk and (size > self._limits.block_bytes or count > self._limits.block):
                yield chunk
                more = [block]
            chunk = more
        if chunk:
            yield chunk

    def _unite_one(self, chunk: Sequence[Block]) -> Iterator[Step]:
        from profbucket.pprof.block.build import BlockContent, merge_blocks

        contents = []
        for block, data in zip(
            chunk, self._bucket.get_many([ObjectRange(block.id) for block in chunk]), strict=True
        ):
            if data is not None:
                contents.append(BlockContent(block, data, self._limits))
        if len(contents) < len(chunk):
            return  # one has expired, or is part of another by now
        try:
            built = merge_blocks(contents, self._limits)
        except Invalid as error:
            _log.error("blocks of %s stay apart: %s", format_time(chunk[0].first), error)
            return
        block, done = self._write(built, self._periods.long, (), [one.id for one in chunk])
        yield Step(Action.MERGED if done else Action.CONFLICT, block.id, block.count)

    def _write(
        self, built: "BuiltBlock", period: int, members: Collection[str], replaced: Collection[str]
    ) -> tuple[Block, bool]:
        """Store a block, and return its record and whether it is in the index now."""
        block = built.to_block(period, self._clock())
        self._bucket.put(block.id, built.data, blocks.to_metadata(block))
        if 2 * (self._clock() - block.written_at) > self._periods.grace * SECOND:
            return block, False  # we were held up, and it may be deleted before it is known
        done = self._index.commit(block, members, replaced)
        # Refused also where an attempt of our own has done it, and its answer was lost.
        return block, done or self._storage.has(block)

    def _sweep(self, service: str, kind: ProfileType) -> Iterator[Step]:
        """Delete the objects of blocks that no reader can need any more."""
        below, since = block_prefix(service, kind), self._sweep_from()
        needed = None
        for there in self._bucket.list(f"{below}{format_stamp(since)}", f"{below[:-1]}0"):
            if needed is None:
                needed = self._index.blocks(service, kind, since, LATEST)
            if not any(block.id == there.key for block in needed) and self._is_left(there, needed):
                self._bucket.delete(there.key)
                yield Step(Action.DELETED, there.key, 0)

    def _sweep_from(self) -> int:
        """Since when blocks are looked at: each is paid for, and what is left over is nearly always of late."""
        now, long = self._over(self._periods.short), self._periods.long * SECOND
        return 0 if now % long == 0 else max(now - LONGEST - 2 * long, 0)

    def _is_left(self, there: Object, needed: Sequence[Block]) -> bool:
        """Whether nobody knows this block any more, and has not for a while.

        What replaced it holds its members and has therefore overlapped it, as long as that has been there.
        """
        latest = self._clock() - self._periods.grace * SECOND
        try:
            metadata = there.metadata if there.metadata is not None else self._bucket.stat(there.key).metadata
            block = blocks.from_metadata(there.key, metadata or {})
        except (NotFound, Invalid):
            return False
        return block.written_at < latest and all(
            other.written_at < latest for other in needed if other.overlaps(block.first, block.last)
        )

    def _over(self, period: int) -> int:
        """The end of the last period that has been over for long enough, in nanoseconds."""
        now = self._clock() - self._periods.wait * SECOND
        return max(now // (period * SECOND) * period * SECOND, 0)
