"""Check that a decoded message is a profile that every pprof tool can read."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.meta import Total
from profbucket.pprof import profile_pb2
from profbucket.pprof.numbers import wrap_int64

_SUMMED_SAMPLES = 10_000  # at once: the Python objects of a million samples would be larger than the message


class _HasId(Protocol):
    id: int


def validate(profile: profile_pb2.Profile, raw: bytes, limits: Limits) -> tuple[Total, ...]:
    """Check *profile*, parsed from *raw*, and return the sum of its samples for each sample type.

    The rules are those of google/pprof's ``CheckValid``, and more: fields have the right wire type, and strings
    are in range. A profile without samples is valid. Sums wrap in 64 bits.

    Raises:
        Invalid: code ``invalid_profile``; the text says what is wrong and where.
        TooLarge: there are more sample types than ``limits.sample_types``, or their names are too long.
    """
    _check_wire_types(profile, raw)
    strings = profile.string_table
    if not strings or strings[0]:
        raise _invalid("not a pprof: the string table does not begin with an empty string")
    if not profile.sample_type:
        raise _invalid("not a pprof: it has no sample types")
    if len(profile.sample_type) > limits.sample_types:
        raise limits.too_large("sample_types", f"the profile has {len(profile.sample_type)} sample types")
    for place, indexes in _list_string_indexes(profile):
        if indexes and not (min(indexes) >= 0 and max(indexes) < len(strings)):
            index = next(i for i in indexes if not 0 <= i < len(strings))
            raise _invalid(f"{place}: string {index} is outside the string table, which has {len(strings)}")
    _collect_ids("mapping", profile.mapping)
    function_ids = _collect_ids("function", profile.function)
    location_ids = _collect_ids("location", profile.location)
    for location in profile.location:
        # Unlike a function, the mapping of a location may be missing: pprof takes it as unknown.
        for line in location.line:
            if line.function_id not in function_ids:
                raise _invalid(f"location {location.id}: there is no function {line.function_id}")
    return _to_totals(profile, _sum_samples(profile, location_ids), limits)


def _invalid(message: str) -> Invalid:
    return Invalid(message, code="invalid_profile")


def _sum_samples(profile: profile_pb2.Profile, location_ids: set[int]) -> list[int]:
    """Check each sample and return the sum of their values for each sample type."""
    width = len(profile.sample_type)
    sums, values = [0] * width, list[Sequence[int]]()
    for number, sample in enumerate(profile.sample):
        if len(sample.value) != width:
            raise _invalid(f"sample {number} has {len(sample.value)} values for {width} sample types")
        if not location_ids.issuperset(sample.location_id):
            missing = next(number for number in sample.location_id if number not in location_ids)
            raise _invalid(f"sample {number}: there is no location {missing}")
        values.append(sample.value)
        if len(values) == _SUMMED_SAMPLES:
            sums = [sum(column, before) for before, column in zip(sums, zip(*values, strict=True), strict=True)]
            values.clear()
    if values:
        sums = [sum(column, before) for before, column in zip(sums, zip(*values, strict=True), strict=True)]
    return sums


def _to_totals(profile: profile_pb2.Profile, sums: list[int], limits: Limits) -> tuple[Total, ...]:
    strings = profile.string_table
    totals = [
        Total(to_text(strings[sample_type.type]), to_text(strings[sample_type.unit]), wrap_int64(value))
        for sample_type, value in zip(profile.sample_type, sums, strict=True)
    ]
    if (size := sum(len(total.type.encode()) + len(total.unit.encode()) for total in totals)) > limits.name_bytes:
        raise limits.too_large("name_bytes", f"the names of the sample types have {size} bytes")
    return tuple(totals)


def to_text(name: bytes) -> str:
    """Return the *name* or unit of a sample type as text."""
    return name.decode(errors="replace")


def _collect_ids(name: str, messages: Sequence[_HasId]) -> set[int]:
    ids = {message.id for message in messages}
    if len(ids) != len(messages):
        raise _invalid(f"two {name}s have the same id")
    if 0 in ids:
        raise _invalid(f"a {name} has the id 0, which means none")
    return ids


def _list_string_indexes(profile: profile_pb2.Profile) -> Iterable[tuple[str, list[int]]]:
    """Yield all indexes into the string table, by what refers to it."""
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
    """Raise ``Invalid`` if a known field has a wrong wire type: protobuf keeps it among the unknown fields."""
    size = profile.ByteSize()
    profile.DiscardUnknownFields()
    if profile.ByteSize() != size:
        _check_unknown_fields(profile_pb2.Profile.FromString(raw))


def _check_unknown_fields(message: Message) -> None:
    known = message.DESCRIPTOR.fields_by_number
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined] # a sequence, which its stub forgets
        if unknown.field_number in known:
            name = known[unknown.field_number].full_name.removeprefix("profbucket.pprof.")
            raise _invalid(f"not a pprof: field {name} has wire type {unknown.wire_type}")
    for field, value in message.ListFields():
        if field.message_type:
            for inner in value if field.is_repeated else [value]:
                _check_unknown_fields(inner)
