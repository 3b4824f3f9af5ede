"""The ports of a storage backend: a bucket, an index and a queue.

The protocols list the calls that profbucket makes and nothing else. A backend translates calls and errors; object
keys, ids, idempotence and limits are the callers' concern. Every call may come from several threads and processes
at once.

Besides the errors in its docstring, every call may raise ``Unavailable`` (the same call may succeed later) and
``StoragePermissionError`` (the message names the missing permission).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from profbucket import periods
from profbucket.errors import NotFound, StoragePermissionError, Unavailable
from profbucket.model.blocks import Block, Members
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import Series, SeriesGroup
from profbucket.model.tasks import Task
from profbucket.times import LATEST, SECOND

__all__ = [
    "MAX_BLOCK_NANOS",
    "Bucket",
    "Change",
    "CommitTooLarge",
    "ExpectedBlocks",
    "Index",
    "NotFound",
    "Object",
    "ObjectRange",
    "Selection",
    "Series",
    "SeriesGroup",
    "SeriesSelection",
    "StoragePermissionError",
    "TaskQueue",
    "Unavailable",
    "to_columns",
]

MAX_BLOCK_NANOS = periods.MAX_PERIOD_SECONDS * SECOND  # from the first to the last member of a block


@dataclass(frozen=True, slots=True)
class Object:
    """An object without its content, ``size`` in bytes.

    ``metadata`` is ``None`` in the listing of a bucket that does not list metadata; :meth:`Bucket.stat` has it.
    """

    key: str
    size: int
    metadata: Mapping[str, str] | None = None


class ObjectRange(NamedTuple):
    """The bytes from *begin* up to *end*, exclusive, of an object; at least one. Without *end* up to its last."""

    key: str
    begin: int = 0
    end: int | None = None


class Bucket(Protocol):
    """Objects by key.

    A key consists of segments of letters, digits and ``.-_~=``, joined by ``/``. It has at most 1,024 bytes, a
    segment at most 248; no segment begins with a dot. Metadata are ASCII texts under lower-case names, 2 KB in
    all.

    Callers rely on two properties: an object exists completely or not at all, and once :meth:`put` or
    :meth:`replace` has returned, the object is durable and visible to every later call.
    """

    def put(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        """Create an object and return ``True``; return ``False`` and change nothing if the key exists."""
        ...

    def replace(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Put an object in the place of the one with this key, if there is one.

        Readers find the old bytes or the new ones. For a moment, or after a kill, these may have no metadata, but
        not those of the other.
        """
        ...

    def get(self, object_key: str) -> bytes:
        """Return the bytes of an object, or raise ``NotFound``."""
        ...

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        """Yield the bytes of each of *ranges*, in order; ``None`` if the object does not exist.

        Of an object that ends earlier they are fewer, or none.
        Prefetches within a memory bound. The first error is raised and ends the iteration.
        """
        ...

    def stat(self, object_key: str) -> Object:
        """Return an object with its metadata, or raise ``NotFound``, or ``Damaged`` if they cannot be read."""
        ...

    def verify(self, object_key: str, data: bytes) -> Object:
        """Return an object as :meth:`stat` does, or raise ``Damaged`` if its bytes are not *data*.

        If the service stores a checksum of the bytes, that is compared: it guards what it stores itself.
        """
        ...

    def list(self, start: str, end: str) -> Iterator[Object]:
        """Yield the objects with ``start <= key < end``, ordered by the bytes of their keys."""
        ...

    def delete(self, object_key: str, data: bytes | None = None) -> None:
        """Delete an object, if it exists; with *data* only if its bytes are these.

        A concurrent :meth:`replace` is then not undone.
        """
        ...

    def local_path(self, object_key: str) -> Path | None:
        """Return the path of the file that holds exactly the object's bytes, if it exists; ``None`` elsewhere."""
        ...

    def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
        """Return a URL at which anyone can download the object as *filename* for that many seconds.

        Return ``None`` if the bucket has no signed URLs. The object need not exist yet.
        """
        ...


def to_columns(entries: Iterable[Meta]) -> list[Members]:
    """Return *entries*, all of one service and ordered by position, as columns, of each profile type its own."""
    by_type: dict[ProfileType, list[Meta]] = {}
    for meta in entries:
        by_type.setdefault(meta.type, []).append(meta)
    return list(map(Members.from_metas, by_type.values()))


_NO_LABELS = Labels()


