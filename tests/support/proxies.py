"""Proxies between us and the emulators that count what passes, and spoil some of it."""

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.cloud.firestore_v1 import types

_RunQueryRequest: Any = type(types.RunQueryRequest.pb(types.RunQueryRequest()))
_RunQueryResponse: Any = type(types.RunQueryResponse.pb(types.RunQueryResponse()))


@dataclass
class Faults:
    """Which part of the requests is spoiled, and how. One generator for all, so that a run can be told again."""

    refused: float = 0.0  # answered with 503, or UNAVAILABLE
    reset: float = 0.0  # the connection is reset before the request is passed on
    lost: float = 0.0  # the request is carried out, and the connection reset instead of the answer
    late: float = 0.0  # passed on after `delay`
    delay: float = 10.0  # seconds
    seed: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def next(self) -> str:
        """What happens to a request: ``refused``, ``reset``, ``lost``, ``late`` or ``""``."""
        with self._lock:
            roll = self._random.random()
            for name in ("refused", "reset", "lost", "late"):
                roll -= getattr(self, name)
                if roll < 0:
                    self.seen[name] = self.seen.get(name, 0) + 1
                    return name
            return ""


@dataclass
class Counted:
    """What passed since the last :meth:`reset`."""

    requests: list[str] = field(default_factory=list)
    queries: list[Any] = field(default_factory=list)  # structured queries
    documents: int = 0
    objects: int = 0
    written: int = 0  # documents, by commits

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


@contextmanager
def gcs_proxy(target: str, counted: Counted, faults: Faults | None = None) -> Iterator[str]:
    """A proxy of Cloud Storage's emulator at *target*; gives its URL."""
    address = urlsplit(target).netloc
    local = threading.local()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            counted.requests.append(f"{self.command} {self.path}")
            fault = faults.next() if faults else ""
            if fault == "refused":
                self._answer(503, {"Content-Type": "text/plain"}, b"spoiled")
                return
            if fault == "reset":
                self._reset()
                return
            if fault == "late" and faults:
                time.sleep(faults.delay)
            status, headers, data = self._forward(body)
            if status == 200 and "alt=media" in self.path:
                counted.objects += 1
            if fault == "lost":
                self._reset()
                return
            try:
                self._answer(status, headers, data)
            except OSError:
                self.close_connection = True  # who asked has gone

        do_GET = do_POST = do_PUT = do_DELETE = _pass  # noqa: N815 - as http.server calls them

        def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection: HTTPConnection | None = getattr(local, "connection", None)
            if connection is None:
                connection = local.connection = HTTPConnection(address, timeout=60)
            passed = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            connection.request(self.command, self.path, body, passed)
            response = connection.getresponse()
            dropped = ("transfer-encoding", "content-length", "connection")
            headers = {k: v for k, v in response.getheaders() if k.lower() not in dropped}
            return response.status, headers, response.read()

        def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _reset(self) -> None:
            _abort(self.connection)
            self.close_connection = True

        def finish(self) -> None:
            if connection := getattr(local, "connection", None):
                connection.close()
            with suppress(OSError):  # reset by us
                super().finish()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that gave up

        def shutdown_request(self, request: Any) -> None:
            with suppress(OSError):  # reset by us
                super().shutdown_request(request)

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def firestore_proxy(target: str, counted: Counted, faults: Faults | None = None) -> Iterator[str]:
    """A proxy of Firestore's emulator at *target*, ``host:port``; gives its own."""
    channel = grpc.insecure_channel(target)
    size = [("grpc.max_receive_message_length", -1)]

    def call(context: Any, fault: str) -> dict[str, Any]:
        if fault == "refused":
            context.abort(grpc.StatusCode.UNAVAILABLE, "spoiled")
        if fault == "late" and faults:
            time.sleep(faults.delay)
        own = {"user-agent", "te", "content-type"}
        metadata = [(k, v) for k, v in context.invocation_metadata() if k not in own and not k.startswith("grpc-")]
        return {"metadata": metadata, "timeout": 60}

    def failed(context: Any, error: Any) -> None:
        context.abort(error.code(), error.details())

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc] # it ships no types
        def service(self, details: Any) -> Any:
            method = details.method

            def unary(request: bytes, context: Any) -> bytes:
                counted.requests.append(method)
                fault = faults.next() if faults else ""
                how = call(context, fault)
                try:
                    answer: bytes = channel.unary_unary(method)(request, **how)
                except grpc.RpcError as error:
                    failed(context, error)
                counted.written += 1
                if fault in ("reset", "lost"):
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
                return answer

            def stream(request: bytes, context: Any) -> Iterator[bytes]:
                counted.requests.append(method)
                counted.queries.append(_RunQueryRequest.FromString(request).structured_query)
                fault = faults.next() if faults else ""
                how = call(context, fault)
                try:
                    for answer in channel.unary_stream(method)(request, **how):
                        counted.documents += _RunQueryResponse.FromString(answer).HasField("document")
                        yield answer
                        if fault in ("reset", "lost"):
                            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was cut off")
                except grpc.RpcError as error:
                    failed(context, error)

            if method.endswith("/RunQuery"):
                return grpc.unary_stream_rpc_method_handler(stream)
            return grpc.unary_unary_rpc_method_handler(unary)

    threads = ThreadPoolExecutor(64)
    server = grpc.server(threads, [Handler()], options=[*size, ("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
        threads.shutdown()
        channel.close()


@contextmanager
def resetting_proxy(target: str, faults: Faults) -> Iterator[str]:
    """A proxy of TCP connections to *target*, ``host:port``, which resets some when bytes pass; gives its own."""
    host, port = target.rsplit(":", 1)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    open_sockets: set[socket.socket] = set()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                if faults.next():
                    _abort(source)
                    _abort(sink)
                    return
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            one.close()
            open_sockets.discard(one)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed
            server = socket.create_connection((host, int(port)))
            open_sockets.update((client, server))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for one in list(open_sockets):
            one.close()


def _abort(connection: socket.socket) -> None:
    """Close so that the other side sees a reset."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
