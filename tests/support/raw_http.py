"""The server in a thread of the tests, and clients that send any bytes."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any, Self

from flask import Flask

from profbucket.http_server.listener import listen
from profbucket.http_server.server import Server
from profbucket.http_server.settings import ServerSettings
from tests.support.serving import TIMEOUT_SECONDS


@dataclass
class Answer:
    """A response; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """A connection to *port* that sends bytes as they are."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> Self:
        self._socket.sendall(data)
        return self

    def send_until_refused(self, data: bytes) -> None:
        """Send *data* again and again, a byte at a time, until there is a response or the connection is closed."""
        self._socket.settimeout(0.01)
        with suppress(ConnectionError):
            while True:
                for index in range(len(data)):
                    self._socket.sendall(data[index : index + 1])
                    with suppress(TimeoutError):
                        self._socket.recv(1, socket.MSG_PEEK)
                        self._socket.settimeout(TIMEOUT_SECONDS)
                        return

    def send_eof(self) -> Self:
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, method: str = "POST") -> Answer:
        """Return the next response to a *method*."""
        status = int(self._file.readline().split()[1])
        headers = dict[str, str]()
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        size = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        body = self._file.read(size)
        assert len(body) == size
        return Answer(status, headers, body)

    def statuses(self) -> list[int]:
        """Return the statuses of all responses until the connection is closed."""
        data = b""
        with suppress(ConnectionError):
            while received := self._file.read1(1 << 16):
                data += received
        return [int(line[9:12]) for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]

    def count_bytes(self) -> int:
        """End this side, and return how many bytes arrive until the other is closed."""
        self.send_eof()
        size = 0
        with suppress(ConnectionError):
            while received := self._file.read1(1 << 16):
                size += len(received)
        return size

    def is_closed(self) -> bool:
        """Wait for the end of the connection; false if more data comes."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True


@dataclass
class Running:
    """A server in a thread. ``is_drained`` is what ``Server.run`` returned, ``None`` before."""

    server: Server
    port: int
    thread: Thread
    is_drained: bool | None = None

    def connect(self) -> RawClient:
        return RawClient(self.port)

    def request(self, data: bytes, method: str = "POST") -> Answer:
        """Send *data* on a connection of its own and return the response."""
        with self.connect() as client:
            return client.send(data).answer(method)

    def get(self, path: str) -> Answer:
        return self.request(head("GET", path))

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(TIMEOUT_SECONDS)
        assert not self.thread.is_alive()


@contextmanager
def running_server(app: Flask, **settings: Any) -> Iterator[Running]:
    """Run a server of *app* with these ``ServerSettings`` until the block ends."""
    listener = listen("127.0.0.1", 0)
    server = Server(app, ServerSettings(**settings))

    def run() -> None:
        running.is_drained = server.run(listener, ())

    running = Running(server, listener.getsockname()[1], Thread(target=run))
    running.thread.start()
    try:
        assert running.get("/healthz").status == 200
        yield running
    finally:
        running.stop()


def head(method: str, target: str, *headers: str, version: str = "1.1") -> bytes:
    """Return the head of a request, with a Host."""
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: localhost", *headers, "", ""]).encode(
        "latin-1"
    )


def chunk(data: bytes) -> bytes:
    """Return *data* as one chunk; an empty one is the last."""
    return b"%x\r\n%s\r\n" % (len(data), data)
