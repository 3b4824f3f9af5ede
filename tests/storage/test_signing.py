"""Signed links on an instance, with local servers for its metadata server and the API IAM Credentials."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.paths import ROOT

EMAIL = "merge@my-project.iam.gserviceaccount.com"
IAM_SCOPE = "https://www.googleapis.com/auth/iam"

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


@dataclass
class Google:
    """The metadata server and the IAM API; a token's text contains the scopes it was requested with."""

    token_seconds: int = 3600
    failures: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    signing_tokens: list[str] = field(default_factory=list)

    def answer(self, path: str, token: str) -> tuple[int, str, Any]:  # noqa: PLR0911 - one for each answer
        """Return status, content type and body of the answer to a request with *token*."""
        url = urlsplit(path)
        if url.path.endswith(":signBlob"):
            assert f"/serviceAccounts/{EMAIL}:" in url.path
            self.signing_tokens.append(token)
            status = self.failures.pop(0) if self.failures else 200
            if status == 200 and not token.endswith(IAM_SCOPE):
                status = 403
            if status != 200:
                return status, "application/json", {"error": {"status": "REFUSED"}}
            return 200, "application/json", {"signedBlob": base64.b64encode(b"signature").decode()}
        if url.path.endswith("/token"):
            token = f"{len(self.tokens)} {parse_qs(url.query).get('scopes', ['default'])[0]}"
            self.tokens.append(token)
            return 200, "application/json", {"access_token": token, "expires_in": self.token_seconds}
        if "/service-accounts/" in url.path:
            return 200, "application/json", {"email": EMAIL, "scopes": ["default"], "aliases": ["default"]}
        if url.path.endswith("/project-id"):
            return 200, "text/plain", "my-project"
        if url.path.endswith("/universe-domain") or url.path.endswith("/universe_domain"):
            return 200, "text/plain", "googleapis.com"
        return (200, "text/plain", "") if url.path == "/" else (404, "text/plain", "")

    @contextmanager
    def run(self) -> Iterator[str]:
        """Run the server; yield its URL."""
        google = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                status, content_type, body = google.answer(self.path, token)
                data = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Metadata-Flavor", "Google")
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer  # noqa: N815 - as http.server calls them

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def sign(self, tmp_path: Path, times: int = 1) -> list[str]:
        """Return the lines that a program on an instance prints: a link or an error for each time."""
        with self.run() as url:
            host = url.removeprefix("http://")
            environ = {
                "GCE_METADATA_HOST": host,
                "GCE_METADATA_IP": host,
                "HOME": str(tmp_path),
                "CLOUDSDK_CONFIG": str(tmp_path),
                "GOOGLE_CLOUD_PROJECT": "my-project",
                "PATH": "",
            }
            command = [sys.executable, "-c", _PROGRAM, url, str(times)]
            run = subprocess.run(
                command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
            )
        assert run.returncode == 0, run.stderr
        return run.stdout.splitlines()


def test_a_link_is_signed_with_a_token_for_the_scope_iam(tmp_path: Path) -> None:
    google = Google()
    links = google.sign(tmp_path, times=2)
    assert len(links) == 2
    for link in links:
        query = parse_qs(urlsplit(link).query)
        assert query["X-Goog-Signature"] == [b"signature".hex()]
        assert query["X-Goog-Credential"][0].startswith(f"{EMAIL}/")
    assert {token.split()[1] for token in google.signing_tokens} == {IAM_SCOPE}
    assert len(google.tokens) == 1


def test_the_token_is_refreshed_when_it_expires(tmp_path: Path) -> None:
    google = Google(token_seconds=1)
    links = google.sign(tmp_path, times=2)
    assert all(link.startswith("https://storage.googleapis.com/") for link in links)
    assert len(set(google.signing_tokens)) == 2


def test_a_refusal_names_the_missing_permission(tmp_path: Path) -> None:
    [line] = Google(failures=[403]).sign(tmp_path)
    assert line.startswith("storage_permission_denied ")
    assert "grant iam.serviceAccounts.signBlob" in line
    assert EMAIL in line


def test_an_outage_is_retried_and_then_told_as_one(tmp_path: Path) -> None:
    [link] = Google(failures=[503]).sign(tmp_path)
    assert "X-Goog-Signature" in link
    [line] = Google(failures=[503] * 3).sign(tmp_path)
    assert line.startswith("unavailable ")
