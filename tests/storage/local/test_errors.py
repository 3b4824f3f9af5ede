"""Errors of a directory and its index: damage, older schemas, missing permissions."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from profbucket.errors import Damaged, Misconfigured, NotFound, StoragePermissionError, Unavailable
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import batch_name
from profbucket.model.meta import BatchPart, Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import Task
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.storage.ports import Change, Selection, Series, SeriesSelection
from profbucket.storage.store import Storage
from storage_local import LocalBucket, LocalIndex
from storage_local.index import _close_all
from tests.support.paths import ROOT
from tests.support.storage.compaction_suite import (
    HOUR,
    MIDNIGHT,
)
from tests.support.storage.damage_suite import compacted, own_stacks
from tests.support.storage.examples import ALL_TIME, NOW, make_block, make_meta
from tests.support.storage.index_suite import add_all, select_all

CPU = ProfileType.CPU


def downgrade(path: Path, version: int) -> None:
    """Make the file what an earlier version left, as far as an upgrade reads it."""
    additions = {
        6: "ALTER TABLE entries DROP COLUMN part;",
        5: "DROP TRIGGER refuse_entry_of_older_version;"
        "ALTER TABLE entries DROP COLUMN sample_types; DROP TABLE sample_types;",
        4: "DROP TRIGGER delete_labels_of_series; DROP TABLE series_labels; DROP TABLE labels;"
        "ALTER TABLE series DROP COLUMN sample_types; ALTER TABLE series DROP COLUMN first_seen;"
        "ALTER TABLE series DROP COLUMN last_seen;",
        3: "DROP TABLE tasks;",
        2: "DROP TABLE blocks;",
    }
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT entries.id, names, totals FROM entries JOIN sample_types ON sample_types.id = sample_types"
        ).fetchall()
        for profile_id, names, values in rows if version < 5 else ():
            totals = [[*name, value] for name, value in zip(json.loads(names), json.loads(values), strict=True)]
            connection.execute("UPDATE entries SET totals = ? WHERE id = ?", (json.dumps(totals), profile_id))
        for schema, removal in additions.items():
            if schema > version:
                connection.executescript(removal)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


class TestErrors:
    @pytest.mark.parametrize(
        ("number", "error", "sentence"),
        [
            (errno.ENOSPC, Unavailable, "cannot write the object 'api/cpu/1': No space left on device"),
            (errno.EIO, Unavailable, "cannot write the object 'api/cpu/1': Input/output error"),
            (errno.EMFILE, Unavailable, "Too many open files"),
            (errno.EACCES, StoragePermissionError, "Permission denied; give user .* read and write access"),
            (errno.EROFS, StoragePermissionError, "Read-only file system"),
        ],
    )
    def test_a_failed_write_raises_an_error_and_can_be_repeated(
        self,
        bucket: LocalBucket,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        error: type[Exception],
        sentence: str,
    ) -> None:
        def fail(_: int) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail)
            with pytest.raises(error, match=sentence):
                bucket.put("api/cpu/1", b"", {"a": "b"})
        with pytest.raises(NotFound):
            bucket.get("api/cpu/1")
        assert bucket.put("api/cpu/1", b"data", {"a": "c"}) is True
        assert bucket.stat("api/cpu/1").metadata == {"a": "c"}

    def test_a_key_below_an_object_cannot_be_put(self, bucket: LocalBucket) -> None:
        bucket.put("a", b"", {})
        with pytest.raises(Unavailable, match="cannot write the object 'a/b': Not a directory"):
            bucket.put("a/b", b"", {})
        bucket.put("c/d", b"", {})
        with pytest.raises(Unavailable, match="cannot write the object 'c': Is a directory"):
            bucket.put("c", b"", {})

    def test_an_unreadable_file_is_not_reported_as_missing(self, bucket: LocalBucket, tmp_path: Path) -> None:
        (tmp_path / "storage/loop").symlink_to("loop")
        for call in (bucket.get, bucket.stat, bucket.delete):
            with pytest.raises(Unavailable, match="'loop': Too many levels of symbolic links"):
                call("loop")

    def test_a_file_that_is_not_a_database_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / ".index.sqlite"
        path.write_bytes(b"something else" * 1000)
        with pytest.raises(Damaged, match="file is not a database; run profbucket reindex"):
            LocalIndex(path).services()
        assert path.read_bytes() == b"something else" * 1000

    def test_an_index_with_an_unknown_schema_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / ".index.sqlite"
        LocalIndex(path).add(make_meta())
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(Misconfigured, match="has schema 99, this version of profbucket needs 6"):
            LocalIndex(path)

    @pytest.mark.parametrize("version", [1, 2, 3])
    def test_an_index_with_an_older_schema_is_upgraded(self, tmp_path: Path, version: int) -> None:
        """One of concurrent processes upgrades it, and its entries are kept."""
        path = tmp_path / ".index.sqlite"
        meta, other = make_meta(labels="v=1", totals=[Total("cpu", "nanoseconds", 5)]), make_meta(labels="v=2")
        add_all(LocalIndex(path), [meta, other])
        if version == 3:
            assert LocalIndex(path).commit(Change(make_block([other]), [other.id], []))
        downgrade(path, version)
        with ThreadPoolExecutor(4) as threads:
            indexes = list(threads.map(LocalIndex, [path] * 4))
        entries = [meta] if version == 3 else sorted([meta, other], key=lambda meta: meta.position)
        for index in indexes:
            assert list(index.find(Selection("api", None, *ALL_TIME))) == entries
            [series] = index.series(SeriesSelection(None, None, meta.labels, NOW, NOW))
            assert series == Series.of(meta)
            [series] = index.series(SeriesSelection("api", CPU, other.labels))
            assert series.labels == other.labels
            assert index.series(SeriesSelection("api", CPU, start=NOW + 1)) == []
            assert index.series(SeriesSelection("api", CPU, end=NOW - 1)) == []
        assert indexes[0].commit(Change(make_block([meta]), [meta.id], []))
        assert indexes[0].add_task(Task("api", None, 0, 0, 0)) is True
        assert make_block([meta]) in indexes[1].snapshot(Selection("api", None, *ALL_TIME))[0]

    def test_an_index_without_batches_is_upgraded(self, tmp_path: Path) -> None:
        path = tmp_path / ".index.sqlite"
        meta, part = make_meta(), BatchPart(batch_name([], NOW), 7)
        LocalIndex(path).add(meta)
        downgrade(path, 5)
        index = LocalIndex(path)
        index.add_batch([replace(meta, part=part), replace(make_meta(NOW + 1), part=part)])
        found = list(index.find(Selection("api", None, *ALL_TIME)))
        assert found == [meta, make_meta(NOW + 1)]
        assert [each.part for each in found] == [None, part]

    def test_a_process_of_an_older_version_writes_no_entries_after_the_upgrade(self, tmp_path: Path) -> None:
        path = tmp_path / ".index.sqlite"
        meta = make_meta()
        LocalIndex(path).add(meta)
        downgrade(path, 3)
        older = sqlite3.connect(path, isolation_level=None)
        index = LocalIndex(path)
        with pytest.raises(sqlite3.IntegrityError, match="restart this process"):
            older.execute(
                "INSERT INTO entries (id, kind, series, created_at, size, totals)"
                " SELECT id || 'f', kind, series, created_at, size, ? FROM entries",
                ('[["cpu","nanoseconds",5]]',),
            )
        older.close()
        assert list(index.find(Selection("api", None, *ALL_TIME))) == [meta]

    def test_a_damaged_task_is_ignored(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / ".index.sqlite"
        tasks = [Task("api", None, 0, 0, due) for due in range(4)]
        for task in tasks:
            LocalIndex(path).add_task(task)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE tasks SET task = '[' WHERE due = 1")
            connection.execute("UPDATE tasks SET task = x'ff00' WHERE due = 2")
        connection.close()
        assert LocalIndex(path).due_tasks(10, 10) == [tasks[0], tasks[3]]
        assert caplog.text.count("a damaged task in the index is ignored") == 2

    def test_an_index_that_stays_locked_is_unavailable(
        self, index: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add_all(index, [make_meta()])
        monkeypatch.setattr("storage_local.index._LOCK_TIMEOUT_SECONDS", 0.02)
        index_with_short_timeout = LocalIndex(tmp_path / "storage/.index.sqlite")
        other = sqlite3.connect(tmp_path / "storage/.index.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="cannot use the index: database is locked"):
            index_with_short_timeout.add(make_meta(NOW + 1))
        assert list(index_with_short_timeout.find(select_all())) == [make_meta()]  # reads do not wait for writers
        other.rollback()
        other.close()
        assert index_with_short_timeout.add(make_meta(NOW + 1)) is True


DAMAGED_ROWS = {
    "an id that is a number": "UPDATE entries SET id = rowid",
    "the id of another time": "UPDATE entries SET created_at = created_at + 1",
    "a time beyond all clocks": "UPDATE entries SET created_at = 9223372036854775807",
    "a size that is a text": "UPDATE entries SET size = 'x'",
    "totals that are not JSON": "UPDATE entries SET totals = '[[['",
    "totals that are a number": "UPDATE entries SET totals = '7'",
    "totals of no sample types": "DELETE FROM sample_types",
    "sample types that are not JSON": "UPDATE sample_types SET names = 'x'",
    "totals that are deeply nested": f"UPDATE entries SET totals = '{'[' * 100_000}'",
    "a text that is not UTF-8": "UPDATE entries SET totals = CAST(x'ff' AS TEXT)",
    "malformed labels": "UPDATE series SET labels = '%'",
    "a missing series": "PRAGMA foreign_keys = 0; DELETE FROM series",
    "a missing table": "DROP TABLE entries",
    "a schema that is not UTF-8": (
        "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET name = CAST(x'93' AS TEXT), sql = 'x';"
        "PRAGMA schema_version = 99"
    ),
    "block ends that are not JSON": "UPDATE blocks SET ends = 'x'",
    "the times of another block": "UPDATE blocks SET first = first - 1",
    "a block size that is a text": "UPDATE blocks SET size = 'x'",
}


class TestDamagedIndex:
    """A damaged index is an error that says what to do, and reindex makes a new one."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        storage = open_storage(f"file://{tmp_path}/storage")
        compacted(storage)
        return storage

    def check_and_rebuild(self, storage: Storage, tmp_path: Path) -> None:
        """Check that finds fail or are right, and that a reindex of one service rebuilds all of them."""
        query = Query("api", CPU, *ALL_TIME)
        asks: list[Callable[[Query], object]] = [Querier(storage).find, Querier(storage).merge]
        for ask in asks:
            with pytest.raises(Damaged, match="run profbucket reindex") as error:
                ask(query)
            assert error.value.code == "damaged_index"
        reopened = open_storage(f"file://{tmp_path}/storage")
        with pytest.raises(Damaged, match="run profbucket reindex"):
            list(fsck(reopened))
        list(reindex(reopened, "api", MIDNIGHT + HOUR))
        for opened in (reopened, storage):
            assert own_stacks(Querier(opened).merge(query).data) == {0, 2, 4, 60, 62, 64, 120, 122, 124}
            assert len(Querier(opened).find(query).profiles) == 9
        assert {finding.state for finding in fsck(reopened)} == {State.OK}
        assert open_storage(f"file://{tmp_path}/storage").index.services() == ["api"]
        moved = list((tmp_path / "storage").glob(".damaged-1-index.sqlite*"))
        assert moved
        assert not any(obj.key.startswith(".") for obj in storage.bucket.list("", "~"))

    @pytest.mark.parametrize("statement", DAMAGED_ROWS.values(), ids=DAMAGED_ROWS)
    def test_damaged_rows(self, storage: Storage, tmp_path: Path, statement: str) -> None:
        with sqlite3.connect(tmp_path / "storage/.index.sqlite") as connection:
            connection.executescript(statement)
        connection.close()
        self.check_and_rebuild(storage, tmp_path)

    @pytest.mark.parametrize(
        "damage",
        [
            "a size that is a text",
            "totals that are not JSON",
            "totals that are a number",
            "totals that are deeply nested",
            "totals of no sample types",
            "sample types that are not JSON",
            "malformed labels",
            "a missing series",
        ],
    )
    def test_a_timeline_of_damaged_rows(self, storage: Storage, tmp_path: Path, damage: str) -> None:
        with sqlite3.connect(tmp_path / "storage/.index.sqlite") as connection:
            connection.executescript(DAMAGED_ROWS[damage])
        connection.close()
        with pytest.raises(Damaged) as error:
            Querier(storage).timeline(Query("api", CPU, *ALL_TIME))
        assert error.value.code == "damaged_index"

    @pytest.mark.parametrize(
        "statement", ["UPDATE entries SET created_at = 'x'", "UPDATE kinds SET type = 'x'"], ids=["time", "type"]
    )
    def test_damaged_rows_that_no_find_reads_are_replaced(
        self, storage: Storage, tmp_path: Path, statement: str
    ) -> None:
        with sqlite3.connect(tmp_path / "storage/.index.sqlite") as connection:
            connection.executescript(statement)
        connection.close()
        list(reindex(storage))
        assert len(Querier(storage).find(Query("api", CPU, *ALL_TIME)).profiles) == 9

    @pytest.mark.parametrize("content", [b"", b"no database" * 1000, bytes(8192)], ids=["empty", "text", "zeros"])
    def test_a_file_that_is_overwritten(self, storage: Storage, tmp_path: Path, content: bytes) -> None:
        with sqlite3.connect(tmp_path / "storage/.index.sqlite") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        with (tmp_path / "storage/.index.sqlite").open("r+b") as file:
            file.write(content)
            if not content:
                file.truncate()
        storage = open_storage(f"file://{tmp_path}/storage")
        self.check_and_rebuild(storage, tmp_path)


