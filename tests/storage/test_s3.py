"""The acceptance suites on moto's S3 with a SQLite index."""

from pathlib import Path

import pytest

from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from storage_s3 import S3Bucket
from tests.support.storage.batch_suite import BatchSuite
from tests.support.storage.bucket_suite import BucketSuite
from tests.support.storage.compaction_suite import CompactionSuite
from tests.support.storage.storage_suite import StorageSuite
from tests.support.storage.unique_names import new_s3_bucket

pytestmark = pytest.mark.long


class TestS3Bucket(BucketSuite):
    @pytest.fixture
    def bucket(self, s3: str) -> S3Bucket:
        return S3Bucket(new_s3_bucket(s3), s3)


class TestS3Storage(StorageSuite):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")


class TestS3Compaction(CompactionSuite):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")


class TestS3Batches(BatchSuite):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")
