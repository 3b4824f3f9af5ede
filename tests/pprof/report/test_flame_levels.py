"""The flame graphs of Grafana: the encoding, the order of nodes and names, and what is folded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.pprof import decode, encode, profile_pb2
from profbucket.pprof.report.flame_levels import FlameLevels, Side, build_flame_levels


def collapsed(*lines: str) -> bytes:
    """Return a pprof of stacks such as ``a;b 1``, the root first."""
    names = sorted({name for line in lines for name in line.rpartition(" ")[0].split(";")})
    message = profile_pb2.Profile(
        string_table=[b"", b"cpu", b"nanoseconds", *(name.encode() for name in names)],
        sample_type=[{"type": 1, "unit": 2}],
        location=[{"id": at, "line": [{"function_id": at}]} for at in range(1, len(names) + 1)],
        function=[{"id": at, "name": at + 2} for at in range(1, len(names) + 1)],
    )
    for line in lines:
        stack, _, value = line.rpartition(" ")
        ids = [names.index(name) + 1 for name in reversed(stack.split(";"))]
        message.sample.add(location_id=ids, value=[int(value)])
    return encode(message)


def levels(*sides: list[str] | None, max_nodes: int = 8192, call_site: tuple[str, ...] = ()) -> FlameLevels:
    profiles = [Side(None if lines is None else collapsed(*lines), "cpu", "nanoseconds") for lines in sides]
    return build_flame_levels(profiles, max_nodes, call_site)


def test_a_profile() -> None:
    graph = levels(["a;b;e 1", "a;c 2", "a;c;d 1"])
    assert graph.names == ["total", "a", "c", "d", "b", "e"]
    assert graph.levels == [[0, 4, 0, 0], [0, 4, 0, 1], [0, 1, 0, 4, 0, 3, 2, 2], [0, 1, 1, 5, 2, 1, 1, 3]]
    assert (graph.totals, graph.max_self) == ([4], 2)


def test_the_difference_of_two_profiles() -> None:
    graph = levels(["a;b 1", "a;c 2"], ["a;b 4", "a;c 8"])
    assert graph.names == ["total", "a", "c", "b"]
    assert graph.levels == [
        [0, 3, 0, 0, 12, 0, 0],
        [0, 3, 0, 0, 12, 0, 1],
        [0, 1, 1, 0, 4, 4, 3, 0, 2, 2, 0, 8, 8, 2],
    ]
    assert (graph.totals, graph.max_self) == ([3, 12], 8)


def test_what_only_one_profile_has() -> None:
    graph = levels(["a;b 1", "a;c 2", "a;e 3"], ["a;b 4", "a;d 8", "a;e 12"])
    assert graph.names == ["total", "a", "e", "d", "c", "b"]
    assert graph.levels[2] == [
        *(0, 1, 1, 0, 4, 4, 5),
        *(0, 2, 2, 0, 0, 0, 4),
        *(0, 0, 0, 0, 8, 8, 3),
        *(0, 3, 3, 0, 12, 12, 2),
    ]


def test_a_missing_profile_is_zero() -> None:
    assert levels(["a 1"], None).levels == [[0, 1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0, 1]]
    assert levels(None, None).levels == [[0, 0, 0, 0, 0, 0, 0]]
    assert levels(None).names == ["total"]


def test_light_nodes_become_other() -> None:
    graph = levels(["a;b 5", "a;c;d 2", "a;c;e 1", "a;f 1"], max_nodes=3)
    assert graph.names == ["total", "a", "other", "c", "b"]
    assert graph.levels == [
        [0, 9, 0, 0],
        [0, 9, 0, 1],
        [0, 5, 5, 4, 0, 3, 0, 3, 0, 1, 1, 2],
        [5, 3, 3, 2],
    ]
    assert levels(["a;b 1", "a;c 1", "a;d 1"], max_nodes=2).names == ["total", "a", "d", "c", "b"]


def test_no_more_nodes_than_the_limit_are_kept() -> None:
    data = collapsed(*(f"f{number} 1" for number in range(100)))
    graph = build_flame_levels([Side(data, "cpu", "nanoseconds")], 10, limits=Limits(flame_nodes=20))
    assert len(graph.levels[1]) == 4 * 20
    assert "other" in graph.names


def test_the_stacks_of_a_call_site() -> None:
    graph = levels(["a;b;e 1", "a;c 2", "b;a;c 4"], call_site=("a", "b"))
    assert graph.levels == [[0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 2], [0, 1, 1, 3]]
    assert levels(["a 1"], call_site=("a", "b")).totals == [0]


def test_values_are_in_the_unit_that_is_asked_for() -> None:
    graph = build_flame_levels([Side(collapsed("a 5000"), "cpu", "microseconds")], 8192)
    assert graph.totals == [5]
    with pytest.raises(Invalid):
        build_flame_levels([Side(collapsed("a 1"), "wall", "nanoseconds")], 8192)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(2**55 + 1, "ns", 2**55 + 1), (2**53 - 1, "us", (2**53 - 1) * 1000), (2**61 + 1, "us", 1000)],
)
def test_large_values_are_scaled_exactly_and_wrap(value: int, unit: str, expected: int) -> None:
    message = decode(collapsed(f"a {value}")).message
    message.string_table[2] = unit.encode()
    assert build_flame_levels([Side(encode(message), "cpu", "nanoseconds")], 100).totals == [expected]


def test_values_wrap_at_64_bits() -> None:
    graph = levels([f"a {2**63 - 1}", "b 1"])
    assert graph.totals == [-(2**63)]
    assert all(-(2**63) <= number < 2**63 for level in graph.levels for number in level)


STACKS = st.lists(
    st.builds(
        lambda stack, value: f"{';'.join(stack)} {value}",
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=5),
        st.integers(1, 100),
    ),
    min_size=1,
    max_size=20,
)


@given(STACKS, STACKS, st.integers(1, 30))
def test_children_lie_within_their_parent(left: list[str], right: list[str], max_nodes: int) -> None:
    """Each side: nodes of a level do not overlap, own values add up to the total, and offsets are children's."""
    graph = levels(left, right, max_nodes=max_nodes)
    for side in range(2):
        above: list[tuple[int, int]] = []
        own = 0
        for level in graph.levels:
            nodes = np.array(level).reshape(-1, 7)[:, 3 * side : 3 * side + 3].tolist()
            spans, end = [], 0
            for offset, total, self_value in nodes:
                begin = end + offset
                end = begin + total
                own += self_value
                assert offset >= 0 <= self_value <= total
                assert not above or any(first <= begin and end <= last for first, last in above)
                spans.append((begin, end))
            above = spans
        assert own == graph.totals[side]
    assert graph.max_self == max(max(level[2::7] + level[5::7]) for level in graph.levels)
