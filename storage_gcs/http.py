"""Objects in and out: HTTP/1.1 on kept connections, with nothing in between.

A download by the client library costs 1.2 ms of CPU, through urllib3 0.4, with aiohttp 0.2, here 0.16 (20 KB
objects, measured on one emulator): a merge of thousands of profiles would spend most of its time there. An upload
costs 1.2 by the library and 0.5 here, of 5 that a post takes in all.
"""

import os
import random
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

PATIENCE = 20.0  # seconds until a call gives up; one attempt begun before may end up to ATTEMPT later
ATTEMPT = 8.0  # seconds that an attempt waits for the next bytes

_PASSING = {408, 429, 500, 502, 503, 504}

Authorize = Callable[[str, str, MutableMapping[str, str]], None]


class Refused(Exception):
    """An answer that no retry changes."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


class _Damaged(Exception):
    """The bytes that arrived are not those that were stored."""


def _any_size(_: int) -> None:
    pass


class Http:
    """Requests to *origin*. *authorize* adds what the request needs to be allowed: method, URL, headers.

    Safe for threads: each call has a connection of its own while it lasts. A forked process makes its own.
    """

    def __init__(self, origin: str, authorize: Authorize) -> None:
        parts = urlsplit(origin)
        self._origin = origin
        self._address = parts.netloc
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._authorize = authorize
        self._idle: deque[HTTPConnection] = deque(maxlen=64)
        self._process = os.getpid()
        weakref.finalize(self, _close, self._idle)

    def get(self, path: str, admit: Callable[[int], None], begin: int = 0, end: int | None = None) -> bytes:
        """The body at *path*, from *begin* up to *end*; *admit* is called with its size before it is read.

        Raise ``Refused`` for an answer that is final, ``Unavailable`` for failures that last for ``PATIENCE``.
        """
        headers = {} if end is None and not begin else {"Range": f"bytes={begin}-{'' if end is None else end - 1}"}
        return self._persist(lambda connection: self._request(connection, "GET", path, None, headers, admit=admit))

    def post(self, path: str, body: bytes, content_type: str) -> None:
        """Send *body*, more than once where an answer is lost: the same must have no effect a second time.

        Raise ``Refused`` for an answer that is final, ``Unavailable`` for failures that last for ``PATIENCE``.
        """
        headers = {"Content-Type": content_type}
        self._persist(lambda connection: self._request(connection, "POST", path, body, headers))

    def _persist(self, request: Callable[[HTTPConnection], bytes]) -> bytes:
        deadline = time.monotonic() + PATIENCE
        for attempt in range(1000):
            connection, used = self._take()
            try:
                return request(connection)
            except (OSError, HTTPException, _Damaged) as error:
                connection.close()
                if used and isinstance(error, ConnectionError):
                    continue  # it had been closed while it lay idle
                reason = f"{type(error).__name__}: {error}"
            except Refused as error:
                if error.status not in _PASSING:
                    raise
                reason = str(error)
            except BaseException:
                connection.close()  # in the middle of an answer
                raise
            pause = random.uniform(0.5, 1) * min(0.1 * 2**attempt, 2)  # noqa: S311 - no secret
            if time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        raise Unavailable(f"Cloud Storage cannot be reached, tried {attempt + 1} times: {reason[:200]}")

    def _request(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        admit: Callable[[int], None] = _any_size,
    ) -> bytes:
        sent = {"Accept-Encoding": "identity", **headers}
        self._authorize(method, f"{self._origin}{path}", sent)
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        if response.status in (200, 206):
            admit(response.length or 0)
        data = response.read()
        self._give(connection, response)
        if response.status not in (200, 206):
            raise Refused(response.status, data.decode(errors="replace")[:500])
        if method == "GET" and response.status == 200:  # of a part, only the whole object's checksum is told
            _check(response, data)
        return data

    def _take(self) -> tuple[HTTPConnection, bool]:
        if self._process != os.getpid():
            # The parent's: closing would be harmless, speaking on it would not.
            self._idle = deque(maxlen=64)
            self._process = os.getpid()
            weakref.finalize(self, _close, self._idle)
        try:
            return self._idle.pop(), True
        except IndexError:
            if self._tls:
                return HTTPSConnection(self._address, timeout=ATTEMPT, context=self._tls), False
            return HTTPConnection(self._address, timeout=ATTEMPT), False

    def _give(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        if response.will_close or len(self._idle) == self._idle.maxlen:
            connection.close()
        else:
            self._idle.append(connection)


def checksum(data: bytes) -> str:
    """What Cloud Storage calls an object's ``crc32c``."""
    return b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _check(response: HTTPResponse, body: bytes) -> None:
    for one in response.headers.get_all("x-goog-hash", []):
        for item in one.split(","):
            name, _, expected = item.strip().partition("=")
            if name == "crc32c" and expected != checksum(body):
                raise _Damaged("the checksum differs")


def _close(idle: deque[HTTPConnection]) -> None:
    while idle:
        idle.pop().close()
