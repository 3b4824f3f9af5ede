"""Retries of the HTTP client, and servers that are no collectors."""

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from profbucket.ingest.multipart import read_parts
from profbucket.model.form import BATCH_PATH, PROFILES_PATH
from profbucket.timed_http import request
from tests.support.command_line import PROGRAM, clean_environment, profbucket
from tests.support.paths import DATA
from tests.support.serving import TIMEOUT_SECONDS, running

CPU = DATA / "shop-0.0.1" / "cpu-1.pb.gz"
HEAP = DATA / "shop-0.0.1" / "heap-1.pb.gz"
TRACE = DATA / "shop-0.0.1" / "trace-1.trace"
PUSH = ("push", CPU, "--service", "s", "--type", "cpu")
SOON = {"Retry-After": "0"}

STORED = {
    "id": "s/cpu/20261122T225107.123456789Z-0123456789abcdef",
    "type": "cpu",
    "service": "s",
    "labels": [],
    "created_at": "2026-11-22T22:51:07Z",
    "size": "1",
    "totals": [],
}


class QuietHandler(BaseHTTPRequestHandler):
    """A request handler without a log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


@dataclass
class Stub:
    """A collector with prepared responses, which records the requests."""

    responses: list[tuple[int, dict[str, str]]]
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    url: str = ""

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in self.requests]


@contextmanager
def stub(*responses: tuple[int, dict[str, str]]) -> Iterator[Stub]:
    """Serve *responses*, each a status and headers; repeat the last one. Status 0 closes the connection."""
    state = Stub(list(responses))

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.requests.append((self.path, body))
            status, headers = state.responses.pop(0) if len(state.responses) > 1 else state.responses[0]
            self.close_connection = status == 0
            if status == 0:
                return
            answer: dict[str, object]
            answer = {"code": status, "body": STORED} if status == 200 else {"code": status, "error": "the reason"}
            if status in (200, 207) and urlsplit(self.path).path == BATCH_PATH:
                parts = read_parts(body, self.headers["Content-Type"])
                stored, refused = {"code": 200, "body": STORED}, {"code": 400, "error": "the reason"}
                answer["body"] = [stored] * (len(parts) - 1) + [stored if status == 200 else refused]
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        with running(server):
            yield state


@pytest.mark.parametrize("failure", [(503, SOON), (500, SOON), (502, {}), (0, {})])
def test_push_is_retried(failure: tuple[int, dict[str, str]]) -> None:
    """After failures of the collector and of the network, with the same parameters and the same bytes."""
    with stub(failure, failure, (200, {})) as collector:
        assert profbucket(*PUSH, "--url", collector.url).check().text.split() == [STORED["id"]]
        assert collector.bodies == [CPU.read_bytes()] * 3
        assert len(set(collector.requests)) == 1


@pytest.mark.parametrize("status", [400, 401, 413, 429])
def test_a_client_error_is_not_retried(status: int) -> None:
    """... even with a Retry-After."""
    with stub((status, SOON)) as collector:
        process = profbucket(*PUSH, "--url", collector.url)
        assert (process.returncode, process.stderr) == (1, f"profbucket: {CPU}: the reason\n")
        assert len(collector.requests) == 1


def test_retries_are_limited() -> None:
    """The message of the last response is shown."""
    with stub((503, SOON)) as collector:
        process = profbucket(*PUSH, "--url", collector.url)
        assert (process.returncode, process.stderr) == (1, f"profbucket: {CPU}: the reason\n")
        assert len(collector.requests) == 6


SEVERAL = ("push", CPU, HEAP, TRACE, "--service", "s", "--type", "cpu")


@pytest.mark.parametrize("failure", [(503, SOON), (500, SOON), (0, {})])
def test_files_are_pushed_together_and_retried_together(failure: tuple[int, dict[str, str]]) -> None:
    with stub(failure, (200, {})) as collector:
        assert profbucket(*SEVERAL, "--url", collector.url).check().text.split() == [STORED["id"]] * 3
    assert len(set(collector.requests)) == 1
    assert len(collector.requests) == 2
    assert collector.requests[0][0] == BATCH_PATH


def test_a_file_that_is_not_stored_is_named_the_others_are_stored() -> None:
    with stub((207, {})) as collector:
        process = profbucket(*SEVERAL, "--url", collector.url)
    assert (process.returncode, process.text.split()) == (1, [STORED["id"]] * 2)
    assert process.stderr.splitlines() == [
        f"profbucket: {TRACE}: the reason",
        "profbucket: 1 of 3 files were not stored",
    ]


def test_files_that_cannot_be_read_are_no_request() -> None:
    with stub((200, {})) as collector:
        process = profbucket("push", "one", "two", "--service", "s", "--type", "cpu", "--url", collector.url)
    assert process.returncode == 1
    assert process.stderr.count("No such file") == 2
    assert collector.requests == []


@pytest.mark.parametrize("status", [404, 405, 413, 400])
def test_files_are_pushed_one_by_one_if_a_batch_is_refused(status: int) -> None:
    """For example by a collector of an earlier version."""
    with stub((status, {}), (200, {})) as collector:
        assert profbucket(*SEVERAL, "--url", collector.url).check().text.split() == [STORED["id"]] * 3
    assert [urlsplit(path).path for path, _ in collector.requests] == [BATCH_PATH, *[PROFILES_PATH] * 3]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_refused_once(status: int) -> None:
    with stub((status, {})) as collector:
        process = profbucket(*SEVERAL, "--url", collector.url)
    assert process.returncode == 1
    assert len(collector.requests) == 1
    assert process.stderr.count("the reason") == 3


def test_every_push_carries_a_time() -> None:
    """A trace contains none; its file's time makes a repeated push the same profile."""
    with stub((200, {})) as collector:
        profbucket("push", TRACE, "--service", "s", "--type", "trace", "--url", collector.url).check()
        sent = parse_qs(urlsplit(collector.requests[0][0]).query)
        modified = TRACE.stat().st_mtime_ns
        assert sent["created_at"] == [f"{modified // 10**9}.{modified % 10**9:09d}"]


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"body": [{"id": 7}]}', b'{"body": [{"id": "x"}]}'])
def test_a_server_that_is_no_collector_is_an_error(answer: bytes) -> None:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        process = profbucket("find", "--service", "s", "--url", f"http://127.0.0.1:{server.server_port}")
        thread.join()
    assert process.returncode == 1
    assert "is not a profbucket collector" in process.stderr
    assert "Traceback" not in process.stderr


def test_connecting_has_a_timeout_of_its_own() -> None:
    """Here the peer accepts the connection, but not the TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        with (
            pytest.raises(TimeoutError),
            request("GET", url, seconds=TIMEOUT_SECONDS, connect_seconds=0.1),
        ):
            pass
        assert time.monotonic() - started < TIMEOUT_SECONDS / 2


def test_ctrl_c_is_quiet_and_immediate() -> None:
    """... while a request waits for its response."""
    received, finished = threading.Event(), threading.Event()

    class Silent(QuietHandler):
        def do_POST(self) -> None:
            received.set()
            finished.wait(TIMEOUT_SECONDS)

    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [PROGRAM, *map(str, PUSH), "--url", f"http://127.0.0.1:{server.server_port}"]
        process = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, text=True)
        assert received.wait(TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
        finished.set()
        server.shutdown()
    assert (process.returncode, stderr.strip()) == (130, "")
