"""Repair on every backend, and its commands."""

import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from profbucket.errors import Unavailable
from profbucket.limits import Limits
from profbucket.maintenance.findings import State
from profbucket.maintenance.profile_repair import SeriesWriter
from profbucket.maintenance.repair import reindex
from profbucket.model.ids import ProfileId
from profbucket.model.series import Series
from profbucket.model.tasks import Task
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from storage_gcs import FirestoreIndex, GcsBucket
from tests.support.go_tool import run
from tests.support.storage.examples import make_meta, make_numbered_profile
from tests.support.storage.fleet import MIDNIGHT
from tests.support.storage.repair_suite import RepairSuite, collect_wide, count_states, find_all
from tests.support.storage.unique_names import new_gcs_bucket, new_name, new_s3_bucket


class TestMemory(RepairSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())


class TestLocal(RepairSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(f"file://{tmp_path}/storage")


class TestGcs(RepairSuite):
    project: str

    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        self.project = new_name()
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(self.project))

    def reopen(self, storage: Storage) -> Storage:
        return Storage(storage.bucket, FirestoreIndex(self.project))


class TestS3(RepairSuite):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")


class CountingIndex(MemoryIndex):
    """An index that counts the series and tasks that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.added_series: list[Series] = []
        self.added_tasks: list[Task] = []

    def add_series(self, series: Series) -> None:
        self.added_series.append(series)
        super().add_series(series)

    def add_task(self, task: Task) -> bool:
        self.added_tasks.append(task)
        return super().add_task(task)


def test_each_series_and_each_task_is_added_once_for_all_entries_of_an_hour() -> None:
    storage = Storage(MemoryBucket(), MemoryIndex())
    for minute in range(2 * 60):
        for service in ("api", "web"):
            storage.write(make_meta(MIDNIGHT + minute * 60 * SECOND, service=service), b"")
    index = CountingIndex()
    assert count_states(reindex(Storage(storage.bucket, index))) == {State.MISSING_ENTRY: 2 * 2 * 60}
    assert find_all(Storage(storage.bucket, index)) == find_all(storage)
    hours = {(service, MIDNIGHT + hour * 3600 * SECOND) for service in ("api", "web") for hour in range(2)}
    assert sorted((series.service, series.first_seen) for series in index.added_series) == sorted(hours)
    assert sorted((task.service, task.begin) for task in index.added_tasks) == sorted(hours)


def test_a_series_that_could_not_be_added_is_added_with_its_next_profile() -> None:
    class FailingOnce(CountingIndex):
        def add_series(self, series: Series) -> None:
            super().add_series(series)
            if len(self.added_series) == 1:
                raise Unavailable("Firestore does not answer")

    index = FailingOnce()
    writer = SeriesWriter(index)
    with pytest.raises(Unavailable):
        writer.add(make_meta(MIDNIGHT))
    for second in range(3):
        writer.add(make_meta(MIDNIGHT + second * SECOND))
    assert len(index.added_series) == 2


def test_a_profile_beyond_limits_that_were_lowered_is_indexed_without_totals() -> None:
    storage = Storage(MemoryBucket(), MemoryIndex())
    meta = collect_wide(storage)
    storage.index.remove([meta.id])
    lower = Storage(storage.bucket, storage.index, Limits(sample_types=12))
    assert count_states(reindex(lower)) == {State.MISSING_ENTRY: 1}
    assert find_all(lower) == [replace(meta, totals=())]


def test_the_commands_list_differences_and_exit_with_1_if_nothing_was_repaired(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/storage"
    storage = open_storage(url)
    metas = [meta for meta, data in map(make_numbered_profile, range(6)) if storage.write(meta, data)]
    storage.index.remove([metas[0].id, metas[3].id])
    storage.bucket.delete(ProfileId.parse(metas[5].id).object_key)
    program = str(Path(sysconfig.get_path("scripts")) / "profbucket")
    differences = sorted(f"missing_entry {ProfileId.parse(meta.id).object_key}" for meta in (metas[0], metas[3]))
    differences.append(f"missing_object {ProfileId.parse(metas[5].id).object_key}")
    for command, code in (("fsck", 1), ("reindex", 0)):
        result = run(program, command, "--storage", url)
        assert (result.returncode, sorted(result.text.splitlines())) == (code, differences)
        assert "6 profiles and blocks: 3 correct, 2 without an entry, 1 entries without an object" in result.stderr
    assert run(program, "fsck", "--storage", url).check().text == ""
    assert (
        run(program, "reindex", "--storage", url, "--service", "service-0", "--since", "2027-01-01T00:00:00").text
        == ""
    )
