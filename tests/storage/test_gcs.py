"""Cloud Storage and Firestore, as their emulators have them, satisfy the claims."""

import pytest

from profbucket.storage import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from tests.storage.buckets import BucketClaims
from tests.storage.clouds import new_gcs_bucket, new_name
from tests.storage.compactions import CompactionClaims
from tests.storage.indexes import IndexClaims
from tests.storage.storages import StorageClaims


class TestGcsBucket(BucketClaims):
    @pytest.fixture
    def bucket(self, gcs: str) -> GcsBucket:
        return GcsBucket(new_gcs_bucket(gcs))


class TestFirestoreIndex(IndexClaims):
    @pytest.fixture
    def index(self, firestore: str) -> FirestoreIndex:
        return FirestoreIndex(new_name())


class TestGcsStorage(StorageClaims):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))


class TestGcsCompaction(CompactionClaims):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))
