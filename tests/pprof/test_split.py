"""Splitting a profile by profile types, compared with the real pprof."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode, encode, profile_pb2
from profbucket.pprof.codec import Profile
from profbucket.pprof.rename import rename
from profbucket.pprof.split import split_profile
from tests.support.go_tool import GoPprof
from tests.support.paths import ROOT

HEAP = ROOT / "tests" / "data" / "shop-0.0.1" / "heap-1.pb.gz"
ALLOC, IN_USE = ProfileType.ALLOC, ProfileType.HEAP


def rows(go_pprof: GoPprof, file: Path, sample_type: str) -> list[str]:
    """Return the rows of ``-top``, with lines and addresses."""
    text = go_pprof("-top", "-lines", "-nodefraction=0", f"-sample_index={sample_type}", file).check().text
    return re.findall(r"^ .*%.*$", text, re.MULTILINE)


@pytest.fixture
def heap() -> Profile:
    return decode(HEAP.read_bytes())


def test_each_part_has_the_rows_of_the_whole(go_pprof: GoPprof, heap: Profile, tmp_path: Path) -> None:
    parts = split_profile(heap, [ALLOC, ALLOC, IN_USE, IN_USE])
    for profile_type, part in parts.items():
        (tmp_path / profile_type).write_bytes(part)
        for total in decode(part).totals:
            expected = rows(go_pprof, HEAP, total.type)
            assert expected
            assert rows(go_pprof, tmp_path / profile_type, total.type) == expected
    assert parts.keys() == {ALLOC, IN_USE}
    assert [total for part in parts.values() for total in decode(part).totals] == list(heap.totals)
    assert len(parts[IN_USE]) < HEAP.stat().st_size / 2


def test_equal_profiles_give_equal_bytes(heap: Profile) -> None:
    types = [ALLOC, ALLOC, IN_USE, IN_USE]
    assert split_profile(heap, types) == split_profile(decode(HEAP.read_bytes()), types)


def test_columns_without_a_type_are_left_out(heap: Profile) -> None:
    parts = split_profile(heap, [None, ALLOC, None, None])
    assert [total.type for total in decode(parts[ALLOC]).totals] == ["alloc_space"]
    assert parts.keys() == {ALLOC}


def test_the_default_and_the_period_go_with_their_sample_type() -> None:
    message = profile_pb2.Profile(
        string_table=[b"", b"wall", b"nanoseconds", b"cpu"],
        sample_type=[{"type": 1, "unit": 2}, {"type": 3, "unit": 2}],
        sample=[{"value": [1, 2]}, {"value": [3, 4]}, {"value": [5, 0]}],
        period_type={"type": 1, "unit": 2},
        period=10,
        default_sample_type=3,
    )
    parts = split_profile(decode(encode(message)), [ProfileType.WALL, ProfileType.CPU])
    wall, cpu = (decode(parts[name]).message for name in (ProfileType.WALL, ProfileType.CPU))
    assert (wall.period, wall.string_table[wall.period_type.type], wall.default_sample_type) == (10, b"wall", 0)
    assert (cpu.period, cpu.period_type.type, cpu.string_table[cpu.default_sample_type]) == (0, 0, b"cpu")
    # Equal stacks are one sample.
    assert [list(sample.value) for sample in wall.sample] == [[9]]
    assert [list(sample.value) for sample in cpu.sample] == [[6]]


@given(values=st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3), min_size=1, max_size=8))
def test_totals_are_kept(values: list[list[int]]) -> None:
    """Also if they wrap."""
    message = profile_pb2.Profile(
        string_table=[b"", b"a", b"b", b"c"],
        sample_type=[{"type": 1}, {"type": 2}, {"type": 3}],
        sample=[
            {"value": row, "label": [{"key": 1, "num": number % 2}], "location_id": [1]}
            for number, row in enumerate(values)
        ],
        location=[{"id": 1}],
    )
    whole = decode(encode(message))
    expected = {total.type: total.value for total in whole.totals}
    parts = split_profile(whole, [ALLOC, IN_USE, ALLOC])
    found = {total.type: total.value for part in parts.values() for total in decode(part).totals}
    assert {name: found.get(name, 0) for name in expected} == expected


def test_only_sample_types_are_renamed() -> None:
    message = profile_pb2.Profile(
        string_table=[b"", b"CPU", b"nanoseconds"],
        sample_type=[{"type": 1, "unit": 2}],
        period_type={"type": 1, "unit": 2},
        default_sample_type=1,
        sample=[{"value": [1], "location_id": [1]}],
        location=[{"id": 1, "line": [{"function_id": 1}]}],
        function=[{"id": 1, "name": 1}],
    )
    renamed = rename(decode(encode(message)), {"CPU": "cpu"})
    assert renamed is not None
    result = decode(renamed)
    names = result.message.string_table
    assert [total.type for total in result.totals] == ["cpu"]
    assert names[result.message.period_type.type] == names[result.message.default_sample_type] == b"cpu"
    assert names[result.message.function[0].name] == b"CPU"
    assert rename(result, {"CPU": "cpu"}) is None
