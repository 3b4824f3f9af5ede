"""A directory as a bucket.

The key of an object is its path. A profile that was posted as gzip is followed by a trailer with its metadata
(``trailer.py``); without that, the bytes of the file are the object's. The metadata of all others that have any,
and of those that earlier versions wrote, are in a hidden file in the same folder; no key has a segment that begins
with a dot::

    api/cpu/20261122T225107.123456789Z-0123456789abcdef.pb.gz       bytes and trailer
    api/trace/20261122T225107.123456789Z-0123456789abcdef.trace
    api/trace/.20261122T225107.123456789Z-0123456789abcdef.trace.json
    .drafts/1234-89abcdef/5     a file that process 1234 is writing, or left when it was killed

Each thread writes and syncs the files that it puts. Their names are added for all concurrent puts to a folder at
once, which then share its syncs.

The file system must be local, support ``flock``, and be case-sensitive.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from profbucket.errors import Damaged, NotFound
from profbucket.storage.ports import Object, ObjectRange
from storage_local.files import Drafts, RootFolder, lock_folder, translate_errors
from storage_local.groups import GroupCommit
from storage_local.trailer import Trailer, make_trailer, may_have_trailer, read_trailer

_MAX_KEY_BYTES = 1024
_COMPARED_BYTES = 1 << 20  # at once
_SEGMENT = re.compile(r"[A-Za-z0-9_~=-][A-Za-z0-9._~=-]{0,247}")  # a hidden file's name has 6 more
_NOT_FOUND_ERRORS = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(slots=True)
class _Put:
    """An object to be named *path*, and the drafts of its content and metadata that have no names yet."""

    path: Path
    content: Path | None = None
    metadata: Path | None = None
    is_new: bool = False

    def name_metadata(self) -> None:
        if self.metadata is not None:
            self.metadata.rename(_metadata_path(self.path))
            self.metadata = None

    def name_content(self) -> None:
        if self.content is not None:
            self.content.rename(self.path)
            self.content, self.is_new = None, True

    def remove_drafts(self) -> None:
        for draft in (self.content, self.metadata):
            if draft is not None:
                draft.unlink(missing_ok=True)


class LocalBucket:
    """The files below *directory*, which is created if it does not exist, once.

    All calls with a key raise ``ValueError`` for an invalid one, so that it never becomes a path.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with translate_errors("create the storage directory"):
            self._root = RootFolder(directory)
            self._root.create()
        self._drafts = Drafts(directory / ".drafts")
        self._names = GroupCommit[Path, _Put, bool]()

    def put(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        path = self._path(object_key)
        with translate_errors(f"write the object {object_key!r}"):
            self._root.check()
            is_new = self._put(path, data, _format_metadata(metadata))
            self._root.check()  # the volume may have been unmounted in the meantime
        return is_new

    def _put(self, path: Path, data: bytes, metadata: bytes) -> bool:
        put = _Put(path)
        try:
            if _file_size(path) is None:
                self._write_drafts(put, data, metadata)
            exists = self._names.call(path.parent, put, _add_names)
        finally:
            put.remove_drafts()
        return put.is_new if exists else self._put(path, data, metadata)  # it was deleted in the meantime

    def _write_drafts(self, put: _Put, data: bytes, metadata: bytes) -> None:
        trailer = make_trailer(put.path.name, data, metadata) if metadata else b""
        put.content = self._drafts.write(data, trailer)
        put.metadata = self._drafts.write(metadata) if metadata and not trailer else None

    def replace(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        put = _Put(self._path(object_key))
        with translate_errors(f"write the object {object_key!r}"):
            self._root.check()
            try:
                self._write_drafts(put, data, _format_metadata(metadata))
                _replace_names(put)
            finally:
                put.remove_drafts()
            self._root.check()

    def get(self, object_key: str) -> bytes:
        return self._read(ObjectRange(object_key))

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        # One at a time: the kernel reads ahead, and what is cached comes at memory speed.
        for object_range in ranges:
            try:
                yield self._read(object_range)
            except NotFound:
                yield None

    def stat(self, object_key: str) -> Object:
        path = self._path(object_key)
        with translate_errors(f"read the object {object_key!r}"):
            file = _inspect(path)
            text = None if file is None else file.trailer.text
            if file is not None and not file.trailer.size:
                with suppress(FileNotFoundError):  # of a file that was copied into the directory
                    text = _metadata_path(path).read_bytes()
                if _file_size(path) is None:  # deleted in the meantime, perhaps after its metadata were read
                    file = None
        if file is None:
            self._root.check()
            raise NotFound(f"no object {object_key!r}")
        if text is None and file.trailer.size:
            raise Damaged(f"the metadata of {object_key} are damaged: their checksum is wrong")
        return Object(object_key, file.size, {} if text is None else _parse_metadata(object_key, text))

    def verify(self, object_key: str, data: bytes) -> Object:
        obj = self.stat(object_key)
        if obj.size != len(data):
            raise Damaged(f"{object_key} has {obj.size} bytes instead of {len(data)}")
        for begin in range(0, len(data), _COMPARED_BYTES):
            end = begin + _COMPARED_BYTES
            if self._read(ObjectRange(object_key, begin, end)) != memoryview(data)[begin:end]:
                raise Damaged(f"{object_key} has other bytes than were put")
        return obj

    def list(self, start: str, end: str) -> Iterator[Object]:
        self._root.check()
        return self._walk("", start, end)

    def delete(self, object_key: str, data: bytes | None = None) -> None:
        path = self._path(object_key)
        with translate_errors(f"delete the object {object_key!r}"):
            self._root.check()
            if _file_size(path) is None:
                return
            with lock_folder(path.parent) as folder, suppress(NotFound):
                if data is not None and self.get(object_key) != data:
                    return
                path.unlink(missing_ok=True)
                _metadata_path(path).unlink(missing_ok=True)
                os.fsync(folder)

    def local_path(self, object_key: str) -> Path | None:
        path = self._path(object_key)
        return None if may_have_trailer(path.name) else path

    def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
        return None  # only the collector serves the directory

    def _read(self, object_range: ObjectRange) -> bytes:
        begin, end = object_range.begin, object_range.end
        path = self._path(object_range.key)
        with translate_errors(f"read the object {object_range.key!r}"):
            try:
                with path.open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    if may_have_trailer(path.name):
                        size -= read_trailer(file.fileno(), size).size
                    end = size if end is None else min(end, size)  # a read reserves memory for all of its range
                    begin = min(begin, end)
                    file.seek(begin)
                    return file.read(end - begin)
            except _NOT_FOUND_ERRORS:
                self._root.check()
                raise NotFound(f"no object {object_range.key!r}") from None

    def _walk(self, folder: str, start: str, end: str) -> Iterator[Object]:
        for key in self._list_folder(folder, start, end):
            if key.endswith("/"):
                yield from self._walk(key, start, end)
                continue
            with translate_errors(f"read the object {key!r}"):
                file = _inspect(self._directory / key)
            if file is not None:  # otherwise it was deleted in the meantime
                metadata = None
                if file.trailer.text is not None:
                    with suppress(Damaged):  # which stat raises
                        metadata = _parse_metadata(key, file.trailer.text)
                yield Object(key, file.size, metadata)

    def _list_folder(self, folder: str, start: str, end: str) -> Sequence[str]:
        """Return the keys in *folder* from *start* to *end* and its folders that may hold such keys, sorted.

        A folder ends with ``/``, so that it sorts as its keys do.
        """
        keys = []
        with (
            translate_errors(f"list the folder {folder!r}"),
            suppress(FileNotFoundError),
            os.scandir(self._directory / folder) as entries,
        ):
            for entry in entries:
                if not _SEGMENT.fullmatch(entry.name):
                    continue
                key = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if f"{key}/" < end and start < f"{key}0":  # "0" is the character after "/"
                        keys.append(f"{key}/")
                elif start <= key < end:
                    keys.append(key)
        return sorted(keys)

    def _path(self, object_key: str) -> Path:
        segments = object_key.split("/")
        if len(object_key) > _MAX_KEY_BYTES or not all(_SEGMENT.fullmatch(segment) for segment in segments):
            raise ValueError(f"invalid object key {object_key[:120]!r}")
        return self._directory / object_key


def _add_names(folder: Path, puts: Sequence[_Put]) -> list[bool]:
    """Name the drafts of *puts*, objects in *folder*; return for each whether the object exists then."""
    with lock_folder(folder) as descriptor:
        existing = {put.path for put in puts if _file_size(put.path) is not None}
        new = {put.path: put for put in puts if put.path not in existing and put.content is not None}
        with_metadata = [put for put in new.values() if put.metadata is not None]
        for put in with_metadata:
            put.name_metadata()
        if with_metadata:
            os.fsync(descriptor)  # after a crash, an object's name exists only together with its metadata
        for put in new.values():
            put.name_content()
        os.fsync(descriptor)  # for existing objects, too: their writer may have died before this line
    return [put.path in existing or put.path in new for put in puts]


def _replace_names(put: _Put) -> None:
    """Name the drafts of *put*; each step is synced, so that a crash leaves no metadata of other bytes."""
    with lock_folder(put.path.parent) as descriptor:
        with suppress(FileNotFoundError):
            _metadata_path(put.path).unlink()
            os.fsync(descriptor)
        put.name_content()
        os.fsync(descriptor)
        if put.metadata is not None:
            put.name_metadata()
            os.fsync(descriptor)


class _File(NamedTuple):
    """The file of an object, whose own ``size`` is without the trailer."""

    size: int
    trailer: Trailer


def _inspect(path: Path) -> _File | None:
    """Return what the file at *path* is, or ``None`` if there is no file."""
    if not may_have_trailer(path.name):
        size = _file_size(path)
        return None if size is None else _File(size, Trailer(0))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except _NOT_FOUND_ERRORS:
        return None
    try:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            return None
        trailer = read_trailer(descriptor, status.st_size)
        return _File(status.st_size - trailer.size, trailer)
    finally:
        os.close(descriptor)


def _metadata_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _format_metadata(metadata: Mapping[str, str]) -> bytes:
    return json.dumps(dict(metadata)).encode() if metadata else b""


def _parse_metadata(object_key: str, text: bytes) -> dict[str, str]:
    try:
        metadata = json.loads(text)
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("they are not texts")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"the metadata of {object_key} are damaged: {error!r}"[:300]) from None
    return dict(metadata)


def _file_size(path: Path) -> int | None:
    """Return the size of the file at *path*, or ``None`` if there is no file."""
    try:
        status = path.stat()
    except _NOT_FOUND_ERRORS:
        return None
    return status.st_size if S_ISREG(status.st_mode) else None
