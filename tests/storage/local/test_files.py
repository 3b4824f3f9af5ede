"""The files of a bucket in a directory: names, drafts, durability."""

import gzip
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from profbucket.errors import NotFound, Unavailable
from profbucket.model.ids import ProfileId
from profbucket.storage.open import open_storage
from profbucket.storage.ports import ObjectRange
from storage_local import LocalBucket, open_url
from storage_local.files import RootFolder
from tests.support.storage.examples import make_meta
from tests.support.storage.index_suite import select_all
from tests.support.storage.storage_suite import make_profile


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
