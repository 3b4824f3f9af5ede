"""``POST /profiling/v1/input``, the call of Datadog's profilers to the local agent.

A form has the part ``event``, a JSON document with the tags, and a pprof in each of several other parts.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from profbucket.errors import Invalid, ProfbucketError, UnsupportedFormat
from profbucket.ingest.decompression import DecompressionError, decompress
from profbucket.ingest.multipart import Part, read_parts
from profbucket.ingest.upload import COUNTED_PER_PROFILE, LARGE_LOCK, split_by_type
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload, Uploads
from profbucket.pprof.compression import LARGE_BYTES, deflate_reproducibly, join_bounded
from profbucket.times import LATEST, parse_time

_EVENT = "event"
_MAX_EVENT_BYTES = 1 << 20
_PPROF, _JFR = ".pprof", ".jfr"
_DELTA = "delta-"  # the begin of the name of a part with the increase since the previous one
# Not profiles: a timeline of file accesses and garbage collections, with paths of the machine.
_IGNORED_PARTS = frozenset({"events"})

# Tags that differ from process to process, or from upload to upload, and would make a series of each.
_DROPPED_TAGS = frozenset(
    {
        "_dd.rc.client_id",
        "container_id",
        "format",
        "pid",
        "process_id",
        "profile_seq",
        "profiler_config",
        "runtime-id",
        "runtime_id",
        "service",
        "snapshot",
    }
)

_ALLOC, _EXCEPTIONS, _GPU = ProfileType("alloc"), ProfileType("exceptions"), ProfileType("gpu")

# Profile types by the beginning of a sample type's name. Values of allocations count from one upload to the next;
# those of the heap are what is in use at one moment.
_BY_PREFIX: Mapping[str, ProfileType] = {
    "cpu": ProfileType.CPU,
    "wall": ProfileType.WALL,
    "alloc": _ALLOC,
    "heap": ProfileType.HEAP,
    "inuse": ProfileType.HEAP,
    "lock": ProfileType.MUTEX,
    "exception": _EXCEPTIONS,
    "goroutine": ProfileType.GOROUTINE,
    "gpu": _GPU,
}
_TIMELINE = "timeline"  # a sample type of which each value is one event
# Profile types of the Go profiler's parts whose sample types have no prefix.
_BY_PART: Mapping[str, ProfileType] = {
    "block": ProfileType.BLOCK,
    "mutex": ProfileType.MUTEX,
}

_MAGIC = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}  # gzip is decompressed with the profile


@dataclass(frozen=True, slots=True)
class _Event:
    service: str
    labels: Labels
    started_at: int | None  # nanoseconds since 1970


def read_input(body: bytes, content_type: str, limits: Limits) -> Uploads:
    """Yield the profiles in a form.

    Raises:
        Invalid: *body* is not such a form, or its event names no service.
        UnsupportedFormat: it has JFR recordings.
    """
    parts = read_parts(body, content_type)
    event = _read_event(parts)
    return _read_profiles(parts, event, limits)


def _read_profiles(parts: Sequence[Part], event: _Event, limits: Limits) -> Uploads:
    for part in parts:
        filename = part.filename or part.name
        if filename.endswith(_JFR):
            yield UnsupportedFormat(
                f"{filename[:80]} is a JFR recording, which cannot be merged; profbucket stores pprof",
                code="unsupported_format",
            )
        stem = filename.removesuffix(_PPROF).removeprefix(_DELTA)
        if not filename.endswith(_PPROF) or stem in _IGNORED_PARTS:
            continue
        try:
            with ExitStack() as stack:
                data = _decompress(part.data, limits, lambda: stack.enter_context(LARGE_LOCK))
                profiles = split_by_type(data, limits, partial(choose_types, stem))
        except ProfbucketError as error:
            yield error.about(filename[:80])
            continue
        for profile_type, (profile, content) in profiles.items():
            # What was compressed for the transfer only is compressed as a profile.
            stored = deflate_reproducibly(profile) if profile is data and data[:2] != b"\x1f\x8b" else profile
            source, kinds = filename[:80], COUNTED_PER_PROFILE if filename.startswith(_DELTA) else {}
            yield Upload(
                event.service, profile_type, event.labels, stored, event.started_at, source, kinds, content
            )


def choose_types(part: str, sample_types: Sequence[str]) -> list[ProfileType | None]:
    """Return the profile type of each of *sample_types* in the part ``PART.pprof``; ``None`` leaves it out.

    Those without a type of their own, such as ``samples``, belong to wall time or else to the first of the others.
    """
    profile_types = [_find_type(name) for name in sample_types]
    known = [profile_type for profile_type in profile_types if profile_type]
    by_part = _BY_PART.get(part, known[0] if known else ProfileType.OTHER)
    rest = ProfileType.WALL if ProfileType.WALL in known else by_part
    return [
        None if name == _TIMELINE else profile_type or rest
        for name, profile_type in zip(sample_types, profile_types, strict=True)
    ]


def _find_type(name: str) -> ProfileType | None:
    return next((profile_type for prefix, profile_type in _BY_PREFIX.items() if name.startswith(prefix)), None)


def _read_event(parts: Sequence[Part]) -> _Event:
    data = next((part.data for part in parts if part.name == _EVENT), None)
    if data is None:
        raise Invalid("the form has no part 'event'", code="invalid_multipart")
    if len(data) > _MAX_EVENT_BYTES:
        raise Invalid(f"the part 'event' has more than {_MAX_EVENT_BYTES} bytes", code="invalid_json")
    try:
        event = json.loads(data)
        texts = event.get("tags_profiler") or ""
        tags = dict(_parse_tags(texts.split(",") if isinstance(texts, str) else map(str, texts)))
        started_at = _parse_start(event.get("start"))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Invalid(
            f"the part 'event' is not an event in JSON: {str(error)[:200]}", code="invalid_json"
        ) from None
    service = tags.get("service", "")
    if not service:
        raise Invalid("the tag 'service' is missing in tags_profiler; set DD_SERVICE", code="missing_parameter")
    labels = Labels.from_pairs((key, value) for key, value in tags.items() if key not in _DROPPED_TAGS)
    return _Event(service, labels, started_at)


def _parse_tags(texts: Iterator[str] | Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield key and value of each text, which the first colon separates; the value may contain others."""
    for text in texts:
        key, colon, value = text.strip().partition(":")
        if colon and key and value:
            yield key, value


def _parse_start(text: object) -> int | None:
    return parse_time(text, LATEST) if isinstance(text, str) and text else None


def _decompress(data: bytes, limits: Limits, before_large: Callable[[], object]) -> bytes:
    """Return a part without the compression of its transfer, or raise ``Invalid`` or ``TooLarge``.

    *before_large* is called before it takes more than ``LARGE_BYTES``.
    """
    name = _MAGIC.get(data[:4])
    if name is None:
        return data
    try:
        part = join_bounded(lambda: decompress(name, data), LARGE_BYTES)
        if part is None:
            before_large()
            part = join_bounded(lambda: decompress(name, data), limits.inflated_bytes)
    except DecompressionError as error:
        raise Invalid(f"it is not {name}: {error}", code="invalid_multipart") from None
    if part is None:
        raise limits.too_large("inflated_bytes", f"it decompresses to more than {limits.inflated_bytes} bytes")
    return part
