"""Scrape targets: a list in JSON that names every process to scrape."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from profbucket.errors import Invalid, Misconfigured
from profbucket.limits import Limits
from profbucket.model.ids import RESERVED, check_service
from profbucket.model.labels import CONTROL, Labels
from profbucket.model.profile_type import ProfileType
from profbucket.timed_http import HttpUrl, redact_userinfo

TARGETS_KEY = f"{RESERVED}/targets.json"  # the object with the list, in the bucket of a function that scrapes
MAX_TARGETS = 500  # each has a thread

# The profiles of net/http/pprof. "allocs" has the same samples as "heap", with another default sample type: with
# the same profile type, a merge would count them twice.
PROFILE_TYPES: Mapping[str, ProfileType] = {
    "profile": ProfileType.CPU,
    "heap": ProfileType.HEAP,
    "block": ProfileType.BLOCK,
    "mutex": ProfileType.MUTEX,
    "goroutine": ProfileType.GOROUTINE,
    "threadcreate": ProfileType.THREADCREATE,
    "allocs": ProfileType("allocs"),
    "trace": ProfileType.TRACE,
}
TIMED_PROFILES = ("profile", "trace")  # their requests take ?seconds=N
DEFAULT_PROFILES = ("profile", "heap", "block", "mutex", "goroutine", "threadcreate")

_EXAMPLE = '[{"url": "http://10.0.0.5:6060", "service": "api"}]'


@dataclass(frozen=True, slots=True)
class Target:
    """A process to fetch profiles from.

    ``url`` is the folder of the profiles, without credentials. ``timeout_seconds`` applies to all profiles
    together. ``headers`` may be secret and are not in ``repr``. ``allow`` lists addresses and host names that
    are otherwise refused.
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
    """Read a list of targets; raise ``Misconfigured`` with the number of the invalid one."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"the targets are not valid JSON: {error}", code="invalid_targets") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Misconfigured(f"the targets must be a list such as {_EXAMPLE}", code="invalid_targets")
    if len(entries) > MAX_TARGETS:
        raise Misconfigured(f"{len(entries)} targets; the limit is {MAX_TARGETS} per list", code="invalid_targets")
    targets = []
    for number, entry in enumerate(entries, 1):
        try:
            targets.append(_parse_target(entry, limits))
        except (Invalid, Misconfigured) as error:
            raise Misconfigured(f"target {number}: {error}", code="invalid_targets") from None
    return targets


def _parse_target(entry: dict[str, Any], limits: Limits) -> Target:
    unknown = sorted(set(entry) - set(Target.__slots__))
    if unknown:
        raise Misconfigured(f"unknown field {unknown[0][:80]!r}; known fields: {', '.join(Target.__slots__)}")
    url = _parse_url(_string(entry, "url"))
    service = _string(entry, "service")
    check_service(service, limits)
    # The label "instance" makes each process a series of its own, within which counters are subtracted.
    labels = Labels.from_pairs({"instance": url.host, **_strings_by_name(entry, "labels")}.items())
    headers = {} if url.user is None else {"Authorization": url.basic_auth()}
    headers |= _strings_by_name(entry, "headers")
    if any(CONTROL.search(part) or not part.isascii() for pair in headers.items() for part in pair):
        raise Misconfigured("headers must be ASCII without control characters")
    profiles = tuple(_string_list(entry, "profiles", DEFAULT_PROFILES))
    if not profiles or len(set(profiles)) < len(profiles) or not set(profiles) <= set(PROFILE_TYPES):
        raise Misconfigured(
            f"profiles={list(profiles)!r}: it must list some of {', '.join(PROFILE_TYPES)}, each at most once"
        )
    seconds = _integer(entry, "seconds", 10, 1, 60)
    timeout_seconds = _integer(entry, "timeout_seconds", 25, 1, 300)
    profiling_seconds = seconds * len(set(TIMED_PROFILES) & set(profiles))
    if timeout_seconds <= profiling_seconds:
        raise Misconfigured(
            f"timeout_seconds={timeout_seconds}: it must be more than the {profiling_seconds} seconds of profiling"
        )
    allow = frozenset(name.lower() for name in _string_list(entry, "allow", ()))
    return Target(
        url=url.base if url.path else f"{url.base}/debug/pprof",
        service=service,
        labels=labels,
        profiles=profiles,
        seconds=seconds,
        timeout_seconds=timeout_seconds,
        headers=headers,
        allow=allow,
    )


def _parse_url(text: str) -> HttpUrl:
    try:
        url = HttpUrl.parse(text)
        if "?" in text or "#" in text or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(f"{redact_userinfo(text)[:120]!r} has a query, a fragment or an invalid character")
    except ValueError as error:
        raise Misconfigured(
            f"url: {error}; write it as http://10.0.0.5:6060 or https://host/debug/pprof"
        ) from None
    return url


def _string(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        raise Misconfigured(f"{name} is required and must be a string, not {value!r:.80}")
    return value


def _strings_by_name(entry: Mapping[str, Any], name: str) -> dict[str, str]:
    value = entry.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Misconfigured(f'{name} must be an object with string values, as in {{"version": "0.0.1"}}')
    return value


def _string_list(entry: Mapping[str, Any], name: str, default: tuple[str, ...]) -> list[str]:
    value = entry.get(name)
    if value is None:
        return list(default)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Misconfigured(f"{name}={value!r:.80}: it must be a list of strings")
    return value


def _integer(entry: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = entry.get(name)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Misconfigured(f"{name}={value!r:.80}: it must be a whole number from {least} to {most}")
    return value
