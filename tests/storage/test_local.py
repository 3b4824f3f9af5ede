"""The acceptance suites on a directory and a SQLite file, and tests of that backend."""

import errno
import gzip
import itertools
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import product
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from profbucket.errors import Damaged, Misconfigured, NotFound, StoragePermissionError, Unavailable
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import ProfileId, batch_name
from profbucket.model.meta import BatchPart, Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import Task
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.storage.ports import ObjectRange, Selection, Series, SeriesSelection
from profbucket.storage.store import Storage
from storage_local import LocalBucket, LocalIndex, open_url
from storage_local.files import RootFolder, lock_folder
from storage_local.index import _close_all
from tests.support.paths import ROOT
from tests.support.storage.batch_suite import BatchSuite
from tests.support.storage.bucket_suite import BucketSuite
from tests.support.storage.compaction_suite import (
    HOUR,
    MIDNIGHT,
    CompactionSuite,
    compact,
    post_profiles,
)
from tests.support.storage.damage_suite import compacted, own_stacks
from tests.support.storage.examples import ALL_TIME, NOW, make_block, make_meta
from tests.support.storage.index_suite import MIXED, SERIES, IndexSuite, add_all, select_all, select_expected
from tests.support.storage.mixtures import MixedStorage
from tests.support.storage.storage_suite import StorageSuite, make_profile

CPU = ProfileType.CPU


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    return LocalBucket(tmp_path / "storage")


@pytest.fixture
def index(tmp_path: Path) -> LocalIndex:
    return LocalIndex(tmp_path / "storage" / ".index.sqlite")


class TestLocalBucket(BucketSuite):
    """The suite with the fixture of this module."""


class TestLocalIndex(IndexSuite):
    """The suite with the fixture of this module."""


