"""What is to be scraped: a list of targets, in JSON, and nothing that is not in it."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from profbucket.errors import Invalid, Misconfigured
from profbucket.limits import Limits
from profbucket.model.ids import RESERVED, check_service
from profbucket.model.labels import CONTROL, Labels
from profbucket.model.profile_type import ProfileType

TARGETS_KEY = f"{RESERVED}/targets.json"  # where a storage has them
MAX_TARGETS = 500  # targets of one scrape: each has a thread

# What net/http/pprof calls a profile, and what it is to us. "allocs" is "heap" with another default sample type:
# of the same type the two would be counted twice.
PROFILE_TYPES: Mapping[str, ProfileType] = {
    "profile": ProfileType.CPU,
    "heap": ProfileType.HEAP,
    "block": ProfileType.BLOCK,
    "mutex": ProfileType.MUTEX,
    "goroutine": ProfileType.GOROUTINE,
    "threadcreate": ProfileType.THREADCREATE,
    "allocs": ProfileType.OTHER,
    "trace": ProfileType.TRACE,
}
TIMED_PROFILES = ("profile", "trace")  # which take as long as they are told to
DEFAULT_PROFILES = ("profile", "heap", "block", "mutex", "goroutine", "threadcreate")


@dataclass(frozen=True, slots=True)
class Target:
    """A process to fetch profiles from. ``url`` is below which they are, without a user; times are seconds.

    ``timeout_seconds`` is for all of its profiles together. ``headers`` may be secret, and are not shown.
    ``allow`` are addresses and names that would be refused otherwise.
    """

    url: str
    service: str
    labels: Labels
    profiles: tuple[str, ...] = DEFAULT_PROFILES
    seconds: int = 10
    timeout_seconds: float = 25.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow: frozenset[str] = frozenset()


def parse_targets(text: str | bytes, limits: Limits = Limits()) -> list[Target]:
    """Read a list of targets; raise ``Misconfigured`` with what is wrong, and in which."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"the targets are not JSON: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Misconfigured('the targets are not a list as in [{"url": "http://10.0.0.5:6060", "service": "api"}]')
    if len(entries) > MAX_TARGETS:
        raise Misconfigured(f"there are {len(entries)} targets, the cap is {MAX_TARGETS}: split the list")
    targets = []
    for number, entry in enumerate(entries, 1):
        try:
            targets.append(_target(entry, limits))
        except (Invalid, Misconfigured) as error:
            raise Misconfigured(f"target {number}: {error}") from None
    return targets


def _target(entry: dict[str, Any], limits: Limits) -> Target:
    unknown = sorted(set(entry) - set(Target.__slots__))
    if unknown:
        raise Misconfigured(f"{unknown[0][:80]!r} is none of {', '.join(Target.__slots__)}")
    url, headers, instance = _url(_text(entry, "url"))
    service = _text(entry, "service")
    check_service(service, limits)
    # Counters of different processes are to stay apart: what is subtracted is of one series.
    labels = Labels.from_pairs({"instance": instance, **_texts(entry, "labels")}.items())
    headers |= _texts(entry, "headers")
    if any(CONTROL.search(part) or not part.isascii() for pair in headers.items() for part in pair):
        raise Misconfigured("a header has characters that no header has")
    profiles = tuple(_list(entry, "profiles", DEFAULT_PROFILES))
    if not profiles or len(set(profiles)) < len(profiles) or not set(profiles) <= set(PROFILE_TYPES):
        raise Misconfigured(f"profiles={list(profiles)!r}: they are some of {', '.join(PROFILE_TYPES)}, each once")
    seconds = _number(entry, "seconds", 10, 1, 60)
    timeout = _number(entry, "timeout_seconds", 25, 1, 300)
    takes = seconds * len(set(TIMED_PROFILES) & set(profiles))
    if timeout <= takes:
        raise Misconfigured(f"timeout_seconds={timeout}: the profiles alone take {takes} seconds")
    allow = frozenset(name.lower() for name in _list(entry, "allow", ()))
    return Target(url, service, labels, profiles, int(seconds), timeout, headers, allow)


def _url(text: str) -> tuple[str, dict[str, str], str]:
    """The URL below which the profiles are, the header that its user makes, and its host and port."""
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known or parts.query or parts.fragment or any(ord(char) < 33 or ord(char) > 126 for char in text):
        shown = f"…@{text.rpartition('@')[2]}" if "@" in text else text
        raise Misconfigured(
            f"url={shown[:120]!r}: it is as in http://10.0.0.5:6060 or https://api.internal/debug/pprof"
        )
    headers = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    host = parts.netloc.rpartition("@")[2]
    path = parts.path.rstrip("/") or "/debug/pprof"
    return urlunsplit((parts.scheme, host, path, "", "")), headers, host


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        raise Misconfigured(f"{name}={value!r}: it is a text, and needed")
    return value


def _texts(entry: Mapping[str, Any], name: str) -> dict[str, str]:
    value = entry.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise Misconfigured(f'{name} are not texts by names, as in {{"version": "0.0.1"}}')
    return value


def _list(entry: Mapping[str, Any], name: str, otherwise: tuple[str, ...]) -> list[str]:
    value = entry.get(name)
    if value is None:
        return list(otherwise)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Misconfigured(f"{name}={value!r:.80}: it is a list of texts")
    return value


def _number(entry: Mapping[str, Any], name: str, otherwise: int, least: int, most: int) -> int:
    value = entry.get(name)
    value = otherwise if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Misconfigured(f"{name}={value!r:.80}: it is a whole number from {least} to {most}")
    return value
