"""The columnar check and the general one agree: what the first accepts is valid, with the same totals."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof import inflate, profile_pb2
from profbucket.pprof.fast_validate import Summary, summarize
from profbucket.pprof.validate import validate
from tests.soak.fuzz import wire
from tests.soak.fuzz.profile_mutations import mutated_profile, real_profiles
from tests.soak.fuzz.wire import BYTES, END_GROUP, FIXED32, FIXED64, START_GROUP, VARINT, Field
from tests.support.paths import CORPUS, DATA

LIMITS = Limits()
REAL = [inflate(file.read_bytes()) for file in sorted(DATA.glob("*/*.pb*"))]


def summarize_generally(raw: bytes, limits: Limits = LIMITS) -> Summary:
    """Return the summary by the general check; raise its error if *raw* is invalid."""
    message = profile_pb2.Profile.FromString(raw)
    time_nanos, has_samples = message.time_nanos, len(message.sample) > 0
    return Summary(validate(message, raw, limits), time_nanos, has_samples)


def check_agreement(raw: bytes, limits: Limits = LIMITS) -> bool:
    """Return whether the columnar check accepts *raw*; if it does, the general one must, with the same result."""
    summary = summarize(raw, limits)
    if summary is not None:
        assert summary == summarize_generally(raw, limits)
    return summary is not None


def list_files() -> list[Path]:
    return [*sorted(DATA.glob("*/*.pb*")), *sorted(CORPUS.glob("*.pb.gz"))[::5]]


def test_real_profiles_need_no_general_check() -> None:
    for file in list_files():
        assert check_agreement(inflate(file.read_bytes())), file.name


def test_a_profile_with_every_field_needs_no_general_check() -> None:
    assert check_agreement(wire.serialize(small()))


def test_profiles_of_several_thousand_messages_need_no_general_check() -> None:
    message = profile_pb2.Profile.FromString(REAL[0])
    first = message.sample[0]
    last_id = max(location.id for location in message.location)
    for number in range(5000):
        message.location.add(id=last_id + 1 + number, line=[{"function_id": message.function[0].id}] * 2)
        sample = message.sample.add(location_id=first.location_id, value=first.value)
        sample.label.add(key=1, num=number)
    assert check_agreement(message.SerializeToString())


@given(st.integers(0), st.sampled_from([raw for _, raw in real_profiles()]))
def test_mutated_profiles_are_judged_alike(seed: int, raw: bytes) -> None:
    check_agreement(mutated_profile(Random(seed), raw))


@given(st.integers(0), st.sampled_from(REAL))
def test_mutated_trees_are_judged_alike(seed: int, raw: bytes) -> None:
    check_agreement(wire.mutate(Random(seed), raw))


@given(st.binary(max_size=100))
def test_random_bytes_are_judged_alike(data: bytes) -> None:
    check_agreement(data)


def small() -> list[Field]:
    """Return the fields of a small valid profile that has each message and each field."""
    message = profile_pb2.Profile(
        string_table=[b"", b"cpu", b"nanoseconds", b"main", b"main.go"],
        sample_type=[{"type": 1, "unit": 2}, {"type": 2, "unit": 1}],
        period_type={"type": 1, "unit": 2},
        sample=[
            {
                "location_id": [200, 1],
                "value": [1, 10],
                "label": [{"key": 3, "str": 4}, {"key": 3, "num": 7, "num_unit": 2}],
            },
            {"location_id": [1], "value": [2, -30]},
        ],
        mapping=[
            {
                "id": 1,
                "memory_start": 4096,
                "memory_limit": 8192,
                "file_offset": 1,
                "filename": 4,
                "build_id": 3,
                "has_functions": True,
                "has_filenames": True,
                "has_line_numbers": True,
                "has_inline_frames": True,
            }
        ],
        location=[
            {
                "id": number,
                "mapping_id": 1,
                "address": 4097,
                "line": [{"function_id": 1, "line": 5, "column": 6}, {"function_id": 200}],
                "is_folded": True,
            }
            for number in (1, 200)
        ],
        function=[
            {"id": number, "name": 3, "system_name": 3, "filename": 4, "start_line": 9} for number in (1, 200)
        ],
        time_nanos=1_700_000_000_000_000_000,
        duration_nanos=10**10,
        period=10,
        comment=[3, 4],
        drop_frames=1,
        keep_frames=2,
        default_sample_type=1,
        doc_url=3,
    )
    return wire.parse(message.SerializeToString())


def walk(fields: list[Field]) -> Iterator[tuple[list[Field], int]]:
    """Yield each field at all depths, as the list that holds it and its place there."""
    for place, field in enumerate(fields):
        yield fields, place
        if isinstance(field.value, list):
            yield from walk(field.value)


def _encode(value: int | bytes | list[Field]) -> bytes:
    """Return the content of a field of any kind as bytes."""
    if isinstance(value, int):
        return wire.varint(value)
    return value if isinstance(value, bytes) else wire.serialize(value)


# What can be wrong or odd with one field, by name: each returns the fields in its place.
CHANGES: dict[str, Callable[[Field], list[Field]]] = {
    "packed": lambda field: [Field(field.number, BYTES, _encode(field.value))],
    "packed twice": lambda field: [Field(field.number, BYTES, _encode(field.value) * 2)],
    "packed, three and empty": lambda field: [
        Field(field.number, BYTES, _encode(field.value) * 3),
        Field(field.number, BYTES, b""),
    ],
    "empty": lambda field: [Field(field.number, BYTES, b"")],
    "a number": lambda field: [Field(field.number, VARINT, 1)],
    "0": lambda field: [Field(field.number, VARINT, 0)],
    "a large number": lambda field: [Field(field.number, VARINT, 2**64 - 1)],
    "fixed 64": lambda field: [Field(field.number, FIXED64, bytes(8))],
    "fixed 32": lambda field: [Field(field.number, FIXED32, bytes(4))],
    "a group": lambda field: [Field(field.number, START_GROUP, b"")],
    "the start of a group": lambda field: [Field(field.number, START_GROUP, 0)],
    "the end of a group": lambda field: [Field(field.number, END_GROUP, b"")],
    "missing": lambda field: [],
    "twice": lambda field: [field, field],
    "last": lambda field: [Field(field.number + 1, field.wire_type, field.value), field],
    "padded": lambda field: [Field(field.number, field.wire_type, field.value, field.message, padding=2)],
    "too long": lambda field: [Field(field.number, field.wire_type, field.value, field.message, lie=1)],
    "much too long": lambda field: [Field(field.number, field.wire_type, field.value, field.message, lie=15)],
    "too short": lambda field: [Field(field.number, field.wire_type, field.value, field.message, lie=-1)],
    "with field 15": lambda field: [field, Field(15, VARINT, 0)],
    "with field 120": lambda field: [field, Field(120, VARINT, 0)],
    "within a group": lambda field: [Field(field.number, START_GROUP, [field])],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_any_field_is_judged_alike(change: str) -> None:
    for number in range(sum(1 for _ in walk(small()))):
        fields = small()
        holder, place = list(walk(fields))[number]
        holder[place : place + 1] = CHANGES[change](holder[place])
        check_agreement(wire.serialize(fields))


def test_a_message_that_is_cut_off_at_any_byte_is_judged_alike() -> None:
    for number in range(sum(1 for _ in walk(small()))):
        fields = small()
        holder, place = list(walk(fields))[number]
        if not isinstance(holder[place].value, list):
            continue
        content = _encode(holder[place].value)
        for cut in range(len(content)):
            for end in (b"", b"\x80", b"\x88", b"\xf8\x80", b"\x22", b"\x22\x02", b"\x22\x0f", b"\x0b"):
                holder[place].value = content[:cut] + end
                check_agreement(wire.serialize(fields))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"\x08\x01\x08\x02", b"\x10\x01"),
        (b"\x10\x01", b"\x08\x01\x08\x02"),
        (b"\x08\x01\x22\x04\x08\x01", b"\x08\x02\x78\x00"),
        (b"\x08\x01\x22\x06\x08\x01", b"\x08\x02\x78\x00\x78\x00"),
        (b"\x08\x01\x22\x08\x08\x01\x10\x05", b"\x08\x01\x78\x00\x08\x02"),
    ],
    ids=[
        "the first has two ids",
        "the second has two ids",
        "a line reaches into the second",
        "a line reaches further into the second",
        "a line contains the second's id",
    ],
)
def test_two_locations_that_are_invalid_but_not_when_joined(first: bytes, second: bytes) -> None:
    """Each of the two has too much of what the other lacks."""
    fields = [field for field in small() if field.number not in (2, 4)]
    message = profile_pb2.Profile(location=[{"id": 1}])
    assert check_agreement(wire.serialize(fields) + message.SerializeToString())
    locations = [Field(4, BYTES, first), Field(4, BYTES, second)]
    assert not check_agreement(wire.serialize([*fields, *locations]))


@pytest.mark.parametrize("fields", [b"\x0a", b"\x12"], ids=["locations", "values"])
@pytest.mark.parametrize("own", [b"", b"\x10\x05", b"\x10\x05\x10\x05"], ids=["none", "one", "two"])
def test_packed_numbers_of_a_sample_that_reach_beyond_it(own: bytes, fields: bytes) -> None:
    """The numbers end in what the check puts behind a sample, or in another sample."""
    message = profile_pb2.Profile(
        string_table=[b"", b"a"],
        sample_type=[{"type": 1, "unit": 1}] * 2,
        location=[{"id": number} for number in (1, *range(8, 32), 120)],
    )
    raw = message.SerializeToString()
    for length in range(1, 48):
        for following in ([], [b"\x08\x01\x10\x05\x10\x05"], [b"\x08\x01\x10\x05"], [b"\x08\x01"]):
            samples = [b"\x08\x01" + own + fields + bytes([length]), *following]
            assert not check_agreement(raw + wire.serialize([Field(2, BYTES, sample) for sample in samples]))


@pytest.mark.parametrize("limits", [Limits(sample_types=1), Limits(name_bytes=27)])
def test_a_profile_that_exceeds_a_limit_is_left_to_the_general_check(limits: Limits) -> None:
    raw = wire.serialize(small())
    assert summarize(raw, LIMITS) is not None
    assert summarize(raw, limits) is None
    with pytest.raises(ProfbucketError):
        summarize_generally(raw, limits)