@dataclass(frozen=True, slots=True)
class SeriesSelection:
    """A query for the series of *service*, or of all services, that may have profiles from *start* to *end*.

    They are of the profile *type* if given, and have all of *labels*. With *limit*, any that many of them.
    """

    service: str | None = None
    type: ProfileType | None = None
    labels: Labels = _NO_LABELS
    start: int = 0
    end: int = LATEST
    limit: int | None = None

    def select(self, series: Iterable[Series]) -> list[Series]:
        """Return the selected ones of *series*."""
        return list(islice(filter(self._selects, series), self.limit))

    def _selects(self, series: Series) -> bool:
        return (
            self.service in (None, series.service)
            and self.type in (None, series.type)
            and series.first_seen <= self.end
            and self.start <= series.last_seen
            and set(self.labels) <= set(series.labels)
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """A query for index entries: those of *service* with ``start <= created_at <= end``.

    The optional fields restrict it to a profile *type*, to the *series* with these ids, to positions greater than
    *after*, and to the first *limit* entries.
    """

    service: str
    type: ProfileType | None
    start: int
    end: int
    series: Collection[str] | None = None
    after: tuple[int, str] | None = None
    limit: int | None = None

    def selects(self, meta: Meta) -> bool:
        """Return whether the entry of *meta* is selected, apart from the limit."""
        return (
            meta.service == self.service
            and self.type in (None, meta.type)
            and self.start <= meta.created_at <= self.end
            and (self.series is None or meta.series in self.series)
            and (self.after is None or meta.position > self.after)
        )


class ExpectedBlocks(NamedTuple):
    """A precondition: of the blocks of *service* and *type*, exactly those with *ids* overlap *start* to *end*."""

    service: str
    type: ProfileType
    start: int
    end: int
    ids: frozenset[str]

    @classmethod
    def among(
        cls, blocks: Iterable[Block], service: str, profile_type: ProfileType, start: int, end: int
    ) -> "ExpectedBlocks":
        """Return the precondition that those of *blocks*, all of the service and type, that overlap are all."""
        ids = frozenset(block.id for block in blocks if block.overlaps(start, end))
        return cls(service, profile_type, start, end, ids)


class Change(NamedTuple):
    """A *block* to add, and the ids of the entries, *members*, and of the blocks, *replaced*, to remove for it.

    Without a block only remove. A block that is also in *replaced* is overwritten.
    """

    block: Block | None
    members: Collection[str]
    replaced: Collection[str] = ()
    expected: ExpectedBlocks | None = None


class CommitTooLarge(Exception):
    """The index refused a commit for its size, or timed out and may still commit; repeat it with fewer members."""


class Index(Protocol):
    """Entries of profiles, found by service, profile type, series and time; blocks; tasks of compaction.

    Callers rely on two properties: once :meth:`add` or :meth:`commit` has returned, its effect is durable and
    visible to every later call, and :meth:`commit` is atomic.

    Every call may raise ``Damaged`` with the code ``damaged_index``.

    ``max_members`` is the number of entries that one commit should remove at most; those of a batch count as one.
    """

    max_members: int

    def add(self, meta: Meta) -> bool:
        """Add the entry of *meta* and return ``True``; return ``False`` and change nothing if its id exists."""
        ...

    def add_batch(self, members: Sequence[Meta]) -> None:
        """Add the entries of *members*, which make up a batch of one service, as far as their ids do not exist."""
        ...

    def find(self, selection: Selection) -> Iterator[Meta]:
        """Yield the selected entries, oldest first, ordered by :attr:`Meta.position`."""
        ...

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        """Return the blocks that overlap the selected range, and the selected entries, both as of one moment.

        The blocks are those of the service, and of the profile type if given, with any series, ordered by
        :attr:`Block.position`.
        """
        ...

    def snapshot_columns(self, selection: Selection) -> tuple[list[Block], list[Members]]:
        """Return the blocks as :meth:`snapshot` does, and the entries as columns, of each profile type its own.

        *selection* has no ``after`` and no ``limit``.
        """
        ...

    def commit(self, *changes: Change) -> bool:
        """Make all *changes*, which are of one service, in one transaction.

        Return ``False`` and change nothing if a block exists, if one of the entries or blocks does not, or if the
        blocks are not as expected before all changes. Raise ``CommitTooLarge`` if fewer members may succeed.
        """
        ...

    def blocks(self, service: str, profile_type: ProfileType | None, start: int, end: int) -> list[Block]:
        """Return the blocks that overlap the range, selected and ordered as in :meth:`snapshot`."""
        ...

    def add_series(self, series: Series) -> None:
        """Add a series that was lost or has only members of blocks, or add what *series* tells about it."""
        ...

    def series(self, selection: SeriesSelection) -> list[Series]:
        """Return the selected series, in any order.

        These are of all that have entries and, as long as there are blocks, all added since the first block.
        """
        ...

    def series_groups(self, selection: SeriesSelection) -> list[SeriesGroup]:
        """Return the groups of the series that :meth:`series` returns, in any order; *selection* has no limit."""
        ...

    def label_values(self, service: str, limit: int) -> dict[ProfileType, dict[str, list[str]]]:
        """Return the labels of the series of each profile type, each with its first *limit* values, sorted."""
        ...

    def tidy_series(self, *, all_services: bool) -> None:
        """Make look-ups of series cheaper, as far as the backend needs it.

        Compaction calls it at least once an hour, and once a day for *all_services*: then series that have had no
        profile for longer than the retention are forgotten, if the backend has one.
        """
        ...

    def services(self) -> list[str]:
        """Return the services that have entries or blocks, sorted."""
        ...

    def profile_types(self, service: str) -> list[ProfileType]:
        """Return the profile types of which *service* has entries or blocks, sorted."""
        ...

    def remove(self, ids: Iterable[str]) -> None:
        """Remove the entries of profiles and the records of blocks with these ids, as far as they exist."""
        ...

    def add_task(self, task: Task) -> bool:
        """Add a task of compaction and return ``True``; return ``False`` and change nothing if it exists."""
        ...

    def due_tasks(self, until: int, limit: int) -> list[Task]:
        """Return the first *limit* tasks that are due at *until* or before, ordered by that time."""
        ...

    def replace_task(self, task: Task, replacement: Task | None = None) -> bool:
        """Remove *task* and add *replacement*, if any, in one transaction. Return ``False`` if *task* is gone.

        Of concurrent calls for the same task, only one returns ``True``. The replacement may exist already.
        """
        ...

    def replace_damaged(self) -> str | None:
        """Put an empty index in the place of a damaged one, and return where that is now.

        Return ``None`` and change nothing if the backend cannot do that.
        """
        ...


class TaskQueue(Protocol):
    """Tasks of compaction that are each done by a call of their own, in this process or another.

    A task that is put into the queue twice may be done once or twice.
    """

    def put(self, tasks: Sequence[Task]) -> int:
        """Add *tasks* and return how many were not in the queue yet.

        Raises:
            Unavailable: some were not added.
            StoragePermissionError: a permission is missing; the message names it.
            Misconfigured: the queue does not exist.
        """
        ...
