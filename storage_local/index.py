"""A SQLite file as an index."""

import json
import os
import re
import sqlite3
import weakref
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from profbucket.errors import Damaged, Misconfigured, StoragePermissionError, Unavailable
from profbucket.model.blocks import Block, Members
from profbucket.model.ids import block_prefix
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import Task, load_tasks
from profbucket.storage.ports import (
    MAX_BLOCK_NANOS,
    Change,
    ExpectedBlocks,
    Selection,
    Series,
    SeriesGroup,
    SeriesSelection,
)
from profbucket.times import format_stamp
from storage_local.damage import PARSE_ERRORS, raise_damaged
from storage_local.entries import read_columns, read_entries, store_entry
from storage_local.files import RootFolder, lock_folder, translate_errors
from storage_local.groups import GroupCommit
from storage_local.schema import CREATE_ALL, SCHEMA_VERSION, upgrade
from storage_local.series import read_label_values, read_series, read_series_groups, store_series

_LOCK_TIMEOUT_SECONDS = 30.0

_INSERT_KIND = "INSERT INTO kinds (service, type) VALUES (:service, :type) ON CONFLICT (service, type) DO NOTHING"
_HAS_PROFILES = """
(EXISTS (SELECT 1 FROM entries WHERE kind = kinds.id) OR EXISTS (SELECT 1 FROM blocks WHERE kind = kinds.id))
"""
_SELECT_SERVICES = f"SELECT DISTINCT service FROM kinds WHERE {_HAS_PROFILES} ORDER BY 1"  # noqa: S608
_SELECT_TYPES = f"SELECT type FROM kinds WHERE service = ? AND {_HAS_PROFILES} ORDER BY 1"  # noqa: S608

_INSERT_BLOCK = """
INSERT INTO blocks (id, kind, first, last, period, count, size, ends, measures, written_at)
SELECT :id, id, :first, :last, :period, :count, :size, :ends, :measures, :written_at
FROM kinds WHERE service = :service AND type = :type
ON CONFLICT (id) DO NOTHING
"""
_SELECT_OVERLAPPING_BLOCKS = """
SELECT blocks.id, type, period, first, last, count, size, ends, measures, written_at
FROM blocks JOIN kinds ON kinds.id = blocks.kind
WHERE service = :service AND type = ifnull(:type, type)
AND first BETWEEN :from AND :end AND last >= :start AND :start <= :end
ORDER BY first, blocks.id
"""

_INSERT_TASK = "INSERT INTO tasks (id, due, task) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING"
_SELECT_DUE_TASKS = "SELECT task FROM tasks WHERE due <= ? ORDER BY due, id LIMIT ?"
_DELETE_TASK = "DELETE FROM tasks WHERE id = ?"

_BLOCK_COLUMNS = ("id", "service", "type", "first", "last", "period", "count", "size", "measures", "written_at")
_SELECT_SERIES_OF_ENTRIES = "SELECT DISTINCT series FROM entries WHERE id IN (SELECT value FROM json_each(?))"
_DELETE_ENTRIES = "DELETE FROM entries WHERE id IN (SELECT value FROM json_each(?))"
_DELETE_BLOCKS = "DELETE FROM blocks WHERE id IN (SELECT value FROM json_each(?))"
# A series without entries may have members of blocks.
_DELETE_UNUSED_SERIES = """
DELETE FROM series WHERE id IN (SELECT value FROM json_each(?))
AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.series = series.id)
AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.kind = series.kind)
"""


# Of errors without a code of their own: a page of the schema was overwritten, or a text is not UTF-8.
_DAMAGE_MESSAGE = re.compile("no such (table|column)|malformed|Could not decode")


