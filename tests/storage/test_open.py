"""Storage URLs: the backends they open, and the errors for invalid ones. Opening does no network I/O."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from profbucket.cli.local_client import LocalClient
from profbucket.config import Config
from profbucket.errors import Misconfigured
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.storage.open import open_storage
from storage_gcs import FirestoreIndex, GcsBucket
from storage_local import LocalBucket, LocalIndex
from storage_s3 import S3Bucket
from tests.support.paths import ROOT
from tests.support.storage.compaction_suite import ALL_TIME, HOUR, MIDNIGHT, compact, post_profiles


def test_each_url_opens_its_bucket_and_its_index(tmp_path: Path) -> None:
    for url, bucket, index in (
        (f"file://{tmp_path}/a", LocalBucket, LocalIndex),
        ("gs://bucket", GcsBucket, FirestoreIndex),
        ("gs://bucket?project=p&database=d&retention_days=14", GcsBucket, FirestoreIndex),
        (f"gs://bucket?index=sqlite://{tmp_path}/b.sqlite&project=p", GcsBucket, LocalIndex),
        (f"gs://bucket?project=p&index=sqlite%3A%2F%2F{tmp_path}/c.sqlite", GcsBucket, LocalIndex),
        (f"s3://bucket?index=sqlite://{tmp_path}/d.sqlite", S3Bucket, LocalIndex),
        ("s3://bucket?endpoint=http://localhost:1&index=firestore://p/d&region=eu", S3Bucket, FirestoreIndex),
        (f"file://{tmp_path}/a?index=firestore://", LocalBucket, FirestoreIndex),
    ):
        storage = open_storage(url)
        assert (type(storage.bucket), type(storage.index)) == (bucket, index), url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://x", "unsupported scheme 'ftp'; use memory:, file:, gs: or s3:"),
        ("gs://", "write gs://bucket?"),
        ("gs://bucket/folder", "write gs://bucket?"),
        ("gs://bucket?databse=x", "option 'databse'"),
        ("gs://bucket?project=", "option 'project'"),
        ("gs://bucket?retention_days=two", "retention_days=two is not a whole number of days"),
        ("gs://bucket?index=mysql://x", "unsupported scheme 'mysql'; use sqlite: or firestore:"),
        ("gs://bucket?index=sqlite://relative", "write sqlite:///"),
        ("s3://bucket", "add index=sqlite:///"),
        ("s3://bucket/folder?index=firestore://", "write s3://bucket?"),
        ("s3://bucket?index=firestore://&endpoint=localhost", "endpoint=localhost must begin with http"),
        ("s3://bucket?index=firestore://&style=odd", "style=odd must be path or virtual"),
        ("s3://bucket?index=firestore://&key=x", "option 'key'"),
        ("s3://bucket?index=firestore://a/b/c", "write firestore://project/database"),
    ],
)
def test_the_error_for_an_invalid_url_says_what_to_write(url: str, sentence: str) -> None:
    with pytest.raises(Misconfigured) as error:
        open_storage(url)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("url", "extra"), [("gs://bucket", "gcs"), ("s3://bucket?index=firestore://", "s3")], ids=["gs", "s3"]
)
def test_the_error_for_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, url: str, extra: str
) -> None:
    real_find_spec = importlib.util.find_spec
    missing = ("google.cloud.storage", "boto3")
    monkeypatch.setattr(
        "profbucket.storage.open.find_spec", lambda name: None if name in missing else real_find_spec(name)
    )
    with pytest.raises(Misconfigured, match=rf"pip install 'profbucket\[{extra}\]'"):
        open_storage(url)


def test_opening_a_storage_imports_no_cloud_library() -> None:
    """The imports take a quarter of a second, which would delay a cold start."""
    code = (
        "import sys; from profbucket.storage.open import open_storage; open_storage('gs://b');"
        "open_storage('s3://b?index=firestore://');"
        "print([n for n in sys.modules if n.startswith(('google.cloud.', 'google.auth', 'grpc', 'boto'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout


def test_limits_on_profiles_do_not_apply_to_blocks(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/storage"
    post_profiles(open_storage(url), [0, 1])
    compact(open_storage(url), MIDNIGHT + 20 * HOUR)
    config = Config.from_env({"STORAGE_URL": url, "PROFBUCKET_MAX_INFLATED_BYTES": "100"})
    assert len(LocalClient(config).find(Query("api", ProfileType.CPU, *ALL_TIME)).profiles) == 2
