"""A local server for what an instance of Google Cloud calls: metadata server, IAM Credentials, Cloud Tasks."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.paths import ROOT
from tests.support.serving import running

EMAIL = "merge@my-project.iam.gserviceaccount.com"
IAM_SCOPE = "https://www.googleapis.com/auth/iam"
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
QUEUE = "projects/my-project/locations/europe-west4/queues/compact"


@dataclass
class Google:
    """The metadata server and the IAM API; a token's text contains the scopes it was requested with."""

    token_seconds: int = 3600
    failures: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    signing_tokens: list[str] = field(default_factory=list)
    tasks: dict[str, Any] = field(default_factory=dict)  # of Cloud Tasks, by name
    _lock: Lock = field(default_factory=Lock)

    def answer(self, path: str, token: str, request: bytes) -> tuple[int, str, Any]:  # noqa: PLR0911
        """Return status, content type and body of the answer to a request with *token*."""
        url = urlsplit(path)
        if url.path.endswith("/tasks"):
            return self._create_task(url.path, token, json.loads(request)["task"])
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

    def _create_task(self, path: str, token: str, task: Any) -> tuple[int, str, Any]:
        with self._lock:
            status = self.failures.pop(0) if self.failures else 200
            if status == 200 and not token.endswith(CLOUD_SCOPE):
                status = 403
            elif status == 200 and path != f"/v2/{QUEUE}/tasks":
                status = 404
            elif status == 200 and task["name"] in self.tasks:
                status = 409
            if status != 200:
                return status, "application/json", {"error": {"status": "REFUSED"}}
            assert task["name"].startswith(f"{QUEUE}/tasks/")
            self.tasks[task["name"]] = task
            return 200, "application/json", task

    @contextmanager
    def run(self) -> Iterator[str]:
        """Run the server; yield its URL."""
        google = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                request = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                status, content_type, body = google.answer(self.path, token, request)
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

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running(server):
            yield f"http://127.0.0.1:{server.server_port}"

    def run_program(self, program: str, arguments: Sequence[str], home: Path) -> list[str]:
        """Return the lines that a Python *program* prints on an instance; its first argument is the URL."""
        with self.run() as url:
            host = url.removeprefix("http://")
            environ = {
                "GCE_METADATA_HOST": host,
                "GCE_METADATA_IP": host,
                "HOME": str(home),
                "CLOUDSDK_CONFIG": str(home),
                "GOOGLE_CLOUD_PROJECT": "my-project",
                "PATH": "",
            }
            command = [sys.executable, "-c", program, url, *arguments]
            run = subprocess.run(
                command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
            )
        assert run.returncode == 0, run.stderr
        return run.stdout.splitlines()
