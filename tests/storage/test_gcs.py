"""The acceptance suites on the emulators of Cloud Storage and Firestore."""

import pytest

from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from tests.support.storage.batch_suite import BatchSuite
from tests.support.storage.bucket_suite import BucketSuite
from tests.support.storage.compaction_suite import CompactionSuite
from tests.support.storage.index_suite import IndexSuite
from tests.support.storage.mixtures import MixedStorage
from tests.support.storage.storage_suite import StorageSuite
from tests.support.storage.unique_names import new_gcs_bucket, new_name


class TestGcsBucket(BucketSuite):
    @pytest.fixture
    def bucket(self, gcs: str) -> GcsBucket:
        return GcsBucket(new_gcs_bucket(gcs))


class TestFirestoreIndex(IndexSuite):
    @pytest.fixture
    def index(self, firestore: str) -> FirestoreIndex:
        return FirestoreIndex(new_name())


class TestGcsStorage(StorageSuite):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))


class TestGcsCompaction(CompactionSuite):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))


class TestGcsBatches(BatchSuite):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))


class TestGcsStorageOfMixtures(StorageSuite):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return MixedStorage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))


class TestGcsCompactionOfMixtures(CompactionSuite):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return MixedStorage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))
