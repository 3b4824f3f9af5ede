"""A directory as a bucket.

An object is the file that its key names, byte for byte. Its metadata are a hidden file beside it; no key names
what begins with a dot::

    api/cpu/20261122T225107.123456789Z-0123456789abcdef.pb.gz
    api/cpu/.20261122T225107.123456789Z-0123456789abcdef.pb.gz.json
    api/cpu/.new            the object that is being written, or what a killed process left of one

The file system must be a local one with locks of its own (``flock``), and tell ``a`` from ``A``.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from profbucket.errors import NotFound
from profbucket.storage.ports import Object, ObjectRange
from storage_local.files import locked, translated, write

_PART = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,239}")
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalBucket:
    """The files below *directory*, which is made where there is none.

    All calls with a key raise ``ValueError`` for one outside of the port's alphabet, before it becomes a path.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with translated("be made"), locked(directory):
            pass

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        path = self._path(key)
        # One writer a folder at a time. A leftover of one that was killed is written over by the next.
        with translated(f"write {key!r}"), locked(path.parent) as folder:
            new = _size(path) is None
            if new:
                write(path.with_name(".new"), data)
                write(_beside(path), json.dumps(dict(metadata)).encode())
                os.fsync(folder)  # no crash leaves the object's name without the names of what it needs
                path.with_name(".new").rename(path)
            os.fsync(folder)  # also for an object that is there: who wrote it may have died before this line
        return new

    def get(self, key: str) -> bytes:
        return self._read(ObjectRange(key))

    def get_many(self, parts: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        # One at a time: the system reads ahead, and what is cached comes at the speed of memory.
        for part in parts:
            try:
                yield self._read(part)
            except NotFound:
                yield None

    def stat(self, key: str) -> Object:
        path = self._path(key)
        with translated(f"read {key!r}"):
            there = _size(path) is not None  # then so are its metadata
            metadata: dict[str, str] = {}  # of a file that was put here by hand
            with suppress(FileNotFoundError):
                metadata = json.loads(_beside(path).read_bytes()) if there else {}
            size = _size(path)
        if not there or size is None:  # deleted meanwhile, perhaps only its metadata were still read
            raise NotFound(f"no object {key!r}")
        return Object(key, size, metadata)

    def list(self, start: str, end: str) -> Iterator[Object]:
        return self._walk("", start, end)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with translated(f"delete {key!r}"):
            if _size(path) is None:
                return
            with locked(path.parent) as folder:
                path.unlink(missing_ok=True)
                _beside(path).unlink(missing_ok=True)
                os.fsync(folder)

    def link(self, key: str, filename: str, seconds: int) -> str | None:
        return None  # nobody serves the directory but the collector

    def _read(self, part: ObjectRange) -> bytes:
        path = self._path(part.key)
        with translated(f"read {part.key!r}"):
            try:
                with path.open("rb") as file:
                    file.seek(part.begin)
                    return file.read(-1 if part.end is None else part.end - part.begin)
            except _MISSING:
                raise NotFound(f"no object {part.key!r}") from None

    def _walk(self, folder: str, start: str, end: str) -> Iterator[Object]:
        for key in self._names(folder, start, end):
            if key.endswith("/"):
                yield from self._walk(key, start, end)
                continue
            with translated(f"read {key!r}"):
                size = _size(self._directory / key)
            if size is not None:  # as it is if it was deleted meanwhile
                yield Object(key, size)

    def _names(self, folder: str, start: str, end: str) -> Sequence[str]:
        """The keys in *folder* and the folders in it that may hold a key from *start* to *end*, in order of keys.

        A folder ends with ``/``: that is how its keys compare with those beside it.
        """
        names = []
        with (
            translated(f"list {folder!r}"),
            suppress(FileNotFoundError),
            os.scandir(self._directory / folder) as entries,
        ):
            for entry in entries:
                if not _PART.fullmatch(entry.name):
                    continue
                key = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if f"{key}/" < end and start < f"{key}0":  # "0" comes next after "/"
                        names.append(f"{key}/")
                elif start <= key < end:
                    names.append(key)
        return sorted(names)

    def _path(self, key: str) -> Path:
        if len(key) > 1024 or not all(_PART.fullmatch(part) for part in key.split("/")):
            raise ValueError(f"not an object's key: {key[:120]!r}")
        return self._directory / key


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _size(path: Path) -> int | None:
    """The size of the file at *path*, or ``None`` where there is none."""
    try:
        status = path.stat()
    except _MISSING:
        return None
    return status.st_size if S_ISREG(status.st_mode) else None
