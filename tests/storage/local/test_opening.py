"""Opening a directory as a storage, and creating it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from shutil import rmtree

import pytest

from profbucket.errors import Misconfigured, Unavailable
from profbucket.storage.open import open_storage
from storage_local import open_url
from storage_local.files import lock_folder
from tests.support.storage.compaction_suite import (
    HOUR,
    MIDNIGHT,
    compact,
    post_profiles,
)
from tests.support.storage.examples import NOW, make_meta
from tests.support.storage.index_suite import select_all


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
