"""The reference satisfies its own claims."""

import pytest

from profbucket.memory import MemoryBucket, MemoryIndex
from profbucket.storage import Storage
from tests.storage.buckets import BucketClaims
from tests.storage.compactions import CompactionClaims
from tests.storage.indexes import IndexClaims
from tests.storage.storages import StorageClaims


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
