"""The labels of samples and their totals equal those of ``go tool pprof -tags``."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.pprof.report import tags
from profbucket.pprof.report.tags import build_tags
from tests.support.go_tool import GoPprof
from tests.support.paths import DATA
from tests.support.profiles import Label, Profile, Sample, encode, profile, stack
from tests.support.property_tests import examples

COUNTS = ((b"calls", b"count"), (b"hits", b"count"))

_Tags = dict[str, tuple[int, dict[str, int]]]  # the total of each key, and those of its values


def list_tags(data: bytes, sample_type: str = "") -> _Tags:
    listed: _Tags = {}
    for tag in build_tags(data, sample_type)["tags"]:
        # pprof does not tell numbers apart that look alike: 1kB may be 1024 or 1025 bytes.
        values: Counter[str] = Counter()
        for value in tag["values"]:
            values[value["value"]] += value["total"]
        listed[tag["key"]] = (tag["total"], dict(values))
    return listed


def list_tags_with_go(go_pprof: GoPprof, data: bytes, sample_type: str) -> _Tags:
    source = go_pprof.directory / "tags.pb.gz"
    source.write_bytes(data)
    listed: _Tags = {}
    values: dict[str, int] = {}
    for line in go_pprof("-tags", f"-sample_index={sample_type}", source).check().text.splitlines():
        if header := re.fullmatch(r" *(\S*): +Total (-?\d+) of \d+(?: \( *\S+%\))?", line):
            values = {}
            listed[header[1]] = (int(header[2]), values)
        elif value := re.fullmatch(r" *(-?\d+)(?: \( *\S+%\))?: (.*)", line):
            values[value[2].strip()] = int(value[1])
        else:
            assert not line.strip(), line
    return listed


SAMPLES = (
    Sample(stack("a"), (1, 50), (Label(b"endpoint", b"/zip"), Label(b"bytes", number=1024, unit=b"bytes"))),
    Sample(stack("b"), (1, 7), (Label(b"endpoint", b"/zip"), Label(b"bytes", number=1025, unit=b"bytes"))),
    Sample(stack("b"), (1, 3), (Label(b"endpoint", b"/zip"), Label(b"endpoint", b"/login"))),
    Sample(stack("b"), (2, -9), (Label(b"late", number=1500), Label(b"ms", number=1500), Label(b"bytes", b"x"))),
    Sample(stack("c"), (3, 1), (Label(b"request", number=4 << 20),)),
    Sample(stack("c"), (4, 11)),
)


def test_tags_are_listed_with_numbers_and_units() -> None:
    report = build_tags(encode(profile(*SAMPLES, sample_types=COUNTS)))
    assert report == {
        "sample_type": {"type": "hits", "unit": "count"},
        "total": 81,
        "tags": [
            {
                "key": "endpoint",
                "total": 63,
                "values": [{"value": "/zip", "total": 60}, {"value": "/login", "total": 3}],
                "others": 0,
            },
            {
                "key": "bytes",
                "total": 48,
                "unit": "bytes",
                "values": [
                    {"value": "1kB", "number": 1024, "total": 50},
                    {"value": "x", "total": -9},
                    {"value": "1kB", "number": 1025, "total": 7},
                ],
                "others": 0,
            },
            {
                "key": "late",
                "total": -9,
                "values": [{"value": "1500", "number": 1500, "total": -9}],
                "others": 0,
            },
            {
                "key": "ms",
                "total": -9,
                "unit": "ms",
                "values": [{"value": "1.50s", "number": 1500, "total": -9}],
                "others": 0,
            },
            {
                "key": "request",
                "total": 1,
                "unit": "bytes",
                "values": [{"value": "4MB", "number": 4 << 20, "total": 1}],
                "others": 0,
            },
        ],
        "others": 0,
    }


@pytest.mark.parametrize("sample_type", ["calls", "hits"])
def test_tags_equal_those_of_pprof(go_pprof: GoPprof, sample_type: str) -> None:
    data = encode(profile(*SAMPLES, sample_types=COUNTS))
    assert list_tags(data, sample_type) == list_tags_with_go(go_pprof, data, sample_type)


def test_tags_of_real_profiles_equal_those_of_pprof(go_pprof: GoPprof) -> None:
    data = (DATA / "shop-0.0.1" / "heap-1.pb.gz").read_bytes()
    assert list_tags(data, "alloc_objects") == list_tags_with_go(go_pprof, data, "alloc_objects")
    assert list_tags(data)["bytes"][0] > 0


@st.composite
def profiles_with_labels(draw: Callable[..., Any]) -> Profile:
    keys = st.sampled_from([b"a", b"bytes", b"ms", b"request", b"s\xc3\xb6"])
    texts = st.builds(Label, keys, text=st.sampled_from([b"x", b"y=z", b"1kB", b"2"]))
    numbers = st.builds(
        Label,
        keys,
        number=st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3000),
        unit=st.sampled_from([b"", b"bytes", b"ms", b"hours", b"widgets"]),
    )
    samples = st.builds(
        Sample,
        st.sampled_from([stack("f"), stack("g", "f")]),
        st.tuples(st.integers(1, 9), st.integers(-(2**40), 2**40)),
        st.lists(texts | numbers, max_size=4).map(tuple),
    )
    return profile(*draw(st.lists(samples, max_size=8)), sample_types=COUNTS)


@examples(15)
@given(profiles_with_labels())
def test_tags_of_any_profiles_equal_those_of_pprof(go_pprof: GoPprof, content: Profile) -> None:
    data = encode(content)
    assert list_tags(data) == list_tags_with_go(go_pprof, data, "hits")


def test_the_largest_tags_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [
        Sample(stack("f"), (1, number), (Label(b"k", b"%d" % number), Label(b"k%d" % number, b"v" * 500)))
        for number in range(1, 9)
    ]
    data = encode(profile(*samples, sample_types=COUNTS))
    for name, limit in (("KEYS", 3), ("VALUES", 5), ("LISTED", 6)):
        monkeypatch.setattr(tags, f"_MAX_{name}", limit)
    report = build_tags(data)
    assert [(tag["key"], len(tag["values"]), tag["others"]) for tag in report["tags"]] == [
        ("k", 5, 3),
        ("k8", 1, 0),
        ("k7", 0, 1),
    ]
    assert report["others"] == 6
    assert [value["value"] for value in report["tags"][0]["values"]] == ["8", "7", "6", "5", "4"]
    assert len(report["tags"][1]["values"][0]["value"]) < 420  # long texts are shortened


def test_an_unknown_sample_type_is_rejected() -> None:
    with pytest.raises(Invalid) as caught:
        build_tags(encode(profile(*SAMPLES)), "x")
    assert caught.value.code == "unknown_sample_type"
