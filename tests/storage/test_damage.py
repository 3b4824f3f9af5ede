"""Damaged objects on every backend."""

from pathlib import Path

import pytest

from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from tests.support.storage.damage_suite import DamageSuite
from tests.support.storage.unique_names import new_gcs_bucket, new_name, new_s3_bucket


class TestMemory(DamageSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())


class TestLocal(DamageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(f"file://{tmp_path}/storage")


class TestGcs(DamageSuite):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))


class TestS3(DamageSuite):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")
