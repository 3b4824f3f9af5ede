"""Targets to scrape: the Go program, and servers that misbehave."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.serving import running


@contextmanager
def run_shop(shop: Path) -> Iterator[str]:
    """Run the Go program with net/http/pprof, and yield its URL."""
    with subprocess.Popen([str(shop), "-listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"http://{process.stdout.readline().strip()}"
        finally:
            process.kill()


@dataclass
class Server:
    """A server that records the requests it receives."""

    url: str
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def run_server(answer: Callable[[BaseHTTPRequestHandler, threading.Event], None]) -> Iterator[Server]:
    """Run a server that answers with *answer*, which must return when the event is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.paths.append(self.path)
            server.headers.append(dict(self.headers))
            try:
                answer(self, server.over)
            except OSError:
                self.close_connection = True  # the client has disconnected

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name in the base class
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        server = Server(f"http://127.0.0.1:{http_server.server_port}")
        with running(http_server):
            try:
                yield server
            finally:
                server.over.set()


def hang(_: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait()


def drip(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Send a header for twenty seconds, a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(400):
        if over.wait(0.05):
            break
        handler.wfile.write(b"x")


def drip_body(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(400):
        if over.wait(0.05):
            break
        handler.wfile.write(b"x")


def send_endlessly(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not over.is_set():
        handler.wfile.write(bytes(1 << 16))


def send_html(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
    text = b"<html>500% login</html>"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


def truncate(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"\x1f\x8b")


def send_garbage(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
    handler.wfile.write(b"SSH-2.0-what\r\n\r\n")


def redirect(to: str, status: int = 302) -> Callable[[BaseHTTPRequestHandler, threading.Event], None]:
    def answer(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
        handler.send_response(status)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def serve(data: bytes) -> Callable[[BaseHTTPRequestHandler, threading.Event], None]:
    def answer(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def closed_url() -> str:
    """Return the URL of a port without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
