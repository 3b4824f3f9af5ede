"""The acceptance suites on the in-memory backend."""

import pytest

from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.storage.bucket_suite import BucketSuite
from tests.support.storage.compaction_suite import CompactionSuite
from tests.support.storage.index_suite import IndexSuite
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


class TestMemoryCompaction(CompactionSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())