class TestLocalStorage(StorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(f"file://{tmp_path}/storage")


class TestLocalCompaction(CompactionSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(f"file://{tmp_path}/storage")


class TestLocalBatches(BatchSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(f"file://{tmp_path}/storage")


class TestLocalCompactionOfMixtures(CompactionSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        storage = open_storage(f"file://{tmp_path}/storage")
        return MixedStorage(storage.bucket, storage.index)


class TestFiles:
    def test_an_object_is_the_file_at_the_path_of_its_key(self, bucket: LocalBucket, tmp_path: Path) -> None:
        bucket.put("api/cpu/1.pb.gz", b"verbatim", {"labels": "a=1"})
        assert (tmp_path / "storage/api/cpu/1.pb.gz").read_bytes() == b"verbatim"
        assert json.loads((tmp_path / "storage/api/cpu/.1.pb.gz.json").read_text()) == {"labels": "a=1"}

    def test_a_put_leaves_no_draft_and_a_delete_leaves_nothing(self, bucket: LocalBucket, tmp_path: Path) -> None:
        bucket.put("api/cpu/1", b"", {"labels": ""})
        assert {path.name for path in (tmp_path / "storage/api/cpu").iterdir()} == {"1", ".1.json"}
        bucket.delete("api/cpu/1")
        assert list((tmp_path / "storage/api/cpu").iterdir()) == []

    @pytest.mark.parametrize(
        "key",
        [
            *("", "/", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/", "/a"),
            *(".", "a/.", "a/.hidden", ".index.sqlite"),
            *("a b", "a\\b", "a%2Fb", "ü", "\ud800", "a\0b", "a\n", "a:b", "*"),
            *("a" * 249, "/".join(["a" * 200] * 6)),
        ],
    )
    def test_an_invalid_key_never_becomes_a_path(self, bucket: LocalBucket, tmp_path: Path, key: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: bucket.put(key, b"", {}),
            lambda: bucket.get(key),
            lambda: list(bucket.get_many([ObjectRange(key)])),
            lambda: bucket.stat(key),
            lambda: bucket.delete(key),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="invalid object key"):
                call()
        assert list(tmp_path.iterdir()) == [tmp_path / "storage"]
        assert list((tmp_path / "storage").iterdir()) == []

    def test_files_left_by_a_killed_writer_are_not_listed_and_are_removed(
        self, bucket: LocalBucket, tmp_path: Path
    ) -> None:
        folder = tmp_path / "storage/api/cpu"
        folder.mkdir(parents=True)
        (folder / ".1.json").write_bytes(b'{"labels": "another')
        drafts = tmp_path / "storage/.drafts"
        (drafts / "1234-killed").mkdir(parents=True)
        (drafts / "1234-killed/5").write_bytes(b"half of an obj")
        assert list(bucket.list("", "\x7f")) == []
        with pytest.raises(NotFound):
            bucket.stat("api/cpu/1")
        assert bucket.put("api/cpu/1", b"whole", {"labels": "a=1"}) is True
        assert bucket.stat("api/cpu/1").metadata == {"labels": "a=1"}
        assert {path.name for path in folder.iterdir()} == {"1", ".1.json"}
        assert not (drafts / "1234-killed").exists()

    def test_what_cannot_be_removed_from_the_drafts_stays(self, tmp_path: Path) -> None:
        drafts, outside = tmp_path / "storage/.drafts", tmp_path / "outside"
        drafts.mkdir(parents=True)
        outside.mkdir()
        (drafts / "file").write_bytes(b"")
        (drafts / "link").symlink_to(outside)
        (drafts / "dangling").symlink_to("nowhere")
        assert LocalBucket(tmp_path / "storage").put("api/cpu/1", b"data", {}) is True
        assert outside.exists()

    def test_drafts_of_a_living_process_are_left_alone(self, bucket: LocalBucket, tmp_path: Path) -> None:
        bucket.put("api/cpu/1", b"", {})
        [own] = (tmp_path / "storage/.drafts").iterdir()
        (own / "5").write_bytes(b"half of an obj")
        other = LocalBucket(tmp_path / "storage")
        other.put("api/cpu/2", b"", {})
        assert (own / "5").exists()

    def test_a_put_succeeds_after_somebody_removed_the_drafts(self, bucket: LocalBucket, tmp_path: Path) -> None:
        bucket.put("api/cpu/1", b"", {})
        rmtree(tmp_path / "storage/.drafts")
        assert bucket.put("api/cpu/2", b"", {}) is True

    def test_an_object_that_is_deleted_during_a_stat_is_not_found(
        self, bucket: LocalBucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket.put("api/cpu/1", b"", {"labels": "a=1"})

        def read(path: Path) -> bytes:
            bucket.delete("api/cpu/1")
            raise FileNotFoundError(path)

        monkeypatch.setattr(Path, "read_bytes", read)
        with pytest.raises(NotFound):
            bucket.stat("api/cpu/1")

    def test_a_file_that_was_copied_into_the_directory_is_an_object_without_metadata(
        self, bucket: LocalBucket, tmp_path: Path
    ) -> None:
        (tmp_path / "storage/api").mkdir()
        (tmp_path / "storage/api/x.pb.gz").write_bytes(b"123")
        (obj,) = bucket.list("", "\x7f")
        assert (obj.key, obj.size) == ("api/x.pb.gz", 3)
        assert bucket.stat("api/x.pb.gz").metadata == {}
        assert bucket.put("api/x.pb.gz", b"", {"a": "b"}) is False

    def test_files_whose_path_is_not_a_key_are_not_listed(self, bucket: LocalBucket, tmp_path: Path) -> None:
        for name in ("with space", ".hidden", "ü", "a+b", "x" * 249):
            (tmp_path / "storage" / name).write_bytes(b"")
            (tmp_path / "storage" / f"{name[:100]}.d").mkdir()
            (tmp_path / "storage" / f"{name[:100]}.d" / "with space").write_bytes(b"")
        (tmp_path / "storage/loop").symlink_to(tmp_path / "storage")
        bucket.put("a", b"", {})
        assert [obj.key for obj in bucket.list("", "\x7f")] == ["a"]

    def test_the_index_file_is_not_an_object(self, tmp_path: Path) -> None:
        bucket, index = open_url(f"file://{tmp_path}")
        index.add(make_meta())
        assert list(bucket.list("", "\x7f")) == []
        assert (tmp_path / ".index.sqlite").exists()

    @pytest.mark.parametrize("replaced", [False, True], ids=["gone", "replaced"])
    def test_nothing_is_written_or_found_where_another_directory_was(self, tmp_path: Path, replaced: bool) -> None:
        """An unmounted volume leaves an empty directory of the same name."""
        storage = open_storage(f"file://{tmp_path}/storage")
        (first, first_data), (second, second_data) = make_profile(1), make_profile(2)
        storage.write(first, first_data)
        (tmp_path / "storage").rename(tmp_path / "away")
        if replaced:
            (tmp_path / "storage").mkdir()
        calls: list[Callable[[], object]] = [
            lambda: storage.write(second, second_data),
            lambda: storage.index.add(second),
            lambda: storage.index.remove([second.id]),
            lambda: list(storage.index.find(select_all())),
            lambda: storage.read(ProfileId.parse(first.id)),
            lambda: storage.bucket.stat(ProfileId.parse(first.id).object_key),
            lambda: list(storage.bucket.list("", "~")),
            lambda: storage.bucket.delete(ProfileId.parse(first.id).object_key),
        ]
        for call in calls:
            with pytest.raises(Unavailable, match="is not the one that was opened"):
                call()
        assert (tmp_path / "storage").exists() is replaced
        if replaced:
            assert list((tmp_path / "storage").iterdir()) == []
            (tmp_path / "storage").rmdir()
        (tmp_path / "away").rename(tmp_path / "storage")
        assert storage.write(second, second_data) is True
        assert [meta.id for meta in storage.index.find(select_all())] == [first.id, second.id]

    def test_a_write_during_which_the_directory_is_replaced_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = open_storage(f"file://{tmp_path}/storage")
        meta, data = make_profile(1)
        storage.write(meta, data)
        check = RootFolder.check

        def replace_after_check(folder: RootFolder) -> None:
            check(folder)
            monkeypatch.undo()
            (tmp_path / "storage").rename(tmp_path / "away")

        writes: list[Callable[[], object]] = [
            lambda: storage.bucket.put("api/cpu/1", b"", {}),
            lambda: storage.index.add(make_meta()),
        ]
        for write in writes:
            monkeypatch.setattr(RootFolder, "check", replace_after_check)
            with pytest.raises(Unavailable):
                write()
            rmtree(tmp_path / "storage", ignore_errors=True)
            (tmp_path / "away").rename(tmp_path / "storage")


class Killed(BaseException):
    """The process ends here."""


def kill_at(step: int, steps: Iterator[int], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function*, but let the call with this number, and those after it, end the process."""

    def call(*args: Any, **options: Any) -> Any:
        if next(steps) >= step:
            raise Killed
        return function(*args, **options)

    return call


class TestDurability:
    def test_a_put_syncs_data_and_metadata_before_the_rename_and_the_folder_after_it(
        self, bucket: LocalBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket.put("api/cpu/0", b"", {})
        steps: list[object] = []
        fsync, fdatasync, rename = os.fsync, os.fdatasync, Path.rename

        def record_fsync(descriptor: int) -> None:
            steps.append(os.fstat(descriptor).st_ino)
            fsync(descriptor)

        def record_fdatasync(descriptor: int) -> None:
            steps.append(os.fstat(descriptor).st_ino)
            fdatasync(descriptor)

        def record_rename(path: Path, target: Path) -> Path:
            steps.append("name")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "fdatasync", record_fdatasync)
        monkeypatch.setattr(Path, "rename", record_rename)
        bucket.put("api/cpu/1", b"data", {"a": "b"})
        folder = tmp_path / "storage/api/cpu"
        data, metadata, names = (path.stat().st_ino for path in (folder / "1", folder / ".1.json", folder))
        assert steps == [data, metadata, "name", names, "name", names]

        steps.clear()  # its writer may have died before it synced the folder
        assert bucket.put("api/cpu/1", b"", {}) is False
        assert steps == [names]

        steps.clear()
        bucket.delete("api/cpu/1")
        assert steps == [names]

    @pytest.mark.parametrize("metadata", [{}, {"a": "new"}], ids=["bare", "with metadata"])
    @pytest.mark.parametrize("key", ["api/cpu/1", "api/cpu/1.pb.gz"])
    def test_a_replace_killed_at_any_step_leaves_an_object_without_metadata_of_another(
        self, bucket: LocalBucket, monkeypatch: pytest.MonkeyPatch, key: str, metadata: dict[str, str]
    ) -> None:
        old, new = (b"old", {"a": "old"}), (gzip.compress(b"new"), metadata)
        seen = []
        for step in itertools.count():
            bucket.replace(key, *old)
            steps = itertools.count()
            with monkeypatch.context() as patched:
                for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "unlink")):
                    patched.setattr(owner, name, kill_at(step, steps, getattr(owner, name)))
                try:
                    bucket.replace(key, *new)
                except Killed:
                    seen.append((bucket.get(key), bucket.stat(key).metadata))
                else:
                    break
        assert bucket.get(key) == new[0]
        assert bucket.stat(key).metadata == new[1]
        order: list[tuple[bytes, Mapping[str, str] | None]] = [old, (old[0], {}), (new[0], {}), new]
        assert [order.index(state) for state in seen] == sorted(order.index(state) for state in seen)
        assert old in seen
        assert len(seen) >= 4

    def test_a_put_syncs_the_parents_of_new_folders(
        self, bucket: LocalBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket.put("other", b"", {})
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
        bucket.put("api/cpu/1", b"", {})
        folders = [(tmp_path / path).stat().st_ino for path in ("storage", "storage/api")]
        assert [inode for inode in synced if inode in folders] == folders

    def test_concurrent_puts_share_the_syncs_of_their_folder(
        self, bucket: LocalBucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Eight arrive while the first of nine is committed."""
        bucket.put("api/cpu/0", b"", {})
        calls = list[int]()
        fsync = os.fsync

        def fsync_when_eight_wait(descriptor: int) -> None:
            calls.append(descriptor)
            while len(calls) == 1 and sum(map(len, bucket._names._waiting.values())) < 8:
                time.sleep(0.001)
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fsync_when_eight_wait)
        keys = [f"api/cpu/{number}" for number in range(1, 10)]
        with ThreadPoolExecutor(9) as threads:
            puts = [threads.submit(bucket.put, key, key.encode(), {"key": key}) for key in keys]
            assert all(put.result() for put in puts)
        assert len(calls) == 4
        assert [bucket.get(key) for key in keys] == [key.encode() for key in keys]
        assert [bucket.stat(key).metadata for key in keys] == [{"key": key} for key in keys]

    def test_concurrent_puts_of_one_object_create_it_once(self, bucket: LocalBucket) -> None:
        with ThreadPoolExecutor(8) as threads:
            puts = [threads.submit(bucket.put, "api/cpu/1", b"%d" % number, {}) for number in range(8)]
            results = [put.result() for put in puts]
        assert sum(results) == 1
        assert bucket.get("api/cpu/1") == b"%d" % results.index(True)


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
            assert LocalIndex(path).commit(make_block([other]), [other.id], [])
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
        assert indexes[0].commit(make_block([meta]), [meta.id], [])
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

    @pytest.mark.parametrize(
        ("pragma", "error", "sentence"),
        [
            ("max_page_count = 1", Unavailable, "database or disk is full"),
            ("query_only = 1", StoragePermissionError, "give user .* write access to its file"),
        ],
    )
    def test_a_database_that_cannot_be_written_raises_an_error(
        self,
        connections: list[sqlite3.Connection],
        tmp_path: Path,
        pragma: str,
        error: type[Exception],
        sentence: str,
    ) -> None:
        index = LocalIndex(tmp_path / "storage/.index.sqlite")
        index.add(make_meta(NOW))
        for connection in connections[1:]:
            connection.execute(f"PRAGMA {pragma}")
        with pytest.raises(error, match=sentence):
            all(index.add(make_meta(NOW + number)) for number in range(1, 1000))
        assert make_meta(NOW) in list(index.find(select_all()))


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


class TestOpening:
    def test_a_command_that_reads_does_not_create_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match="there is no directory"):
            open_storage(f"file://{tmp_path}/typo", create=False)
        assert list(tmp_path.iterdir()) == []

    def test_a_command_that_reads_makes_no_storage_of_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "documents" / "letters").mkdir(parents=True)
        (tmp_path / "documents" / "letters" / "letter.txt").write_text("Hello")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(Misconfigured, match="holds no profiles"):
            open_storage(f"file://{tmp_path}", create=False)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_storage_that_lost_its_index_or_is_empty_is_one(self, tmp_path: Path) -> None:
        url = f"file://{tmp_path}/storage"
        open_storage(url)
        storage = open_storage(url, create=False)
        post_profiles(storage, [0])
        compact(storage, MIDNIGHT + 20 * HOUR)
        for _ in ("profiles and blocks", "blocks"):
            (tmp_path / "storage" / ".index.sqlite").unlink()
            open_storage(url, create=False)
            rmtree(tmp_path / "storage" / "api", ignore_errors=True)

    def test_a_command_that_reads_does_not_create_a_separate_index(self, tmp_path: Path) -> None:
        url = f"s3://bucket?endpoint=http://localhost:1&index=sqlite://{tmp_path}/typo"
        with pytest.raises(Misconfigured, match="there is no file"):
            open_storage(url, create=False)
        assert list(tmp_path.iterdir()) == []
        open_storage(url, create=False, create_index=True)
        open_storage(url, create=False)

    def test_a_url_names_an_absolute_directory_which_is_created(self, tmp_path: Path) -> None:
        directory = tmp_path / "a dir" / "größe?#%41"
        url = f"file://{tmp_path}/a%20dir/gr%C3%B6%C3%9Fe%3F%23%2541"
        bucket, index = open_url(url)
        bucket.put("api/cpu/1", b"data", {})
        index.add(make_meta())
        assert (directory / "api/cpu/1").read_bytes() == b"data"
        assert (directory / ".index.sqlite").exists()
        reopened = open_storage(url)
        assert reopened.bucket.get("api/cpu/1") == b"data"
        assert list(reopened.index.find(select_all())) == [make_meta()]

    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("file:relative", "file:///absolute/directory"),
            ("file://host/directory", "file:///absolute/directory"),
            ("file://", "file:///absolute/directory"),
            ("file:", "file:///absolute/directory"),
            ("file:///tmp/x?mode=ro", "file: takes no options"),
            ("file:///tmp/x#y", "file: takes no options"),
            ("file:///tmp/x%00y", "zero byte"),
        ],
    )
    def test_any_other_url_is_rejected(self, url: str, sentence: str) -> None:
        with pytest.raises(Misconfigured, match=sentence):
            open_storage(url)

    def test_a_directory_that_cannot_be_created_raises_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        for url in (f"file://{tmp_path}/file", f"file://{tmp_path}/file/below"):
            with pytest.raises(Unavailable, match="cannot create the storage directory: Not a directory"):
                open_url(url)
        (tmp_path / "dangling").symlink_to("nowhere")
        with pytest.raises(Unavailable, match="cannot create the storage directory"):
            open_url(f"file://{tmp_path}/dangling")

    def test_threads_that_open_a_new_directory_concurrently_open_the_same_index(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as threads:
            for attempt in range(5):
                url = f"file://{tmp_path}/{attempt}/a/b"
                assert all(
                    threads.map(lambda number, url=url: open_url(url)[1].add(make_meta(NOW + number)), range(8))
                )
                _, index = open_url(url)
                assert [meta.created_at for meta in index.find(select_all())] == [NOW + n for n in range(8)]
                names = {path.name for path in Path(f"{tmp_path}/{attempt}/a/b").iterdir()}
                assert names <= {".index.sqlite", ".index.sqlite-wal", ".index.sqlite-shm"}

    def test_an_index_that_a_concurrent_process_created_is_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process creates the index after this one has checked that it does not exist."""

        def lock_after_another(folder: Path) -> AbstractContextManager[int]:
            monkeypatch.undo()
            _, first = open_url(f"file://{tmp_path}")
            first.add(make_meta())
            return lock_folder(folder)

        monkeypatch.setattr("storage_local.index.lock_folder", lock_after_another)
        _, second = open_url(f"file://{tmp_path}")
        assert list(second.find(select_all())) == [make_meta()]

    def test_an_incomplete_index_of_a_killed_process_is_replaced(self, tmp_path: Path) -> None:
        for name in (".index.sqlite.new", ".index.sqlite.new-wal", ".index.sqlite-wal", ".index.sqlite-shm"):
            (tmp_path / name).write_bytes(b"leftover" * 1000)
        _, index = open_url(f"file://{tmp_path}")
        assert index.add(make_meta()) is True
        assert list(index.find(select_all())) == [make_meta()]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """All SQLite connections that are opened during the test."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def spy(*args: object, **options: object) -> sqlite3.Connection:
        opened.append(connect(*args, **options))  # type: ignore[call-overload]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", spy)
    return opened


class TestIndexFile:
    def test_it_is_in_wal_mode_and_syncs_every_commit(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        index.add(make_meta())
        using = connections[1:]  # the first connection created the file
        assert using
        for connection in using:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL

    def test_labels_are_stored_once_a_series_and_removed_with_its_last_entry(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        metas = [make_meta(NOW + number, labels=f"v={number % 2}") for number in range(10)]
        add_all(index, metas)

        def labels() -> list[tuple[str]]:
            return connections[1].execute("SELECT labels FROM series ORDER BY labels").fetchall()

        assert labels() == [("v=0",), ("v=1",)]
        index.remove([meta.id for meta in metas[:-1]])
        assert labels() == [("v=1",)]
        assert connections[1].execute("SELECT key, value FROM labels").fetchall() == [("v", "1")]
        assert connections[1].execute("SELECT count(*) FROM series_labels").fetchone() == (1,)

    @pytest.mark.parametrize(
        "selection",
        [
            Selection("api", CPU, NOW, NOW + 9),
            Selection("api", None, NOW, NOW + 9),
            Selection("api", CPU, NOW, NOW + 9, after=(NOW + 2, "x"), limit=3),
            Selection("api", CPU, NOW, NOW + 9, SERIES),
            Selection("api", None, NOW, NOW + 9, SERIES, after=(NOW + 2, "x"), limit=3),
        ],
        ids=["type", "any type", "page", "series", "page of series"],
    )
    def test_a_find_uses_indexes_and_never_scans_or_sorts(
        self, connections: list[sqlite3.Connection], index: LocalIndex, selection: Selection
    ) -> None:
        add_all(index, MIXED)
        statements: list[str] = []
        for connection in connections[1:]:
            connection.set_trace_callback(statements.append)
        assert list(index.find(selection))
        index.series(SeriesSelection("api", CPU))
        index.remove([MIXED[0].id])
        for connection in connections[1:]:
            connection.set_trace_callback(None)
        selects = [statement for statement in statements if statement.lstrip().startswith(("SELECT", "DELETE"))]
        assert any("created_at, id, size" in statement for statement in selects)
        for statement in selects:
            plan = [row[3] for row in connections[1].execute(f"EXPLAIN QUERY PLAN {statement}")]
            steps = [step for step in plan if step.startswith(("SCAN", "SEARCH"))]
            assert steps
            for step in steps:
                # A subquery is one that has a limit.
                assert step.startswith(("SEARCH", "SCAN (subquery")) or "json_each" in step, (statement, plan)
            assert not any("ORDER BY" in step for step in plan), (statement, plan)

    def test_a_find_of_a_page_does_not_read_the_pages_before(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        """Even if all entries have the same time."""
        metas = [make_meta(NOW, labels=f"v={number % 3}", data=b"%d" % number) for number in range(400)]
        add_all(index, metas)
        ordered = list(index.find(select_all()))
        first = count_instructions(connections, index, Selection("api", CPU, *ALL_TIME, limit=5))
        last = count_instructions(
            connections, index, Selection("api", CPU, *ALL_TIME, after=ordered[-6].position, limit=5)
        )
        assert last <= first * 1.1

    def test_a_find_of_many_entries_takes_few_queries(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        add_all(index, [make_meta(NOW + number) for number in range(400)])
        statements: list[str] = []
        for connection in connections[1:]:
            connection.set_trace_callback(statements.append)
        assert len(list(index.find(select_all()))) == 400
        for connection in connections[1:]:
            connection.set_trace_callback(None)
        assert 1 < len(statements) < 20

    @pytest.mark.parametrize("labels", [False, True], ids=["no labels", "labels"])
    def test_the_cost_of_a_find_does_not_depend_on_other_entries(
        self, connections: list[sqlite3.Connection], index: LocalIndex, labels: bool
    ) -> None:
        wanted = [make_meta(NOW + number, labels="v=wanted") for number in range(6)]
        add_all(index, wanted)
        selection = Selection("api", CPU, NOW, NOW + 9, [wanted[0].series] if labels else None)
        work = []
        for count in (150, 1500):
            for number in range(count):
                away = 0 if labels else 3_600 * 10**9
                meta = make_meta(
                    NOW + away + number % 10, labels=f"v={number % 40}", data=b"%d %d" % (count, number)
                )
                index.add(meta)
            assert list(index.find(selection)) == wanted
            work.append(count_instructions(connections, index, selection))
        assert work[1] <= work[0] * 1.05

    def test_short_lived_threads_share_a_connection(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        for number in range(50):
            with ThreadPoolExecutor(1) as threads:
                threads.submit(index.add, make_meta(NOW + number)).result()
        assert len(connections) == 2  # one created the file

    def test_a_failed_call_leaves_no_open_transaction(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        with pytest.raises(Unavailable, match="NOT NULL constraint failed"):
            index.add(replace(make_meta(), size=None))  # type: ignore[arg-type]
        assert not any(connection.in_transaction for connection in connections[1:])
        assert index.add(make_meta()) is True


def count_instructions(connections: list[sqlite3.Connection], index: LocalIndex, selection: Selection) -> int:
    """Return the number of instructions that SQLite executes for a find of *selection*."""
    executed = 0

    def count() -> int:
        nonlocal executed
        executed += 1
        return 0

    for connection in connections[1:]:
        connection.set_progress_handler(count, 1)
    list(index.find(selection))
    for connection in connections[1:]:
        connection.set_progress_handler(None, 1)
    assert executed
    return executed


def use_in_child(index: LocalIndex) -> None:
    for number in range(20):
        assert index.add(make_meta(NOW + 100 + number))
    assert len(list(index.find(select_all()))) >= 40


class TestForks:
    def test_an_index_can_be_used_by_a_process_and_its_forked_children(
        self, index: LocalIndex, tmp_path: Path
    ) -> None:
        add_all(index, [make_meta(NOW + number) for number in range(20)])
        find = index.find(select_all())
        metas = [next(find)]
        child = multiprocessing.get_context("fork").Process(target=use_in_child, args=(index,))
        child.start()
        for number in range(20):
            index.add(make_meta(NOW + 200 + number))
        child.join()
        assert child.exitcode == 0
        metas += find
        assert len(metas) == 20
        assert len(list(index.find(select_all()))) == 60
        connection = sqlite3.connect(tmp_path / "storage/.index.sqlite")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()

    def test_a_child_inherits_no_idle_connection(
        self, connections: list[sqlite3.Connection], index: LocalIndex
    ) -> None:
        index.add(make_meta())
        child = multiprocessing.get_context("fork").Process(target=len, args=("",))
        child.start()
        child.join()
        for connection in connections:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.execute("SELECT 1")
        assert list(index.find(select_all())) == [make_meta()]


def test_entries_of_many_series_are_picked_from_all_in_the_range(
    index: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_all(index, MIXED)
    queries: list[str] = []
    connect = index._connect

    def connect_and_note(uri: str) -> sqlite3.Connection:
        connection = connect(uri)
        connection.set_trace_callback(queries.append)
        return connection

    monkeypatch.setattr(index, "_connect", connect_and_note)
    _close_all(index._idle)
    for minimum, per_series, picks in ((0, 1000, True), (0, 0, False), (1000, 1000, False)):
        monkeypatch.setattr("storage_local.entries._MIN_SERIES", minimum)
        monkeypatch.setattr("storage_local.entries._ENTRIES_PER_SERIES", per_series)
        for number, profile_type, limit in product((1, 4, len(SERIES)), (CPU, None), (None, 3)):
            series = SERIES[::-number]
            selection = Selection("api", profile_type, NOW, NOW + 12, series, limit=limit, after=(NOW + 1, ""))
            queries.clear()
            assert list(index.find(selection)) == select_expected(selection, MIXED)
            assert any("WHERE kind = " in query for query in queries) is picks
            selection = replace(selection, limit=None, after=None)
            queries.clear()
            columns = index.snapshot_columns(selection)[1]
            found = sorted((meta for part in columns for meta in part.metas()), key=lambda meta: meta.position)
            assert found == select_expected(selection, MIXED)
            assert any("AND series IN" in query for query in queries) is picks
