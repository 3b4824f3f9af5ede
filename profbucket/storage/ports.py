"""What a backend is: a bucket and an index.

Both list the calls that we make and nothing else. A backend translates calls and errors; keys, ids, idempotence
and limits are above it. All calls may come from several threads and processes at once.

Besides what its docstring lists, every call may raise ``Unavailable`` (the same call may succeed later) and
``StoragePermissionError`` (the message names the missing permission).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from profbucket import periods
from profbucket.errors import NotFound, StoragePermissionError, Unavailable
from profbucket.model.blocks import Block
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.times import SECOND

__all__ = [
    "LONGEST",
    "Bucket",
    "Index",
    "NotFound",
    "Object",
    "ObjectRange",
    "Selection",
    "Series",
    "StoragePermissionError",
    "Unavailable",
]

LONGEST = periods.MAX_PERIOD_SECONDS * SECOND  # from the first to the last member of any block, at most


@dataclass(frozen=True, slots=True)
class Object:
    """An object without its content, ``size`` in bytes.

    ``metadata`` is ``None`` in a list of a bucket that does not give it there; :meth:`Bucket.stat` always does.
    """

    key: str
    size: int
    metadata: Mapping[str, str] | None = None


class ObjectRange(NamedTuple):
    """The bytes of an object from *begin* up to *end*, which is its own end if not given. At least one byte."""

    key: str
    begin: int = 0
    end: int | None = None


class Bucket(Protocol):
    """Objects under keys.

    Keys are parts of letters, digits and ``.-_~`` joined by ``/``, at most 1,024 bytes long and a part at most
    240; no part begins with a dot. Metadata are ASCII texts under names of small letters, 2 KB together.

    What is relied on: an object is there whole or not at all; once :meth:`put` has returned, the object is
    durable and every later call sees it.
    """

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        """Store an object where there is none, and return whether it is new. One that is there stays as it is."""
        ...

    def get(self, key: str) -> bytes:
        """Return the bytes under *key*, or raise ``NotFound``."""
        ...

    def get_many(self, parts: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        """Yield the bytes of each of *parts*, in their order, and ``None`` where there is no such object.

        Reads ahead as far as it pays, holding a bounded number of bytes; the first error is raised and ends it.
        """
        ...

    def stat(self, key: str) -> Object:
        """Return the object under *key* with its metadata, or raise ``NotFound``."""
        ...

    def list(self, start: str, end: str) -> Iterator[Object]:
        """Yield the objects with ``start <= key < end``, ordered by key as bytes."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object under *key*, if there is one."""
        ...

    def link(self, key: str, filename: str, seconds: int) -> str | None:
        """Return a URL at which anyone may fetch the object for so long, saved as *filename*.

        ``None`` where the bucket has no such links. The object need not be there yet.
        """
        ...


class Series(NamedTuple):
    """All profiles of one service, type and label set. ``id`` is :attr:`Meta.series` of each."""

    id: str
    service: str
    type: ProfileType
    labels: Labels


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries are asked for: those of *service* with ``start <= created_at <= end``.

    If given: of *type*, of the *series* with these ids, behind the position *after*, and the first *limit*.
    """

    service: str
    type: ProfileType | None
    start: int
    end: int
    series: Collection[str] | None = None
    after: tuple[int, str] | None = None
    limit: int | None = None


class Index(Protocol):
    """Entries of profiles, found by service, type, series and time; and blocks, which hold profiles without any.

    What is relied on: once :meth:`add` or :meth:`commit` has returned, what it did is durable and every later call
    sees it. No call sees a :meth:`commit` half done.
    """

    def add(self, meta: Meta) -> bool:
        """Store the entry of *meta* where there is none of its id. Return whether it is new."""
        ...

    def find(self, selection: Selection) -> Iterator[Meta]:
        """Yield the selected entries, oldest first, ordered by :attr:`Meta.position`."""
        ...

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        """The blocks that overlap the selected range, and the selected entries, both as they were at one moment.

        Blocks are of the service, of the type if given, whatever their series; ordered by :attr:`Block.position`.
        """
        ...

    def commit(self, block: Block, members: Collection[str], replaced: Collection[str]) -> bool:
        """Add *block* and remove the entries of *members* and the blocks *replaced*, by their ids: all or nothing.

        Nothing, and ``False``, where the block is there already or one of the others is not.
        """
        ...

    def blocks(self, service: str, type: ProfileType | None, start: int, end: int) -> list[Block]:  # noqa: A002
        """Return the blocks of *service*, of *type* if given, that overlap the range, as in :meth:`snapshot`."""
        ...

    def add_series(self, series: Series) -> None:
        """Make a series known that has no entries, only members of blocks."""
        ...

    def series(self, service: str, type: ProfileType | None) -> list[Series]:  # noqa: A002 - as everywhere
        """Return the series of *service*, of *type* if given, in any order.

        At least those that have entries, and, where there are blocks, those that were added since the first one.
        """
        ...

    def services(self) -> list[str]:
        """Return the services that have entries or blocks, sorted."""
        ...

    def remove(self, ids: Iterable[str]) -> None:
        """Remove the entries of profiles and blocks with these ids, where there are any."""
        ...
