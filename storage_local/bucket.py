"""A directory as a bucket.

The key of an object is its path, the bytes of the file are the object's. The metadata are in a hidden file in the
same folder; no key has a segment that begins with a dot::

    api/cpu/20261122T225107.123456789Z-0123456789abcdef.pb.gz
    api/cpu/.20261122T225107.123456789Z-0123456789abcdef.pb.gz.json
    api/cpu/.new            an object that is being written, or that a killed process left

The file system must be local, support ``flock``, and be case-sensitive.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from profbucket.errors import Damaged, NotFound
from profbucket.storage.ports import Object, ObjectRange
from storage_local.files import RootFolder, lock_folder, translate_errors, write_durably

_MAX_KEY_BYTES = 1024
_SEGMENT = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,239}")
_NOT_FOUND_ERRORS = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalBucket:
    """The files below *directory*, which is created if it does not exist, once.

    All calls with a key raise ``ValueError`` for an invalid one, so that it never becomes a path.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with translate_errors("create the storage directory"):
            self._root = RootFolder(directory)
            self._root.create()

    def put(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        path = self._path(object_key)
        # One writer a folder at a time. The file that a killed writer left is overwritten by the next.
        with translate_errors(f"write the object {object_key!r}"):
            self._root.check()
            with lock_folder(path.parent) as folder:
                is_new = _file_size(path) is None
                if is_new:
                    write_durably(path.with_name(".new"), data)
                    write_durably(_metadata_path(path), json.dumps(dict(metadata)).encode())
                    os.fsync(folder)  # after a crash, the object's name exists only together with its metadata
                    path.with_name(".new").rename(path)
                os.fsync(folder)  # for an existing object, too: its writer may have died before this line
            self._root.check()  # the volume may have been unmounted in the meantime
        return is_new

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
            existed = _file_size(path) is not None  # and so did its metadata
            metadata: dict[str, str] = {}  # of a file that was copied into the directory
            with suppress(FileNotFoundError):
                metadata = _parse_metadata(object_key, _metadata_path(path).read_bytes()) if existed else {}
            size = _file_size(path)
        if not existed or size is None:  # deleted in the meantime, perhaps after its metadata were read
            self._root.check()
            raise NotFound(f"no object {object_key!r}")
        return Object(object_key, size, metadata)

    def list(self, start: str, end: str) -> Iterator[Object]:
        self._root.check()
        return self._walk("", start, end)

    def delete(self, object_key: str) -> None:
        path = self._path(object_key)
        with translate_errors(f"delete the object {object_key!r}"):
            self._root.check()
            if _file_size(path) is None:
                return
            with lock_folder(path.parent) as folder:
                path.unlink(missing_ok=True)
                _metadata_path(path).unlink(missing_ok=True)
                os.fsync(folder)

    def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
        return None  # only the collector serves the directory

    def _read(self, object_range: ObjectRange) -> bytes:
        begin, end = object_range.begin, object_range.end
        path = self._path(object_range.key)
        with translate_errors(f"read the object {object_range.key!r}"):
            try:
                with path.open("rb") as file:
                    file.seek(begin)
                    return file.read(-1 if end is None else end - begin)
            except _NOT_FOUND_ERRORS:
                self._root.check()
                raise NotFound(f"no object {object_range.key!r}") from None

    def _walk(self, folder: str, start: str, end: str) -> Iterator[Object]:
        for key in self._list_folder(folder, start, end):
            if key.endswith("/"):
                yield from self._walk(key, start, end)
                continue
            with translate_errors(f"read the object {key!r}"):
                size = _file_size(self._directory / key)
            if size is not None:  # otherwise it was deleted in the meantime
                yield Object(key, size)

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


def _metadata_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


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
