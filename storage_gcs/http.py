"""HTTP/1.1 requests to Cloud Storage on persistent connections.

A download by the client library costs 1.2 ms of CPU, through urllib3 0.4, with aiohttp 0.2, here 0.16 (20 KB
objects, measured on one emulator): a merge of thousands of profiles would spend most of its time there. An upload
costs 1.2 ms by the library and 0.5 here, of 5 that a post takes in all.
"""

import os
import random
import re
import ssl
import time
import weakref
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import MappingProxyType
from urllib.parse import urlsplit

import google_crc32c

from profbucket.errors import Unavailable

CALL_TIMEOUT_SECONDS = 20.0  # no attempt begins later; the last one may end up to READ_TIMEOUT_SECONDS later
READ_TIMEOUT_SECONDS = 8.0  # for the next bytes of an answer

_MAX_IDLE_CONNECTIONS = 64
_RANGE = re.compile(r"bytes=(\d+)-(\d*)", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)
_RETRYABLE_STATUSES = {408, 429, 500, 502, 503, 504}

Authorize = Callable[[str, str, MutableMapping[str, str]], None]


class Refused(Exception):
    """An answer with an error that a retry does not change."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


class _DamagedInTransit(Exception):
    """The bytes that arrived are not the bytes that were stored."""


def _reserve_nothing(_: int) -> None:
    pass


class Http:
    """Requests to *origin*, called *service* in errors.

    *authorize* adds the credentials to a request: method, URL, headers.

    Safe for threads: each call uses its own connection. A forked process opens its own connections.
    """

    def __init__(self, origin: str, authorize: Authorize, service: str = "Cloud Storage") -> None:
        parts = urlsplit(origin)
        self._origin = origin
        self._service = service
        self._address = parts.netloc
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._authorize = authorize
        self._idle: deque[HTTPConnection] = deque(maxlen=_MAX_IDLE_CONNECTIONS)
        self._process = os.getpid()
        weakref.finalize(self, _close_all, self._idle)

    def get(self, path: str, reserve: Callable[[int], None], begin: int = 0, end: int | None = None) -> bytes:
        """Return the body at *path*, from *begin* up to *end*; call *reserve* with its size before reading it.

        Raise ``Refused`` for a permanent error, ``Unavailable`` if all attempts failed.
        """
        headers = {} if end is None and not begin else {"Range": f"bytes={begin}-{'' if end is None else end - 1}"}
        return self._retry(
            lambda connection: self._request(connection, "GET", path, None, headers, reserve=reserve)
        )

    def post(self, path: str, body: bytes, content_type: str) -> None:
        """Send *body*, again if an answer is lost: the request must be idempotent.

        Raise ``Refused`` for a permanent error, ``Unavailable`` if all attempts failed.
        """
        headers = {"Content-Type": content_type}
        self._retry(lambda connection: self._request(connection, "POST", path, body, headers))

    def _retry(self, request: Callable[[HTTPConnection], bytes]) -> bytes:
        deadline = time.monotonic() + CALL_TIMEOUT_SECONDS
        for attempt in range(1000):
            connection, is_reused = self._take_connection()
            try:
                return request(connection)
            except (OSError, HTTPException, _DamagedInTransit) as error:
                connection.close()
                if is_reused and isinstance(error, ConnectionError):
                    continue  # the server had closed the idle connection
                reason = f"{type(error).__name__}: {error}"
            except Refused as error:
                if error.status not in _RETRYABLE_STATUSES:
                    raise
                reason = str(error)
            except BaseException:
                connection.close()  # its answer has not been read to the end
                raise
            pause = random.uniform(0.5, 1) * min(0.1 * 2**attempt, 2)  # noqa: S311 - jitter
            if time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        raise Unavailable(f"{self._service} cannot be reached, tried {attempt + 1} times: {reason[:200]}")

    def _request(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        reserve: Callable[[int], None] = _reserve_nothing,
    ) -> bytes:
        all_headers = {"Accept-Encoding": "identity", **headers}
        self._authorize(method, f"{self._origin}{path}", all_headers)
        connection.request(method, path, body, all_headers)
        response = connection.getresponse()
        if response.status in (200, 206):
            reserve(response.length or 0)
        data = response.read()
        if response.status == 206:  # comes with the checksum of the whole object
            _verify_length(response, all_headers["Range"], data)
        elif response.status == 200 and method == "GET":
            _verify_checksum(response, data)
        # From here on, another thread may use the connection: it must not be closed any more.
        self._return_connection(connection, response)
        if response.status not in (200, 206):
            raise Refused(response.status, data.decode(errors="replace")[:500])
        return data

    def _take_connection(self) -> tuple[HTTPConnection, bool]:
        """Return a connection, and whether it was used before."""
        if self._process != os.getpid():
            # These are the parent's connections: this process must not use them.
            self._idle = deque(maxlen=_MAX_IDLE_CONNECTIONS)
            self._process = os.getpid()
            weakref.finalize(self, _close_all, self._idle)
        try:
            return self._idle.pop(), True
        except IndexError:
            if self._tls:
                return HTTPSConnection(self._address, timeout=READ_TIMEOUT_SECONDS, context=self._tls), False
            return HTTPConnection(self._address, timeout=READ_TIMEOUT_SECONDS), False

    def _return_connection(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        if response.will_close or len(self._idle) == self._idle.maxlen:
            connection.close()
        else:
            self._idle.append(connection)


def checksum(data: bytes) -> str:
    """Return the CRC32C of *data* as Cloud Storage writes it."""
    return b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _verify_length(response: HTTPResponse, requested: str, body: bytes) -> None:
    """Raise ``_DamagedInTransit`` unless *body* is the part of an object that the header *requested* asked for."""
    header = response.headers.get("Content-Range", "")
    sent, wanted = _CONTENT_RANGE.fullmatch(header), _RANGE.fullmatch(requested)
    if sent and wanted:
        begin, end, size = map(int, sent.groups())
        last = min(int(wanted[2] or size), size - 1)
        if (begin, end, len(body)) == (int(wanted[1]), last, last - begin + 1):
            return
    raise _DamagedInTransit(f"{len(body)} bytes for {requested}, with Content-Range: {header}")


def _verify_checksum(response: HTTPResponse, body: bytes) -> None:
    for header in response.headers.get_all("x-goog-hash", []):
        for item in header.split(","):
            name, _, expected = item.strip().partition("=")
            if name == "crc32c" and expected != checksum(body):
                raise _DamagedInTransit("the CRC32C of the body differs from that of the object")


def _close_all(idle: deque[HTTPConnection]) -> None:
    while idle:
        idle.pop().close()
