"""A profile of a target: fetched from where the target is and nowhere else, in bounded time and memory."""

import threading
import time
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

from profbucket.errors import ProfbucketError, Unavailable
from profbucket.limits import Limits
from profbucket.scrape.targets import Target
from profbucket.timed_http import REQUEST_ERRORS, Resolve, request, resolve

_PIECE = 1 << 16
_REDIRECTS = 3
_MOVED = (301, 302, 303, 307, 308)

# Where clouds tell a machine who it is, and give it its tokens; they are link-local addresses otherwise.
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
_NAT64 = IPv6Network("64:ff9b::/96")


class Held:
    """Bytes that all fetches together hold, at most ``limits.inflight_bytes``. Nobody waits for another."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Hold *size* more, or raise ``TooLarge``."""
        with self._lock:
            if self._bytes + size > self._limits.inflight_bytes:
                raise self._limits.too_large(
                    "inflight_bytes", f"all that is being fetched has more than {self._bytes} bytes"
                )
            self._bytes += size

    def give(self, size: int) -> None:
        """Hold *size* less."""
        with self._lock:
            self._bytes -= size


def fetch(
    target: Target, path: str, *, ends: float, limits: Limits, held: Held, resolve: Resolve = resolve
) -> bytes:
    """What *target* answers at *path*, until *ends* by ``time.monotonic``.

    The bytes are held in *held*, and the caller's to give back. Raise ``Unavailable`` where it cannot be had,
    and ``TooLarge`` where it is over a cap.
    """
    url = f"{target.url}/{path}"
    for _ in range(_REDIRECTS + 1):
        try:
            with request(
                "GET",
                url,
                seconds=ends - time.monotonic(),
                headers={"Accept-Encoding": "identity", "User-Agent": "profbucket", **target.headers},
                resolve=_checked(target, resolve),
            ) as answer:
                if answer.status not in _MOVED:
                    return _body(answer, limits, held)
                url = _followed(url, answer.headers.get("Location", ""))
        except REQUEST_ERRORS as error:
            raise Unavailable(_why(error)) from None
    raise Unavailable(f"it redirects more than {_REDIRECTS} times")


def _body(answer: HTTPResponse, limits: Limits, held: Held) -> bytes:
    if answer.status != 200:
        raise Unavailable(f"it answers {answer.status}")
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := answer.read1(_PIECE):
            held.take(len(piece))
            size += len(piece)
            pieces.append(piece)
            if size > limits.body_bytes:
                raise limits.too_large("body_bytes", f"it answers more than {limits.body_bytes} bytes")
        if answer.length:
            raise Unavailable(f"its answer ends {answer.length} bytes early")
    except (*REQUEST_ERRORS, ProfbucketError):
        held.give(size)
        raise
    return b"".join(pieces)


def _followed(url: str, location: str) -> str:
    """Where a redirect leads, if that is the same host; raise ``Unavailable`` otherwise."""
    try:
        to = urljoin(url, location)
        same = _origin(to) == _origin(url)
    except ValueError:
        same = False
    if not location or not same or not to.isascii() or not to.isprintable() or " " in to:
        raise Unavailable("it redirects to another host, which is not a target")
    return to


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _checked(target: Target, resolve: Resolve) -> Resolve:
    """Addresses as *resolve* gives them, which are then those that are connected to; or raise ``OSError``."""

    def checked(host: str, port: int) -> Sequence[tuple[Any, ...]]:
        name = host.lower().rstrip(".")
        if name in target.allow:
            return resolve(host, port)
        if name in _METADATA_NAMES:
            raise OSError(f"{name} is where a cloud keeps its secrets: it is refused unless allow names it")
        found = resolve(host, port)
        for *_, address in found:
            text = str(address[0]).partition("%")[0]
            if is_guarded(text) and text not in target.allow:
                raise OSError(f"{text} is a link-local or metadata address: it is refused unless allow names it")
        return found

    return checked


def is_guarded(text: str) -> bool:
    """Whether an address is one that no application is at: of the link, of a cloud's metadata, of a group."""
    address: IPv4Address | IPv6Address = ip_address(text)
    inner: IPv4Address | None = None
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return any(
        one.is_link_local or one.is_multicast or one in _METADATA for one in (address, inner) if one is not None
    )


def _why(error: Exception) -> str:
    if isinstance(error, HTTPException):
        return f"it does not answer as HTTP has it: {type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "the time was up"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(
        error
    ).__name__
