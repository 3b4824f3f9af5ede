"""The acceptance suites on a directory with a SQLite index."""

from pathlib import Path

import pytest

from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from tests.support.storage.batch_suite import BatchSuite
from tests.support.storage.bucket_suite import BucketSuite
from tests.support.storage.compaction_suite import CompactionSuite
from tests.support.storage.index_suite import IndexSuite
from tests.support.storage.mixtures import MixedStorage
from tests.support.storage.storage_suite import StorageSuite


class TestLocalBucket(BucketSuite):
    """The suite with the bucket of a directory."""


class TestLocalIndex(IndexSuite):
    """The suite with the index of a directory."""


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
