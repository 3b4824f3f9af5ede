"""Lanes of compaction, alone or together; a lane is all profiles of one service and profile type.

Compaction changes no answer. The object of a block is put, and one transaction of the index adds the block and
removes what it replaces. A run that is cut off leaves at most an object that is not in the index, which a later
run deletes. Each attempt uses its own object key, so of two concurrent attempts at the same members one commits.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from profbucket.errors import Misconfigured, ProfbucketError, StoragePermissionError, Unavailable, detach
from profbucket.limits import Limits
from profbucket.maintenance.unneeded import find_unneeded
from profbucket.model import blocks
from profbucket.model.blocks import Block
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import period_task
from profbucket.periods import CompactionPolicy
from profbucket.storage.damage import content_metadata
from profbucket.storage.ports import Change, CommitTooLarge, Selection
from profbucket.storage.store import Storage
from profbucket.times import SECOND

_log = logging.getLogger(__name__)


class Action(StrEnum):
    """The effect of one step of a compaction."""

    COMPACTED = "compacted"  # profiles of the head became a block
    MERGED = "merged"  # blocks became one block
    CONFLICT = "conflict"  # a concurrent run committed first
    DELETED = "deleted"  # an object that no reader needs was deleted
    DEDUPLICATED = "deduplicated"  # entries of profiles that are in a block already were removed
    EXPORTED = "exported"  # the samples of a day became a table


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its action, the key of its object, and the number of profiles in it.

    ``with_next`` tells that the next step was done in the same transaction.
    """

    action: Action
    object_key: str
    profiles: int
    with_next: bool = False


class Compaction(ABC):
    """The compaction of a lane of *service* in *storage*, or of all its lanes together; ``type`` is ``None`` then.

    ``errors`` have been logged; what they are about stays as it is. ``has_failed`` tells whether one of them ended
    a part of the compaction. ``is_unfinished`` tells whether to try again, because a concurrent run changed
    something or the storage failed, ``has_replaced`` whether there are objects to delete later,
    ``has_failed_exports`` whether to export samples again later. ``oldest_left`` is the time of the oldest profile
    that could not be compacted, as far as it is known.
    """

    type: ProfileType | None

    def __init__(
        self,
        storage: Storage,
        service: str,
        limits: Limits,
        policy: CompactionPolicy,
        clock: Callable[[], int],
    ) -> None:
        self.service = service
        self.errors: list[Exception] = []
        self.has_failed = False
        self.is_unfinished = False
        self.has_replaced = False
        self.has_failed_exports = False
        self.oldest_left: int | None = None
        self.storage = storage
        self.bucket = storage.bucket
        self.index = storage.index
        self.lookup = storage.lookup
        self.limits = limits
        self.policy = policy
        self.clock = clock

    @abstractmethod
    def lane_of(self, profile_type: ProfileType) -> "Lane":
        """Return the lane that compacts the profiles of *profile_type*."""

    @abstractmethod
    def list_parts(self) -> "Sequence[Compaction]":
        """Return what may have errors and work left: the compaction itself, and its lanes."""

    def find_oldest(self, start: int, end: int, after: tuple[int, str] | None = None) -> Meta | None:
        """Return the first entry of the head from *start* to *end*, and after a position."""
        return next(self.index.find(Selection(self.service, self.type, start, end, after=after, limit=1)), None)

    def fail(self, error: Exception) -> None:
        """Log an error that ended a part of the compaction."""
        self.has_failed = True
        self.is_unfinished |= isinstance(error, Unavailable | StoragePermissionError | Misconfigured)
        known = isinstance(error, ProfbucketError)
        _log.error(
            "cannot compact service %s, type %s: %s",
            self.service,
            self.type,
            error,
            exc_info=None if known else error,
        )
        self.errors.append(detach(error))  # which would hold what was being compacted

    def log_error(self, error: Exception, message: str, *args: object, exc_info: Exception | None = None) -> None:
        """Log an error of a profile or block, which stays as it is."""
        _log.error(message, *args, exc_info=exc_info)
        self.errors.append(detach(error))


