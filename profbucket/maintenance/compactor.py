"""Compaction: profiles of the head become blocks, blocks become larger blocks, replaced objects are deleted.

Compaction changes no answer. A block is read back first, as its readers will; then its object is put, and one
transaction of the index adds the block and removes what it replaces. A run that is cut off leaves at most an
object that is not in the index, which a later run deletes. Each attempt uses its own object key, so of two
concurrent attempts at the same members only one commits.

A block that cannot be read back is split. What cannot be compacted stays as it is; an error is logged, and the
run goes on with the next service and profile type.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from profbucket.errors import (
    Damaged,
    Invalid,
    Misconfigured,
    NotFound,
    ProfbucketError,
    StoragePermissionError,
    Unavailable,
)
from profbucket.limits import Limits
from profbucket.maintenance.read_back import read_back
from profbucket.model import blocks
from profbucket.model.blocks import Block, Members
from profbucket.model.ids import ProfileName, block_prefix
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.storage.damage import content_metadata
from profbucket.storage.listing import list_folders, list_prefix, with_metadata
from profbucket.storage.lookup import BlockReplaced
from profbucket.storage.ports import (
    MAX_BLOCK_NANOS,
    CommitTooLarge,
    ExpectedBlocks,
    Object,
    ObjectRange,
    Selection,
)
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND, format_time, read_clock

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


class Compactor:
    """Compaction of *storage*. *clock* returns nanoseconds since 1970, *timer* returns seconds."""

    def __init__(
        self,
        storage: Storage,
        limits: Limits = Limits(),
        policy: CompactionPolicy = CompactionPolicy(),
        clock: Callable[[], int] = read_clock,
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
        self.failed = 0  # errors of the last run, each of which was logged

    def run(self, seconds: float | None = None, service: str | None = None) -> Iterator[Step]:
        """Compact one *service* or all, and yield each step once it is done.

        No step begins after that many *seconds*; the next run continues. Services and profile types take turns, in
        random order, so that a large one does not delay the others. An error ends only the work on its own service
        and profile type.
        """
        self.failed = 0
        deadline = None if seconds is None else self._timer() + seconds
        services = self._index.services() if service is None else [service]
        random.shuffle(services)
        queue: deque[str | Iterator[Step]] = deque(services)
        while queue and (deadline is None or self._timer() < deadline):
            task = queue.popleft()
            if isinstance(task, str):
                queue.extendleft(self._run_task(task, profile_type) for profile_type in self._list_types(task))
            elif (step := next(task, None)) is not None:
                yield step
                queue.append(task)
        self.complete = not queue

    def _list_types(self, service: str) -> list[ProfileType]:
        """Return the profile types of *service* that have entries or objects of blocks, in random order."""
        try:
            profile_types = set(self._index.profile_types(service))
            for folder in list_folders(self._bucket, block_prefix(service)):
                with suppress(ValueError):  # not written by profbucket
                    profile_types.add(ProfileType(folder))
        except ProfbucketError as error:
            self._log_failure("cannot list the profile types of service %s: %s", service, error)
            return []
        except Exception:  # noqa: BLE001 - as below
            _log.exception("cannot list the profile types of service %s", service)
            self.failed += 1
            return []
        mergeable = [profile_type for profile_type in profile_types if profile_type.is_pprof]
        random.shuffle(mergeable)
        return mergeable

    def _run_task(self, service: str, profile_type: ProfileType) -> Iterator[Step]:
        """Do all steps for one service and profile type, as far as its stored data permit."""
        for steps in (self._compact_head, self._merge_blocks, self._delete_unneeded):
            try:
                yield from steps(service, profile_type)
            except (Unavailable, StoragePermissionError, Misconfigured) as error:
                self._log_failure("cannot compact service %s, type %s: %s", service, profile_type, error)
                return
            except ProfbucketError as error:
                self._log_failure("cannot compact service %s, type %s: %s", service, profile_type, error)
            except Exception:  # noqa: BLE001 - unforeseen damage must not keep the others from being compacted
                _log.exception("cannot compact service %s, type %s", service, profile_type)
                self.failed += 1

    def _log_failure(self, message: str, *args: object) -> None:
        _log.error(message, *args)
        self.failed += 1

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
            limit = min(self._limits.block_members, self._index.max_members)
            selection = Selection(service, profile_type, begin, begin + period - 1, after=after, limit=limit)
            entries = list(self._index.find(selection))
            after = entries[-1].position if entries else first.position
            if not entries:
                continue  # a concurrent run compacted them
            # All commits expect that no other run adds a block: its members may have been posted again since.
            first_at, last_at = entries[0].created_at, entries[-1].created_at
            known = self._index.blocks(service, profile_type, first_at, last_at)
            try:
                compacted_ids = self._find_compacted(entries, known)
            except BlockReplaced:
                return  # a concurrent run is merging these blocks
            except Damaged as error:
                self._log_failure(
                    "cannot compact service %s, type %s from %s: %s",
                    service,
                    profile_type,
                    format_time(begin),
                    error,
                )
                continue  # what is in a block is unknown
            if compacted_ids:
                expected = ExpectedBlocks.among(known, service, profile_type, first_at, last_at)
                if not self._index.commit(None, compacted_ids, (), expected):
                    continue  # a concurrent run did the same, or merged the blocks
                yield Step(Action.DEDUPLICATED, entries[0].id, len(compacted_ids))
            yield from self._build_blocks([meta for meta in entries if meta.id not in compacted_ids], known)

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

    def _log_not_compacted(self, meta: Meta, error: object) -> None:
        self._log_failure(
            "service %s, type %s: the profile %s stays in the head, because it cannot be compacted: %s",
            meta.service,
            meta.type,
            meta.id,
            error,
        )

    def _merge_blocks(self, service: str, profile_type: ProfileType) -> Iterator[Step]:
        """Merge the blocks of each finished long period that measure the same."""
        period = self._policy.long * SECOND
        finished = self._index.blocks(service, profile_type, 0, self._finished_until(self._policy.long) - 1)
        finished.sort(key=lambda block: (block.first // period, block.measures, *block.position))
        for (number, _), group in groupby(finished, lambda block: (block.first // period, block.measures)):
            within_period = [block for block in group if block.last < (number + 1) * period]
            for chunk in self._split_by_limits(within_period):
                if self._may_merge(chunk):
                    yield from self._merge_chunk(chunk)

    def _may_merge(self, chunk: Sequence[Block]) -> bool:
        """Return whether *chunk* has several blocks, and one of them has not been tried yet.

        A block of a short period that is older than one of a long period was left out when that was made.
        """
        tried_at = max((block.written_at for block in chunk if block.period >= self._policy.long), default=0)
        return len(chunk) > 1 and any(
            block.period < self._policy.long and block.written_at >= tried_at for block in chunk
        )

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
        """Merge the blocks of *chunk*; those that cannot be read back as one are merged in halves, or stay."""
        from profbucket.pprof.block.build import merge_blocks

        contents = self._read_blocks(chunk)
        if len(contents) < len(chunk):
            return  # one has expired, or was merged by a concurrent run
        try:
            built = merge_blocks(contents, self._limits)
            merged = built.to_block(self._policy.long, self._clock())
            read_back(merged, built.data, self._limits)
        except ProfbucketError as error:
            parts = self._split_unmergeable(contents, error)
            contents.clear()
            for part in parts:
                if len(part) > 1:
                    yield from self._merge_chunk(part)
            return
        committed = self._write(merged, built.data, (), [block.id for block in chunk])
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
                self._log_failure(
                    "the block %s stays apart, because it cannot be read: %s", content.block.id, damage
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

    def _delete_unneeded(self, service: str, profile_type: ProfileType) -> Iterator[Step]:
        """Delete the objects of blocks that no reader can need any more."""
        since = self._delete_since()
        indexed = None
        names_by_id: dict[str, set[ProfileName]] = {}
        for obj in list_prefix(self._bucket, block_prefix(service, profile_type), since):
            if indexed is None:
                indexed = self._index.blocks(service, profile_type, since, LATEST)
            if not any(block.id == obj.key for block in indexed) and self._is_unneeded(obj, indexed, names_by_id):
                self._bucket.delete(obj.key)
                yield Step(Action.DELETED, obj.key, 0)

    def _delete_since(self) -> int:
        """Return the time from which blocks are listed.

        Listing is billed per object, and unneeded blocks are nearly always recent: once a day all are listed.
        """
        now, long = self._finished_until(self._policy.short), self._policy.long * SECOND
        return 0 if now % long == 0 else max(now - MAX_BLOCK_NANOS - 2 * long, 0)

    def _is_unneeded(
        self, obj: Object, indexed: Sequence[Block], names_by_id: dict[str, set[ProfileName]]
    ) -> bool:
        """Return whether a block that is not in the index has been replaced for a grace period.

        Its replacement has the same members and so overlaps it: all overlapping blocks must be older than that.
        *names_by_id* caches the members of blocks.
        """
        latest = self._clock() - self._policy.grace * SECOND
        try:
            block = blocks.from_metadata(obj.key, with_metadata(self._bucket, obj).metadata or {})
        except (NotFound, Invalid, Damaged):
            return False
        overlapping = [other for other in indexed if other.overlaps(block.first, block.last)]
        if block.written_at >= latest or any(other.written_at >= latest for other in overlapping):
            return False
        unread = [other for other in (block, *overlapping) if other.id not in names_by_id]
        for other, members in zip(unread, self._lookup.read_members(unread), strict=True):
            names_by_id[other.id] = set(members.names()) if isinstance(members, Members) else set()
        return _is_replaced(names_by_id.pop(block.id), [names_by_id[other.id] for other in overlapping])

    def _finished_until(self, period: int) -> int:
        """Return the end of the last period, in seconds, that has been over for long enough; in nanoseconds."""
        now = self._clock() - self._policy.wait * SECOND
        return max(now // (period * SECOND) * period * SECOND, 0)


def _is_replaced(names: Set[ProfileName], others: Sequence[Set[ProfileName]]) -> bool:
    """Return whether a block with the members *names* is no longer needed: *others* are those in the index.

    They must have all its members. A block that is not in the index, whose members are in no other, may be about
    to be committed by a run whose clock is behind, or be the last copy, because the index was lost. One that has
    exactly the members of several blocks may be about to replace them.
    """
    sharing = [other for other in others if not other.isdisjoint(names)]
    union = set[ProfileName]().union(*sharing)
    return bool(names) and names <= union and (len(sharing) == 1 or names != union)
