"""The acceptance suites on the in-memory backend."""

import pytest

from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.storage.batch_suite import BatchSuite
from tests.support.storage.bucket_suite import BucketSuite
from tests.support.storage.compaction_suite import CompactionSuite
from tests.support.storage.index_suite import IndexSuite
from tests.support.storage.mixtures import MixedStorage
from tests.support.storage.storage_suite import StorageSuite


class TestMemoryBucket(BucketSuite):
    @pytest.fixture
    def bucket(self) -> MemoryBucket:
        return MemoryBucket()


class TestMemoryIndex(IndexSuite):
    @pytest.fixture
    def index(self) -> MemoryIndex:
        return MemoryIndex()


class TestMemoryStorage(StorageSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())


class TestMemoryBatches(BatchSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())


class TestMemoryStorageOfMixtures(StorageSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return MixedStorage(MemoryBucket(), MemoryIndex())


class TestMemoryCompactionOfMixtures(CompactionSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return MixedStorage(MemoryBucket(), MemoryIndex())


class TestMemoryCompaction(CompactionSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())
