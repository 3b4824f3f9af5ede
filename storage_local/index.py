"""One SQLite file as an index."""

import json
import os
import sqlite3
import weakref
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from pathlib import Path

from profbucket.errors import Misconfigured, StoragePermissionError, Unavailable
from profbucket.model.blocks import Block
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import LONGEST, Selection, Series
from storage_local.files import locked, translated

_PATIENCE = 30.0  # seconds that a call waits for others to finish their writes
_VERSION = 2
_BLOCKS = """
CREATE TABLE blocks (
    id TEXT PRIMARY KEY,  -- Block.id
    kind INTEGER NOT NULL REFERENCES kinds,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    period INTEGER NOT NULL,
    count INTEGER NOT NULL,
    size INTEGER NOT NULL,
    ends TEXT NOT NULL,
    measures TEXT NOT NULL,
    written_at INTEGER NOT NULL
);
CREATE INDEX blocks_of_kind ON blocks (kind, first, id);
"""
_SCHEMA = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE kinds (  -- a service's profiles of one type
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    type TEXT NOT NULL,
    UNIQUE (service, type)
);
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,  -- Meta.series
    kind INTEGER NOT NULL REFERENCES kinds,
    labels TEXT NOT NULL
);
CREATE INDEX series_of_kind ON series (kind);
CREATE TABLE entries (
    id TEXT PRIMARY KEY,  -- Meta.id
    kind INTEGER NOT NULL REFERENCES kinds,
    series INTEGER NOT NULL REFERENCES series,
    created_at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    totals TEXT NOT NULL
);
CREATE INDEX entries_of_kind ON entries (kind, created_at, id);
CREATE INDEX entries_of_series ON entries (series, created_at, id);
{_BLOCKS}
PRAGMA user_version = {_VERSION};
COMMIT;
"""

_ADD_KIND = "INSERT INTO kinds (service, type) VALUES (:service, :type) ON CONFLICT (service, type) DO NOTHING"
_ADD_SERIES = """
INSERT INTO series (name, kind, labels)
SELECT :series, id, :labels FROM kinds WHERE service = :service AND type = :type
ON CONFLICT (name) DO NOTHING
"""
_ADD_ENTRY = """
INSERT INTO entries (id, kind, series, created_at, size, totals)
SELECT :id, kind, id, :created_at, :size, :totals FROM series WHERE name = :series
ON CONFLICT (id) DO NOTHING
"""

_KINDS = "SELECT id FROM kinds WHERE service = :service AND type = ifnull(:type, type)"
# Of thousands of series, few may have an entry in the range: one query leaves out the others.
_SERIES = """
SELECT id FROM series
WHERE name IN (SELECT value FROM json_each(:series))
AND kind IN (SELECT id FROM kinds WHERE service = :service AND type = ifnull(:type, type))
AND EXISTS (SELECT 1 FROM entries WHERE entries.series = series.id AND created_at BETWEEN :start AND :end)
"""
_ENTRIES = """
SELECT created_at, id, size, totals, series FROM entries
WHERE {column} = ? AND (created_at, id) > (?, ?) AND created_at <= ? ORDER BY created_at, id LIMIT ?
"""
_OF_KIND = _ENTRIES.format(column="kind")
_OF_SERIES = _ENTRIES.format(column="series")
_OF = "SELECT service, type, labels FROM series JOIN kinds ON kinds.id = kind WHERE series.id = ?"

_ALL_SERIES = """
SELECT name, service, type, labels FROM kinds JOIN series ON series.kind = kinds.id
WHERE service = :service AND type = ifnull(:type, type)
"""
_SERVICES = """
SELECT DISTINCT service FROM kinds
WHERE EXISTS (SELECT 1 FROM entries WHERE kind = kinds.id) OR EXISTS (SELECT 1 FROM blocks WHERE kind = kinds.id)
ORDER BY 1
"""

_ADD_BLOCK = """
INSERT INTO blocks (id, kind, first, last, period, count, size, ends, measures, written_at)
SELECT :id, id, :first, :last, :period, :count, :size, :ends, :measures, :written_at
FROM kinds WHERE service = :service AND type = :type
ON CONFLICT (id) DO NOTHING
"""
_OVERLAPPING = """
SELECT blocks.id, type, period, first, last, count, size, ends, measures, written_at
FROM blocks JOIN kinds ON kinds.id = blocks.kind
WHERE service = :service AND type = ifnull(:type, type)
AND first BETWEEN :from AND :end AND last >= :start AND :start <= :end
ORDER BY first, blocks.id
"""

_BLOCK = ("id", "service", "type", "first", "last", "period", "count", "size", "measures", "written_at")
_TOUCHED = "SELECT DISTINCT series FROM entries WHERE id IN (SELECT value FROM json_each(?))"
_REMOVE = "DELETE FROM entries WHERE id IN (SELECT value FROM json_each(?))"
_REMOVE_BLOCKS = "DELETE FROM blocks WHERE id IN (SELECT value FROM json_each(?))"
# A series that has no entries may have members of blocks.
_PRUNE = """
DELETE FROM series WHERE id IN (SELECT value FROM json_each(?))
AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.series = series.id)
AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.kind = series.kind)
"""


class LocalIndex:
    """The SQLite file at *path*, made where there is none. Raise ``Misconfigured`` for one with another schema.

    Each call has a connection of its own while it lasts, so that threads do not wait for one another and a find
    sees the index as it was when it began. A find that is under way when its process forks stays with the parent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: deque[tuple[int, sqlite3.Connection]] = deque()  # with the inode of the file
        weakref.finalize(self, _close, self._idle)
        _indexes.add(self)
        with self._connection():
            pass

    def add(self, meta: Meta) -> bool:
        row = {
            "id": meta.id,
            "service": meta.service,
            "type": meta.type,
            "series": meta.series,
            "labels": meta.labels.format(),
            "created_at": meta.created_at,
            "size": meta.size,
            "totals": json.dumps(meta.totals, separators=(",", ":")),
        }
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_ADD_KIND, row)
            connection.execute(_ADD_SERIES, row)
            added = connection.execute(_ADD_ENTRY, row).rowcount == 1
            connection.execute("COMMIT")
        return added

    def find(self, selection: Selection) -> Iterator[Meta]:
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield from _entries(connection, selection)

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        found = self._snapshot(selection)
        return next(found), found  # type: ignore[arg-type,return-value] # of both kinds, in this order

    def _snapshot(self, selection: Selection) -> Iterator[list[Block] | Meta]:
        with self._connection() as connection:
            connection.execute("BEGIN")  # the file as it is at the first read, until the end
            yield _blocks(connection, selection.service, selection.type, selection.start, selection.end)
            yield from _entries(connection, selection)

    def commit(self, block: Block, members: Collection[str], replaced: Collection[str]) -> bool:
        row = {name: getattr(block, name) for name in _BLOCK} | {"ends": json.dumps(block.ends)}
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_ADD_KIND, row)
            done = connection.execute(_ADD_BLOCK, row).rowcount == 1
            for statement, ids in ((_REMOVE, set(members)), (_REMOVE_BLOCKS, set(replaced))):
                done = done and connection.execute(statement, (json.dumps(list(ids)),)).rowcount == len(ids)
            connection.execute("COMMIT" if done else "ROLLBACK")
        return done

    def blocks(self, service: str, type: ProfileType | None, start: int, end: int) -> list[Block]:  # noqa: A002
        with self._connection() as connection:
            return _blocks(connection, service, type, start, end)

    def add_series(self, series: Series) -> None:
        row = {"series": series.id, **series._asdict(), "labels": series.labels.format()}
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_ADD_KIND, row)
            connection.execute(_ADD_SERIES, row)
            connection.execute("COMMIT")

    def series(self, service: str, type: ProfileType | None) -> list[Series]:  # noqa: A002 - as in the port
        with self._connection() as connection:
            rows = connection.execute(_ALL_SERIES, {"service": service, "type": type}).fetchall()
        return [Series(name, of, ProfileType(kind), Labels.parse(labels)) for name, of, kind, labels in rows]

    def services(self) -> list[str]:
        with self._connection() as connection:
            return [service for (service,) in connection.execute(_SERVICES).fetchall()]

    def remove(self, ids: Iterable[str]) -> None:
        gone = json.dumps(list(ids))
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            touched = [series for (series,) in connection.execute(_TOUCHED, (gone,))]
            connection.execute(_REMOVE, (gone,))
            connection.execute(_REMOVE_BLOCKS, (gone,))
            connection.execute(_PRUNE, (json.dumps(touched),))
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with _translated():
            process = os.getpid()
            inode, connection = self._take()
            try:
                yield connection
            finally:
                if process == os.getpid():  # otherwise it is the parent's
                    connection.rollback()  # what an error or a find left open
                    self._idle.append((inode, connection))

    def _take(self) -> tuple[int, sqlite3.Connection]:
        if not self._path.exists():
            self._make()
        inode = self._path.stat().st_ino
        while self._idle:
            try:
                known, connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if known == inode:
                return known, connection
            connection.close()  # of a file that was removed
        return inode, self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",  # never an empty file instead of the one that is meant
            uri=True,
            timeout=_PATIENCE,
            isolation_level=None,
            check_same_thread=False,  # one thread at a time: see _connection
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 1:
                version = _upgraded(connection)
            if version != _VERSION:
                raise Misconfigured(
                    f"{self._path.name} has the schema {version}, this version of profbucket needs {_VERSION};"
                    " move the file away and rebuild it from the bucket"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _make(self) -> None:
        """Make the file aside and put it in its place whole: switching to WAL and the schema are no race then."""
        with locked(self._path.parent) as folder:
            if self._path.exists():
                return
            for leftover in self._path.parent.glob(f"{self._path.name}?*"):
                leftover.unlink()  # of a killed process, or the log of a file that was removed
            draft = self._path.with_name(f"{self._path.name}.new")
            connection = sqlite3.connect(draft, isolation_level=None)
            connection.executescript(_SCHEMA)
            connection.close()
            draft.rename(self._path)
            os.fsync(folder)


def _upgraded(connection: sqlite3.Connection) -> int:
    """Bring a file of version 1 up to date, unless another process just has, and return its version."""
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 1:
        for statement in filter(str.strip, _BLOCKS.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        version = _VERSION
    connection.execute("COMMIT")
    return int(version)


def _blocks(
    connection: sqlite3.Connection, service: str, kind: ProfileType | None, start: int, end: int
) -> list[Block]:
    asked = {"service": service, "type": kind, "start": start, "end": end, "from": max(start - LONGEST, 0)}
    return [
        Block(one, service, ProfileType(of), period, first, last, count, size, tuple(json.loads(ends)), *rest)
        for one, of, period, first, last, count, size, ends, *rest in connection.execute(_OVERLAPPING, asked)
    ]


def _entries(connection: sqlite3.Connection, selection: Selection) -> Iterator[Meta]:
    # The first position that is not meant: no id is empty.
    after = max((selection.start, ""), selection.after or (selection.start, ""))
    asked = {
        "service": selection.service,
        "type": selection.type,
        "series": json.dumps(list(selection.series or ())),
        "start": after[0],
        "end": selection.end,
    }
    ranges, entries = (_KINDS, _OF_KIND) if selection.series is None else (_SERIES, _OF_SERIES)
    ids = connection.execute(ranges, asked).fetchall()
    streams = [_pages(connection, entries, one, after, selection.end) for (one,) in ids]
    known: dict[int, tuple[str, ProfileType, Labels]] = {}
    for created_at, profile_id, size, totals, series in islice(merge(*streams), selection.limit):
        if series not in known:
            service, kind, labels = connection.execute(_OF, (series,)).fetchone()
            known[series] = service, ProfileType(kind), Labels.parse(labels)
        sums = tuple(Total(*total) for total in json.loads(totals))
        yield Meta(profile_id, *known[series], created_at, size, sums)


def _pages(
    connection: sqlite3.Connection, query: str, of: int, after: tuple[int, str], end: int
) -> Iterator[tuple[int, str, int, str, int]]:
    """The rows of one kind or series, in order.

    Pages, as the cost of open cursors grows with their square: a find among thousands of series would stand
    still. The first ones are small, as it may need one row of each series.
    """
    limit = 4
    while rows := connection.execute(query, (of, *after, end, limit)).fetchall():
        yield from rows
        if len(rows) < limit:
            return
        after = rows[-1][:2]
        limit = min(2 * limit, 1024)


@contextmanager
def _translated() -> Iterator[None]:
    with translated("hold the index"):
        try:
            yield
        except sqlite3.Error as error:
            # The low byte is the kind of error, the high one which of its kind.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise StoragePermissionError(
                    f"the index may not be written: {error}; user {os.geteuid()} must be able to write its file"
                    " and the directory"
                ) from error
            raise Unavailable(f"the index cannot be used: {error}") from error


def _close(idle: deque[tuple[int, sqlite3.Connection]]) -> None:
    while idle:
        idle.pop()[1].close()


def _before_fork() -> None:
    # A child must not touch, nor even close, a connection that its parent has opened.
    for index in list(_indexes):
        _close(index._idle)


_indexes: weakref.WeakSet[LocalIndex] = weakref.WeakSet()
os.register_at_fork(before=_before_fork)