class TestReadOnly:
    """A storage on a file system that is mounted read-only."""

    SCRIPT = """
import subprocess, sys
from profbucket.errors import StoragePermissionError
from profbucket.maintenance.repair import fsck
from profbucket.model.meta import Query
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.support.storage.compaction_suite import ALL_TIME, CPU
from tests.support.storage.damage_suite import own_stacks
from tests.support.storage.storage_suite import make_profile

directory, writer = sys.argv[1], sys.argv[2]
if writer == "live":
    live = open_storage(f"file://{directory}")
    live.index.services()
subprocess.run(["mount", "--bind", directory, directory + "-ro"], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", directory + "-ro"], check=True)
storage = open_storage(f"file://{directory}-ro", create=False)
for _ in range(2):
    print(sorted(own_stacks(Querier(storage).merge(Query("api", CPU, *ALL_TIME)).data)))
print(sorted({str(finding.state) for finding in fsck(storage)}))
try:
    storage.write(*make_profile(1))
except StoragePermissionError as error:
    print("refused")
"""

    @pytest.mark.parametrize("writer", ["closed", "older", "killed", "live", "without index"])
    def test_it_can_be_read(self, tmp_path: Path, writer: str) -> None:
        unshare = ["unshare", "-rm", sys.executable]
        if subprocess.run([*unshare[:2], "true"], check=False, capture_output=True).returncode:
            pytest.skip("no user namespaces")
        storage = open_storage(f"file://{tmp_path}/storage")
        compacted(storage)
        (tmp_path / "storage-ro").mkdir()
        index = tmp_path / "storage/.index.sqlite"
        if writer == "killed":  # the log holds what was written last
            files = {path.name: path.read_bytes() for path in index.parent.glob(f"{index.name}*")}
            assert files[f"{index.name}-wal"]
        with sqlite3.connect(index) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        _close_all(storage.index._idle)  # type: ignore[attr-defined]
        if writer == "older":
            downgrade(index, 3)
        if writer == "killed":
            for name, data in files.items():
                if not name.endswith("-shm"):
                    (index.parent / name).write_bytes(data)
        if writer == "without index":
            index.unlink()
        run = subprocess.run(
            [*unshare, "-c", self.SCRIPT, f"{tmp_path}/storage", writer],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if writer == "without index":
            assert "nothing found" in run.stderr
            return
        assert run.stdout.splitlines() == ["[0, 2, 4, 60, 62, 64, 120, 122, 124]"] * 2 + ["['ok']", "refused"], (
            run.stderr
        )
