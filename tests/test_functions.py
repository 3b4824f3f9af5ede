"""functions/main.py as functions-framework serves it: each entry point does its job and no other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.canonical import canonicalize
from tests.support.paths import DATA, ROOT
from tests.support.serving import send, served

CPU = (DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()
POST = "service=api&type=cpu&version=0.0.1"
FIND = "service=api&type=cpu&from=0&version=0.0.1"


def test_each_function_does_its_job_at_its_own_url_and_below_it(tmp_path: Path) -> None:
    storage_url = f"file://{tmp_path}/profiles"
    with served(storage_url, tmp_path / "log", target="write") as write:
        assert send(f"{write}/?{POST}", CPU)[0] == 200
        assert send(f"{write}/api/0/profiles?{POST}", CPU)[0] == 200
        assert send(f"{write}/write/api/0/profiles?{POST}", CPU)[0] == 200
        assert send(f"{write}/api/0/profiles?{FIND}")[0] == 405
    with served(storage_url, tmp_path / "log", target="query") as query:
        status, body = send(f"{query}/api/0/profiles?{FIND}")
        assert (status, body.count(b'"id"')) == (200, 1)
        assert send(f"{query}/api/0/profiles?{POST}", CPU)[0] == 405
    with served(storage_url, tmp_path / "log", target="merge") as merge:
        responses = {send(f"{merge}{path}?{FIND}") for path in ("/", "/merge", "/api/0/profiles/merge")}
        assert [status for status, _ in responses] == [200]


def test_compact_makes_blocks(tmp_path: Path) -> None:
    storage_url = f"file://{tmp_path}/profiles"
    with served(storage_url, tmp_path / "log", target="write") as write:
        assert send(f"{write}/?{POST}", CPU)[0] == 200
        assert send(f"{write}/?{POST.replace('0.0.1', '0.0.2')}", CPU)[0] == 200
    with served(storage_url, tmp_path / "log", target="merge") as merge:
        before = send(f"{merge}/?{FIND}")
    with served(storage_url, tmp_path / "log", target="compact") as compact:
        status, response = send(f"{compact}/", b"")
        assert status == 200
        body = json.loads(response)["body"]
        assert (body["compacted"], body["profiles"], body["complete"]) == (1, 2, True)
        assert json.loads(send(f"{compact}/", b"")[1])["body"]["compacted"] == 0
        assert send(f"{compact}/api/0/profiles?{FIND}")[0] == 404
        assert send(f"{compact}/")[0] == 405
    blocks = list((tmp_path / "profiles" / "_" / "blocks" / "api" / "cpu").glob("*.block"))
    assert len(blocks) == 1
    with served(storage_url, tmp_path / "log", target="merge") as merge:
        after = send(f"{merge}/?{FIND}")
        assert (before[0], canonicalize(before[1])) == (after[0], canonicalize(after[1]))
        assert send(f"{merge}/", b"")[0] == 405


def test_the_errors_of_scrape_have_the_envelope(tmp_path: Path) -> None:
    with served(f"file://{tmp_path}/profiles", tmp_path / "log", target="scrape") as scrape:
        for body, status, code in ((None, 405, "method_not_allowed"), (b"", 500, "missing_targets")):
            actual_status, response = send(scrape, body)
            envelope = json.loads(response)
            assert (actual_status, envelope["code"], envelope["error_code"]) == (status, status, code)
            assert envelope["error"]


def test_the_response_names_a_wrong_setting(tmp_path: Path) -> None:
    # The collector starts, and opens the storage at the first request: for its version, to see whether it is up.
    with pytest.raises(AssertionError, match="no collector"), served("nowhere:", tmp_path / "log"):
        pass
    assert "STORAGE_URL='nowhere:'" in (tmp_path / "log").read_text()


_IMPORT = """
import os, sys
os.environ.clear()
opened = []
def watch(event, arguments):
    if event in ("socket.connect", "sqlite3.connect") or event == "open" and "w" in str(arguments[1]):
        opened.append((event, arguments))
sys.addaudithook(watch)
sys.path.insert(0, "functions")
sys.dont_write_bytecode = True
import main
heavy = {"numpy", "sqlite3", "re2", "google.cloud.storage", "google.cloud.firestore", "boto3"} & set(sys.modules)
print(opened, heavy)
"""


def test_importing_the_entry_points_does_no_io_and_loads_nothing_heavy() -> None:
    run = subprocess.run([sys.executable, "-c", _IMPORT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[] set()"


def test_an_unread_body_is_not_held_in_memory() -> None:
    """functions-framework reads the rest of a body into memory once there is a response, whatever its size."""
    environ = {"STORAGE_URL": "memory:", "PROFBUCKET_MAX_BODY_BYTES": "100000"}
    command = [sys.executable, "-c", _ENDLESS_BODY]
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["413", "200000"], run.stderr


_ENDLESS_BODY = """
from functions_framework import create_app

class EndlessBody:
    bytes_read = 0

    def read(self, size=None):
        if size is None or self.bytes_read > 10_000_000:
            raise MemoryError("unbounded read")
        self.bytes_read += size
        return bytes(size)

body = EndlessBody()
environ = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": str(10**12)}
app = create_app("write", "functions/main.py").test_client()
response = app.post("/api/0/profiles?service=a&type=cpu", environ_overrides=environ)
print(response.status_code, body.bytes_read)
"""
