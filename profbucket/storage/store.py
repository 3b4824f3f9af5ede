"""A storage: a bucket and an index, and the order in which they are used."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit

from profbucket.errors import Forbidden, Invalid, Misconfigured, Unavailable
from profbucket.model.blocks import Members
from profbucket.model.ids import RESERVED, Id
from profbucket.model.labels import Labels
from profbucket.model.meta import Block, Meta, Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.lookup import Found, History, Moved, Point, Source
from profbucket.storage.ports import Bucket, Index, Part, Series

# A scheme, the module that opens it (on use: a backend's libraries are optional) and the extra that installs it.
BACKENDS = {
    "memory": ("profbucket.storage.memory", ""),
    "file": ("storage_local", ""),
    "gs": ("storage_gcs", "gcs"),
    "s3": ("storage_s3", "s3"),
}

# The same for what may stand in ``index=``: any bucket can be found by another backend's index.
INDEXES = {
    "sqlite": ("storage_local", ""),
    "firestore": ("storage_gcs", "gcs"),
}

_TOTAL = re.compile(r"([^:=]*):([^:=]*)=(-?\d{1,40})", re.ASCII)  # of metadata

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

    What raises ``Moved`` is begun anew by the caller, from where it was looked up: see :func:`persistently`.
    """

    def find(self, query: Query) -> Iterator[Meta]:
        """Yield the profiles that *query* asks for, oldest first."""
        ...

    def locate(self, query: Query) -> Iterator[Found]:
        """Yield the same, with the place of each."""
        ...

    def sources(self, query: Query, cap: int) -> list[Source]:
        """Return what a merge of all that *query* asks for reads; more than *cap* profiles by themselves if so.

        Raise ``Moved``.
        """
        ...

    def sources_of(self, found: Iterable[Found]) -> list[Source]:
        """Return what a merge of just these profiles reads."""
        ...

    def read_sources(self, sources: Sequence[Source]) -> Iterator[bytes | None]:
        """Yield the bytes of each of *sources*, in order, or ``None`` if it has expired. Raise ``Moved``."""
        ...

    def holder(self, profile_id: Id) -> Source | None:
        """Return what to read of the block that holds a profile, if one does. Raise ``Moved``."""
        ...

    def points(self, query: Query) -> list[Point]:
        """Return when and how much the profiles measured that *query* asks for, in no order."""
        ...

    def read(self, profile_id: Id) -> bytes:
        """Return the bytes of a profile, or raise ``NotFound``."""
        ...

    def read_many(self, ids: Iterable[Id]) -> Iterator[bytes | None]:
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

    def link(self, profile_id: Id, filename: str) -> str | None:
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
        self._history = History(bucket, index)

    def write(self, meta: Meta, data: bytes) -> bool:
        self.bucket.put(Id.parse(meta.id).key, data, to_metadata(meta))
        return self.index.add(meta)

    def find(self, query: Query) -> Iterator[Meta]:
        return (found.meta for found in self.locate(query))

    def locate(self, query: Query) -> Iterator[Found]:
        for _ in range(_ATTEMPTS):
            with suppress(Moved):  # and then on behind what was found
                for found in self._history.find(query):
                    yield found
                    left = None if query.limit is None else query.limit - 1
                    query = replace(query, after=found.meta.position, limit=left)
                return
        raise _restless()

    def sources(self, query: Query, cap: int) -> list[Source]:
        return self._history.sources(query, cap)

    def sources_of(self, found: Iterable[Found]) -> list[Source]:
        return self._history.sources_of(found)

    def read_sources(self, sources: Sequence[Source]) -> Iterator[bytes | None]:
        return self._history.read(sources)

    def has(self, block: Block) -> bool:
        return self._history.has(block)

    def holder(self, profile_id: Id) -> Source | None:
        return self._history.holder(profile_id)

    def points(self, query: Query) -> list[Point]:
        return persistently(lambda: list(self._history.points(query)))

    def lists(self, blocks: Sequence[Block]) -> Iterator[Members | None]:
        """The list of each of *blocks*, in order, and ``None`` for one whose object is gone."""
        return self._history.lists(blocks)

    def live_lists(self, blocks: Sequence[Block]) -> Iterator[Members | None]:
        """The same of blocks that the index has; raise ``Moved`` where one has become part of another since."""
        return self._history.live_lists(blocks)

    def read(self, profile_id: Id) -> bytes:
        return self.bucket.get(profile_id.key)

    def read_many(self, ids: Iterable[Id]) -> Iterator[bytes | None]:
        return self.bucket.get_many([Part(profile_id.key) for profile_id in ids])

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
        except Forbidden:
            return None  # a function that only reads can still answer directly, as far as its platform lets it
        return url

    def link(self, profile_id: Id, filename: str) -> str | None:
        return self.bucket.link(profile_id.key, filename, LINK_SECONDS)


