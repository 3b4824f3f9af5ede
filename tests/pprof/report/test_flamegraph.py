"""The tree of a flame graph against one that is built plainly, and against the report of the same profile."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from profbucket.errors import Invalid, TooLarge
from profbucket.limits import Limits
from profbucket.pprof import decode
from profbucket.pprof.report.flamegraph import OTHER, ROOT, build_flamegraph
from profbucket.pprof.report.top import _collect_stacks, build_top_report, find_sample_type
from tests.pprof.report.test_top import CRAFTED, of
from tests.support.paths import DATA
from tests.support.profiles import Profile, Sample, encode, profile_sets, stack

MANY = 10**6

Paths = Mapping[tuple[str, ...], tuple[int, ...]]


def name(answer: Any, function: int) -> str:
    return {ROOT: "(all)", OTHER: "(other)"}.get(function) or str(answer["functions"]["name"][function])


def paths(answer: Any, tree: str = "nodes") -> dict[tuple[str, ...], tuple[int, ...]]:
    """The values of each node by the names from the root to it; no two nodes may have the same."""
    nodes = answer[tree]
    found: dict[tuple[str, ...], tuple[int, ...]] = {}
    at: list[tuple[str, ...]] = []
    for number, (parent, function, *values) in enumerate(
        zip(nodes["parent"], nodes["function"], *nodes["values"], strict=True)
    ):
        assert parent < number or number == parent == 0
        path = (*(at[parent] if number else ()), name(answer, function))
        assert path not in found
        at.append(path)
        found[path] = tuple(values)
    return found


def plain_paths(*profiles: bytes, kind: str = "") -> Paths:
    """The same, built sample by sample from what the report goes by."""
    sums: list[Counter[tuple[str, ...]]] = []
    for data in profiles:
        message = decode(data).message
        nodes, stacks = _collect_stacks(message, find_sample_type(message, kind))
        one: Counter[tuple[str, ...]] = Counter()
        for places, value in stacks:
            frames = [nodes[node].name.decode(errors="replace") for place in places for node in place]
            for depth in range(len(frames) + 1):
                one[("(all)", *frames[:depth])] += value
        one.setdefault(("(all)",), 0)
        sums.append(one)
    return {path: tuple(one.get(path, 0) for one in sums) for path in {p for one in sums for p in one}}


def functions(answer: Any, side: int = 0) -> dict[str, tuple[int, int]]:
    table = answer["functions"]
    return dict(zip(table["name"], zip(table["flat"][side], table["cum"][side], strict=True), strict=True))


def reported(data: bytes, kind: str = "") -> dict[str, tuple[int, int]]:
    return {row.name: (row.flat, row.cum) for row in build_top_report(decode(data), kind, fraction=0).rows}


def one_name_each(profile: Profile) -> bool:
    """Whether no two functions are shown alike: the dicts of these tests could not hold them."""
    message = decode(encode(profile)).message
    nodes = _collect_stacks(message, find_sample_type(message, ""))[0]
    return len({node.name.decode(errors="replace") for node in nodes}) == len(nodes)


single = profile_sets().map(lambda found: found[0]).filter(one_name_each)


# The whole tree


@pytest.mark.parametrize(
    "kind", ["cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "cpu-unsymbolized"]
)
def test_trees_and_tables_of_real_profiles_are_right(kind: str) -> None:
    for file in DATA.glob(f"shop-0.0.1/{kind}*.pb.gz"):
        data = file.read_bytes()
        for sample_type in decode(data).totals:
            answer = build_flamegraph([data], sample_type.type, MANY)
            assert paths(answer) == plain_paths(data, kind=sample_type.type)
            assert {k: v for k, v in functions(answer).items() if v != (0, 0)} == reported(data, sample_type.type)
            assert answer["totals"] == [sample_type.value]
            assert answer["sample_type"] == {"type": sample_type.type, "unit": sample_type.unit}


@pytest.mark.parametrize("case", CRAFTED)
def test_trees_and_tables_of_crafted_profiles_are_right(case: str) -> None:
    data = encode(CRAFTED[case])
    if case == "without symbols":  # two binaries, and frames that only a line keeps apart
        assert build_flamegraph([data], "", MANY)["totals"] == [18]
        return
    answer = build_flamegraph([data], "", MANY)
    assert paths(answer) == plain_paths(data)
    assert {k: v for k, v in functions(answer).items() if v != (0, 0)} == reported(data)


@given(single)
def test_trees_and_tables_of_any_profile_are_right(profile: Profile) -> None:
    data = encode(profile)
    answer = build_flamegraph([data], "", MANY)
    assert paths(answer) == plain_paths(data)
    assert {k: v for k, v in functions(answer).items() if v != (0, 0)} == reported(data)


def test_where_a_function_stands_is_told() -> None:
    answer = build_flamegraph([(DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()], "", MANY)
    number = answer["functions"]["name"].index("main.priceCart")
    assert answer["functions"]["file"][number].endswith("shop/shop.go")
    source = (DATA.parent / "programs" / "shop" / "shop.go").read_text().splitlines()
    assert source[answer["functions"]["line"][number] - 1].startswith("func priceCart(")


# Folded


@given(single, st.integers(2, 40))
@example(of(*((f"main f{i}", 1) for i in range(30))), 7)
def test_folding_loses_no_value_and_holds_the_bound(profile: Profile, most: int) -> None:
    """Kept nodes have their values; "other" has those of all siblings that are not kept."""
    data = encode(profile)
    whole, folded = plain_paths(data), paths(build_flamegraph([data], "", most))
    assert len(folded) <= most
    for path, value in folded.items():
        if path[-1] == "(other)":
            children = [one for one in whole if len(one) == len(path) and one[:-1] == path[:-1]]
            left = [whole[one] for one in children if one not in folded]
            assert left
            assert value == tuple(map(sum, zip(*left, strict=True)))
        else:
            assert value == whole[path]
    for path in folded:  # whoever has children that were folded has an "other"
        children = [one for one in whole if len(one) == len(path) + 1 and one[:-1] == path]
        assert ((*path, "(other)") in folded) == any(one not in folded for one in children)


@given(single, st.integers(2, 40))
def test_the_table_is_exact_whatever_is_folded(profile: Profile, most: int) -> None:
    data = encode(profile)
    expected = reported(data)
    for one, values in functions(build_flamegraph([data], "", most)).items():
        assert expected.get(one, (0, 0)) == values


def test_what_is_folded_is_what_is_small() -> None:
    data = encode(of(*((f"main f{i}", i) for i in range(1, 100))))
    kept = set(paths(build_flamegraph([data], "", 13)))
    assert kept == {("(all)",), ("(all)", "main"), ("(all)", "main", "(other)")} | {
        ("(all)", "main", f"f{i}") for i in range(90, 100)
    }


def test_what_fits_is_not_folded() -> None:
    data = encode(of(("main a", 1), ("main b", 2)))
    assert paths(build_flamegraph([data], "", 4)) == plain_paths(data)
    assert ("(all)", "main", "(other)") not in paths(build_flamegraph([data], "", 4))


def test_a_stack_of_a_hundred_thousand_frames_ends_in_other() -> None:
    deep = tuple(stack("f")) * 100_000
    answer = build_flamegraph([encode(Profile((Sample(deep, (1, 7)),)))], "", MANY)
    found = paths(answer)
    assert len(found) == 1002
    assert found[("(all)", *["f"] * 1000, "(other)")] == (7,)
    assert functions(answer) == {"f": (7, 7)}


# Two beside each other


@given(single)
@settings(max_examples=30)
def test_a_difference_holds_the_values_of_both(one: Profile) -> None:
    two = replace(one, samples=one.samples[::2])
    data = [encode(one), encode(two)]
    answer = build_flamegraph(data, "", MANY)
    assert paths(answer) == plain_paths(*data)
    for side in (0, 1):
        mine = {k: v for k, v in functions(answer, side).items() if v != (0, 0)}
        assert mine == reported(data[side])


def test_what_only_the_base_has_is_there() -> None:
    answer = build_flamegraph([encode(of(("main a", 5))), encode(of(("main b", 3)))], "", MANY)
    assert paths(answer) == {
        ("(all)",): (5, 3),
        ("(all)", "main"): (5, 3),
        ("(all)", "main", "a"): (5, 0),
        ("(all)", "main", "b"): (0, 3),
    }


def test_a_small_profile_is_not_folded_away_beside_a_large_one() -> None:
    """Nodes weigh by their share in their own profile."""
    large = encode(of(*((f"main f{i}", 10**9) for i in range(20))))
    small = encode(of(("main g", 1)))
    assert ("(all)", "main", "g") in paths(build_flamegraph([large, small], "", 5))


def test_profiles_that_measure_different_things_are_invalid() -> None:
    other = encode(replace(of(("main", 1)), sample_types=((b"x", b"y"), (b"cpu", b"years"))))
    with pytest.raises(Invalid, match=r"cpu/nanoseconds.*cpu/years"):
        build_flamegraph([encode(of(("main", 1))), other], "", MANY)


# Around a function


def test_a_function_in_the_middle_has_its_callers_and_callees() -> None:
    data = encode(of(("main a f x", 5), ("main b f y", 3), ("main f", 2), ("main a", 90)))
    answer = build_flamegraph([data], "", MANY, "f")
    assert paths(answer) == {
        ("(all)",): (10,),
        ("(all)", "f"): (10,),
        ("(all)", "f", "x"): (5,),
        ("(all)", "f", "y"): (3,),
    }
    assert paths(answer, "callers") == {
        ("(all)",): (10,),
        ("(all)", "f"): (10,),
        ("(all)", "f", "a"): (5,),
        ("(all)", "f", "a", "main"): (5,),
        ("(all)", "f", "b"): (3,),
        ("(all)", "f", "b", "main"): (3,),
        ("(all)", "f", "main"): (2,),
    }
    assert answer["totals"] == [100]


def test_of_a_recursion_the_outermost_call_counts() -> None:
    answer = build_flamegraph([encode(of(("main f g f x", 5)))], "", MANY, "f")
    assert paths(answer)[("(all)", "f", "g", "f", "x")] == (5,)
    assert paths(answer, "callers") == {("(all)",): (5,), ("(all)", "f"): (5,), ("(all)", "f", "main"): (5,)}


@given(single, st.data())
def test_both_sides_add_up_to_what_the_function_has(profile: Profile, data: st.DataObject) -> None:
    encoded = encode(profile)
    known = [
        one for one, values in functions(build_flamegraph([encoded], "", MANY)).items() if one and values != (0, 0)
    ]
    if not known:
        return
    wanted = data.draw(st.sampled_from(known))
    answer = build_flamegraph([encoded], "", MANY, wanted)
    cum = functions(answer)[wanted][1]
    for tree in ("nodes", "callers"):
        assert paths(answer, tree)[("(all)", wanted)] == paths(answer, tree)[("(all)",)] == (cum,)


def test_a_function_that_is_not_there_is_invalid() -> None:
    with pytest.raises(Invalid, match="'nobody'"):
        build_flamegraph([encode(of(("main", 1)))], "", MANY, "nobody")


# What a stranger sends


def test_sums_beyond_64_bits_are_exact() -> None:
    most = 2**63 - 1
    answer = build_flamegraph([encode(of(("main a", most), ("main b", most)))], "", MANY)
    assert answer["totals"] == [2 * most]
    assert functions(answer)["main"] == (0, 2 * most)
    least = build_flamegraph([encode(of(("main a", -(2**63)), ("main b", -(2**63))))], "", 3)
    assert least["totals"] == [-(2**64)]
    assert paths(least)[("(all)", "main", "(other)")] == (-(2**64),)


def test_a_name_that_is_very_long_is_cut_and_stays_apart() -> None:
    one, other = "f" * 10_000 + "1", "f" * 10_000 + "2"
    answer = build_flamegraph([encode(of((f"main {one}", 5), (f"main {other}", 3)))], "", MANY)
    names = [name for name in answer["functions"]["name"] if name != "main"]
    assert len(set(names)) == 2
    assert all(len(name) < 500 for name in names)
    assert paths(build_flamegraph([encode(of((f"main {one}", 5)))], "", MANY, names[0]))[("(all)", names[0])] == (
        5,
    )


def test_a_merge_over_the_cap_of_a_profile_is_refused() -> None:
    with pytest.raises(TooLarge, match="PROFBUCKET_MAX_INFLATED_BYTES"):
        build_flamegraph([encode(of(("main", 1)))], "", MANY, limits=Limits(inflated_bytes=10))


def test_a_merge_with_too_many_frames_is_refused() -> None:
    """Each of them takes eight bytes a few times over, and one on the wire."""
    deep = Sample(tuple(stack("f")) * 1_000_000, (1, 7))
    data = encode(Profile((deep,) * 5))
    with pytest.raises(TooLarge, match="PROFBUCKET_MAX_ENTRIES"):
        build_flamegraph([data], "", MANY, limits=Limits(entries=1_000_000))


@pytest.mark.parametrize("profile", [of(), Profile((Sample((), (1, 7)),))])
def test_a_profile_without_frames_is_its_root(profile: Profile) -> None:
    """As Go's threadcreate is."""
    data = encode(profile)
    answer = build_flamegraph([data], "", MANY)
    assert list(paths(answer)) == [("(all)",)]
    assert answer["totals"] == [sum(sample.value[1] for sample in decode(data).message.sample)]
