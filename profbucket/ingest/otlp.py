"""``POST /v1development/profiles``, the call of OpenTelemetry's exporters and collectors."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from profbucket.errors import Invalid, ProfbucketError, UnsupportedFormat
from profbucket.ingest import pyroscope
from profbucket.ingest.otlp_convert import Budget, Column, Tables, to_pprof
from profbucket.ingest.otlp_pb2 import ExportRequest, Profile, Resource
from profbucket.ingest.upload import LARGE_LOCK, check_json_size, split_by_type
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload, Uploads
from profbucket.pprof.json_message import parse_json_message
from profbucket.pprof.precheck import PACKED, Fields, count_entries
from profbucket.pprof.wire import delimited_tag
from profbucket.times import LATEST

_MESSAGE: Fields = {}  # without messages in it
_ATTRIBUTE: Fields = {delimited_tag(2): _MESSAGE}
_SAMPLE: Fields = {delimited_tag(2): PACKED, delimited_tag(4): PACKED}
_PROFILE: Fields = {delimited_tag(1): _MESSAGE, delimited_tag(2): _SAMPLE, delimited_tag(5): _MESSAGE}
_DICTIONARY: Fields = {
    delimited_tag(1): {delimited_tag(5): PACKED},
    delimited_tag(2): {delimited_tag(3): _MESSAGE},
    delimited_tag(3): _MESSAGE,
    delimited_tag(6): _ATTRIBUTE,
    delimited_tag(7): {delimited_tag(1): PACKED},
}
_FIELDS: Fields = {
    delimited_tag(1): {
        delimited_tag(1): {delimited_tag(1): _ATTRIBUTE},
        delimited_tag(2): {delimited_tag(2): _PROFILE},
    },
    delimited_tag(2): _DICTIONARY,
}

_SERVICE = "service.name"
_EXECUTABLE = "process.executable.name"
_UNKNOWN_SERVICE = "unknown_service"  # OpenTelemetry's name for it

# Attributes that differ from process to process, or are long.
_DROPPED_ATTRIBUTES = frozenset(
    {
        _SERVICE,
        "container.id",
        "container.image.id",
        "host.id",
        "host.image.id",
        "k8s.container.restart_count",
        "os.build_id",
        "os.description",
        "service.instance.id",
        "telemetry.distro.version",
        "thread.id",
        "thread.name",
    }
)
_DROPPED_SUFFIXES = (".uid", ".start_time")  # of Kubernetes' objects
_PROCESS = "process."
_KEPT_OF_PROCESS = frozenset({_EXECUTABLE, "process.runtime.name", "process.runtime.version"})

_SAMPLES = frozenset({"sample", "samples"})  # names of what the period's type says more about
_EARLIEST = 10**18  # ns since 1970. Some senders write the time since the start of the machine.


@dataclass(frozen=True, slots=True)
class _Subject:
    """A resource, by profbucket's names."""

    service: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class _Item:
    """A profile of the request; ``source`` names it in errors."""

    source: str
    subject: _Subject
    profile: Profile
    profile_type: ProfileType
    sample_type: tuple[str, str]
    period_type: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Payload:
    """A pprof from which a profile was made."""

    source: str
    subject: _Subject
    data: bytes
    created_at: int | None


def read_export(body: bytes, *, is_json: bool, limits: Limits) -> Uploads:
    """Return the profiles in a request.

    Raises:
        Invalid: *body* is not an ExportProfilesServiceRequest.
        TooLarge: it has more profiles or entries than *limits* allow.
    """
    with LARGE_LOCK:  # one request at a time: a small one can use its dictionary very often
        request = _parse_json(body, limits) if is_json else _parse(body, limits)
        count = sum(
            len(scope.profiles) for resource in request.resource_profiles for scope in resource.scope_profiles
        )
        if count > limits.profiles:
            raise limits.too_large("profiles", f"the request has {count} profiles")
        results = list(_read_all(request, Tables(request.dictionary, Budget(limits))))
        del request
    return _split_payloads(results, limits)


def _split_payloads(results: Sequence[Upload | _Payload | ProfbucketError], limits: Limits) -> Uploads:
    for result in results:
        if not isinstance(result, _Payload):
            yield result
            continue
        try:
            profiles = split_by_type(result.data, limits, pyroscope.choose_types)
        except ProfbucketError as error:
            yield error.about(result.source)
            continue
        for profile_type, (data, content) in profiles.items():
            subject = result.subject
            yield Upload(
                subject.service,
                profile_type,
                subject.labels,
                data,
                result.created_at,
                result.source,
                content=content,
            )


def _read_all(request: ExportRequest, tables: Tables) -> Iterator[Upload | _Payload | ProfbucketError]:
    number = 0
    for resource in request.resource_profiles:
        subject: _Subject | ProfbucketError
        try:
            subject = _read_resource(resource.resource, tables)
        except ProfbucketError as error:
            subject = error
        items = []
        for profile in (profile for scope in resource.scope_profiles for profile in scope.profiles):
            number += 1
            source = f"profile {number}"
            if isinstance(subject, ProfbucketError):
                yield subject.about(source)
                continue
            try:
                result = _read_profile(source, subject, profile, tables)
            except ProfbucketError as error:
                yield error.about(source)
                continue
            if isinstance(result, _Payload):
                yield result
            else:
                items.append(result)
        for group in _group(items):
            yield from _convert(group, tables)


