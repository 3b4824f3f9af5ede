"""The reference satisfies its own claims."""

import pytest

from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.storage.bucket_suite import BucketClaims
from tests.support.storage.compaction_suite import CompactionClaims
from tests.support.storage.index_suite import IndexClaims
from tests.support.storage.storage_suite import StorageClaims


class TestMemoryBucket(BucketClaims):
    @pytest.fixture
    def bucket(self) -> MemoryBucket:
        return MemoryBucket()


class TestMemoryIndex(IndexClaims):
    @pytest.fixture
    def index(self) -> MemoryIndex:
        return MemoryIndex()


class TestMemoryStorage(StorageClaims):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())


class TestMemoryCompaction(CompactionClaims):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())
