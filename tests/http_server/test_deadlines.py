"""Clients that are slow or silent lose their connections, and nobody else notices."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event

import pytest
from flask import Response

from profbucket.limits import Limits
from profbucket.model.form import PROFILES_PATH
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.api import Api, pprof
from tests.support.raw_http import Running, chunk, head, running_server

POST = f"{PROFILES_PATH}?service=api&type=cpu"
SHORT = 0.2
DATA = pprof()


@pytest.fixture
def api() -> Api:
    return Api(Storage(MemoryBucket(), MemoryIndex()), Limits(inflight_seconds=1))


def post(data: bytes = DATA, *headers: str, target: str = POST) -> bytes:
    """Return a whole request."""
    return head("POST", target, f"Content-Length: {len(data)}", *headers) + data


def reserved_bytes(running: Running) -> int:
    return running.server.admission.reserved_bytes


class Gate:
    """A route of *api* that is answered once it is open."""

    def __init__(self, api: Api) -> None:
        self.opened, self.entered = Event(), Event()
        api.app.add_url_rule("/gate", "gate", self._wait)

    def _wait(self) -> Response:
        self.entered.set()
        self.opened.wait()
        return Response("open\n")


@pytest.fixture
def gate(api: Api) -> Iterator[Gate]:
    gate = Gate(api)
    yield gate
    gate.opened.set()


class TestHeads:
    def test_half_a_head_is_408(self, api: Api) -> None:
        with running_server(api.app, head_seconds=SHORT) as running, running.connect() as client:
            answer = client.send(b"GET /healthz HTTP/1.1\r\nHost:").answer()
            assert (answer.status, answer.json["error_code"]) == (408, "request_timeout")
            assert client.is_closed()

    def test_a_head_that_trickles_in_is_408(self, api: Api) -> None:
        with running_server(api.app, head_seconds=SHORT) as running, running.connect() as client:
            client.send(b"GET /healthz HTTP/1.1\r\n").send_until_refused(b"X: y\r\n")
            assert client.answer().status == 408

    def test_a_second_head_has_a_deadline_too(self, api: Api) -> None:
        with running_server(api.app, head_seconds=SHORT) as running, running.connect() as client:
            assert client.send(head("GET", "/healthz")).answer().status == 200
            assert client.send(b"GET").answer().status == 408

    def test_a_silent_connection_is_closed(self, api: Api) -> None:
        with running_server(api.app, head_seconds=SHORT) as running, running.connect() as client:
            assert client.is_closed()

    def test_an_idle_connection_is_closed(self, api: Api) -> None:
        with running_server(api.app, idle_seconds=SHORT) as running, running.connect() as client:
            assert client.send(head("GET", "/healthz")).answer().status == 200
            assert client.is_closed()

    def test_an_endless_head_is_refused(self, api: Api) -> None:
        with running_server(api.app) as running, running.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + bytes(200_000).replace(b"\0", b"x"))
            assert client.answer().status == 400


class TestBodies:
    @pytest.mark.parametrize(
        "length", ["Content-Length: 2000", "Content-Length: 100000", "Transfer-Encoding: chunked"]
    )
    @pytest.mark.parametrize("start", [b"", b"100\r\nabc"])
    def test_a_stalled_body_is_408_and_frees_its_memory(self, api: Api, length: str, start: bytes) -> None:
        with running_server(api.app, body_seconds=SHORT) as running, running.connect() as client:
            answer = client.send(head("POST", POST, length) + start).answer()
            assert (answer.status, answer.json["error_code"]) == (408, "request_timeout")
            assert reserved_bytes(running) == 0
            assert client.is_closed()
        assert not api.found()

    def test_a_body_that_trickles_in_is_408(self, api: Api) -> None:
        with running_server(api.app, body_seconds=SHORT) as running, running.connect() as client:
            client.send(head("POST", POST, "Content-Length: 1000000")).send_until_refused(b"x")
            assert client.answer().status == 408

    def test_chunks_without_content_have_the_same_deadline(self, api: Api) -> None:
        with running_server(api.app, body_seconds=SHORT) as running, running.connect() as client:
            client.send(head("POST", POST, "Transfer-Encoding: chunked")).send_until_refused(b"1;x=y\r\nz\r\n")
            assert client.answer().status == 408

    def test_endless_trailers_are_refused(self, api: Api) -> None:
        with running_server(api.app) as running, running.connect() as client:
            client.send(
                head("POST", POST, "Transfer-Encoding: chunked") + chunk(DATA) + b"0\r\n" + b"X: y\r\n" * 40_000
            )
            assert client.answer().json["error_code"] == "bad_request"
        assert not api.found()

    def test_the_rest_of_a_refused_body_has_a_deadline(self, api: Api) -> None:
        with running_server(api.app, body_seconds=SHORT) as running, running.connect() as client:
            assert client.send(head("POST", "/nowhere", "Content-Length: 1000000")).answer().status == 404
            assert client.is_closed()


def test_a_client_that_does_not_read_is_disconnected(api: Api) -> None:
    api.app.add_url_rule("/large", "large", lambda: Response(bytes(32 << 20)))
    with running_server(api.app, send_seconds=SHORT, threads=1) as running, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        client.sendall(head("GET", "/large"))
        assert running.request(post()).status == 200  # the thread is free
        running.stop()
        assert running.is_drained


def test_responses_that_nobody_reads_take_limited_memory(api: Api) -> None:
    """The connections that have sent for the longest are aborted."""
    size = 8 << 20
    api.app.add_url_rule("/large", "large", lambda: Response(bytes(size)))
    with running_server(api.app, unsent_bytes=2 * size + size // 2, threads=1) as running, ExitStack() as stack:
        clients = [stack.enter_context(running.connect()) for _ in range(4)]
        for client in clients:
            client.send(head("GET", "/large"))
            assert running.get("/").status == 200  # after it, as there is one thread
        assert [client.count_bytes() >= size for client in reversed(clients)] == [True, True, False, False]


class TestOthers:
    """Requests that are complete are answered meanwhile."""

    def test_beside_stalled_clients(self, api: Api) -> None:
        with running_server(api.app, threads=2) as running, ExitStack() as stack:
            for _ in range(64):
                stack.enter_context(running.connect()).send(b"GET /healthz HTT")
            for start in [b"", chunk(bytes(100_000))] * 8:
                client = stack.enter_context(running.connect())
                client.send(head("POST", POST, "Transfer-Encoding: chunked") + start)
            for target in ("/healthz", "/metrics", "/"):
                assert running.get(target).status == 200
            assert running.request(post()).status == 200
            assert (
                running.request(head("POST", POST, "Transfer-Encoding: chunked") + chunk(DATA) + chunk(b"")).status
                == 200
            )
            running.server.stop()  # while all are stalled
            running.server.stop()
        assert len(api.found()) == 1

    def test_health_and_metrics_while_all_threads_are_busy(self, api: Api, gate: Gate) -> None:
        with running_server(api.app, threads=1) as running, running.connect() as client:
            client.send(head("GET", "/gate"))
            gate.entered.wait()
            assert running.get("/healthz").body == b"ok\n"
            assert b"profbucket_posts_in_flight_bytes 0.0" in running.get("/metrics").body
            gate.opened.set()
            assert client.answer().body == b"open\n"

    def test_too_many_connections_close_the_one_that_has_waited_the_longest(self, api: Api) -> None:
        with running_server(api.app, connections=4) as running, ExitStack() as stack:
            clients = [stack.enter_context(running.connect()).send(b"GET") for _ in range(8)]
            assert running.get("/healthz").status == 200
            assert all(client.is_closed() for client in clients[:4])


class TestRoom:
    """A body waits for room in memory without a thread."""

    def test_without_room_a_body_is_503(self, api: Api) -> None:
        with running_server(api.app, threads=1) as running:
            with running.server.admission.open(0) as other:
                other.grow(Limits().inflight_bytes)
                answer = running.request(post())
                assert (answer.status, answer.json["error_code"]) == (503, "too_many_posts_in_flight")
                assert answer.headers["retry-after"]
                assert reserved_bytes(running) == Limits().inflight_bytes
            assert reserved_bytes(running) == 0

    def test_a_body_is_read_once_there_is_room(self, gate: Gate) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(inflight_seconds=600))
        with running_server(api.app, threads=1) as running, running.connect() as client:
            other = running.server.admission.open(0)
            other.grow(Limits().inflight_bytes)
            client.send(post())
            assert running.get("/").status == 200  # the thread is free
            other.close()
            assert client.answer().status == 200


class TestDraining:
    def test_requests_in_progress_are_finished_and_others_closed(self, api: Api, gate: Gate) -> None:
        with running_server(api.app) as running, ExitStack() as stack:
            busy, posting, idle, half = (stack.enter_context(running.connect()) for _ in range(4))
            assert idle.send(head("GET", "/healthz")).answer().status == 200
            half.send(b"GET /he")
            posting.send(head("POST", POST, f"Content-Length: {len(DATA)}", "Expect: 100-continue"))
            assert posting.answer().status == 100
            busy.send(head("GET", "/gate"))
            gate.entered.wait()
            running.server.stop()
            assert idle.is_closed()
            assert half.is_closed()
            with pytest.raises(ConnectionRefusedError):
                running.connect()
            assert posting.send(DATA).answer().status == 200
            gate.opened.set()
            answer = busy.answer()
            assert (answer.body, answer.headers["connection"]) == (b"open\n", "close")
            running.thread.join()
            assert running.is_drained
        assert len(api.found()) == 1

    @pytest.mark.parametrize("stops", [1, 2])
    def test_what_does_not_finish_is_abandoned(self, api: Api, gate: Gate, stops: int) -> None:
        """After the time to drain, or at once when it is stopped twice."""
        seconds = SHORT if stops == 1 else 600
        with running_server(api.app, drain_seconds=seconds) as running, running.connect() as client:
            client.send(head("GET", "/gate"))
            gate.entered.wait()
            for _ in range(stops):
                running.server.stop()
            running.thread.join()
            assert running.is_drained is False
            assert client.is_closed()
