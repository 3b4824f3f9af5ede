"""Arbitrary bytes decode to a valid profile, or raise an error that says what is wrong."""

import gzip
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid, ProfbucketError, TooLarge
from profbucket.limits import Limits
from profbucket.model.meta import Total
from profbucket.pprof import decode, deflate, encode, inflate, profile_pb2, wire
from profbucket.pprof.numbers import wrap_int64
from profbucket.pprof.precheck import count_entries
from tests.support.paths import ROOT

DATA = sorted((ROOT / "tests" / "data").glob("*/*.pb*"))
CPU = ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz"


def message() -> profile_pb2.Profile:
    """Return a small valid profile: main calls work, in two sample types."""
    return profile_pb2.Profile(
        string_table=[b"", b"samples", b"count", b"cpu", b"nanoseconds", b"main", b"work", b"main.go", b"bin"],
        sample_type=[{"type": 1, "unit": 2}, {"type": 3, "unit": 4}],
        sample=[
            {"location_id": [2, 1], "value": [1, 10], "label": [{"key": 5, "str": 6}]},
            {"location_id": [1], "value": [2, -30]},
        ],
        mapping=[{"id": 1, "filename": 8}],
        location=[{"id": i, "mapping_id": 1, "line": [{"function_id": i}]} for i in (1, 2)],
        function=[{"id": 1, "name": 5, "filename": 7}, {"id": 2, "name": 6, "filename": 7}],
        time_nanos=1_700_000_000_000_000_000,
    )


def raw() -> bytes:
    return message().SerializeToString()


