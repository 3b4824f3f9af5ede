"""Repair, on every backend."""

from pathlib import Path

import pytest

from profbucket.memory import MemoryBucket, MemoryIndex
from profbucket.storage import Storage, open_storage
from storage_gcs import FirestoreIndex, GcsBucket
from tests.storage.clouds import new_gcs_bucket, new_name, new_s3_bucket
from tests.storage.repairs import RepairClaims


class TestMemory(RepairClaims):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())


class TestLocal(RepairClaims):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(f"file://{tmp_path}/storage")


class TestGcs(RepairClaims):
    project: str

    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        self.project = new_name()
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(self.project))

    def reopened(self, storage: Storage) -> Storage:
        return Storage(storage.bucket, FirestoreIndex(self.project))


class TestS3(RepairClaims):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")
