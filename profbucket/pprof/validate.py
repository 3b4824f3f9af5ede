"""What makes a decoded message a profile that every pprof tool can read."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from profbucket.errors import Invalid
from profbucket.limits import NAME_BYTES, Limits
from profbucket.model.meta import Total
from profbucket.pprof import profile_pb2

_SUMMED = 10_000  # samples at once: what Python holds of a million would be larger than the message


class _Numbered(Protocol):
    id: int


def validate(profile: profile_pb2.Profile, raw: bytes, limits: Limits) -> tuple[Total, ...]:
    """Check *profile*, parsed from *raw*, and sum its samples up: one total for each sample type.

    Raise ``Invalid`` with what is wrong and where, by the rules of google/pprof's ``CheckValid``, and for fields
    of the wrong wire type, negative times and strings out of range. A profile without samples is valid.
    """
    _check_wire_types(profile, raw)
    strings = profile.string_table
    if not strings or strings[0]:
        raise Invalid("not a pprof: the string table does not begin with an empty string")
    if not profile.sample_type:
        raise Invalid("not a pprof: it has no sample types")
    if len(profile.sample_type) > limits.sample_types:
        raise limits.too_large("sample_types", f"the profile has {len(profile.sample_type)} sample types")
    for name in ("time_nanos", "duration_nanos"):
        if (value := getattr(profile, name)) < 0:
            raise Invalid(f"{name} is negative: {value}")

    for what, indices in _string_indices(profile):
        if indices and not (min(indices) >= 0 and max(indices) < len(strings)):
            index = next(i for i in indices if not 0 <= i < len(strings))
            raise Invalid(f"{what}: string {index} is not in the string table of {len(strings)}")
    mappings = _ids("mapping", profile.mapping)
    functions = _ids("function", profile.function)
    locations = _ids("location", profile.location)
    mappings.add(0)  # unknown
    for location in profile.location:
        if location.mapping_id not in mappings:
            raise Invalid(f"location {location.id}: there is no mapping {location.mapping_id}")
        for line in location.line:
            if line.function_id not in functions:
                raise Invalid(f"location {location.id}: there is no function {line.function_id}")
    return _totals(profile, _check_samples(profile, locations))


def _check_samples(profile: profile_pb2.Profile, locations: set[int]) -> list[int]:
    """Check each sample and return the sums of their values."""
    width = len(profile.sample_type)
    sums, values = [0] * width, list[Sequence[int]]()
    for number, sample in enumerate(profile.sample):
        if len(sample.value) != width:
            raise Invalid(f"sample {number} has {len(sample.value)} values for {width} sample types")
        if not locations.issuperset(sample.location_id):
            missing = next(number for number in sample.location_id if number not in locations)
            raise Invalid(f"sample {number}: there is no location {missing}")
        values.append(sample.value)
        if len(values) == _SUMMED:
            sums = [sum(column, before) for before, column in zip(sums, zip(*values, strict=True), strict=True)]
            values.clear()
    if values:
        sums = [sum(column, before) for before, column in zip(sums, zip(*values, strict=True), strict=True)]
    return sums


def _totals(profile: profile_pb2.Profile, sums: list[int]) -> tuple[Total, ...]:
    strings = profile.string_table
    totals: list[Total] = []
    for kind, value in zip(profile.sample_type, sums, strict=True):
        if not -(2**63) <= value < 2**63:
            raise Invalid(f"the values of sample type {len(totals)} add up to {value}, which is over 64 bits")
        totals.append(Total(_text(strings[kind.type]), _text(strings[kind.unit]), value))
    if sum(len(total.type.encode()) + len(total.unit.encode()) for total in totals) > NAME_BYTES:
        raise Invalid(f"the names of the sample types have more than {NAME_BYTES} bytes")
    return tuple(totals)


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def _ids(kind: str, items: Sequence[_Numbered]) -> set[int]:
    ids = {item.id for item in items}
    if len(ids) != len(items):
        raise Invalid(f"two {kind}s have the same id")
    if 0 in ids:
        raise Invalid(f"a {kind} has the id 0, which means none")
    return ids


def _string_indices(profile: profile_pb2.Profile) -> Iterable[tuple[str, list[int]]]:
    yield "sample types", [i for t in profile.sample_type for i in (t.type, t.unit)]
    yield "period type", [profile.period_type.type, profile.period_type.unit]
    yield "labels", [i for s in profile.sample for n in s.label for i in (n.key, n.str, n.num_unit)]
    yield "mappings", [i for m in profile.mapping for i in (m.filename, m.build_id)]
    yield "functions", [i for f in profile.function for i in (f.name, f.system_name, f.filename)]
    yield "comments", list(profile.comment)
    yield (
        "the profile",
        [profile.drop_frames, profile.keep_frames, profile.default_sample_type, profile.doc_url],
    )


def _check_wire_types(profile: profile_pb2.Profile, raw: bytes) -> None:
    """Protobuf keeps a known field of a wrong wire type among the unknown ones; in a profile it is an error."""
    whole = profile.ByteSize()
    profile.DiscardUnknownFields()
    if profile.ByteSize() != whole:
        _walk(profile_pb2.Profile.FromString(raw))


def _walk(message: Message) -> None:
    known = message.DESCRIPTOR.fields_by_number
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined] # a sequence, which its stub forgets
        if unknown.field_number in known:
            name = known[unknown.field_number].full_name.removeprefix("profbucket.pprof.")
            raise Invalid(f"not a pprof: field {name} has wire type {unknown.wire_type}")
    for field, value in message.ListFields():
        if field.message_type:
            for inner in value if field.is_repeated else [value]:
                _walk(inner)
