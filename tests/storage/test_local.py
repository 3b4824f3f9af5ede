"""The acceptance suites on a directory with a SQLite index."""

from pathlib import Path

import pytest

from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from storage_local import LocalBucket, LocalIndex
from tests.support.storage.batch_suite import BatchSuite
from tests.support.storage.bucket_suite import BucketSuite
from tests.support.storage.compaction_suite import (
    CompactionSuite,
)
from tests.support.storage.index_suite import IndexSuite
from tests.support.storage.mixtures import MixedStorage
from tests.support.storage.storage_suite import StorageSuite


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
