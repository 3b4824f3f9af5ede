"""API keys: authentication and authorization of requests.

``profbucket key create`` generates a key. The setting ``PROFBUCKET_KEYS`` lists the keys that the collector
accepts, each with a name, its SHA-256, its scopes and the services it is valid for::

    [{"name": "shop-agents", "sha256": "9f86d0…", "scopes": ["write"], "services": ["shop-*"]}]

A plain hash is enough because keys are 256 random bits, not chosen by people.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

from profbucket.errors import Misconfigured, PermissionDenied, Unauthenticated

_HOW_TO_SEND = (
    "send it as the password in the URL (https://x:KEY@host/…), as Authorization: Bearer, or as X-Api-Key"
)


# Headers that proxies add: their hop, and the address, host or protocol of the client.
_PROXY_HEADER = re.compile(
    r"via|cdn-loop|cf-.+|(x-)?forwarded(-.+)?|x-(original|envoy|arr|azure|appengine|proxyuser|scheme)(-.+)?"
    r"|(.+-)?(real|client|remote|connecting|originating|user|source|external)-?(ip|addr|address|host|port)",
    re.IGNORECASE,
)


class Scope(StrEnum):
    """A permission of an API key. No scope includes another."""

    WRITE = "write"  # upload profiles
    READ = "read"  # find, fetch and merge profiles
    ADMIN = "admin"  # operate the collector: /metrics, compaction


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret. ``services`` are shell patterns such as ``shop-*``."""

    name: str
    sha256: bytes = field(repr=False)
    scopes: frozenset[Scope]
    services: tuple[str, ...] = ("*",)

    def may_access(self, service: str) -> bool:
        """Return whether the key is valid for *service*."""
        return any(fnmatchcase(service, pattern) for pattern in self.services)

    def require(self, scope: Scope, service: str | None = None) -> None:
        """Raise ``PermissionDenied`` unless the key has *scope* and is valid for *service*."""
        if scope not in self.scopes:
            raise PermissionDenied(
                f"key {self.name!r} lacks the scope '{scope}' (it has: {', '.join(sorted(self.scopes))})",
                code="missing_scope",
            )
        if service is not None and not self.may_access(service):
            raise PermissionDenied(
                f"key {self.name!r} is not valid for service {service[:80]!r} "
                f"(valid for: {', '.join(self.services)})",
                code="service_denied",
            )