class Lane(Compaction):
    """The compaction of the profiles of *service* and *profile_type* in *storage*."""

    type: ProfileType

    def __init__(  # noqa: PLR0917
        self,
        storage: Storage,
        service: str,
        profile_type: ProfileType,
        limits: Limits,
        policy: CompactionPolicy,
        clock: Callable[[], int],
    ) -> None:
        super().__init__(storage, service, limits, policy, clock)
        self.type = profile_type

    def lane_of(self, profile_type: ProfileType) -> "Lane":
        return self

    def list_parts(self) -> Sequence[Compaction]:
        return [self]

    def add_merge(self, period: int, at: int) -> None:
        """Add the task that merges the blocks around the time *at* for the next period longer than *period*."""
        for longer in self.policy.levels:
            if longer > period:
                self.index.add_task(period_task(self.policy, self.service, self.type, longer, at))
                return

    def delete_unneeded(self, start: int, end: int) -> Iterator[Step]:
        """Delete the objects of blocks from *start* to *end* that no reader can need any more."""
        latest = self.clock() - self.policy.grace * SECOND
        for object_key in find_unneeded(self.storage, self.service, self.type, start, end, latest):
            self.bucket.delete(object_key)
            yield Step(Action.DELETED, object_key, 0)

    def fail_export(self, error: Exception, subject: str) -> None:
        """Log an error of the export of *subject*, which is tried again later."""
        self.has_failed_exports = True
        self.log_error(
            error,
            "cannot export %s of service %s, type %s: %s",
            subject,
            self.service,
            self.type,
            error,
            exc_info=None if isinstance(error, ProfbucketError) else error,
        )

    def put(self, block: Block, data: bytes) -> None:
        """Put the object of *block*, which :meth:`commit` then adds to the index."""
        self.bucket.put(block.id, data, blocks.to_metadata(block) | content_metadata(data))

    def is_too_slow(self, block: Block) -> bool:
        """Return whether another run may delete the object of *block* before it is committed."""
        return 2 * (self.clock() - block.written_at) > self.policy.grace * SECOND

    def commit(self, block: Block, change: Change) -> bool:
        """Commit *change*, which adds *block*, as :meth:`Index.commit` does; return whether it is in the index."""
        committed = not self.is_too_slow(block) and self._commit(block, change)
        self.is_unfinished |= not committed
        return committed

    def _commit(self, block: Block, change: Change) -> bool:
        try:
            committed = self.index.commit(change)
        except CommitTooLarge:
            if not self.lookup.has_block(block):
                raise
            return True
        # A commit is also refused if an earlier attempt of the same call succeeded and its answer was lost.
        return committed or self.lookup.has_block(block)


class JointCompaction(Compaction):
    """The compaction of all lanes of *service* together; each is added once one of its profiles is found."""

    type: None = None

    def __init__(
        self,
        storage: Storage,
        service: str,
        limits: Limits,
        policy: CompactionPolicy,
        clock: Callable[[], int],
    ) -> None:
        super().__init__(storage, service, limits, policy, clock)
        self._lanes: dict[ProfileType, Lane] = {}

    def lane_of(self, profile_type: ProfileType) -> Lane:
        if profile_type not in self._lanes:
            self._lanes[profile_type] = Lane(
                self.storage, self.service, profile_type, self.limits, self.policy, self.clock
            )
        return self._lanes[profile_type]

    def list_parts(self) -> Sequence[Compaction]:
        return [self, *self.lanes]

    @property
    def lanes(self) -> Sequence[Lane]:
        """The lanes that have been added."""
        return list(self._lanes.values())


def finished_until(policy: CompactionPolicy, period: int, now: int) -> int:
    """Return the end of the last *period* (seconds) that has been over for long enough; in nanoseconds."""
    latest = now - policy.wait * SECOND
    return max(latest // (period * SECOND) * period * SECOND, 0)
