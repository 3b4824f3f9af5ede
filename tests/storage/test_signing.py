"""Signed links on an instance, with local servers for its metadata server and the API IAM Credentials."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.google import EMAIL, IAM_SCOPE, Google

_PROGRAM = """
import sys
from profbucket.errors import ProfbucketError
from storage_gcs import GcsBucket, signing

signing.SIGN_URL = sys.argv[1] + "/v1/projects/-/serviceAccounts/{}:signBlob"
bucket = GcsBucket("bucket")
for _ in range(int(sys.argv[2])):
    try:
        print(bucket.sign_url("a/cpu/b.pb.gz", "a-cpu.pb.gz", 600))
    except ProfbucketError as error:
        print(error.code, error)
"""


def sign(google: Google, tmp_path: Path, times: int = 1) -> list[str]:
    """Return the lines that a program on an instance prints: a link or an error for each time."""
    return google.run_program(_PROGRAM, [str(times)], tmp_path)


def test_a_link_is_signed_with_a_token_for_the_scope_iam(tmp_path: Path) -> None:
    google = Google()
    links = sign(google, tmp_path, times=2)
    assert len(links) == 2
    for link in links:
        query = parse_qs(urlsplit(link).query)
        assert query["X-Goog-Signature"] == [b"signature".hex()]
        assert query["X-Goog-Credential"][0].startswith(f"{EMAIL}/")
    assert {token.split()[1] for token in google.signing_tokens} == {IAM_SCOPE}
    assert len(google.tokens) == 1


def test_the_token_is_refreshed_when_it_expires(tmp_path: Path) -> None:
    google = Google(token_seconds=1)
    links = sign(google, tmp_path, times=2)
    assert all(link.startswith("https://storage.googleapis.com/") for link in links)
    assert len(set(google.signing_tokens)) == 2


def test_a_refusal_names_the_missing_permission(tmp_path: Path) -> None:
    [line] = sign(Google(failures=[403]), tmp_path)
    assert line.startswith("storage_permission_denied ")
    assert "grant iam.serviceAccounts.signBlob" in line
    assert EMAIL in line


def test_an_outage_is_retried_and_then_told_as_one(tmp_path: Path) -> None:
    [link] = sign(Google(failures=[503]), tmp_path)
    assert "X-Goog-Signature" in link
    [line] = sign(Google(failures=[503] * 3), tmp_path)
    assert line.startswith("unavailable ")
