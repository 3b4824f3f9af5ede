"""Targets to scrape: the Go program, and such as are not what they should be."""

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
def pulled(shop: Path) -> Iterator[str]:
    """The Go program at work, with net/http/pprof, until the block ends; gives its URL."""
    with subprocess.Popen([str(shop), "-listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"http://{process.stdout.readline().strip()}"
        finally:
            process.kill()


@dataclass
class Asked:
    """A server, and what it was asked."""

    url: str
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler, threading.Event], None]) -> Iterator[Asked]:
    """A server whose requests are answered by *answer*, which ends when the event is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.paths.append(self.path)
            asked.headers.append(dict(self.headers))
            try:
                answer(self, asked.over)
            except OSError:
                self.close_connection = True  # whoever asked is gone

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name it has there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        asked = Asked(f"http://127.0.0.1:{server.server_port}")
        with running(server):
            try:
                yield asked
            finally:
                asked.over.set()


def hang(_: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait()


def drip(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """A header that takes twenty seconds, a byte at a time."""
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


def endless(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not over.is_set():
        handler.wfile.write(bytes(1 << 16))


def lie(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
    text = b"<html>500% login</html>"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


def cut(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"\x1f\x8b")


def garbage(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
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


def nowhere() -> str:
    """The URL of a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
