"""HTTP requests with one total deadline, and the URLs they go to; standard library only.

The deadline covers connecting, sending and reading the body, however slowly the peer responds.
"""

import io
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

Resolve = Callable[[str, int], Sequence[tuple[Any, ...]]]  # (host, port) -> socket.getaddrinfo's list

REQUEST_ERRORS = (OSError, HTTPException)  # raised by request() and by reading its response


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """An http:// or https:// URL, apart from the credentials in it.

    ``base`` has no userinfo, query, fragment or trailing slash; ``host`` includes the port, ``path`` may be empty.
    """

    base: str
    host: str
    path: str
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "HttpUrl":
        """Read a URL; raise ``ValueError`` with a message that does not show its credentials."""
        try:
            parts = urlsplit(text)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"{redact_userinfo(text)[:120]!r} is not an http:// or https:// URL")
        host = parts.netloc.rpartition("@")[2]
        path = parts.path.rstrip("/")
        return cls(
            base=urlunsplit((parts.scheme, host, path, "", "")),
            host=host,
            path=path,
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    def basic_auth(self) -> str:
        """Return the ``Authorization`` header for the user and password of the URL."""
        return "Basic " + b64encode(f"{self.user or ''}:{self.password or ''}".encode()).decode()


def redact_userinfo(url: str) -> str:
    """Return *url*, valid or not, without what may be a user and password."""
    return f"…@{url.rpartition('@')[2]}" if "@" in url else url


def resolve(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """Return the addresses of *host*, as ``socket.getaddrinfo`` lists them; raise ``OSError`` on failure."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label of the name is too long or empty
        raise OSError(f"invalid host name {host!r}") from None


@contextmanager
def request(
    method: str,
    url: str,
    *,
    seconds: float,
    connect_seconds: float = float("inf"),
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    resolve: Resolve = resolve,
) -> Iterator[HTTPResponse]:
    """Send one request and yield the response, whose body is not read yet; all within *seconds* from now.

    *connect_seconds* bounds the time until the connection is established, with TLS.
    No redirects, no retries, no proxies. Connects to the addresses that *resolve* returns. Raise one of
    ``REQUEST_ERRORS`` on failure or timeout. The deadline does not interrupt name resolution.
    """
    parts = urlsplit(url)
    start = time.monotonic()
    deadline = start + seconds
    connect_deadline = start + min(seconds, connect_seconds)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    connected = _connect(resolve(host, port), connect_deadline)
    try:
        if parts.scheme == "https":
            connected = _wrap_tls(connected, host, connect_deadline)
        connection = HTTPConnection(host, port)
        connection.sock = _DeadlineSocket(connected, deadline)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host_header = parts.netloc.rpartition("@")[2]
        connection.request(method, target, body, {"Host": host_header, "Connection": "close", **(headers or {})})
        with connection.getresponse() as response:
            yield response
    finally:
        connected.close()


def _connect(addresses: Sequence[tuple[Any, ...]], deadline: float) -> socket.socket:
    """Connect to the first of *addresses* that accepts."""
    failure: OSError = OSError("the host name has no address")
    for family, socket_type, protocol, _, address in addresses:
        candidate = socket.socket(family, socket_type, protocol)
        try:
            candidate.settimeout(_remaining_seconds(deadline))
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            failure = error
        else:
            return candidate
    raise failure


def _wrap_tls(connected: socket.socket, host: str, deadline: float) -> socket.socket:
    connected.settimeout(_remaining_seconds(deadline))
    wrapped: socket.socket = _tls_context().wrap_socket(connected, server_hostname=host)
    return wrapped


@cache
def _tls_context() -> Any:
    import ssl  # only for https: it is a large import, and gevent must patch the process before it

    return ssl.create_default_context()


def _remaining_seconds(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("timed out")
    return remaining


class _DeadlineSocket(io.RawIOBase):
    """The part of a socket that http.client uses, with every operation bounded by *deadline*."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__()
        self._socket = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_remaining_seconds(self._deadline))
        self._socket.sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineSocket(self._socket, self._deadline))  # http.client closes it on its own

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_remaining_seconds(self._deadline))
        return self._socket.recv_into(buffer)
