"""What Cloud Storage answers and its emulator does not: who may only create objects, and finds one there."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from profbucket.errors import StoragePermissionError
from storage_gcs import GcsBucket

ANSWER = "writer@project.iam.gserviceaccount.com does not have {} access to the Google Cloud Storage object."


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A Cloud Storage that answers every upload with 403; the list says which permission is missing."""
    missing: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"error": {"code": 403, "message": ANSWER.format(missing[0])}}).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server calls it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        yield missing
        server.shutdown()


def test_who_may_not_overwrite_is_told_so_by_an_object_that_is_there(lacking: list[str]) -> None:
    lacking.append("storage.objects.delete")
    assert GcsBucket("bucket").put("a/cpu/b.pb.gz", b"data", {}) is False


def test_who_may_not_create_is_told_the_role(lacking: list[str]) -> None:
    lacking.append("storage.objects.create")
    with pytest.raises(StoragePermissionError, match=r"grant roles/storage\.objectCreator on the bucket 'bucket'"):
        GcsBucket("bucket").put("a/cpu/b.pb.gz", b"data", {})
