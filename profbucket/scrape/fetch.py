"""Download of one profile from a target, and from no other host, in bounded time and memory."""

import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urljoin, urlsplit

from profbucket.errors import ProfbucketError, Unavailable
from profbucket.limits import Limits
from profbucket.scrape.targets import Target
from profbucket.timed_http import REQUEST_ERRORS, Resolve, request, resolve

TIMED_OUT = "timed out"

_READ_CHUNK_BYTES = 1 << 16
_MAX_REDIRECTS = 3
_REDIRECT_STATUSES = (301, 302, 303, 307, 308)

# Metadata services, from which cloud machines get their access tokens; all others have link-local addresses.
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA_NETWORKS = tuple(
    map(
        ip_network,
        # fd00:ec2: instance metadata, credentials of containers and pods, DNS and time of EC2
        ("fd00:ec2::/32", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
# IPv6 networks whose last 32 bits are an IPv4 address: mapped, compatible, translated (RFC 2765), NAT64.
_IPV4_SUFFIX_NETWORKS = tuple(map(IPv6Network, ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
# Any prefix length of RFC 6052 may be in use within the local NAT64 network.
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_ISATAP_INTERFACES = (0x0000_5EFE, 0x0200_5EFE)


class ByteBudget:
    """The memory of all concurrent downloads: at most ``limits.inflight_bytes``. Nothing waits for room."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self._lock = threading.Lock()

    def reserve(self, size: int) -> None:
        """Reserve *size* bytes, or raise ``TooLarge``."""
        with self._lock:
            if self._bytes + size > self._limits.inflight_bytes:
                raise self._limits.too_large(
                    "inflight_bytes", f"all downloads together have more than {self._bytes} bytes"
                )
            self._bytes += size

    @property
    def is_half_used(self) -> bool:
        """True if more than half of the memory is reserved."""
        return 2 * self._bytes > self._limits.inflight_bytes

    def release(self, size: int) -> None:
        """Release *size* reserved bytes."""
        with self._lock:
            self._bytes -= size


def fetch(
    target: Target, path: str, *, deadline: float, limits: Limits, budget: ByteBudget, resolve: Resolve = resolve
) -> bytes:
    """Return the body at *path* of *target*, read until *deadline* (of ``time.monotonic``).

    Its bytes are reserved in *budget*; the caller releases them. Raise ``Unavailable`` if the download fails, and
    ``TooLarge`` if it exceeds a limit.
    """
    url = f"{target.url}/{path}"
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            with request(
                "GET",
                url,
                seconds=deadline - time.monotonic(),
                headers={"Accept-Encoding": "identity", "User-Agent": "profbucket", **target.headers},
                resolve=_guard(target, resolve),
            ) as response:
                if response.status not in _REDIRECT_STATUSES:
                    return _read_body(response, limits, budget)
                url = _redirect_url(url, response.headers.get("Location", ""))
        except REQUEST_ERRORS as error:
            raise Unavailable(_describe(error), code="target_unavailable") from None
    raise Unavailable(f"more than {_MAX_REDIRECTS} redirects", code="target_unavailable")


def _read_body(response: HTTPResponse, limits: Limits, budget: ByteBudget) -> bytes:
    if response.status != 200:
        raise Unavailable(f"HTTP status {response.status}", code="target_unavailable")
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := response.read1(_READ_CHUNK_BYTES):
            budget.reserve(len(chunk))
            size += len(chunk)
            chunks.append(chunk)
            if size > limits.body_bytes:
                raise limits.too_large("body_bytes", f"the profile has more than {limits.body_bytes} bytes")
        if response.length:
            raise Unavailable(f"the response ended {response.length} bytes early", code="target_unavailable")
    except (*REQUEST_ERRORS, ProfbucketError):
        budget.release(size)
        raise
    return b"".join(chunks)


def _redirect_url(url: str, location: str) -> str:
    """Return the URL of a redirect; raise ``Unavailable`` if it leads to another host."""
    try:
        redirected = urljoin(url, location)
        same_origin = _origin(redirected) == _origin(url)
    except ValueError:
        same_origin = False
    printable = same_origin and redirected.isascii() and redirected.isprintable() and " " not in redirected
    if not location or not printable:
        raise Unavailable("redirect to another host, which is not a target", code="target_unavailable")
    return redirected


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _guard(target: Target, resolve: Resolve) -> Resolve:
    """Return *resolve* with a check of the names and addresses that raises ``OSError``.

    The connection is made to the checked addresses, so that a DNS server cannot swap them after the check.
    """

    def guarded(host: str, port: int) -> Sequence[tuple[Any, ...]]:
        name = host.lower().rstrip(".")
        if name in target.allow:
            return resolve(host, port)
        if name in _METADATA_NAMES:
            raise OSError(f"{name} is a cloud metadata service; refused unless it is listed in allow")
        addresses = resolve(host, port)
        for *_, address in addresses:
            text = str(address[0]).partition("%")[0]
            if is_guarded(text) and text not in target.allow:
                raise OSError(f"{text} is a link-local or metadata address; refused unless it is listed in allow")
        return addresses

    return guarded


def is_guarded(text: str) -> bool:
    """Return whether an address is link-local, multicast or that of a cloud's metadata service.

    So is an IPv6 address that a translator or tunnel may turn into such an IPv4 address. A zone (``%eth0``) is
    ignored.
    """
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    candidates = [address]
    if isinstance(address, IPv6Address):
        candidates += _embedded_addresses(address)
    return any(
        candidate.is_link_local
        or candidate.is_multicast
        or any(candidate.version == network.version and candidate in network for network in _METADATA_NETWORKS)
        for candidate in candidates
    )


def _embedded_addresses(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that *address* may be translated to."""
    bits = int(address)
    suffix = IPv4Address(bits & 0xFFFFFFFF)
    if any(address in network for network in _IPV4_SUFFIX_NETWORKS):
        yield suffix
    if bits >> 32 & 0xFFFFFFFF in _ISATAP_INTERFACES:
        yield suffix
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _LOCAL_NAT64:
        yield suffix
        # Bits 64 to 71 are zero; the address is in front of them, behind them, or on both sides.
        without_zeros = (bits >> 64) << 56 | bits & (1 << 56) - 1
        for prefix_length in (48, 56, 64):
            yield IPv4Address(without_zeros >> 120 - prefix_length - 32 & 0xFFFFFFFF)


def _describe(error: Exception) -> str:
    if isinstance(error, HTTPException):
        return f"invalid HTTP response: {type(error).__name__}"
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason or type(error).__name__
