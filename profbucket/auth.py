"""Who may do what.

A key is a secret that a team makes with ``profbucket key create``. The collector knows its SHA-256, its name, its
scopes and the services it is for; the setting ``PROFBUCKET_KEYS`` lists them::

    [{"name": "shop-agents", "sha256": "9f86d0…", "scopes": ["write"], "services": ["shop-*"]}]

A plain hash is enough, because keys are 256 random bits and not chosen by people.
"""

import json
from collections.abc import Mapping, Sequence
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

HOW = "send one as the password in the URL (https://x:KEY@host/…), as Authorization: Bearer, or as X-Api-Key"


class Scope(StrEnum):
    """What a key is for. None contains another."""

    WRITE = "write"  # post profiles
    READ = "read"  # find, fetch and merge them
    ADMIN = "admin"  # watch and maintain the collector: /metrics


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. ``services`` are shell patterns: ``shop-*``."""

    name: str
    sha256: bytes = field(repr=False)
    scopes: frozenset[Scope]
    services: tuple[str, ...] = ("*",)

    def may_access(self, service: str) -> bool:
        """Whether it is for *service*."""
        return any(fnmatchcase(service, pattern) for pattern in self.services)

    def require(self, scope: Scope, service: str | None = None) -> None:
        """Raise ``PermissionDenied`` where it has not *scope*, or is not for *service*."""
        if scope not in self.scopes:
            raise PermissionDenied(
                f"key {self.name!r} has not the scope '{scope}': it has {_listed(sorted(self.scopes))}"
            )
        if service is not None and not self.may_access(service):
            raise PermissionDenied(
                f"key {self.name!r} is for services {_listed(self.services)}, not for {service[:80]!r}"
            )


ANONYMOUS = ApiKey("anyone", b"", frozenset(Scope))


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys that are valid now. Several for one purpose are how one takes the place of another."""

    keys: tuple[ApiKey, ...]

    @classmethod
    def parse(cls, text: str) -> "ApiKeys":
        """Read ``PROFBUCKET_KEYS``, or raise ``Misconfigured``; the text never shows what stands in it."""
        try:
            entries = json.loads(text)
        except ValueError as error:
            where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
            raise Misconfigured(f"PROFBUCKET_KEYS is not JSON{where}") from None
        if not isinstance(entries, list) or not entries:
            raise Misconfigured("PROFBUCKET_KEYS is not a list of keys")
        keys = tuple(_key(number, entry) for number, entry in enumerate(entries))
        if len({key.name for key in keys}) < len(keys):
            raise Misconfigured("PROFBUCKET_KEYS: two keys have one name")
        return cls(keys)

    def find(self, secret: str) -> ApiKey | None:
        """The key whose secret this is. Takes as long for one as for another."""
        hashed = hash_secret(secret)
        found = None
        for key in self.keys:
            if compare_digest(key.sha256, hashed):
                found = key
        return found


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Lets requests in: with a key where there are ``keys``, else those of the machine, with ``anonymous`` all."""

    keys: ApiKeys | None = None
    anonymous: bool = False

    def authenticate(self, headers: Mapping[str, str], password: str | None, remote: str, host: str) -> ApiKey:
        """The key that a request brings.

        *password* is that of HTTP Basic, *remote* the address of the caller, *host* the name it calls us by. Raise
        ``Unauthenticated`` for a key that is missing or unknown.
        """
        if self.keys is None:
            if self.anonymous or _local(headers, remote, host):
                return ANONYMOUS
            raise Unauthenticated(
                "this collector has no keys and serves only the machine it runs on: set PROFBUCKET_KEYS, or "
                "PROFBUCKET_ANONYMOUS=1 to serve anyone"
            )
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        secret = headers.get("X-Api-Key") or (token.strip() if scheme.lower() == "bearer" else password)
        if not secret:
            raise Unauthenticated(f"a key is needed: {HOW}")
        key = self.keys.find(secret)
        if key is None:
            raise Unauthenticated(f"the key that was sent is not known, or not any more: {HOW}")
        return key


def generate_secret() -> str:
    """A new key: 256 random bits in letters, digits, ``-`` and ``_``, so that it needs no escaping in a URL."""
    return f"pb_{token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """What is known of a key."""
    return sha256(secret.encode(errors="surrogateescape")).digest()


def _key(number: int, entry: Any) -> ApiKey:
    where = f"PROFBUCKET_KEYS, key {number}"
    if not isinstance(entry, dict) or not entry.keys() >= {"name", "sha256", "scopes"}:
        raise Misconfigured(f"{where}: it needs a name, a sha256 and scopes")
    if unknown := entry.keys() - {"name", "sha256", "scopes", "services"}:
        raise Misconfigured(f"{where}: there is no such field: {_listed(sorted(unknown))}")
    name, scopes, services = entry["name"], entry["scopes"], entry.get("services", ["*"])
    if not isinstance(name, str) or not name or not name.isprintable():
        raise Misconfigured(f"{where}: the name is not a text")
    try:
        hashed = bytes.fromhex(entry["sha256"])
    except (TypeError, ValueError):
        hashed = b""
    if len(hashed) != sha256().digest_size:
        raise Misconfigured(f"{where} ({name}): sha256 is not 64 hex digits; `profbucket key hash` makes them")
    if not _texts(scopes) or not set(scopes) <= set(Scope):
        raise Misconfigured(f"{where} ({name}): scopes is a list of {_listed(list(Scope))}")
    if not _texts(services):
        raise Misconfigured(f"{where} ({name}): services is a list of patterns, as in shop-*")
    return ApiKey(name, hashed, frozenset(map(Scope, scopes)), tuple(services))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item for item in value)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "none"


def _local(headers: Mapping[str, str], remote: str, host: str) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it or a page in its browser."""
    if "X-Forwarded-For" in headers or "Forwarded" in headers:
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return ip_address(remote).is_loopback and (name == "localhost" or ip_address(name).is_loopback)
    except ValueError:
        return False
