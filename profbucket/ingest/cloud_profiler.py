"""Google Cloud Profiler's API v2: profile types, profiles and requests in JSON."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profbucket.errors import Invalid
from profbucket.ingest.upload import COUNTED_PER_PROFILE, check_json_size, rename_sample_types
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from profbucket.times import LATEST, parse_time

# The types that agents ask for, and what profbucket calls them. THREADS are Go's goroutines.
PROFILE_TYPES: Mapping[str, ProfileType] = {
    "CPU": ProfileType.CPU,
    "WALL": ProfileType.WALL,
    "HEAP": ProfileType.HEAP,
    "HEAP_ALLOC": ProfileType.ALLOC,
    "PEAK_HEAP": ProfileType("peak_heap"),
    "CONTENTION": ProfileType.MUTEX,
    "THREADS": ProfileType.GOROUTINE,
}
UNSPECIFIED_TYPE = "PROFILE_TYPE_UNSPECIFIED"

# The names of sample types that other agents have for the same, by profile type.
_NAMES: Mapping[ProfileType, Mapping[str, str]] = {
    ProfileType.CPU: {"sample": "samples", "CPU": "cpu"},
    ProfileType.WALL: {"sample": "samples"},
    ProfileType.HEAP: {"objects": "inuse_objects", "space": "inuse_space"},
}

_ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Deployment:
    """A set of program instances, as an agent describes it."""

    project: str
    service: str
    labels: Mapping[str, str]

    @classmethod
    def parse(cls, fields: Any) -> "Deployment":
        """Read the field ``deployment``, or raise ``Invalid``."""
        if not isinstance(fields, dict):
            raise _invalid("deployment", "an object")
        service, project = fields.get("target"), fields.get("projectId") or ""
        if not isinstance(service, str) or not service:
            raise _invalid("deployment.target", "the name of the service")
        if not isinstance(project, str):
            raise _invalid("deployment.projectId", "a string")
        return cls(project, service, _parse_labels("deployment.labels", fields))

    def to_json(self) -> dict[str, Any]:
        return {"projectId": self.project, "target": self.service, "labels": self.labels}


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A request for work: the types of profiles that an agent can take, none of them unknown."""

    deployment: Deployment
    profile_types: tuple[str, ...]


def read_create(body: bytes, limits: Limits) -> CreateRequest:
    """Read the body of ``profiles.create``; raise ``Invalid`` or ``TooLarge``."""
    request = _read_object(body, limits)
    deployment = Deployment.parse(request.get("deployment"))
    asked = request.get("profileType")
    if not isinstance(asked, list):
        raise _invalid("profileType", "a list")
    known = tuple(name for name in PROFILE_TYPES if name in asked)
    if not known:
        raise _invalid("profileType", f"a list with one of {', '.join(PROFILE_TYPES)}")
    return CreateRequest(deployment, known)


def read_profile(body: bytes, limits: Limits, created_at: int | None) -> tuple[str, Deployment, Upload | None]:
    """Return the type, the deployment and the profile in *body*; ``None`` instead of a profile without samples.

    The time of a profile that contains none is *created_at*, else its field ``startTime``.

    Raises:
        Invalid: a field is malformed, or the profile is not a pprof.
        TooLarge: the profile exceeds one of *limits*.
    """
    fields = _read_object(body, limits)
    deployment = Deployment.parse(fields.get("deployment"))
    name = fields.get("profileType")
    if not isinstance(name, str) or name not in PROFILE_TYPES:
        raise _invalid("profileType", f"one of {', '.join(PROFILE_TYPES)}")
    labels = Labels.from_pairs({**deployment.labels, **_parse_labels("labels", fields)}.items())
    if created_at is None and "startTime" in fields:
        created_at = _parse_start(fields["startTime"])
    data = fields.get("profileBytes")
    try:
        data = base64.b64decode(data if isinstance(data, str) else "?", altchars=_altchars(data), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("profileBytes", "a pprof in base64") from None
    profile_type = PROFILE_TYPES[name]
    renamed, content = rename_sample_types(data, _NAMES.get(profile_type, {}), limits)
    if not renamed:
        return name, deployment, None
    kinds = COUNTED_PER_PROFILE  # agents send what happened during the profile
    upload = Upload(deployment.service, profile_type, labels, renamed, created_at, kinds=kinds, content=content)
    return name, deployment, upload


def make_id(granted_at: int) -> str:
    """Return the id of a profile that is to be taken at *granted_at*, in nanoseconds since 1970."""
    return f"{granted_at:0{_ID_DIGITS}x}"


def parse_id(text: str) -> int:
    """Return the time in an id, or raise ``Invalid``."""
    try:
        granted_at = int(text, 16) if len(text) == _ID_DIGITS and text.isascii() and text.isalnum() else -1
    except ValueError:
        granted_at = -1
    if not 0 <= granted_at <= LATEST:
        raise Invalid(f"invalid id of a profile: {text[:80]!r}", code="invalid_profile_id")
    return granted_at


def format_duration(nanos: int) -> str:
    """Return a duration as protobuf's JSON has it: ``10s`` or ``1.700s``."""
    seconds, rest = divmod(nanos, 10**9)
    return f"{seconds}.{rest // 10**6:03}s" if rest else f"{seconds}s"


def _read_object(body: bytes, limits: Limits) -> dict[str, Any]:
    check_json_size(body, limits)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Invalid("the body is not JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise Invalid("the body is not a JSON object", code="invalid_json")
    return value


def _parse_labels(name: str, fields: Mapping[str, Any]) -> Mapping[str, str]:
    labels = fields.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise _invalid(name, "an object with strings")
    return labels


def _parse_start(value: Any) -> int:
    if not isinstance(value, str) or not value:
        raise _invalid("startTime", "a time such as 2006-01-02T15:04:05Z")
    return parse_time(value, 0)


def _altchars(data: Any) -> bytes | None:
    """Return the characters of URL-safe base64, which protobuf's JSON may use, if *data* has one of them."""
    return b"-_" if isinstance(data, str) and ("-" in data or "_" in data) else None


def _invalid(field: str, expected: str) -> Invalid:
    return Invalid(f"the field {field!r} is missing or malformed: it must be {expected}", code="invalid_json")