def persistently(attempt: Callable[[], _T]) -> _T:
    """What *attempt* returns, which is made anew where blocks have become parts of others meanwhile.

    Raise ``Unavailable`` where they do so all the time.
    """
    for _ in range(_ATTEMPTS):
        with suppress(Moved):
            return attempt()
    raise _restless()


def _restless() -> Unavailable:
    return Unavailable("the blocks that were asked for became parts of others all the time; ask again")


def open_storage(url: str) -> Storage:
    """Open the storage that *url* names: ``file:///directory``, ``memory:``; see the README for all.

    With ``index=…`` among its options the profiles are found by that index instead of the bucket's own. Raise
    ``Misconfigured`` for a URL that names none, or whose libraries are not installed.
    """
    found = re.search(r"[?&]index=([^&]*)", url)
    if found:
        begin, end = found.span()
        url = url[:begin] + url[end:].replace("&", url[begin], 1)
    opened: tuple[Bucket, Index | None] = _module(url, BACKENDS, "STORAGE_URL=").open_url(url)
    bucket, index = opened
    if found:
        index_url = unquote(found[1])
        index = _module(index_url, INDEXES, "index=").open_index(index_url)
    if index is None:
        raise Misconfigured(
            f"STORAGE_URL={url!r}: this bucket has no index of its own: add index=sqlite:///absolute/file"
            " or index=firestore://project/database"
        )
    return Storage(bucket, index)


def _module(url: str, table: Mapping[str, tuple[str, str]], where: str) -> Any:
    scheme = urlsplit(url).scheme
    if scheme not in table:
        known = ", ".join(f"{name}:" for name in table)
        raise Misconfigured(f"{where}{url!r}: its beginning is none of {known}")
    module, extra = table[scheme]
    try:
        opener = import_module(module)
        for library in getattr(opener, "LIBRARIES", ()):  # which are imported on use: see that they can be
            if find_spec(library) is None:
                raise ModuleNotFoundError(f"no {library}", name=library)
    except ImportError as error:
        if not extra:
            raise
        raise Misconfigured(f"{where}{url!r} needs {error.name}: pip install 'profbucket[{extra}]'") from error
    return opener


def to_metadata(meta: Meta) -> dict[str, str]:
    """What of *meta* its key does not say, as an object's metadata: the bucket alone can rebuild the index."""
    totals = (f"{quote(t.type, safe='')}:{quote(t.unit, safe='')}={t.value}" for t in meta.totals)
    return {"labels": meta.labels.format(), "totals": ",".join(totals)}


def from_metadata(key: str, size: int, metadata: Mapping[str, str]) -> Meta:
    """The meta of the object under *key*, or raise ``Invalid`` where it is no profile of ours."""
    profile_id = Id.of_key(key)
    totals = []
    for item in filter(None, metadata.get("totals", "").split(",")):
        match = _TOTAL.fullmatch(item)
        if not match:
            raise Invalid(f"not a total of a profile: {item[:80]!r}")
        totals.append(Total(unquote(match[1]), unquote(match[2]), int(match[3])))
    return Meta(
        id=str(profile_id),
        service=profile_id.service,
        type=profile_id.type,
        labels=Labels.parse(metadata.get("labels", "")),
        created_at=profile_id.created_at,
        size=size,
        totals=tuple(totals),
    )
