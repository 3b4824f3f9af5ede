"""Proxies in front of the emulators that count requests and inject faults."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.cloud.firestore_v1 import types

from tests.support.serving import running

_CommitRequest: Any = type(types.CommitRequest.pb(types.CommitRequest()))
_RunQueryRequest: Any = type(types.RunQueryRequest.pb(types.RunQueryRequest()))
_RunQueryResponse: Any = type(types.RunQueryResponse.pb(types.RunQueryResponse()))


@dataclass
class Faults:
    """The share of requests with each fault. A seeded generator makes runs reproducible."""

    refused: float = 0.0  # answered with 503, or UNAVAILABLE
    reset: float = 0.0  # the connection is reset before the request is forwarded
    lost: float = 0.0  # the request is forwarded, and the connection reset instead of an answer
    late: float = 0.0  # the request is forwarded after `delay`
    cut: float = 0.0  # half of an object's content is answered, and the connection closed
    short: float = 0.0  # half of an object's content is answered as if it were all
    delay: float = 10.0  # seconds
    seed: int = 0
    injected: dict[str, int] = field(default_factory=dict)  # number of each fault
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def draw(self) -> str:
        """Return the name of the next request's fault, or ``""``."""
        with self._lock:
            roll = self._random.random()
            for name in ("refused", "reset", "lost", "late", "cut", "short"):
                roll -= getattr(self, name)
                if roll < 0:
                    self.injected[name] = self.injected.get(name, 0) + 1
                    return name
            return ""


@dataclass
class TrafficCounter:
    """Counts of the requests since the last :meth:`reset`."""

    requests: list[str] = field(default_factory=list)
    queries: list[Any] = field(default_factory=list)  # structured queries
    documents: int = 0
    objects: int = 0
    written: int = 0  # commits that succeeded
    document_reads: int = 0  # billed: a query without results is one
    document_writes: int = 0  # attempted
    document_deletes: int = 0

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


@contextmanager
def gcs_proxy(target: str, traffic: TrafficCounter, faults: Faults | None = None) -> Iterator[str]:
    """Run a proxy of the Cloud Storage emulator at *target* and yield its URL."""
    address = urlsplit(target).netloc
    local = threading.local()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            traffic.requests.append(f"{self.command} {self.path}")
            fault = faults.draw() if faults else ""
            if fault == "refused":
                self._answer(503, {"Content-Type": "text/plain"}, b"injected fault")
                return
            if fault == "reset":
                self._reset()
                return
            if fault == "late" and faults:
                time.sleep(faults.delay)
            status, headers, data = self._forward(body)
            if status == 200 and "alt=media" in self.path:
                traffic.objects += 1
            if fault == "lost":
                self._reset()
                return
            size = len(data)
            if fault in ("cut", "short") and "alt=media" in self.path and self.command == "GET":
                data = data[: size // 2]
                self.close_connection = fault == "cut"
            try:
                self._answer(status, headers, data, size if fault == "cut" else len(data))
            except OSError:
                self.close_connection = True  # the client has closed the connection

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - as http.server calls them

        def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection: HTTPConnection | None = getattr(local, "connection", None)
            if connection is None:
                connection = local.connection = HTTPConnection(address, timeout=60)
            headers_to_send = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            connection.request(self.command, self.path, body, headers_to_send)
            response = connection.getresponse()
            hop_by_hop = ("transfer-encoding", "content-length", "connection")
            headers = {k: v for k, v in response.getheaders() if k.lower() not in hop_by_hop}
            return response.status, headers, response.read()

        def _answer(self, status: int, headers: dict[str, str], data: bytes, size: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data) if size is None else size))
            self.end_headers()
            self.wfile.write(data)

        def _reset(self) -> None:
            _abort(self.connection)
            self.close_connection = True

        def finish(self) -> None:
            if connection := getattr(local, "connection", None):
                connection.close()
            with suppress(OSError):  # reset by this proxy
                super().finish()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client has closed the connection

        def shutdown_request(self, request: Any) -> None:
            with suppress(OSError):  # reset by this proxy
                super().shutdown_request(request)

    with Server(("127.0.0.1", 0), Handler) as server, running(server):
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def firestore_proxy(
    target: str,
    traffic: TrafficCounter,
    faults: Faults | None = None,
    refuse: Callable[[Any, Any], tuple[grpc.StatusCode, str] | None] = lambda *_: None,
) -> Iterator[str]:
    """Run a proxy of the Firestore emulator at *target*, ``host:port``, and yield its own ``host:port``.

    *refuse* gets each commit and its call's context, and returns the code and details of an error, if any.
    """
    channel = grpc.insecure_channel(target)
    unlimited = [("grpc.max_receive_message_length", -1)]

    def prepare_call(context: Any, fault: str) -> dict[str, Any]:
        if fault == "refused":
            context.abort(grpc.StatusCode.UNAVAILABLE, "injected fault")
        if fault == "late" and faults:
            time.sleep(faults.delay)
        hop_by_hop = {"user-agent", "te", "content-type"}
        metadata = [
            (k, v) for k, v in context.invocation_metadata() if k not in hop_by_hop and not k.startswith("grpc-")
        ]
        return {"metadata": metadata, "timeout": 60}

    def forward_error(context: Any, error: Any) -> None:
        context.abort(error.code(), error.details())

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
        def service(self, details: Any) -> Any:
            method = details.method

            def unary(request: bytes, context: Any) -> bytes:
                traffic.requests.append(method)
                fault = faults.draw() if faults else ""
                options = prepare_call(context, fault)
                if method.endswith("/Commit"):
                    commit = _CommitRequest.FromString(request)
                    if error := refuse(commit, context):
                        context.abort(*error)
                    deletes = sum(bool(write.delete) for write in commit.writes)
                    traffic.document_deletes += deletes
                    traffic.document_writes += len(commit.writes) - deletes
                try:
                    answer: bytes = channel.unary_unary(method)(request, **options)
                except grpc.RpcError as failure:
                    forward_error(context, failure)
                traffic.written += 1
                if fault in ("reset", "lost"):
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
                return answer

            def stream(request: bytes, context: Any) -> Iterator[bytes]:
                traffic.requests.append(method)
                traffic.queries.append(_RunQueryRequest.FromString(request).structured_query)
                fault = faults.draw() if faults else ""
                options = prepare_call(context, fault)
                documents = 0
                try:
                    for answer in channel.unary_stream(method)(request, **options):
                        documents += (has_document := _RunQueryResponse.FromString(answer).HasField("document"))
                        traffic.documents += has_document
                        yield answer
                        if fault in ("reset", "lost"):
                            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was cut off")
                except grpc.RpcError as error:
                    forward_error(context, error)
                finally:
                    traffic.document_reads += max(documents, 1)

            if method.endswith("/RunQuery"):
                return grpc.unary_stream_rpc_method_handler(stream)
            return grpc.unary_unary_rpc_method_handler(unary)

    threads = ThreadPoolExecutor(64)
    server = grpc.server(threads, [Handler()], options=[*unlimited, ("grpc.so_reuseport", 0)])
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
    """Run a TCP proxy of *target*, ``host:port``, that resets some connections; yield its ``host:port``."""
    host, port = target.rsplit(":", 1)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    open_sockets: set[socket.socket] = set()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                if faults.draw():
                    _abort(source)
                    _abort(sink)
                    return
                sink.sendall(data)
        except OSError:
            pass
        for open_socket in (source, sink):
            open_socket.close()
            open_sockets.discard(open_socket)

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
        for open_socket in list(open_sockets):
            open_socket.close()


def _abort(connection: socket.socket) -> None:
    """Close a connection with a reset."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
