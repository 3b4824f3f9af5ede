"""A storage: a bucket and an index, and the order in which they are used."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Protocol, TypeVar

from profbucket.errors import StoragePermissionError, Unavailable
from profbucket.model.blocks import Block, Members
from profbucket.model.ids import RESERVED, ProfileId
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.storage.lookup import BlockReplaced, Location, Lookup, Point, Source
from profbucket.storage.metadata import to_metadata
from profbucket.storage.ports import Bucket, Index, ObjectRange, Series

_T = TypeVar("_T")

_ATTEMPTS = 5  # at what is looked up or read while its blocks become parts of others

LINK_SECONDS = 600  # how long a link to a large answer is good; pprof follows it at once


class Writer(Protocol):
    """The half of a storage that takes profiles in."""

    def write(self, meta: Meta, data: bytes) -> bool:
        """Store a profile. Return whether it is new; once returned, it is durable and found."""
        ...


class Reader(Protocol):
    """The half of a storage that gives profiles out.

    If a method raises ``BlockReplaced``, repeat the lookup: see :func:`retry_on_compaction`.
    """

    def find(self, query: Query) -> Iterator[Meta]:
        """Yield the profiles that *query* asks for, oldest first."""
        ...

    def locate(self, query: Query) -> Iterator[Location]:
        """Yield the same, with the place of each."""
        ...

    def sources(self, query: Query, cap: int) -> list[Source]:
        """Return what a merge of all that *query* asks for reads; more than *cap* profiles by themselves if so.

        Raise ``BlockReplaced``.
        """
        ...

    def sources_of(self, found: Iterable[Location]) -> list[Source]:
        """Return what a merge of just these profiles reads."""
        ...

    def read_sources(self, sources: Sequence[Source]) -> Iterator[bytes | None]:
        """Yield the bytes of each of *sources*, in order, or ``None`` if it has expired.

        Raise ``BlockReplaced``.
        """
        ...

    def holder(self, profile_id: ProfileId) -> Source | None:
        """Return what to read of the block that holds a profile, if one does. Raise ``BlockReplaced``."""
        ...

    def points(self, query: Query) -> list[Point]:
        """Return when and how much the profiles measured that *query* asks for, in no order."""
        ...

    def read(self, profile_id: ProfileId) -> bytes:
        """Return the bytes of a profile, or raise ``NotFound``."""
        ...

    def read_many(self, ids: Iterable[ProfileId]) -> Iterator[bytes | None]:
        """Yield the bytes of each profile, in order, and ``None`` for one that has expired."""
        ...

    def services(self) -> list[str]:
        """Return the services that have profiles, sorted."""
        ...

    def series(self, service: str, type: ProfileType | None) -> list[Series]:  # noqa: A002 - as everywhere
        """Return the series of *service*, of *type* if given, at least those that have profiles."""
        ...

    def offer(self, data: bytes, filename: str) -> str | None:
        """Put a result where it can be fetched for a while and return the URL; ``None`` where there is none."""
        ...

    def link(self, profile_id: ProfileId, filename: str) -> str | None:
        """Return a URL at which a profile can be fetched for a while; ``None`` where there is none."""
        ...


class Storage:
    """Profiles in *bucket*, found through *index*.

    The object is written first and the entry second, both only where there is none. A crash in between leaves an
    object that the same write, sent again, completes; there is never an entry whose object was not written.
    """

    def __init__(self, bucket: Bucket, index: Index) -> None:
        self.bucket = bucket
        self.index = index
        self._history = Lookup(bucket, index)

    def write(self, meta: Meta, data: bytes) -> bool:
        self.bucket.put(ProfileId.parse(meta.id).object_key, data, to_metadata(meta))
        return self.index.add(meta)

    def find(self, query: Query) -> Iterator[Meta]:
        return (found.meta for found in self.locate(query))

    def locate(self, query: Query) -> Iterator[Location]:
        for _ in range(_ATTEMPTS):
            with suppress(BlockReplaced):  # and then on behind what was found
                for found in self._history.find(query):
                    yield found
                    left = None if query.limit is None else query.limit - 1
                    query = replace(query, after=found.meta.position, limit=left)
                return
        raise _restless()

    def sources(self, query: Query, cap: int) -> list[Source]:
        return self._history.sources(query, cap)

    def sources_of(self, found: Iterable[Location]) -> list[Source]:
        return self._history.sources_of(found)

    def read_sources(self, sources: Sequence[Source]) -> Iterator[bytes | None]:
        return self._history.read(sources)

    def has(self, block: Block) -> bool:
        return self._history.has(block)

    def holder(self, profile_id: ProfileId) -> Source | None:
        return self._history.holder(profile_id)

    def points(self, query: Query) -> list[Point]:
        return retry_on_compaction(lambda: list(self._history.points(query)))

    def lists(self, blocks: Sequence[Block]) -> Iterator[Members | None]:
        """The list of each of *blocks*, in order, and ``None`` for one whose object is gone."""
        return self._history.lists(blocks)

    def live_lists(self, blocks: Sequence[Block]) -> Iterator[Members | None]:
        """Like :meth:`lists`, but raise ``BlockReplaced`` if compaction has replaced one of *blocks*."""
        return self._history.live_lists(blocks)

    def read(self, profile_id: ProfileId) -> bytes:
        return self.bucket.get(profile_id.object_key)

    def read_many(self, ids: Iterable[ProfileId]) -> Iterator[bytes | None]:
        return self.bucket.get_many([ObjectRange(profile_id.object_key) for profile_id in ids])

    def services(self) -> list[str]:
        return self.index.services()

    def series(self, service: str, type: ProfileType | None) -> list[Series]:  # noqa: A002 - as everywhere
        return self.index.series(service, type)

    def offer(self, data: bytes, filename: str) -> str | None:
        key = f"{RESERVED}/results/{sha256(data).hexdigest()[:32]}.pb.gz"
        url = self.bucket.link(key, filename, LINK_SECONDS)
        try:
            if url is not None:
                self.bucket.put(key, data, {})
        except StoragePermissionError:
            return None  # a function that only reads can still answer directly, as far as its platform lets it
        return url

    def link(self, profile_id: ProfileId, filename: str) -> str | None:
        return self.bucket.link(profile_id.object_key, filename, LINK_SECONDS)


def retry_on_compaction(attempt: Callable[[], _T]) -> _T:
    """What *attempt* returns, which is made anew where blocks have become parts of others meanwhile.

    Raise ``Unavailable`` where they do so all the time.
    """
    for _ in range(_ATTEMPTS):
        with suppress(BlockReplaced):
            return attempt()
    raise _restless()


def _restless() -> Unavailable:
    return Unavailable("the blocks that were asked for became parts of others all the time; ask again")
