"""``POST /ingest``, the call of Pyroscope's clients for Go, Node, and of old ones for Python and Ruby."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from profbucket.errors import Invalid, UnsupportedFormat
from profbucket.ingest import collapsed, pyroscope
from profbucket.ingest.collapsed import Column
from profbucket.ingest.multipart import read_parts
from profbucket.ingest.upload import LARGE_LOCK, rename_sample_types, split_by_type
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.numbers import parse_count
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind, find_kind
from profbucket.model.upload import Upload, Uploads
from profbucket.pprof.compression import LARGE_BYTES
from profbucket.times import SECOND, parse_unix_time

_FORM = "multipart/form-data"
_DEFAULT_RATE = 100  # samples per second

_UNSUPPORTED = {
    "jfr": "a JFR recording, which cannot be merged",
    "trie": "a binary trie",
    "tree": "a binary tree",
    "speedscope": "a speedscope file",
}


# Collapsed stacks: what the last part of a service's name says about the values.
_TIMES = {"cpu": ProfileType.CPU, "itimer": ProfileType.CPU, "wall": ProfileType.WALL}
_VALUES = {
    "goroutines": (ProfileType.GOROUTINE, "count"),
    "exceptions": (ProfileType("exceptions"), "count"),
    **{name: (ProfileType(name), "count") for name in ("inuse_objects", "alloc_objects", "live")},
    **{name: (ProfileType(name), "bytes") for name in ("inuse_space", "alloc_space")},
    **{name: (ProfileType(name), "count") for name in ("mutex_count", "block_count", "lock_count")},
    **{name: (ProfileType(name), "nanoseconds") for name in ("mutex_duration", "block_duration", "lock_duration")},
}
_UNITS = {"bytes": "bytes", "lock_nanoseconds": "nanoseconds"}  # of the parameter units; all others are counts


_SETTINGS = ("display-name", "aggregation", "cumulative")
_Settings: TypeAlias = Mapping[str, Mapping[str, object]]


class Body(StrEnum):
    """The format of a body."""

    PPROF = "pprof"
    FORM = "form"
    LINES = "lines"
    GROUPS = "groups"


@dataclass(frozen=True, slots=True)
class IngestParameters:
    """The parameters of a request, with the Content-Type; times in nanoseconds since 1970."""

    service: str
    labels: Labels
    body: Body
    content_type: str
    started_at: int | None
    ended_at: int | None
    sample_rate: int
    units: str


def parse_parameters(query: Mapping[str, str], content_type: str, now: int) -> IngestParameters:
    """Read the *query* of a request.

    Raises:
        Invalid: the name, a label or a time is malformed.
        UnsupportedFormat: profiles of this format cannot be stored.
    """
    name = query.get("name", "")
    if not name:
        raise Invalid("parameter 'name' is missing or empty", code="missing_parameter")
    service, labels = pyroscope.parse_name(name)
    body = _choose_body(query.get("format", ""), content_type.lower())
    return IngestParameters(
        service=service,
        labels=labels,
        body=body,
        content_type=content_type,
        started_at=parse_unix_time(query.get("from", ""), now),
        ended_at=parse_unix_time(query.get("until", ""), now),
        sample_rate=parse_count(query.get("sampleRate", ""), 1, 10**6) or _DEFAULT_RATE,
        units=query.get("units", ""),
    )


def read_ingest(parameters: IngestParameters, body: bytes, limits: Limits) -> Uploads:
    """Yield the profiles in *body*.

    Raises:
        Invalid: it is not what its parameters say.
        UnsupportedFormat: profiles of its format cannot be stored.
        TooLarge: it exceeds one of *limits*.
    """
    if parameters.body in (Body.LINES, Body.GROUPS):
        yield from _read_collapsed(parameters, body, limits)
        return
    names: Mapping[str, str] = {}
    kinds: Mapping[str, Kind] = {}
    if parameters.body is Body.FORM:
        body, settings = _read_form(body, parameters.content_type)
        names, kinds = _read_names(settings), _read_kinds(settings)
    # A client that names these counts from one profile to the next, not from the start of the process as Go does.
    deltas = {name: names[name] for name in ("contentions", "delay") if name in names}
    profiles = split_by_type(
        body, limits, lambda sample_types: pyroscope.choose_types([names.get(name, name) for name in sample_types])
    )
    for profile_type, (data, content) in profiles.items():
        if deltas:
            data, content = rename_sample_types(data, deltas, limits)  # noqa: PLW2901 - the same profile
        own_kinds = {deltas.get(name, name): kind for name, kind in kinds.items()}
        yield Upload(
            parameters.service,
            profile_type,
            parameters.labels,
            data,
            parameters.started_at,
            kinds=own_kinds,
            content=content,
        )


def _choose_body(name: str, content_type: str) -> Body:
    """Return the format of a body by the parameter ``format``, which precedes the Content-Type."""
    for unsupported, description in _UNSUPPORTED.items():
        if name == unsupported or content_type.startswith(f"binary/octet-stream+{unsupported}"):
            raise _unsupported(description)
    if name in (Body.PPROF, Body.LINES):
        return Body(name)
    return Body.FORM if _FORM in content_type else Body.GROUPS


def _unsupported(description: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"this profile is {description}; send pprof", code="unsupported_format")


def _read_form(body: bytes, content_type: str) -> tuple[bytes, _Settings]:
    """Return the pprof in a form, and the settings of its sample types."""
    parts = {part.name: part.data for part in read_parts(body, content_type)}
    if "jfr" in parts:
        raise _unsupported(_UNSUPPORTED["jfr"])
    if "prev_profile" in parts:
        raise UnsupportedFormat(
            "this profile counts from the start of the process, and the part 'prev_profile' holds what to "
            "subtract; update the client: newer ones subtract",
            code="unsupported_format",
        )
    if "profile" not in parts:
        raise Invalid("the form has no part 'profile'", code="invalid_multipart")
    return parts["profile"], _read_settings(parts.get("sample_type_config", b""))


def _read_settings(config: bytes) -> _Settings:
    """Return the settings of each sample type, by name."""
    if len(config) > 1 << 16:
        raise Invalid("the part 'sample_type_config' has more than 64 KB", code="invalid_json")
    try:
        types = json.loads(config or b"{}")
        return {name: {key: settings.get(key) for key in _SETTINGS} for name, settings in types.items()}
    except (ValueError, RecursionError, AttributeError):
        raise Invalid(
            'the part \'sample_type_config\' is not JSON of the form {"name": {"display-name": "other name"}}',
            code="invalid_json",
        ) from None


def _read_names(settings: _Settings) -> Mapping[str, str]:
    """Return the names by which Pyroscope shows the sample types that have another one."""
    names = {name: own["display-name"] for name, own in settings.items()}
    return {name: shown for name, shown in names.items() if isinstance(shown, str) and shown}


def _read_kinds(settings: _Settings) -> Mapping[str, Kind]:
    """Return the kinds of sample types, as far as their settings tell."""
    kinds: dict[str, Kind] = {}
    for name, own in settings.items():
        if own["cumulative"] is True:
            kinds[name] = Kind.CUMULATIVE
        elif own["aggregation"] == "average":
            kinds[name] = Kind.INSTANT
        elif own["aggregation"] == "sum" or (own["cumulative"] is False and _counts_in_go(name)):
            kinds[name] = Kind.SUM
    return kinds


def _counts_in_go(name: str) -> bool:
    return find_kind((), "", name, "") is Kind.CUMULATIVE


def _read_collapsed(parameters: IngestParameters, body: bytes, limits: Limits) -> Uploads:
    """Yield the profile in collapsed stacks, whose type can be the last part of the service's name."""
    service, profile_type, columns = _choose_columns(parameters)
    duration = (parameters.ended_at or 0) - (parameters.started_at or 0) if parameters.started_at else 0
    with LARGE_LOCK if len(body) > LARGE_BYTES else nullcontext():
        data = collapsed.to_pprof(
            body,
            columns,
            limits,
            started_at=parameters.started_at or 0,
            duration=max(duration, 0),
            default_value=1 if parameters.body is Body.LINES else None,
        )
    yield Upload(service, profile_type, parameters.labels, data, parameters.started_at)


def _choose_columns(parameters: IngestParameters) -> tuple[str, ProfileType, list[Column]]:
    """Return the service, the profile type and the columns of collapsed stacks.

    Values of different meaning have different profile types, since each request holds only one of them.
    """
    period = SECOND // parameters.sample_rate
    service, dot, name = parameters.service.rpartition(".")
    if dot and name in _TIMES:
        profile_type = _TIMES[name]
        return service, profile_type, [Column("samples", "count"), Column(profile_type, "nanoseconds", period)]
    if dot and name in _VALUES:
        profile_type, unit = _VALUES[name]
        return service, profile_type, [Column(name, unit)]
    if parameters.units in ("", "samples"):
        columns = [Column("samples", "count"), Column("cpu", "nanoseconds", period)]
        return parameters.service, ProfileType.CPU, columns
    unit = _UNITS.get(parameters.units, "count")
    return parameters.service, ProfileType.OTHER, [Column(parameters.units[:80], unit)]
