"""The reference: a bucket and an index in memory, gone with the process."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from profbucket.errors import NotFound
from profbucket.meta import Meta, ProfileType
from profbucket.ports import Object, Selection, Series


class MemoryBucket:
    """A dictionary of objects."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        with self._lock:
            if key in self._objects:
                return False
            self._objects[key] = bytes(data), dict(metadata)
            return True

    def get(self, key: str) -> bytes:
        with self._lock:
            if key not in self._objects:
                raise NotFound(f"no object {key!r}")
            return self._objects[key][0]

    def get_many(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        for key in keys:
            try:
                yield self.get(key)
            except NotFound:
                yield None

    def stat(self, key: str) -> Object:
        with self._lock:
            if key not in self._objects:
                raise NotFound(f"no object {key!r}")
            data, metadata = self._objects[key]
            return Object(key, len(data), dict(metadata))

    def list(self, start: str, end: str) -> Iterator[Object]:
        with self._lock:
            keys = sorted(key for key in self._objects if start <= key < end)
        for key in keys:
            try:
                yield self.stat(key)
            except NotFound:
                continue  # deleted meanwhile

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)

    def link(self, key: str, filename: str, seconds: int) -> str | None:
        return None


class MemoryIndex:
    """A dictionary of entries."""

    def __init__(self) -> None:
        self._entries: dict[str, Meta] = {}
        self._lock = threading.Lock()

    def add(self, meta: Meta) -> bool:
        with self._lock:
            if meta.id in self._entries:
                return False
            self._entries[meta.id] = meta
            return True

    def find(self, selection: Selection) -> Iterator[Meta]:
        found = sorted(
            (meta for meta in self._all() if _selected(selection, meta)), key=lambda meta: meta.position
        )
        yield from found[: selection.limit]

    def series(self, service: str, type: ProfileType | None) -> list[Series]:  # noqa: A002
        return list(
            {_series(meta) for meta in self._all() if meta.service == service and type in (None, meta.type)}
        )

    def services(self) -> list[str]:
        return sorted({meta.service for meta in self._all()})

    def remove(self, ids: Iterable[str]) -> None:
        with self._lock:
            for profile_id in ids:
                self._entries.pop(profile_id, None)

    def _all(self) -> list[Meta]:
        with self._lock:
            return list(self._entries.values())


def _series(meta: Meta) -> Series:
    return Series(meta.series, meta.service, meta.type, meta.labels)


def _selected(selection: Selection, meta: Meta) -> bool:
    return (
        meta.service == selection.service
        and selection.type in (None, meta.type)
        and selection.start <= meta.created_at <= selection.end
        and (selection.series is None or meta.series in selection.series)
        and (selection.after is None or meta.position > selection.after)
    )


def open_url(url: str) -> tuple[MemoryBucket, MemoryIndex]:  # noqa: ARG001 - there is nothing to say
    """A new, empty pair: ``memory:`` names none that is already there."""
    return MemoryBucket(), MemoryIndex()
