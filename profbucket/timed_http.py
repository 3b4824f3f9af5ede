"""HTTP requests that are over in time: one deadline for all of it, however slowly the other side drips.

Only the standard library: it is also used inside of other people's programs, by the agent.
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
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

Resolve = Callable[[str, int], Sequence[tuple[Any, ...]]]  # what socket.getaddrinfo answers for host and port

REQUEST_ERRORS = (
    OSError,
    HTTPException,
)  # what an incomplete request raises; never UnicodeError


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
    """The addresses of *host*, as ``socket.getaddrinfo`` lists them; raise ``OSError`` where there is none."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label of the name is too long or empty
        raise OSError(f"{host!r} is no name of a host") from None


@contextmanager
def request(
    method: str,
    url: str,
    *,
    seconds: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    resolve: Resolve = resolve,
) -> Iterator[HTTPResponse]:
    """The answer to one request; its body is still to be read, and that, too, within *seconds* from now.

    Nothing is followed, repeated or sent through a proxy. The host is asked for at the addresses that *resolve*
    gives. Raise one of ``REQUEST_ERRORS`` where it fails or the time is up; looking up a name takes as long as the
    system lets it.
    """
    parts = urlsplit(url)
    ends = time.monotonic() + seconds
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    connected = _connected(resolve(host, port), ends)
    try:
        if parts.scheme == "https":
            connected = _secured(connected, host, ends)
        connection = HTTPConnection(host, port)
        connection.sock = _Timed(connected, ends)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {"Host": _host(parts), "Connection": "close", **(headers or {})})
        with connection.getresponse() as response:
            yield response
    finally:
        connected.close()


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _connected(addresses: Sequence[tuple[Any, ...]], ends: float) -> socket.socket:
    """A connection to the first of *addresses* that takes it."""
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in addresses:
        one = socket.socket(family, kind, protocol)
        try:
            one.settimeout(_left(ends))
            one.connect(address)
        except OSError as error:
            one.close()
            failure = error
        else:
            return one
    raise failure


def _secured(connected: socket.socket, host: str, ends: float) -> socket.socket:
    connected.settimeout(_left(ends))
    secured: socket.socket = _tls().wrap_socket(connected, server_hostname=host)
    return secured


@cache
def _tls() -> Any:
    import ssl  # where there is TLS only: it is large, and gevent wants to be there before it is

    return ssl.create_default_context()


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time was up")
    return left


class _Timed(io.RawIOBase):
    """What http.client needs of a socket, each wait of which ends at *ends*."""

    def __init__(self, connected: socket.socket, ends: float) -> None:
        super().__init__()
        self._socket = connected
        self._ends = ends

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._ends))
        self._socket.sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._socket, self._ends))  # which is closed by itself

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_left(self._ends))
        return self._socket.recv_into(buffer)
