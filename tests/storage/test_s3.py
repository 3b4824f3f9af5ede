"""S3, as moto has it, with a SQLite file as index, satisfies the claims."""

from pathlib import Path

import pytest

from profbucket.storage import Storage, open_storage
from storage_s3 import S3Bucket
from tests.storage.buckets import BucketClaims
from tests.storage.clouds import new_s3_bucket
from tests.storage.compactions import CompactionClaims
from tests.storage.storages import StorageClaims


class TestS3Bucket(BucketClaims):
    @pytest.fixture
    def bucket(self, s3: str) -> S3Bucket:
        return S3Bucket(new_s3_bucket(s3), s3)


class TestS3Storage(StorageClaims):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")


class TestS3Compaction(CompactionClaims):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")
