"""The direct callers and callees of a function, compared with those of ``go tool pprof -peek``."""

import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.pprof import decode
from profbucket.pprof.merge import merge
from profbucket.pprof.report.flamegraph import build_flamegraph
from tests.pprof.report.test_top import of
from tests.support.go_tool import GoPprof
from tests.support.paths import DATA
from tests.support.profiles import encode
from tests.support.property_tests import examples

UNLIMITED = 10**6

_Calls = tuple[dict[str, int], dict[str, int]]  # callers and callees, with values


def list_calls(data: bytes, function: str, sample_type: str = "", side: int = 0) -> _Calls:
    graph = build_flamegraph([data], sample_type, UNLIMITED, function)
    return calls_of(graph, "callers", side), calls_of(graph, "callees", side)


def calls_of(graph: Any, end: str, side: int = 0) -> dict[str, int]:
    calls = graph["peek"][end]
    names = [graph["functions"]["name"][function] for function in calls["function"]]
    return dict(zip(names, calls["values"][side], strict=True))


def list_calls_with_go(go_pprof: GoPprof, data: bytes, function: str, sample_type: str) -> _Calls:
    source = go_pprof.directory / "peek.pb.gz"
    source.write_bytes(data)
    pattern = f"-peek=^{re.escape(function)}$"
    text = go_pprof(pattern, f"-sample_index={sample_type}", source).check().text
    ends: _Calls = ({}, {})
    is_below = False
    for line in text.splitlines():
        row = re.fullmatch(r" *(.*?) +\| +(.*?)(?: \(inline\))?", line)
        if not row:
            continue
        if row[2] == function and row[1].count("%") == 3:
            is_below = True
        else:
            ends[is_below][row[2]] = int(row[1].split()[0])
    assert is_below, text
    return ends


def test_a_caller_counts_once_per_sample() -> None:
    data = encode(of(("main a f x", 5), ("main b f f y f y", 3), ("f", 2), ("main a", 90)))
    assert list_calls(data, "f") == ({"a": 5, "b": 3, "y": 3}, {"x": 5, "y": 3})
    assert list_calls(data, "y") == ({"f": 3}, {"f": 3})
    assert list_calls(data, "x") == ({"f": 5}, {})


def test_the_heaviest_are_listed_first_and_at_most_as_many_as_nodes() -> None:
    data = encode(of(*((f"main{number} f", number) for number in range(1, 9))))
    assert list(list_calls(data, "f")[0].items())[:2] == [("main8", 8), ("main7", 7)]
    graph = build_flamegraph([data], "", 3, "f")
    assert calls_of(graph, "callers") == {"main8": 8, "main7": 7, "main6": 6}


def test_a_comparison_has_the_calls_of_both() -> None:
    data, base = (encode(of(sample, ("main a", 9))) for sample in (("main f x", 5), ("g f x", 2)))
    graph = build_flamegraph([data, base], "", UNLIMITED, "f")
    assert [calls_of(graph, "callers", side) for side in (0, 1)] == [{"main": 5, "g": 0}, {"main": 0, "g": 2}]
    assert "peek" not in build_flamegraph([data, base], "", UNLIMITED)


@pytest.mark.parametrize("function", ["main.sign", "main.(*shop).handle.func1", "runtime.mallocgc"])
def test_calls_in_real_profiles_equal_those_of_pprof(go_pprof: GoPprof, function: str) -> None:
    data = merge([file.read_bytes() for file in sorted((DATA / "shop-0.0.1").glob("cpu-[123].pb.gz"))])
    assert decode(data).totals
    assert list_calls(data, function, "samples") == list_calls_with_go(go_pprof, data, function, "samples")


stacks = st.lists(st.sampled_from(["f", "g", "h", "k"]), min_size=1, max_size=6).map(" ".join)


@examples(15)
@given(st.lists(st.tuples(stacks, st.integers(1, 99)), min_size=1, max_size=8))
def test_calls_in_any_profile_equal_those_added_up_plainly(samples: list[tuple[str, int]]) -> None:
    callers: Counter[str] = Counter()
    callees: Counter[str] = Counter()
    for text, value in [*samples, ("f", 1)]:
        frames = text.split()
        calls = {pair for pair in pairwise(frames) if pair[0] != pair[1]}
        for caller, callee in calls:
            if callee == "f":
                callers[caller] += value
            if caller == "f":
                callees[callee] += value
    assert list_calls(encode(of(*samples, ("f", 1))), "f") == (dict(callers), dict(callees))
