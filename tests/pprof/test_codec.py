"""Bytes from strangers: a valid profile comes out, or an error of ours that says what is wrong."""

import gzip
import random
import subprocess
import sys
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
from profbucket.pprof import decode, deflate, encode, inflate, profile_pb2
from profbucket.pprof.precheck import count_entries
from tests.support.paths import ROOT

DATA = sorted((ROOT / "tests" / "data").glob("*/*.pb*"))
CPU = ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz"


def message() -> profile_pb2.Profile:
    """A small valid profile: main calls work, in two sample types."""
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


def _changed(change: Callable[[profile_pb2.Profile], object]) -> bytes:
    changed = message()
    change(changed)
    return changed.SerializeToString()


def _field(number: int, wire: int, content: bytes) -> bytes:
    return bytes([number << 3 | wire]) + content


def _held(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return _field(number, 2, bytes([len(content)]) + content)


BAD: dict[str, tuple[bytes, str]] = {
    "no bytes": (b"", "no bytes were sent"),
    "text": (b"hello, profiler", "not a pprof"),
    "a web page": (b"<!DOCTYPE html><html></html>", "not a pprof"),
    "zeros": (bytes(100), "not a pprof"),
    "only a gzip header": (gzip.compress(raw())[:10], "cut short"),
    "a gzip cut short": (gzip.compress(raw())[:-20], "cut short"),
    "a gzip without its checksum": (gzip.compress(raw())[:-8], "cut short"),
    "a gzip with a wrong checksum": (gzip.compress(raw())[:-8] + bytes(8), "broken gzip"),
    "garbage behind a gzip": (gzip.compress(raw()) + b"garbage", "7 bytes of garbage behind the gzip"),
    "a gzip in a gzip": (gzip.compress(gzip.compress(raw())), "compressed twice"),
    "an empty gzip": (gzip.compress(b""), "does not begin with an empty string"),
    "a message cut short": (raw()[:-3], "cut short"),
    "no string table": (_changed(lambda p: p.ClearField("string_table")), "string table"),
    "a string table that begins with a word": (
        _changed(lambda p: p.string_table.__setitem__(0, b"x")),
        "does not begin with an empty string",
    ),
    "no sample types": (_changed(lambda p: p.ClearField("sample_type")), "no sample types"),
    "a value too few": (_changed(lambda p: p.sample[1].value.pop()), "sample 1 has 1 values for 2 sample types"),
    "an unknown location": (_changed(lambda p: p.sample[1].location_id.append(9)), "there is no location 9"),
    "the location 0": (_changed(lambda p: p.sample[1].location_id.append(0)), "there is no location 0"),
    "an unknown mapping": (_changed(lambda p: setattr(p.location[0], "mapping_id", 9)), "no mapping 9"),
    "an unknown function": (
        _changed(lambda p: setattr(p.location[0].line[0], "function_id", 9)),
        "there is no function 9",
    ),
    "a line without a function": (
        _changed(lambda p: setattr(p.location[0].line[0], "function_id", 0)),
        "there is no function 0",
    ),
    "two locations of one id": (_changed(lambda p: setattr(p.location[0], "id", 2)), "two locations"),
    "two functions of one id": (_changed(lambda p: setattr(p.function[0], "id", 2)), "two functions"),
    "a mapping with the id 0": (_changed(lambda p: setattr(p.mapping[0], "id", 0)), "a mapping has the id 0"),
    "a name out of range": (_changed(lambda p: setattr(p.function[0], "name", 9)), "functions: string 9"),
    "a negative string": (_changed(lambda p: setattr(p.function[0], "name", -1)), "functions: string -1"),
    "a label out of range": (_changed(lambda p: setattr(p.sample[0].label[0], "str", 99)), "labels: string 99"),
    "a comment out of range": (_changed(lambda p: p.comment.append(99)), "comments: string 99"),
    "a file out of range": (_changed(lambda p: setattr(p.mapping[0], "filename", 99)), "mappings: string 99"),
    "a unit out of range": (_changed(lambda p: setattr(p.sample_type[0], "unit", 99)), "sample types: string 99"),
    "a period type out of range": (_changed(lambda p: setattr(p.period_type, "type", 99)), "period type: string"),
    "drop_frames out of range": (_changed(lambda p: setattr(p, "drop_frames", 99)), "the profile: string 99"),
    "a negative time": (_changed(lambda p: setattr(p, "time_nanos", -1)), "time_nanos is negative: -1"),
    "a negative duration": (_changed(lambda p: setattr(p, "duration_nanos", -5)), "duration_nanos is negative"),
    "values over 64 bits": (
        _changed(lambda p: [s.value.__setitem__(0, 2**63 - 1) for s in p.sample]),
        "over 64 bits",
    ),
    "a sample that is a number": (raw() + _field(2, 0, b"\x01"), "Profile.sample has wire type 0"),
    "a string table of numbers": (raw() + _field(6, 0, b"\x01"), "Profile.string_table has wire type 0"),
    "a time that is a text": (raw() + _held(9, b"now"), "Profile.time_nanos has wire type 2"),
    "a value that is a double": (
        raw() + _held(2, _field(2, 1, bytes(8)) + _field(2, 0, b"\x01") * 2),
        "Sample.value has wire type 1",
    ),
    "a line that is a number": (
        raw() + _held(4, b"\x08\x07" + _field(4, 0, b"\x01")),
        "Location.line has wire type 0",
    ),
    "a group": (raw() + b"\x13\x12\x00", "malformed"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_a_sentence_that_says_what_is_wrong(name: str) -> None:
    data, sentence = BAD[name]
    with pytest.raises(Invalid) as caught:
        decode(data)
    assert sentence in str(caught.value)


def test_unknown_fields_are_no_fault() -> None:
    assert decode(raw() + b"\xfa\x3f\x03abc").totals == decode(raw()).totals


def test_too_many_sample_types_are_refused_by_the_name_of_the_cap() -> None:
    with pytest.raises(TooLarge, match=r"2 sample types; the limit is 1 \(PROFBUCKET_MAX_SAMPLE_TYPES\)"):
        decode(raw(), Limits(sample_types=1))


def test_sample_types_with_endless_names_are_refused() -> None:
    with pytest.raises(Invalid, match="more than 300 bytes"):
        decode(_changed(lambda p: p.string_table.__setitem__(1, b"x" * 400)))


@pytest.mark.parametrize("over", [0, 1])
def test_the_cap_on_inflated_bytes_is_the_last_size_that_passes(over: int) -> None:
    limits = Limits(inflated_bytes=5_000_000)
    data = gzip.compress(bytes(limits.inflated_bytes + over))
    if over:
        with pytest.raises(TooLarge, match=r"the limit is 5000000 \(PROFBUCKET_MAX_INFLATED_BYTES\)"):
            inflate(data, limits)
    else:
        assert len(inflate(data, limits)) == limits.inflated_bytes


def test_the_cap_holds_for_what_is_not_compressed_too() -> None:
    with pytest.raises(TooLarge, match="PROFBUCKET_MAX_INFLATED_BYTES"):
        inflate(bytes(101), Limits(inflated_bytes=100))


def test_what_is_inflated_in_two_passes_is_whole() -> None:
    content = random.Random(1).randbytes(40_000) * 1000
    assert inflate(gzip.compress(content, 1)) == content


def _squeezed(content: bytes) -> bytes:
    return zlib.compress(content, 9, wbits=31)


def _wrapped(head: bytes, content: bytes) -> bytes:
    """A length-delimited field with *content*, of any length."""
    size, rest = b"", len(content)
    while rest > 127:
        size += bytes([rest & 127 | 128])
        rest >>= 7
    return head + size + bytes([rest]) + content


TEN_MILLION = 10_000_000
BOMBS: dict[str, Callable[[], bytes]] = {
    "10 GB of zeros": lambda: _squeezed(bytes(64 << 20)) * 160,
    "10 M samples": lambda: _squeezed(b"\x12\x00" * TEN_MILLION),
    "10 M strings": lambda: _squeezed(b"\x32\x00" * TEN_MILLION),
    "40 M ids in a sample": lambda: _squeezed(_wrapped(b"\x12", _wrapped(b"\x0a", b"\x01" * 4 * TEN_MILLION))),
    "10 M lines in a location": lambda: _squeezed(_wrapped(b"\x22", b"\x22\x00" * TEN_MILLION)),
    "10 M labels in a sample": lambda: _squeezed(_wrapped(b"\x12", b"\x1a\x00" * TEN_MILLION)),
    "10 M unknown fields": lambda: _squeezed(b"\x80\x7d\x00" * TEN_MILLION),
}

# Decodes what it is given under a hard limit on its memory, and says what became of it.
_CHILD = """
import resource, sys
from profbucket.errors import TooLarge
from profbucket.pprof import decode
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(data)
except TooLarge as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_less_than_150_megabytes(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _CHILD], input=BOMBS[name](), capture_output=True, check=True, cwd=ROOT
    )
    sentence, memory = run.stdout.decode().splitlines()
    assert "PROFBUCKET_MAX_" in sentence
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(memory) * unit < 150 << 20


def test_the_census_counts_fields_and_packed_numbers_at_all_depths() -> None:
    #  9 strings, 2 types with 2 fields each, 2 samples with 2 packed fields of at most 4 numbers, a label with 2,
    #  a mapping with 2, 2 locations with 2 and a line with 1, 2 functions with 3, the time
    assert count_entries(raw(), Limits()) == 9 + 6 + 2 + 4 + 4 + 3 + 3 + 2 * (1 + 2 + 1 + 1) + 8 + 1


@pytest.mark.parametrize(("ids", "entries"), [(1, 1), (4, 1), (5, 2), (400, 100)])
def test_four_packed_numbers_are_one_entry(ids: int, entries: int) -> None:
    sample = _wrapped(b"\x12", _wrapped(b"\x0a", b"\x80\x01" * ids))
    assert count_entries(sample, Limits()) == 2 + entries


@pytest.mark.parametrize("cut", range(1, 40))
def test_the_census_refuses_what_is_cut_short_or_takes_it_for_complete_fields(cut: int) -> None:
    try:
        count_entries(raw()[:-cut], Limits())
    except Invalid:
        return
    profile_pb2.Profile.FromString(raw()[:-cut])  # protobuf agrees


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_our_own(data: bytes) -> None:
    for attempt in (data, gzip.compress(data), b"\x1f\x8b" + data):
        _ours(attempt)
    with suppress(ProfbucketError):
        count_entries(data, Limits())


REAL = [inflate(file.read_bytes()) for file in DATA if "cpu" in file.name or "heap" in file.name]


@given(st.sampled_from(REAL), st.randoms(use_true_random=False), st.integers(1, 8), st.booleans())
def test_a_mutated_real_profile_raises_nothing_but_our_own(
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
    _ours(bytes(mutated))


def _ours(data: bytes) -> None:
    """Whatever *data* is: what decodes can be encoded and decoded again, and the rest is an error of ours."""
    try:
        profile = decode(data)
    except ProfbucketError:
        return
    assert decode(encode(profile.message)).totals == profile.totals


def test_compiled_proto_is_what_the_source_compiles_to(tmp_path: Path) -> None:
    protoc = Path(sys.executable).with_name("protoc")
    source = "profbucket/pprof/profile.proto"
    subprocess.run(
        [protoc, f"--proto_path={ROOT}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", source], check=True
    )
    for name in ("profile_pb2.py", "profile_pb2.pyi"):
        assert (tmp_path / "profbucket/pprof" / name).read_text() == (ROOT / "profbucket/pprof" / name).read_text()
