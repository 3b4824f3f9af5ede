"""Files for speedscope are valid against its schema and hold the stacks of a profile."""

import json
from collections import Counter
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given

from profbucket.errors import TooMany
from profbucket.limits import Limits
from profbucket.pprof import decode
from profbucket.pprof.export.collapsed import to_collapsed
from profbucket.pprof.export.speedscope import to_speedscope
from tests.support.paths import DATA
from tests.support.profiles import Profile, Sample, encode, profile, profile_sets, stack
from tests.support.property_tests import examples

VALIDATOR = jsonschema_rs.validator_for(json.loads((DATA / "speedscope-file-format.json").read_text()))


def to_file(data: bytes, column: int = 0) -> Any:
    file = json.loads(to_speedscope(decode(data).message, column, "a title"))
    VALIDATOR.validate(file)
    return file


def list_stacks(file: Any, number: int) -> dict[str, int]:
    names = [frame["name"].replace(";", ":") for frame in file["shared"]["frames"]]
    profile = file["profiles"][number]
    stacks: Counter[str] = Counter()
    for frames, weight in zip(profile["samples"], profile["weights"], strict=True):
        stacks[";".join(names[frame] for frame in frames) or "<no stack>"] += weight
    assert sum(stacks.values()) == profile["endValue"]
    return dict(stacks)


@pytest.mark.parametrize("name", ["shop-0.0.1/cpu-1.pb.gz", "shop-0.0.1/heap-2.pb.gz", "python/python-cpu.pb.gz"])
def test_each_sample_type_is_a_profile(name: str) -> None:
    data = (DATA / name).read_bytes()
    message = decode(data).message
    file = to_file(data, column=1)
    assert (file["name"], file["activeProfileIndex"]) == ("a title", 1)
    totals = [(total.type, total.value) for total in decode(data).totals]
    assert [(own["name"], own["endValue"]) for own in file["profiles"]] == totals
    for number in range(len(totals)):
        lines = to_collapsed(message, number).decode().splitlines()
        stacks = {stack: int(value) for stack, _, value in (line.rpartition(" ") for line in lines)}
        assert list_stacks(file, number) == stacks


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("ns", ("nanoseconds", 3)),
        ("ms", ("milliseconds", 3)),
        ("hours", ("seconds", 10_800)),
        ("kilobytes", ("bytes", 3072)),
        ("Bytes", ("bytes", 3)),
        ("count", ("none", 3)),
        ("", ("none", 3)),
    ],
)
def test_units_are_those_that_speedscope_knows(unit: str, expected: tuple[str, int]) -> None:
    content = profile(Sample(stack("f"), (3,)), sample_types=((b"t", unit.encode()),))
    own = to_file(encode(content))["profiles"][0]
    assert (own["unit"], own["endValue"]) == expected


def test_negative_values_are_left_out() -> None:
    file = to_file(encode(profile(Sample(stack("f"), (3, -1)), Sample(stack("g"), (-2, 4)))))
    assert [list_stacks(file, number) for number in (0, 1)] == [{"f": 3}, {"g": 4}]


@examples(20)
@given(profile_sets())
def test_files_of_any_profiles_are_valid(profiles: list[Profile]) -> None:
    to_file(encode(profiles[0]))


def test_the_size_is_limited() -> None:
    long = [stack(f"{number}{'x' * 390}") for number in range(3000)]
    many = stack(*(f"f{number}" for number in range(200)))
    for samples in ([Sample(one, (1, 1)) for one in long], [Sample(many[i % 99 :], (1, 1)) for i in range(2000)]):
        with pytest.raises(TooMany) as caught:
            to_speedscope(decode(encode(profile(*samples))).message, 0, "", Limits(export_bytes=1 << 20))
        assert caught.value.code == "max_export_bytes_exceeded"
