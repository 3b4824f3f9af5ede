"""One SQLite file as an index."""

import json
import os
import sqlite3
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from pathlib import Path

from profbucket.errors import Forbidden, Misconfigured, Unavailable
from profbucket.labels import Labels
from profbucket.meta import Meta, ProfileType, Total
from profbucket.ports import Selection, Series
from storage_local.files import locked, translated

_PATIENCE = 30.0  # seconds that a call waits for others to finish their writes
_VERSION = 1
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
_SERVICES = (
    "SELECT DISTINCT service FROM kinds WHERE EXISTS (SELECT 1 FROM entries WHERE kind = kinds.id) ORDER BY 1"
)

_TOUCHED = "SELECT DISTINCT series FROM entries WHERE id IN (SELECT value FROM json_each(?))"
_REMOVE = "DELETE FROM entries WHERE id IN (SELECT value FROM json_each(?))"
_PRUNE = """
DELETE FROM series WHERE id IN (SELECT value FROM json_each(?))
AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.series = series.id)
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
        with self._connection() as connection:
            connection.execute("BEGIN")
            ids = connection.execute(ranges, asked).fetchall()
            streams = [_pages(connection, entries, one, after, selection.end) for (one,) in ids]
            known: dict[int, tuple[str, ProfileType, Labels]] = {}
            for created_at, profile_id, size, totals, series in islice(merge(*streams), selection.limit):
                if series not in known:
                    service, kind, labels = connection.execute(_OF, (series,)).fetchone()
                    known[series] = service, ProfileType(kind), Labels.parse(labels)
                sums = tuple(Total(*total) for total in json.loads(totals))
                yield Meta(profile_id, *known[series], created_at, size, sums)

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
                raise Forbidden(
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