def _read_profile(source: str, subject: _Subject, profile: Profile, tables: Tables) -> _Item | _Payload:
    if profile.time_unix_nano > LATEST:
        raise Invalid(f"the time of the profile, {profile.time_unix_nano} ns, is after 2262", code="invalid_time")
    if profile.time_unix_nano < _EARLIEST:
        profile.time_unix_nano = 0
    payload_format = profile.original_payload_format.lower()
    if profile.original_payload and payload_format == "pprof":
        return _Payload(source, subject, profile.original_payload, profile.time_unix_nano or None)
    if profile.original_payload and not profile.samples:
        raise UnsupportedFormat(
            f"its payload is {payload_format[:40]!r}, which cannot be converted; send samples or pprof",
            code="unsupported_format",
        )
    sample_type, period_type = (
        (tables.string(value_type.type_strindex), tables.string(value_type.unit_strindex))
        for value_type in (profile.sample_type, profile.period_type)
    )
    return _Item(source, subject, profile, choose_type(sample_type, period_type), sample_type, period_type)


def choose_type(sample_type: tuple[str, str], period_type: tuple[str, str]) -> ProfileType:
    """Return the profile type of values of *sample_type*, taken every *period_type*; both are a name and a unit.

    Names that say nothing but that there are samples have the type of the period.
    """
    name = period_type[0] if sample_type[0] in _SAMPLES else sample_type[0]
    known = pyroscope.choose_types([name])[0]
    if known != ProfileType.OTHER or not name or name in _SAMPLES:
        return known
    try:
        profile_type = pyroscope.name_type(name)
    except Invalid:
        return known
    return profile_type if profile_type.is_pprof else known


def _group(items: Sequence[_Item]) -> Sequence[Sequence[_Item]]:
    """Return *items*, which have one resource, by profile type and time: each group becomes one pprof.

    OpenTelemetry's profiles have one sample type each, so that a heap profile arrives as several.
    """
    groups: dict[tuple[object, ...], list[_Item]] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    for item in items:
        key = (item.profile_type, item.profile.time_unix_nano, item.profile.duration_nano)
        repetition = seen[*key, item.sample_type]
        seen[*key, item.sample_type] += 1
        groups.setdefault((*key, repetition), []).append(item)
    return list(groups.values())


def _convert(group: Sequence[_Item], tables: Tables) -> Iterator[Upload | ProfbucketError]:
    """Yield the pprof of *group*; or that of each profile if one of them is bad."""
    source, first = ", ".join(item.source for item in group), group[0]
    try:
        data = to_pprof([item.profile for item in group], _make_columns(group), tables)
    except ProfbucketError as error:
        if len(group) == 1:
            yield error.about(source)
        else:
            for item in group:
                yield from _convert([item], tables)
        return
    if data:
        created_at = first.profile.time_unix_nano or None
        yield Upload(
            first.subject.service, first.profile_type, first.subject.labels, data, created_at, source[:80]
        )


def _make_columns(group: Sequence[_Item]) -> list[Column]:
    """Return the sample types of *group*, and the time of what is only counted: samples times period."""
    names = {item.sample_type for item in group}
    columns = []
    for number, item in enumerate(group):
        columns.append(Column(number, *item.sample_type))
        is_count_of_time = item.sample_type[0] in _SAMPLES and item.period_type[1] == "nanoseconds"
        if is_count_of_time and item.profile.period > 0 and item.period_type not in names:
            names.add(item.period_type)
            columns.append(Column(number, *item.period_type, factor=item.profile.period))
    return columns


def _read_resource(resource: Resource, tables: Tables) -> _Subject:
    """Return the service and the labels of a resource; raise ``Invalid`` or ``TooLarge``."""
    service, executable, pairs = "", "", []
    for attribute in resource.attributes:
        key = attribute.key or tables.string(attribute.key_strindex)
        value = tables.scalar(attribute.value)
        if not key or value is None or value == "":
            continue
        text = str(value)
        if key == _SERVICE:
            service = text
        elif key == _EXECUTABLE:
            executable = text
        if _is_label(key):
            pairs.append((key, text))
    default = f"{_UNKNOWN_SERVICE}:{executable}" if executable else _UNKNOWN_SERVICE
    return _Subject(service or default, Labels.from_pairs(pairs))


def _is_label(key: str) -> bool:
    if key.startswith(_PROCESS):
        return key in _KEPT_OF_PROCESS
    return key not in _DROPPED_ATTRIBUTES and not key.endswith(_DROPPED_SUFFIXES)


def _parse(body: bytes, limits: Limits) -> ExportRequest:
    try:
        count_entries(body, limits, _FIELDS)
        return ExportRequest.FromString(body)
    except (DecodeError, Invalid):
        raise Invalid(
            "the body is not an ExportProfilesServiceRequest: malformed protobuf", code="invalid_protobuf"
        ) from None


def _parse_json(body: bytes, limits: Limits) -> ExportRequest:
    check_json_size(body, limits)
    return parse_json_message(body, ExportRequest, "ExportProfilesServiceRequest")