class LocalIndex:
    """The SQLite file at *path*, created if it does not exist. Raise ``Misconfigured`` for an unknown schema.

    Each call uses its own connection, so that threads do not wait for one another and a find reads a snapshot. An
    iteration that is in progress during a fork stays with the parent.

    On a file system that is mounted read-only, the file is read without locks, or if it is missing, as empty.
    """

    max_members = 1_000_000

    def __init__(self, path: Path) -> None:
        self._path = path
        with _translate_errors():
            self._folder = RootFolder(path.parent)
        self._idle: deque[tuple[int, sqlite3.Connection]] = deque()  # with the inode of the file
        self._additions = GroupCommit[None, Sequence[Meta], list[bool]]()
        weakref.finalize(self, _close_all, self._idle)
        _open_indexes.add(self)
        with suppress(Damaged), self._connection():  # a damaged file can be replaced
            pass

    def add(self, meta: Meta) -> bool:
        [is_new] = self._additions.call(None, [meta], self._add_all)
        return is_new

    def add_batch(self, members: Sequence[Meta]) -> None:
        self._additions.call(None, members, self._add_all)

    def _add_all(self, _: None, additions: Sequence[Sequence[Meta]]) -> list[list[bool]]:
        """Add the entries of all *additions* in one transaction; return for each entry whether it is new."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            are_new = [[_add_entry(connection, meta) for meta in metas] for metas in additions]
            connection.execute("COMMIT")
        return are_new

    def find(self, selection: Selection) -> Iterator[Meta]:
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield from read_entries(connection, selection)

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        results = self._read_snapshot(selection)
        return next(results), results  # type: ignore[arg-type,return-value] # the blocks, then entries

    def _read_snapshot(self, selection: Selection) -> Iterator[list[Block] | Meta]:
        with self._connection() as connection:
            connection.execute("BEGIN")  # the snapshot is that of the first read
            yield _read_blocks(connection, selection.service, selection.type, selection.start, selection.end)
            yield from read_entries(connection, selection)

    def snapshot_columns(self, selection: Selection) -> tuple[list[Block], list[Members]]:
        with self._connection() as connection:
            connection.execute("BEGIN")
            blocks = _read_blocks(connection, selection.service, selection.type, selection.start, selection.end)
            return blocks, read_columns(connection, selection)

    def commit(self, *changes: Change) -> bool:
        members = {profile_id for change in changes for profile_id in change.members}
        replaced = {block_id for change in changes for block_id in change.replaced}
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            complete = (
                all(_are_as_expected(connection, change.expected) for change in changes if change.expected)
                and _delete(connection, _DELETE_ENTRIES, members)
                and _delete(connection, _DELETE_BLOCKS, replaced)
                and all(_add_block(connection, change.block) for change in changes if change.block)
            )
            connection.execute("COMMIT" if complete else "ROLLBACK")
        return complete

    def blocks(self, service: str, profile_type: ProfileType | None, start: int, end: int) -> list[Block]:
        with self._connection() as connection:
            return _read_blocks(connection, service, profile_type, start, end)

    def add_series(self, series: Series) -> None:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            store_series(connection, series)
            connection.execute("COMMIT")

    def series(self, selection: SeriesSelection) -> list[Series]:
        with self._connection() as connection:
            return read_series(connection, selection)

    def series_groups(self, selection: SeriesSelection) -> list[SeriesGroup]:
        with self._connection() as connection:
            return read_series_groups(connection, selection)

    def label_values(self, service: str, limit: int) -> dict[ProfileType, dict[str, list[str]]]:
        with self._connection() as connection:
            connection.execute("BEGIN")
            return read_label_values(connection, service, limit)

    def tidy_series(self, *, all_services: bool) -> None:
        pass

    def services(self) -> list[str]:
        with self._connection() as connection:
            _parse_types(connection.execute("SELECT DISTINCT type FROM kinds"))
            return [service for (service,) in connection.execute(_SELECT_SERVICES).fetchall()]

    def profile_types(self, service: str) -> list[ProfileType]:
        with self._connection() as connection:
            return _parse_types(connection.execute(_SELECT_TYPES, (service,)))

    def remove(self, ids: Iterable[str]) -> None:
        ids_json = json.dumps(list(ids))
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            series_ids = [series for (series,) in connection.execute(_SELECT_SERIES_OF_ENTRIES, (ids_json,))]
            connection.execute(_DELETE_ENTRIES, (ids_json,))
            connection.execute(_DELETE_BLOCKS, (ids_json,))
            connection.execute(_DELETE_UNUSED_SERIES, (json.dumps(series_ids),))
            connection.execute("COMMIT")

    def add_task(self, task: Task) -> bool:
        with self._connection() as connection:
            return connection.execute(_INSERT_TASK, (task.id, task.due, task.dump())).rowcount == 1

    def due_tasks(self, until: int, limit: int) -> list[Task]:
        with self._connection() as connection:
            rows = connection.execute(_SELECT_DUE_TASKS, (until, limit)).fetchall()
        return load_tasks(str(text) for (text,) in rows)

    def replace_task(self, task: Task, replacement: Task | None = None) -> bool:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            removed = connection.execute(_DELETE_TASK, (task.id,)).rowcount == 1
            if removed and replacement:
                connection.execute(_INSERT_TASK, (replacement.id, replacement.due, replacement.dump()))
            connection.execute("COMMIT")
        return removed

    def replace_damaged(self) -> str | None:
        with _translate_errors(), lock_folder(self._path.parent) as folder:
            self._folder.check()
            _close_all(self._idle)
            for number in count(1):
                moved = self._path.with_name(f".damaged-{number}-{self._path.name.lstrip('.')}")
                if not moved.exists():
                    break
            for suffix in ("-wal", "-shm", ""):  # without its log, the file would be a different one
                with suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + suffix).rename(f"{moved}{suffix}")
            os.fsync(folder)
        return str(moved)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with _translate_errors():
            process = os.getpid()
            if self._folder.is_read_only():
                with self._read_only_connection() as connection:
                    yield connection
                return
            inode, connection = self._take_connection()
            try:
                yield connection
            finally:
                if process == os.getpid():  # otherwise it belongs to the parent
                    with suppress(sqlite3.Error):  # of a damaged file
                        connection.rollback()  # ends the transaction of a find, or of a call that failed
                    self._idle.append((inode, connection))
        self._folder.check()  # the volume may have been unmounted in the meantime

    @contextmanager
    def _read_only_connection(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection to a file that nobody can write, or to a copy with its log, which can be upgraded."""
        log = self._path.with_name(f"{self._path.name}-wal")
        with TemporaryDirectory(prefix="profbucket-") as folder:
            if not self._path.exists():
                connection = sqlite3.connect(":memory:", isolation_level=None)
                connection.executescript(CREATE_ALL)
            elif live := self._connect_read_only():  # shares the log of another process that has the file open
                connection = live
            elif not (log.exists() and log.stat().st_size) and (only := self._connect_read_only("&immutable=1")):
                connection = only
            else:
                copy = Path(folder, "index.sqlite")
                copyfile(self._path, copy)
                if log.exists():
                    copyfile(log, f"{copy}-wal")
                connection = self._connect(f"{copy.as_uri()}?mode=rw")
            try:
                connection.execute("PRAGMA query_only = 1")
                yield connection
            finally:
                connection.close()

    def _connect_read_only(self, option: str = "") -> sqlite3.Connection | None:
        """Return a connection; ``None`` if that must write, for a log or an older schema."""
        try:
            return self._connect(f"{self._path.absolute().as_uri()}?mode=ro{option}")
        except sqlite3.OperationalError:
            return None

    def _take_connection(self) -> tuple[int, sqlite3.Connection]:
        self._folder.check()
        if not self._path.exists():
            self._create_file()
        inode = self._path.stat().st_ino
        while self._idle:
            try:
                connected_inode, connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if connected_inode == inode:
                return connected_inode, connection
            connection.close()  # the file was removed
        return inode, self._connect(f"{self._path.absolute().as_uri()}?mode=rw")  # never creates an empty file

    def _connect(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=_LOCK_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # one thread at a time: see _connection
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                raise_damaged("the file has no schema")
            if 1 <= version < SCHEMA_VERSION:
                version = upgrade(connection)
            if version != SCHEMA_VERSION:
                raise Misconfigured(
                    f"{self._path.name} has schema {version}, this version of profbucket needs {SCHEMA_VERSION};"
                    " move the file away and run profbucket reindex"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _create_file(self) -> None:
        """Create the file under a temporary name and rename it, so that no process sees it without a schema."""
        with lock_folder(self._path.parent) as folder:
            if self._path.exists():
                return
            for leftover in self._path.parent.glob(f"{self._path.name}?*"):
                leftover.unlink()  # of a killed process, or the log of a file that was removed
            draft = self._path.with_name(f"{self._path.name}.new")
            connection = sqlite3.connect(draft, isolation_level=None)
            connection.executescript(CREATE_ALL)
            connection.close()
            draft.rename(self._path)
            os.fsync(folder)


def _add_entry(connection: sqlite3.Connection, meta: Meta) -> bool:
    store_series(connection, Series.of(meta))
    return store_entry(connection, meta)


def _are_as_expected(connection: sqlite3.Connection, expected: ExpectedBlocks) -> bool:
    overlapping = _read_blocks(connection, expected.service, expected.type, expected.start, expected.end)
    return {block.id for block in overlapping} == expected.ids


def _delete(connection: sqlite3.Connection, statement: str, ids: Collection[str]) -> bool:
    """Delete the rows with *ids* by *statement*, and return whether all of them existed."""
    return connection.execute(statement, (json.dumps(list(ids)),)).rowcount == len(ids)


def _add_block(connection: sqlite3.Connection, block: Block) -> bool:
    """Add *block*, and return whether it is new."""
    row = {name: getattr(block, name) for name in _BLOCK_COLUMNS} | {"ends": json.dumps(block.ends)}
    connection.execute(_INSERT_KIND, row)
    return connection.execute(_INSERT_BLOCK, row).rowcount == 1


def _parse_types(rows: Iterable[tuple[Any, ...]]) -> list[ProfileType]:
    try:
        return [ProfileType(type_name) for (type_name,) in rows]
    except PARSE_ERRORS as error:
        raise_damaged(f"a profile type: {error}")


def _read_blocks(
    connection: sqlite3.Connection, service: str, profile_type: ProfileType | None, start: int, end: int
) -> list[Block]:
    parameters = {
        "service": service,
        "type": profile_type,
        "start": start,
        "end": end,
        "from": max(start - MAX_BLOCK_NANOS, 0),
    }
    rows = connection.execute(_SELECT_OVERLAPPING_BLOCKS, parameters).fetchall()
    return [_parse_block(service, row) for row in rows]


def _parse_block(service: str, row: tuple[Any, ...]) -> Block:
    id_, type_name, period, first, last, members, size, ends, measures, written_at = row
    try:
        profile_type, parsed_ends = ProfileType(type_name), tuple(json.loads(ends))
        numbers = (period, first, last, members, size, written_at, *parsed_ends)
        prefix = f"{block_prefix(service, profile_type)}{format_stamp(first)}-"
        if not all(isinstance(number, int) for number in numbers) or not id_.startswith(prefix):
            raise ValueError("its columns do not match its id")
    except PARSE_ERRORS as error:
        raise_damaged(f"the record of block {id_!r:.120}: {error}")
    return Block(id_, service, profile_type, period, first, last, members, size, parsed_ends, measures, written_at)


@contextmanager
def _translate_errors() -> Iterator[None]:
    with translate_errors("open the index"):
        try:
            yield
        except OverflowError as error:  # a number beyond 64 bits
            raise Unavailable(f"cannot use the index: {error}") from error
        except UnicodeDecodeError as error:  # a text, or SQLite's own message about one
            raise_damaged(str(error))
        except sqlite3.Error as error:
            # The low byte is the primary result code, the high byte extends it.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT) or (
                code in (0, sqlite3.SQLITE_ERROR) and _DAMAGE_MESSAGE.search(str(error))
            ):
                raise_damaged(str(error))
            if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise StoragePermissionError(
                    f"cannot write the index: {error};"
                    f" give user {os.geteuid()} write access to its file and folder"
                ) from error
            raise Unavailable(f"cannot use the index: {error}") from error


def _close_all(idle: deque[tuple[int, sqlite3.Connection]]) -> None:
    while idle:
        idle.pop()[1].close()


def _before_fork() -> None:
    # A child must neither use nor close a connection that its parent has opened.
    for index in list(_open_indexes):
        _close_all(index._idle)


_open_indexes: weakref.WeakSet[LocalIndex] = weakref.WeakSet()
os.register_at_fork(before=_before_fork)