@pytest.mark.parametrize("file", DATA, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_real_profile_survives_decoding_and_encoding(file: Path) -> None:
    profile = decode(file.read_bytes())
    assert decode(encode(profile.message)).message == profile.message


def test_gzip_raw_and_several_gzip_members_are_the_same_profile() -> None:
    half = len(raw()) // 2
    members = gzip.compress(raw()[:half]) + gzip.compress(raw()[half:])
    assert decode(raw()) == decode(gzip.compress(raw())) == decode(deflate(raw())) == decode(members)


def test_totals_are_the_sums_of_the_samples_in_the_order_of_the_sample_types() -> None:
    assert decode(raw()).totals == (Total("samples", "count", 3), Total("cpu", "nanoseconds", -20))


def test_a_profile_without_samples_is_valid_and_its_totals_are_zero() -> None:
    empty = message()
    del empty.sample[:]
    assert [total.value for total in decode(encode(empty)).totals] == [0, 0]


def test_equal_messages_become_equal_bytes() -> None:
    assert encode(message()) == encode(message())


def _change(change: Callable[[profile_pb2.Profile], object]) -> bytes:
    changed = message()
    change(changed)
    return changed.SerializeToString()


def _field(number: int, wire: int, content: bytes) -> bytes:
    return bytes([number << 3 | wire]) + content


def _delimited(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return _field(number, 2, bytes([len(content)]) + content)


# What is wrong, by name: the bytes, the error's code, and what its text must contain.
BAD: dict[str, tuple[bytes, str, str]] = {
    "no bytes": (b"", "empty_body", "no bytes were sent"),
    "text": (b"hello, profiler", "invalid_protobuf", "not a pprof"),
    "a web page": (b"<!DOCTYPE html><html></html>", "invalid_protobuf", "not a pprof"),
    "zeros": (bytes(100), "invalid_protobuf", "not a pprof"),
    "only a gzip header": (gzip.compress(raw())[:10], "invalid_gzip", "truncated"),
    "a truncated gzip": (gzip.compress(raw())[:-20], "invalid_gzip", "truncated"),
    "a gzip without its checksum": (gzip.compress(raw())[:-8], "invalid_gzip", "truncated"),
    "a gzip with a wrong checksum": (gzip.compress(raw())[:-8] + bytes(8), "invalid_gzip", "damaged"),
    "garbage behind a gzip": (gzip.compress(raw()) + b"garbage", "invalid_gzip", "7 bytes follow"),
    "a gzip in a gzip": (gzip.compress(gzip.compress(raw())), "compressed_twice", "compressed twice"),
    "a truncated message": (raw()[:-3], "invalid_protobuf", "truncated"),
    "a group": (raw() + b"\x13\x12\x00", "invalid_protobuf", "malformed"),
} | {
    name: (data, "invalid_profile", text)
    for name, data, text in [
        ("an empty gzip", gzip.compress(b""), "does not begin with an empty string"),
        ("no string table", _change(lambda p: p.ClearField("string_table")), "string table"),
        (
            "a string table that begins with a word",
            _change(lambda p: p.string_table.__setitem__(0, b"x")),
            "does not begin with an empty string",
        ),
        ("no sample types", _change(lambda p: p.ClearField("sample_type")), "no sample types"),
        (
            "too few values",
            _change(lambda p: p.sample[1].value.pop()),
            "sample 1 has 1 values for 2 sample types",
        ),
        ("an unknown location", _change(lambda p: p.sample[1].location_id.append(9)), "there is no location 9"),
        ("the location 0", _change(lambda p: p.sample[1].location_id.append(0)), "there is no location 0"),
        (
            "an unknown function",
            _change(lambda p: setattr(p.location[0].line[0], "function_id", 9)),
            "there is no function 9",
        ),
        (
            "a line without a function",
            _change(lambda p: setattr(p.location[0].line[0], "function_id", 0)),
            "there is no function 0",
        ),
        ("two locations of one id", _change(lambda p: setattr(p.location[0], "id", 2)), "two locations"),
        ("two functions of one id", _change(lambda p: setattr(p.function[0], "id", 2)), "two functions"),
        ("a mapping with the id 0", _change(lambda p: setattr(p.mapping[0], "id", 0)), "a mapping has the id 0"),
        ("a name out of range", _change(lambda p: setattr(p.function[0], "name", 9)), "functions: string 9"),
        ("a negative string", _change(lambda p: setattr(p.function[0], "name", -1)), "functions: string -1"),
        (
            "a label out of range",
            _change(lambda p: setattr(p.sample[0].label[0], "str", 99)),
            "labels: string 99",
        ),
        ("a comment out of range", _change(lambda p: p.comment.append(99)), "comments: string 99"),
        ("a file out of range", _change(lambda p: setattr(p.mapping[0], "filename", 99)), "mappings: string 99"),
        (
            "a unit out of range",
            _change(lambda p: setattr(p.sample_type[0], "unit", 99)),
            "sample types: string 99",
        ),
        (
            "a period type out of range",
            _change(lambda p: setattr(p.period_type, "type", 99)),
            "period type: string",
        ),
        (
            "drop_frames out of range",
            _change(lambda p: setattr(p, "drop_frames", 99)),
            "the profile: string 99",
        ),
        ("a sample that is a number", raw() + _field(2, 0, b"\x01"), "Profile.sample has wire type 0"),
        ("a string table of numbers", raw() + _field(6, 0, b"\x01"), "Profile.string_table has wire type 0"),
        ("a time that is a text", raw() + _delimited(9, b"now"), "Profile.time_nanos has wire type 2"),
        (
            "a value that is a double",
            raw() + _delimited(2, _field(2, 1, bytes(8)) + _field(2, 0, b"\x01") * 2),
            "Sample.value has wire type 1",
        ),
        (
            "a line that is a number",
            raw() + _delimited(4, b"\x08\x07" + _field(4, 0, b"\x01")),
            "Location.line has wire type 0",
        ),
    ]
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_input_is_rejected_with_what_is_wrong(name: str) -> None:
    data, code, text = BAD[name]
    with pytest.raises(Invalid) as caught:
        decode(data)
    assert caught.value.code == code
    assert text in str(caught.value)


def test_unknown_fields_are_ignored() -> None:
    assert decode(raw() + b"\xfa\x3f\x03abc").totals == decode(raw()).totals


def test_too_many_sample_types_exceed_their_limit() -> None:
    with pytest.raises(TooLarge, match="2 sample types") as caught:
        decode(raw(), Limits(sample_types=1))
    assert caught.value.code == "max_sample_types_exceeded"


def test_sample_types_with_very_long_names_are_rejected() -> None:
    with pytest.raises(TooLarge) as caught:
        decode(_change(lambda p: p.string_table.__setitem__(1, b"x" * (Limits().name_bytes + 1))))
    assert caught.value.code == "max_name_bytes_exceeded"


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_of_inflated_bytes_is_inclusive(over: int) -> None:
    limits = Limits(inflated_bytes=5_000_000)
    data = gzip.compress(bytes(limits.inflated_bytes + over))
    if over:
        with pytest.raises(TooLarge, match="5000000") as caught:
            inflate(data, limits)
        assert caught.value.code == "max_inflated_bytes_exceeded"
    else:
        assert len(inflate(data, limits)) == limits.inflated_bytes


def test_the_limit_also_holds_for_uncompressed_profiles() -> None:
    with pytest.raises(TooLarge) as caught:
        inflate(bytes(101), Limits(inflated_bytes=100))
    assert caught.value.code == "max_inflated_bytes_exceeded"


def test_a_profile_that_is_inflated_twice_is_complete() -> None:
    content = random.Random(1).randbytes(40_000) * 1000
    assert inflate(gzip.compress(content, 1)) == content


def _compress(content: bytes) -> bytes:
    return zlib.compress(content, 9, wbits=31)


def _wrap(tag: int, content: bytes) -> bytes:
    """Return a length-delimited field with *content*, of any length."""
    return bytes([tag]) + wire.encode_varint(len(content)) + content


TEN_MILLION = 10_000_000
IDS = wire.Sample.LOCATION_ID_PACKED
BOMBS: dict[str, Callable[[], bytes]] = {
    "10 GB of zeros": lambda: _compress(bytes(64 << 20)) * 160,
    "10 M samples": lambda: _compress(b"\x12\x00" * TEN_MILLION),
    "10 M strings": lambda: _compress(b"\x32\x00" * TEN_MILLION),
    "40 M ids in a sample": lambda: _compress(_wrap(wire.Profile.SAMPLE, _wrap(IDS, b"\x01" * 4 * TEN_MILLION))),
    "10 M lines in a location": lambda: _compress(_wrap(wire.Profile.LOCATION, b"\x22\x00" * TEN_MILLION)),
    "10 M labels in a sample": lambda: _compress(_wrap(wire.Profile.SAMPLE, b"\x1a\x00" * TEN_MILLION)),
    "10 M samples with empty stacks": lambda: _compress(_wrap(wire.Profile.SAMPLE, b"\x0a\x00") * TEN_MILLION),
    "10 M comments": lambda: _compress(_wrap(wire.Profile.COMMENT_PACKED, b"\x01" * TEN_MILLION)),
    "10 M unknown fields": lambda: _compress(b"\x80\x7d\x00" * TEN_MILLION),
}

# Decodes its input; prints the error's code and how many kilobytes of memory it took.
_PROGRAM = """
import resource, sys
from profbucket.errors import TooLarge
from profbucket.pprof import decode
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(data)
except TooLarge as error:
    print(error.code)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_rejected_in_less_than_150_megabytes(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=BOMBS[name](), capture_output=True, check=True, cwd=ROOT
    )
    code, memory = run.stdout.decode().splitlines()
    assert code in ("max_inflated_bytes_exceeded", "max_entries_exceeded")
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(memory) * unit < 150 << 20


def test_entries_are_fields_and_packed_numbers_at_all_depths() -> None:
    # 9 strings, 2 types with 2 fields each, 2 samples with 2 packed fields of at most 4 numbers, a label with 2,
    # a mapping with 2, 2 locations with 2 and a line with 1, 2 functions with 3, the time
    assert count_entries(raw(), Limits()) == 9 + 6 + 2 + 4 + 4 + 3 + 3 + 2 * (1 + 2 + 1 + 1) + 8 + 1


@pytest.mark.parametrize(("ids", "entries"), [(1, 1), (4, 1), (5, 2), (400, 100)])
def test_four_packed_numbers_are_one_entry(ids: int, entries: int) -> None:
    sample = _wrap(wire.Profile.SAMPLE, _wrap(IDS, b"\x80\x01" * ids))
    assert count_entries(sample, Limits()) == 2 + entries


@pytest.mark.parametrize("message", [_wrap(wire.Profile.SAMPLE, b"\x10\x01"), b"\x0a\x02\x80\x01"])
def test_counting_entries_takes_no_memory_per_message(message: bytes) -> None:
    data = message * 300_000
    tracemalloc.start()
    try:
        with suppress(ProfbucketError):
            count_entries(data, Limits())
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert memory < 100_000


def test_counting_packed_numbers_does_not_copy_them() -> None:
    numbers = _wrap(wire.Profile.COMMENT_PACKED, b"\x01" * (16 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            count_entries(numbers, Limits())
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert memory < 3 << 20


@pytest.mark.parametrize("cut", range(1, 40))
def test_counting_entries_rejects_a_truncated_message_unless_its_fields_are_complete(cut: int) -> None:
    try:
        count_entries(raw()[:-cut], Limits())
    except Invalid:
        return
    profile_pb2.Profile.FromString(raw()[:-cut])  # protobuf agrees


@given(st.binary(max_size=200))
def test_random_bytes_raise_no_unexpected_error(data: bytes) -> None:
    for attempt in (data, gzip.compress(data), b"\x1f\x8b" + data):
        _check_decode(attempt)
    with suppress(ProfbucketError):
        count_entries(data, Limits())


REAL = [inflate(file.read_bytes()) for file in DATA if "cpu" in file.name or "heap" in file.name]


@given(st.sampled_from(REAL), st.randoms(use_true_random=False), st.integers(1, 8), st.booleans())
def test_a_mutated_real_profile_raises_no_unexpected_error(
    real: bytes, choice: random.Random, times: int, compressed: bool
) -> None:
    mutated = bytearray(gzip.compress(real, 1) if compressed else real)
    for _ in range(times):
        at = choice.randrange(len(mutated))
        match choice.randrange(4):
            case 0:
                mutated[at] = choice.randrange(256)
            case 1:
                mutated[at] ^= 1 << choice.randrange(8)
            case 2:
                del mutated[at : at + choice.randrange(1, 20)]
            case _:
                mutated[at:at] = choice.randbytes(choice.randrange(1, 20))
    _check_decode(bytes(mutated))


def _check_decode(data: bytes) -> None:
    """Decode *data*: it raises only ``ProfbucketError``, and what decodes can be encoded and decoded again."""
    try:
        profile = decode(data)
    except ProfbucketError:
        return
    assert decode(encode(profile.message)).totals == profile.totals


class TestLeniency:
    """Faults that ``go tool pprof`` ignores."""

    @pytest.mark.parametrize("nanos", [-1, -6795364578871345152, -(2**63), 1, 6 * 86400 * 10**9])
    def test_a_time_before_a_week_of_1970_is_unknown(self, nanos: int) -> None:
        assert decode(_change(lambda p: setattr(p, "time_nanos", nanos))).time_nanos == 0

    def test_a_negative_duration_is_accepted(self) -> None:
        decode(_change(lambda p: setattr(p, "duration_nanos", -5)))

    def test_a_location_without_its_mapping_is_accepted(self) -> None:
        decode(_change(lambda p: setattr(p.location[0], "mapping_id", 99)))

    def test_sums_wrap_in_64_bits(self) -> None:
        data = _change(lambda p: [s.value.__setitem__(0, 2**63 - 1) for s in p.sample])
        count = len(decode(data).message.sample)
        assert decode(data).totals[0].value == wrap_int64(count * (2**63 - 1))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"heap profile: 1: 2 [3: 4] @ heap/512\n1: 2 [3: 4] @ 0x1\n", "a heap profile"),
        (b"heap profile: 1: 2 [3: 4] @ growthz\n", "a heap growth profile"),
        (b"--- contentionz 1 ---\ncycles/second = 1\n", "a contention profile"),
        (b"--- contention:\ncycles/second=1\n", "a contention profile"),
        (b"--- mutex:\ncycles/second=1\n", "a mutex profile"),
        (b"--- threadz 1 ---\n", "a thread profile"),
        (b"goroutine profile: total 3\n1 @ 0x1\n", "a profile of counts"),
        (b"goroutine 1 [running]:\nmain.main()\n", "a dump of goroutines"),
        (struct.pack("<5Q", 0, 3, 0, 10000, 0), "a CPU profile in gperftools"),
        (struct.pack(">5I", 0, 3, 0, 10000, 0), "a CPU profile in gperftools"),
    ],
)
def test_a_legacy_format_is_named(data: bytes, name: str) -> None:
    for encoded in (data, deflate(data)):
        with pytest.raises(Invalid, match=name) as caught:
            decode(encoded)
        assert caught.value.code == "legacy_format"


def test_a_form_is_named() -> None:
    """``curl -F`` sends a form where a route takes the profile itself."""
    form = (
        b'--x1\r\nContent-Disposition: form-data; name="file"; filename="cpu"\r\n\r\n' + raw() + b"\r\n--x1--\r\n"
    )
    with pytest.raises(Invalid, match="curl --data-binary") as caught:
        decode(form)
    assert caught.value.code == "invalid_protobuf"


def test_concatenated_profiles_are_named() -> None:
    for data in (deflate(raw()) * 2, deflate(raw() + raw())):
        with pytest.raises(Invalid) as caught:
            decode(data)
        assert caught.value.code == "concatenated_profiles"
