"""The tables of a query as files of a file system, which are fetched or made when they are first opened."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock

import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from profbucket.errors import NotFound
from profbucket.model.ids import parse_samples_key, samples_key, samples_prefix
from profbucket.model.profile_type import ProfileType
from profbucket.samples.day import list_days, list_lanes, write_day
from profbucket.samples.schema import FILE_SCHEMA
from profbucket.storage.ports import Bucket
from profbucket.storage.store import Storage
from profbucket.times import DAY

Source = Callable[[Path], None]  # creates the file of a table

_UNCHANGED = datetime(1970, 1, 1, tzinfo=UTC)  # the same for all tables: they do not change during a query


class TableFiles(AbstractFileSystem):  # type: ignore[misc] # it has no types
    """Tables by their keys, below ``tables://``. Files that were opened are kept in *directory*.

    DuckDB opens only the files that a query needs, in several threads. ``error`` is the first error of a source:
    DuckDB keeps its text only.
    """

    protocol = "tables"
    cachable = False  # fsspec would keep it, and return it for equal arguments

    def __init__(self, sources: Mapping[str, Source], directory: Path) -> None:
        super().__init__()
        self.error: Exception | None = None
        # The views need a file, whose schema is that of all: the first in order.
        self._sources = {samples_key("_", ProfileType.OTHER, 0): _write_empty, **sources}
        self._files = {key: directory / f"{number}.parquet" for number, key in enumerate(self._sources)}
        self._locks = {key: Lock() for key in self._sources}

    def glob(self, path: str, **_: object) -> list[str]:
        urls = (f"{self.protocol}://{key}" for key in sorted(self._sources))
        return [url for url in urls if fnmatchcase(url, path)]

    def info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "size": self._create(path).stat().st_size, "type": "file"}

    def modified(self, path: str) -> datetime:
        return _UNCHANGED

    def _open(self, path: str, mode: str = "rb", **_: object) -> mmap:
        if mode != "rb":
            raise PermissionError("tables are read-only")
        with self._create(path).open("rb") as file:
            return mmap(file.fileno(), 0, access=ACCESS_READ)  # DuckDB drops some files without closing them

    def _create(self, path: str) -> Path:
        """Return the local file of a table, which is created if it does not exist."""
        key = path.removeprefix(f"{self.protocol}://")
        if key not in self._sources:
            raise FileNotFoundError(path)
        file = self._files[key]
        with self._locks[key]:
            if not file.exists():
                try:
                    self._sources[key](file)
                except Exception as error:
                    file.unlink(missing_ok=True)
                    self.error = self.error or error
                    raise
        return file


def find_tables(  # noqa: PLR0917
    storage: Storage,
    start: int,
    end: int,
    now: int,
    service: str | None = None,
    profile_type: ProfileType | None = None,
) -> dict[str, Source]:
    """Return the tables of all days from *start* to *end*, of one *service* and type or of all.

    Exported tables are linked or copied; those of days that are not over at *now*, and of days that were not
    exported, are made.
    """
    making = Lock()  # one at a time: each takes memory

    def make(service: str, profile_type: ProfileType, begin: int, path: Path) -> None:
        with making, path.open("w+b") as sink:
            write_day(storage, service, profile_type, begin, sink)

    def copy(service: str, profile_type: ProfileType, begin: int, path: Path) -> None:
        try:
            _copy_object(storage.bucket, samples_key(service, profile_type, begin), path)
        except NotFound:  # it has expired
            make(service, profile_type, begin, path)

    tables: dict[str, Source] = {
        samples_key(*day): partial(make, *day)
        for lane in list_lanes(storage, start, end, service, profile_type)
        for day in ((*lane, begin) for begin in list_days(storage, *lane, start, end))
    }
    for day in _list_exported(storage.bucket, start, min(end, now - DAY)):
        if service in (None, day[0]) and profile_type in (None, day[1]):
            tables[samples_key(*day)] = partial(copy, *day)
    return tables


def _list_exported(bucket: Bucket, start: int, end: int) -> Iterator[tuple[str, ProfileType, int]]:
    """Yield service, profile type and beginning of the days from *start* to *end* that are exported."""
    if end < start // DAY * DAY:
        return
    for obj in bucket.list(samples_prefix(start), f"{samples_prefix(end)}\x7f"):
        with suppress(ValueError):  # another file
            yield parse_samples_key(obj.key)


def _copy_object(bucket: Bucket, object_key: str, path: Path) -> None:
    """Make *path* a hard link to an object's file, or a copy. Raise ``NotFound`` without an object."""
    if (local := bucket.local_path(object_key)) is None:
        path.write_bytes(bucket.get(object_key))
        return
    with suppress(OSError):
        path.hardlink_to(local)
        return
    try:
        shutil.copyfile(local, path)  # from another file system
    except FileNotFoundError:
        raise NotFound(f"no object {object_key}") from None


def _write_empty(path: Path) -> None:
    pq.ParquetWriter(path, FILE_SCHEMA, store_schema=False).close()
