"""The tree of a flame graph compared with one built plainly, and with the top report of the same profile."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profbucket.errors import Invalid, TooLarge
from profbucket.limits import Limits
from profbucket.pprof import decode
from profbucket.pprof.report.flamegraph import OTHER, ROOT, build_flamegraph
from profbucket.pprof.report.top import build_top_report, collect_node_stacks, find_sample_type
from tests.pprof.report.test_top import CRAFTED, has_distinct_names, of
from tests.support.paths import DATA
from tests.support.profiles import Profile, Sample, encode, profile_sets, stack
from tests.support.property_tests import examples

UNLIMITED = 10**6

Paths = Mapping[tuple[str, ...], tuple[int, ...]]


def format_name(graph: Any, function: int) -> str:
    return {ROOT: "(all)", OTHER: "(other)"}.get(function) or str(graph["functions"]["name"][function])


def list_paths(graph: Any, tree: str = "nodes") -> dict[tuple[str, ...], tuple[int, ...]]:
    """Return the values of each node by the names from the root to it; no two nodes may have the same names."""
    nodes = graph[tree]
    values_by_path: dict[tuple[str, ...], tuple[int, ...]] = {}
    paths: list[tuple[str, ...]] = []
    for number, (parent, function, *values) in enumerate(
        zip(nodes["parent"], nodes["function"], *nodes["values"], strict=True)
    ):
        assert parent < number or number == parent == 0
        path = (*(paths[parent] if number else ()), format_name(graph, function))
        assert path not in values_by_path
        paths.append(path)
        values_by_path[path] = tuple(values)
    return values_by_path


def list_paths_plainly(*profiles: bytes, sample_type: str = "") -> Paths:
    """Return what :func:`list_paths` should, added up sample by sample from the stacks of the top report."""
    sums: list[Counter[tuple[str, ...]]] = []
    for data in profiles:
        message = decode(data).message
        nodes, stacks = collect_node_stacks(message, find_sample_type(message, sample_type))
        counter: Counter[tuple[str, ...]] = Counter()
        for locations, value in stacks:
            frames = [nodes[node].name.decode(errors="replace") for location in locations for node in location]
            for depth in range(len(frames) + 1):
                counter[("(all)", *frames[:depth])] += value
        counter.setdefault(("(all)",), 0)
        sums.append(counter)
    all_paths = {path for counter in sums for path in counter}
    return {path: tuple(counter.get(path, 0) for counter in sums) for path in all_paths}


def list_functions(graph: Any, side: int = 0) -> dict[str, tuple[int, int]]:
    """Return flat and cumulative value of each function."""
    table = graph["functions"]
    return dict(zip(table["name"], zip(table["flat"][side], table["cum"][side], strict=True), strict=True))


def list_nonzero(graph: Any, side: int = 0) -> dict[str, tuple[int, int]]:
    """Return flat and cumulative value of each function that has one."""
    return {name: values for name, values in list_functions(graph, side).items() if values != (0, 0)}


def list_reported(data: bytes, sample_type: str = "") -> dict[str, tuple[int, int]]:
    """Return flat and cumulative value of each function in the top report."""
    return {row.name: (row.flat, row.cum) for row in build_top_report(decode(data), sample_type, fraction=0).rows}


# These tests use names as keys.
single_profiles = profile_sets().map(lambda profiles: profiles[0]).filter(has_distinct_names)


# The whole tree


@pytest.mark.parametrize(
    "profile_type", ["cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "cpu-unsymbolized"]
)
def test_trees_and_tables_of_real_profiles_are_right(profile_type: str) -> None:
    for file in DATA.glob(f"shop-0.0.1/{profile_type}*.pb.gz"):
        data = file.read_bytes()
        for sample_type in decode(data).totals:
            graph = build_flamegraph([data], sample_type.type, UNLIMITED)
            assert list_paths(graph) == list_paths_plainly(data, sample_type=sample_type.type)
            assert list_nonzero(graph) == list_reported(data, sample_type.type)
            assert graph["totals"] == [sample_type.value]
            assert graph["sample_type"] == {"type": sample_type.type, "unit": sample_type.unit}


@pytest.mark.parametrize("case", CRAFTED)
def test_trees_and_tables_of_crafted_profiles_are_right(case: str) -> None:
    data = encode(CRAFTED[case])
    if case == "without symbols":  # two binaries, and frames that only a line keeps apart
        assert build_flamegraph([data], "", UNLIMITED)["totals"] == [18]
        return
    graph = build_flamegraph([data], "", UNLIMITED)
    assert list_paths(graph) == list_paths_plainly(data)
    assert list_nonzero(graph) == list_reported(data)


@given(single_profiles)
def test_trees_and_tables_of_any_profile_are_right(profile: Profile) -> None:
    data = encode(profile)
    graph = build_flamegraph([data], "", UNLIMITED)
    assert list_paths(graph) == list_paths_plainly(data)
    assert list_nonzero(graph) == list_reported(data)


def test_functions_have_file_and_line() -> None:
    graph = build_flamegraph([(DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()], "", UNLIMITED)
    number = graph["functions"]["name"].index("main.priceCart")
    assert graph["functions"]["file"][number].endswith("shop/shop.go")
    source = (DATA.parent / "programs" / "shop" / "shop.go").read_text().splitlines()
    assert source[graph["functions"]["line"][number] - 1].startswith("func priceCart(")


# Folded


@given(single_profiles, st.integers(2, 40))
@example(of(*((f"main f{i}", 1) for i in range(30))), 7)
def test_folding_loses_no_value_and_keeps_to_the_limit(profile: Profile, max_nodes: int) -> None:
    """Kept nodes have their values; "other" has those of all siblings that are not kept."""
    data = encode(profile)
    whole, folded = list_paths_plainly(data), list_paths(build_flamegraph([data], "", max_nodes))
    assert len(folded) <= max_nodes
    for path, value in folded.items():
        if path[-1] == "(other)":
            siblings = [other for other in whole if len(other) == len(path) and other[:-1] == path[:-1]]
            left = [whole[sibling] for sibling in siblings if sibling not in folded]
            assert left
            assert value == tuple(map(sum, zip(*left, strict=True)))
        else:
            assert value == whole[path]
    for path in folded:  # a node has an "other" exactly if children of it were folded
        children = [other for other in whole if len(other) == len(path) + 1 and other[:-1] == path]
        assert ((*path, "(other)") in folded) == any(child not in folded for child in children)


@given(single_profiles, st.integers(2, 40))
def test_the_table_is_not_affected_by_folding(profile: Profile, max_nodes: int) -> None:
    data = encode(profile)
    expected = list_reported(data)
    for name, values in list_functions(build_flamegraph([data], "", max_nodes)).items():
        assert expected.get(name, (0, 0)) == values


def test_the_smallest_nodes_are_folded() -> None:
    data = encode(of(*((f"main f{i}", i) for i in range(1, 100))))
    kept = set(list_paths(build_flamegraph([data], "", 13)))
    assert kept == {("(all)",), ("(all)", "main"), ("(all)", "main", "(other)")} | {
        ("(all)", "main", f"f{i}") for i in range(90, 100)
    }


def test_a_tree_within_the_limit_is_not_folded() -> None:
    data = encode(of(("main a", 1), ("main b", 2)))
    assert list_paths(build_flamegraph([data], "", 4)) == list_paths_plainly(data)
    assert ("(all)", "main", "(other)") not in list_paths(build_flamegraph([data], "", 4))


def test_a_stack_of_a_hundred_thousand_frames_ends_in_other() -> None:
    deep = tuple(stack("f")) * 100_000
    graph = build_flamegraph([encode(Profile((Sample(deep, (1, 7)),)))], "", UNLIMITED)
    paths = list_paths(graph)
    assert len(paths) == 1002
    assert paths[("(all)", *["f"] * 1000, "(other)")] == (7,)
    assert list_functions(graph) == {"f": (7, 7)}


# Comparisons of two profiles


@given(single_profiles)
@examples(15)
def test_a_comparison_has_the_values_of_both(first: Profile) -> None:
    second = replace(first, samples=first.samples[::2])
    data = [encode(first), encode(second)]
    graph = build_flamegraph(data, "", UNLIMITED)
    assert list_paths(graph) == list_paths_plainly(*data)
    for side in (0, 1):
        assert list_nonzero(graph, side) == list_reported(data[side])


def test_functions_of_only_one_profile_are_included() -> None:
    graph = build_flamegraph([encode(of(("main a", 5))), encode(of(("main b", 3)))], "", UNLIMITED)
    assert list_paths(graph) == {
        ("(all)",): (5, 3),
        ("(all)", "main"): (5, 3),
        ("(all)", "main", "a"): (5, 0),
        ("(all)", "main", "b"): (0, 3),
    }


def test_a_small_profile_is_not_folded_in_comparison_with_a_large_one() -> None:
    """Nodes are weighed by their share in their own profile."""
    large = encode(of(*((f"main f{i}", 10**9) for i in range(20))))
    small = encode(of(("main g", 1)))
    assert ("(all)", "main", "g") in list_paths(build_flamegraph([large, small], "", 5))


def test_profiles_with_different_sample_types_are_rejected() -> None:
    other = encode(replace(of(("main", 1)), sample_types=((b"x", b"y"), (b"cpu", b"years"))))
    with pytest.raises(Invalid, match=r"cpu/nanoseconds.*cpu/years") as caught:
        build_flamegraph([encode(of(("main", 1))), other], "", UNLIMITED)
    assert caught.value.code == "sample_types_differ"


# Focus on a function


def test_a_function_in_the_middle_has_its_callers_and_callees() -> None:
    data = encode(of(("main a f x", 5), ("main b f y", 3), ("main f", 2), ("main a", 90)))
    graph = build_flamegraph([data], "", UNLIMITED, "f")
    assert list_paths(graph) == {
        ("(all)",): (10,),
        ("(all)", "f"): (10,),
        ("(all)", "f", "x"): (5,),
        ("(all)", "f", "y"): (3,),
    }
    assert list_paths(graph, "callers") == {
        ("(all)",): (10,),
        ("(all)", "f"): (10,),
        ("(all)", "f", "a"): (5,),
        ("(all)", "f", "a", "main"): (5,),
        ("(all)", "f", "b"): (3,),
        ("(all)", "f", "b", "main"): (3,),
        ("(all)", "f", "main"): (2,),
    }
    assert graph["totals"] == [100]


def test_the_outermost_call_of_a_recursion_counts() -> None:
    graph = build_flamegraph([encode(of(("main f g f x", 5)))], "", UNLIMITED, "f")
    assert list_paths(graph)[("(all)", "f", "g", "f", "x")] == (5,)
    assert list_paths(graph, "callers") == {("(all)",): (5,), ("(all)", "f"): (5,), ("(all)", "f", "main"): (5,)}


@given(single_profiles, st.data())
def test_callers_and_callees_add_up_to_the_function(profile: Profile, data: st.DataObject) -> None:
    encoded = encode(profile)
    known = [name for name in list_nonzero(build_flamegraph([encoded], "", UNLIMITED)) if name]
    if not known:
        return
    function = data.draw(st.sampled_from(known))
    graph = build_flamegraph([encoded], "", UNLIMITED, function)
    cum = list_functions(graph)[function][1]
    for tree in ("nodes", "callers"):
        assert list_paths(graph, tree)[("(all)", function)] == list_paths(graph, tree)[("(all)",)] == (cum,)


def test_an_unknown_function_is_rejected() -> None:
    with pytest.raises(Invalid, match="'nobody'") as caught:
        build_flamegraph([encode(of(("main", 1)))], "", UNLIMITED, "nobody")
    assert caught.value.code == "unknown_function"


# Malicious profiles


def test_sums_beyond_64_bits_are_exact() -> None:
    largest = 2**63 - 1
    graph = build_flamegraph([encode(of(("main a", largest), ("main b", largest)))], "", UNLIMITED)
    assert graph["totals"] == [2 * largest]
    assert list_functions(graph)["main"] == (0, 2 * largest)
    negative = build_flamegraph([encode(of(("main a", -(2**63)), ("main b", -(2**63))))], "", 3)
    assert negative["totals"] == [-(2**64)]
    assert list_paths(negative)[("(all)", "main", "(other)")] == (-(2**64),)


def test_very_long_names_are_cut_and_stay_distinct() -> None:
    first, second = "f" * 10_000 + "1", "f" * 10_000 + "2"
    graph = build_flamegraph([encode(of((f"main {first}", 5), (f"main {second}", 3)))], "", UNLIMITED)
    names = [name for name in graph["functions"]["name"] if name != "main"]
    assert len(set(names)) == 2
    assert all(len(name) < 500 for name in names)
    assert list_paths(build_flamegraph([encode(of((f"main {first}", 5)))], "", UNLIMITED, names[0]))[
        ("(all)", names[0])
    ] == (5,)


def test_a_profile_that_exceeds_the_limit_of_bytes_is_rejected() -> None:
    with pytest.raises(TooLarge) as caught:
        build_flamegraph([encode(of(("main", 1)))], "", UNLIMITED, limits=Limits(inflated_bytes=10))
    assert caught.value.code == "max_inflated_bytes_exceeded"


def test_a_profile_with_too_many_frames_is_rejected() -> None:
    """A frame of one byte takes several times eight bytes of memory."""
    deep = Sample(tuple(stack("f")) * 1_000_000, (1, 7))
    data = encode(Profile((deep,) * 5))
    with pytest.raises(TooLarge) as caught:
        build_flamegraph([data], "", UNLIMITED, limits=Limits(entries=1_000_000))
    assert caught.value.code == "max_entries_exceeded"


@pytest.mark.parametrize("profile", [of(), Profile((Sample((), (1, 7)),))])
def test_the_tree_of_a_profile_without_frames_is_the_root(profile: Profile) -> None:
    """Go's threadcreate profiles have no frames."""
    data = encode(profile)
    graph = build_flamegraph([data], "", UNLIMITED)
    assert list(list_paths(graph)) == [("(all)",)]
    assert graph["totals"] == [sum(sample.value[1] for sample in decode(data).message.sample)]