ANONYMOUS = ApiKey("anyone", b"", frozenset(Scope))


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys that the collector accepts. Two keys for one purpose allow replacing one by the other."""

    keys: tuple[ApiKey, ...]

    @classmethod
    def parse(cls, text: str) -> "ApiKeys":
        """Read ``PROFBUCKET_KEYS``, or raise ``Misconfigured`` with a message that shows no hash."""
        try:
            entries = json.loads(text)
        except ValueError as error:
            position = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
            raise Misconfigured(
                f"PROFBUCKET_KEYS is not valid JSON{position}; it is a list of entries that"
                " `profbucket key create` prints"
            ) from None
        if not isinstance(entries, list) or not entries:
            raise Misconfigured(
                "PROFBUCKET_KEYS must be a non-empty list of entries that `profbucket key create` prints"
            )
        keys = tuple(_parse_key(number, entry) for number, entry in enumerate(entries))
        if len({key.name for key in keys}) < len(keys):
            raise Misconfigured("PROFBUCKET_KEYS: key names must be unique")
        return cls(keys)

    def find(self, secret: str) -> ApiKey | None:
        """Return the key with this *secret*. Constant time, to resist timing attacks."""
        hashed = hash_secret(secret)
        match = None
        for key in self.keys:
            if compare_digest(key.sha256, hashed):
                match = key
        return match


@dataclass(frozen=True, slots=True)
class Authenticator:
    """The authentication of requests.

    With ``keys``, each request needs one of them. Without, the client must be local, unless ``anonymous`` is set.
    """

    keys: ApiKeys | None = None
    anonymous: bool = False

    def authenticate(
        self, headers: Mapping[str, str], password: str | None, remote: str, host: str, method: str = "GET"
    ) -> ApiKey:
        """Return the API key of a request, or raise ``Unauthenticated`` if it is missing or unknown.

        *password* is that of HTTP Basic, *remote* the client's address and *host* the Host header.
        """
        if method not in ("GET", "HEAD", "OPTIONS") and _is_cross_site(headers, host):
            # With keys too: browsers add a password that they remember to the requests of any page.
            raise PermissionDenied(
                "a web page of another site sent this request; only programs and the collector's page may post",
                code="cross_site_request",
            )
        if self.keys is None:
            if self.anonymous or _is_local(headers, remote, host):
                return ANONYMOUS
            raise Unauthenticated(
                "this collector has no API keys and serves only the machine it runs on; set PROFBUCKET_KEYS, or "
                "PROFBUCKET_ANONYMOUS=1 to serve anyone",
                code="local_only",
            )
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        secret = headers.get("X-Api-Key") or (token.strip() if scheme.lower() == "bearer" else password)
        if not secret:
            raise Unauthenticated(f"an API key is required; {_HOW_TO_SEND}", code="missing_api_key")
        key = self.keys.find(secret)
        if key is None:
            raise Unauthenticated(f"unknown or revoked API key; {_HOW_TO_SEND}", code="unknown_api_key")
        return key


def generate_secret() -> str:
    """Return a new API key: 256 random bits in URL-safe characters."""
    return f"pb_{token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 by which the collector knows the key *secret*."""
    return sha256(secret.encode(errors="surrogateescape")).digest()


def _parse_key(number: int, entry: Any) -> ApiKey:
    place = f"PROFBUCKET_KEYS, key {number}"
    if not isinstance(entry, dict) or not entry.keys() >= {"name", "sha256", "scopes"}:
        raise Misconfigured(f"{place}: name, sha256 and scopes are required")
    if unknown := entry.keys() - {"name", "sha256", "scopes", "services"}:
        raise Misconfigured(
            f"{place}: unknown field {', '.join(sorted(unknown))}; known fields: name, sha256, scopes, services"
        )
    name, scopes, services = entry["name"], entry["scopes"], entry.get("services", ["*"])
    if not isinstance(name, str) or not name or not name.isprintable():
        raise Misconfigured(f"{place}: name must be a printable string")
    try:
        hashed = bytes.fromhex(entry["sha256"])
    except (TypeError, ValueError):
        hashed = b""
    if len(hashed) != sha256().digest_size:
        raise Misconfigured(
            f"{place} ({name}): sha256 must be 64 hex digits, as `profbucket key hash` prints them"
        )
    if not _is_string_list(scopes) or not set(scopes) <= set(Scope):
        raise Misconfigured(f"{place} ({name}): scopes must be a list of {', '.join(Scope)}")
    if not _is_string_list(services):
        raise Misconfigured(f"{place} ({name}): services must be a list of patterns such as shop-*")
    return ApiKey(name, hashed, frozenset(map(Scope, scopes)), tuple(services))


def _is_string_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item for item in value)


def _is_cross_site(headers: Mapping[str, str], host: str) -> bool:
    """Return whether a web page of another origin sent a request: browsers say so, in these two headers."""
    values = {name.lower(): value for name, value in headers.items()}
    if values.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    try:
        return "origin" in values and urlsplit(values["origin"]).netloc.lower() != host.lower()
    except ValueError:
        return True


def _is_local(headers: Mapping[str, str], remote: str, host: str) -> bool:
    """Return whether a request comes from this machine, and neither through a proxy nor from a web page.

    A page of another site, opened in a local browser, is excluded by its Host header.
    """
    if any(_PROXY_HEADER.fullmatch(name) for name in headers):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return ip_address(remote).is_loopback and (name == "localhost" or ip_address(name).is_loopback)
    except ValueError:
        return False
