"""functions/main.py as it is served: each entry point does its job and no other."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.canonical import canonical
from tests.support.paths import ROOT
from tests.support.serving import served

CPU = (ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()
POST = "service=api&type=cpu&version=0.0.1"
FIND = "service=api&type=cpu&from=0&version=0.0.1"


def ask(url: str, data: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urlopen(Request(url, data=data)) as response:
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_each_function_does_its_job_at_its_bare_url_and_below_it(tmp_path: Path) -> None:
    storage = f"file://{tmp_path}/profiles"
    with served(storage, tmp_path / "log", target="write") as write:
        assert ask(f"{write}/?{POST}", CPU)[0] == 200
        assert ask(f"{write}/api/0/profiles?{POST}", CPU)[0] == 200
        assert ask(f"{write}/write/api/0/profiles?{POST}", CPU)[0] == 200
        assert ask(f"{write}/api/0/profiles?{FIND}")[0] == 405
    with served(storage, tmp_path / "log", target="query") as query:
        status, found = ask(f"{query}/api/0/profiles?{FIND}")
        assert (status, found.count(b'"id"')) == (200, 1)
        assert ask(f"{query}/api/0/profiles?{POST}", CPU)[0] == 405
    with served(storage, tmp_path / "log", target="merge") as merge:
        answers = {ask(f"{merge}{path}?{FIND}") for path in ("/", "/merge", "/api/0/profiles/merge")}
        assert [status for status, _ in answers] == [200]


def test_the_function_compact_makes_blocks_when_it_is_called(tmp_path: Path) -> None:
    storage = f"file://{tmp_path}/profiles"
    with served(storage, tmp_path / "log", target="write") as write:
        assert ask(f"{write}/?{POST}", CPU)[0] == 200
        assert ask(f"{write}/?{POST.replace('0.0.1', '0.0.2')}", CPU)[0] == 200
    with served(storage, tmp_path / "log", target="merge") as merge:
        before = ask(f"{merge}/?{FIND}")
    with served(storage, tmp_path / "log", target="compact") as compact:
        status, answer = ask(f"{compact}/", b"")
        assert status == 200
        body = json.loads(answer)["body"]
        assert (body["compacted"], body["profiles"], body["complete"]) == (1, 2, True)
        assert json.loads(ask(f"{compact}/", b"")[1])["body"]["compacted"] == 0
        assert ask(f"{compact}/api/0/profiles?{FIND}")[0] == 404
        assert ask(f"{compact}/")[0] == 405
    blocks = list((tmp_path / "profiles" / "_" / "blocks" / "api" / "cpu").glob("*.block"))
    assert len(blocks) == 1
    with served(storage, tmp_path / "log", target="merge") as merge:
        after = ask(f"{merge}/?{FIND}")
        assert (before[0], canonical(before[1])) == (after[0], canonical(after[1]))
        assert ask(f"{merge}/", b"")[0] == 405


def test_a_setting_that_is_wrong_is_named_in_the_answer(tmp_path: Path) -> None:
    # The version is asked for by what starts it, so it is up; the storage is opened with the first request.
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


def test_what_a_function_leaves_unread_is_held_by_nobody() -> None:
    """functions-framework reads what is left of a body once there is an answer, however much that is."""
    environ = {"STORAGE_URL": "memory:", "PROFBUCKET_MAX_BODY_BYTES": "100000"}
    command = [sys.executable, "-c", _ENDLESS]
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["413", "200000"], run.stderr


_ENDLESS = """
from functions_framework import create_app

class Endless:
    taken = 0

    def read(self, size=None):
        if size is None or self.taken > 10_000_000:
            raise MemoryError("asked for all of it")
        self.taken += size
        return bytes(size)

body = Endless()
environ = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": str(10**12)}
app = create_app("write", "functions/main.py").test_client()
answer = app.post("/api/0/profiles?service=a&type=cpu", environ_overrides=environ)
print(answer.status_code, body.taken)
"""
