"""Kinds of values, and ways in which those of many profiles become one.

Values of a duration add up; those of a moment, such as the memory in use, and counters since the start of a
process do not.
"""

from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TypeAlias

from profbucket.errors import Invalid

_MAX_RULES = 100
_ANY = "*"


class Kind(StrEnum):
    """The meaning of a sample type's values."""

    SUM = "sum"  # what happened during the profile, such as CPU time
    INSTANT = "instant"  # the state at the time of the profile, such as memory in use
    CUMULATIVE = "cumulative"  # what happened since the start of the process, such as Go's alloc_space


class Aggregate(StrEnum):
    """A way to make one value of those of many profiles."""

    SUM = "sum"
    AVERAGE = "average"  # of the profiles of each series; then these are added up
    LATEST = "latest"  # profile of each series, added up
    DELTA = "delta"  # the increase of counters, and the latest of all others
    AUTO = "auto"  # by kind


# A row of the table of kinds: patterns of a profile type, a sample type and a unit, in which ``*`` stands for any
# characters, and the kind.
KindRule: TypeAlias = tuple[str, str, str, str]


# The kinds of sample types, unless the agent or a setting says otherwise. The first rule that matches decides;
# without any, values are sums.
TABLE: tuple[KindRule, ...] = (
    # Allocations since the previous profile; Go's heap profiles count all, see below.
    ("alloc", _ANY, _ANY, Kind.SUM),
    ("alloc_*", _ANY, _ANY, Kind.SUM),
    (_ANY, "inuse_*", _ANY, Kind.INSTANT),
    ("heap", "heap-*", _ANY, Kind.INSTANT),  # of Datadog's profilers
    ("heap", "objects", _ANY, Kind.INSTANT),
    ("heap", "space", _ANY, Kind.INSTANT),
    (_ANY, "live", _ANY, Kind.INSTANT),
    ("peak_heap", _ANY, _ANY, Kind.INSTANT),  # of Cloud Profiler
    ("goroutine", _ANY, _ANY, Kind.INSTANT),
    ("threadcreate", _ANY, _ANY, Kind.INSTANT),
    (_ANY, "goroutine", _ANY, Kind.INSTANT),
    (_ANY, "goroutines", _ANY, Kind.INSTANT),
    (_ANY, "threads", _ANY, Kind.INSTANT),
    # Those of net/http/pprof.
    (_ANY, "alloc_objects", _ANY, Kind.CUMULATIVE),
    (_ANY, "alloc_space", _ANY, Kind.CUMULATIVE),
    (_ANY, "contentions", _ANY, Kind.CUMULATIVE),
    (_ANY, "delay", _ANY, Kind.CUMULATIVE),
)


def find_kind(
    rules: Sequence[KindRule], profile_type: str, sample_type: str, unit: str, declared: Kind | None = None
) -> Kind:
    """Return the kind that *rules* give a sample type; else what the agent *declared*; else that of the table."""
    names = (profile_type, sample_type, unit)
    return _match(tuple(rules), *names) or declared or _match(TABLE, *names) or Kind.SUM


def choose_aggregate(aggregate: Aggregate, kind: Kind) -> Aggregate:
    """Return how values of *kind* are aggregated when *aggregate* is asked for; never ``AUTO``."""
    if aggregate is Aggregate.AUTO:
        return _BY_KIND[kind]
    if aggregate is Aggregate.DELTA and kind is not Kind.CUMULATIVE:
        return Aggregate.LATEST
    return aggregate


def parse_kind_rules(text: str) -> tuple[KindRule, ...]:
    """Read ``TYPE/SAMPLE_TYPE=KIND,…``, each with an optional ``/UNIT``; raise ``Invalid``.

    Names are patterns with ``*``; a comma, slash, percent or equals sign in a name is percent-encoded.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if len(items) > _MAX_RULES:
        raise Invalid(f"there are {len(items)} kinds of sample types, more than {_MAX_RULES}")
    return tuple(map(_parse_rule, items))


def _parse_rule(item: str) -> KindRule:
    from urllib.parse import unquote  # imported on use: commands start faster without it

    path, _, kind = item.rpartition("=")
    names = list(map(unquote, path.split("/")))
    if not 2 <= len(names) <= 3 or not all(names) or kind.strip() not in list(Kind):
        raise Invalid(
            f"invalid kind of a sample type {item[:80]!r}; write TYPE/SAMPLE_TYPE=KIND or "
            f"TYPE/SAMPLE_TYPE/UNIT=KIND, where KIND is {', '.join(Kind)}"
        )
    profile_type, sample_type, unit = (*names, _ANY)[:3]
    return profile_type, sample_type, unit, kind.strip()


_BY_KIND = {
    Kind.SUM: Aggregate.SUM,
    Kind.INSTANT: Aggregate.AVERAGE,
    Kind.CUMULATIVE: Aggregate.DELTA,
}


@lru_cache(4096)
def _match(rules: tuple[KindRule, ...], profile_type: str, sample_type: str, unit: str) -> Kind | None:
    names = (profile_type, sample_type, unit)
    return next((Kind(rule[3]) for rule in rules if all(map(fnmatchcase, names, rule[:3]))), None)
