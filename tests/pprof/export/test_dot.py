"""Call graphs have the nodes and edges of ``go tool pprof -dot``."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import given

from profbucket.pprof import decode
from profbucket.pprof.export.dot import to_dot
from profbucket.pprof.merge import merge
from tests.support.go_tool import GoPprof
from tests.support.paths import CORPUS, DATA
from tests.support.profiles import Function, Line, Location, Profile, Sample, encode, profile, profile_sets, stack
from tests.support.property_tests import examples

_STRING = r'"((?:[^"\\]|\\.)*)"'


@dataclass
class Graph:
    """Nodes by name with flat and cum as text; edges with weight, and whether they are residual and inlined."""

    nodes: dict[str, tuple[str, str]]
    edges: dict[tuple[str, str], tuple[str, bool, bool]]


def parse_dot(text: str) -> Graph:
    names, graph = {}, Graph({}, {})
    for line in text.splitlines():
        if node := re.match(rf"(N\d+) \[label={_STRING}.*? tooltip={_STRING}", line):
            name, _, cum = node[3].rpartition(" ")
            names[node[1]] = name
            # The last lines of the label are "flat (share)" and "of cum (share)", or "0 of cum (share)".
            flat = re.search(r"(?:\\n|^)(-?[\d.]+[^ \\(]*)(?: \([^)]*\))?(?:(?:\\n| )of \S+ \([^)]*\))?$", node[2])
            assert flat, line
            graph.nodes[name] = (flat[1], cum.strip("()"))
        elif edge := re.match(rf"(N\d+) -> (N\d+) \[label={_STRING}", line):
            weight = edge[3].strip().partition("\\n")[0]
            is_residual, is_inlined = re.search(r' style="?dotted', line) is not None, "(inline)" in edge[3]
            graph.edges[names[edge[1]], names[edge[2]]] = (weight, is_residual, is_inlined)
    return graph


def draw_with_go(go_pprof: GoPprof, data: bytes, *flags: str) -> Graph:
    source = go_pprof.directory / "dot.pb.gz"
    source.write_bytes(data)
    return parse_dot(go_pprof("-dot", "-taghide=.", *flags, source).check().stdout.decode(errors="replace"))


def draw(data: bytes, column: int = 1, max_nodes: int = 80) -> Graph:
    return parse_dot(to_dot(decode(data).message, column, max_nodes))


@pytest.mark.parametrize("max_nodes", [80, 20, 7])
@pytest.mark.parametrize("name", ["shop-0.0.1/cpu-1.pb.gz", "shop-0.0.1/heap-1.pb.gz", "python/python-cpu.pb.gz"])
def test_graphs_of_real_profiles_equal_those_of_pprof(go_pprof: GoPprof, name: str, max_nodes: int) -> None:
    data = (DATA / name).read_bytes()
    expected = draw_with_go(go_pprof, data, "-sample_index=1", f"-nodecount={max_nodes}")
    assert draw(data, max_nodes=max_nodes) == expected
    assert 1 < len(expected.nodes) <= max_nodes
    assert expected.edges


@pytest.mark.parametrize("max_nodes", [80, 25])
def test_graphs_of_the_corpus_equal_those_of_pprof(go_pprof: GoPprof, max_nodes: int) -> None:
    """Graphs with residual and redundant edges."""
    sources = sorted(CORPUS.glob("*.pb.gz"))[::15]
    if not sources:
        pytest.skip("the corpus of Go CPU profiles is missing: see tests/support/paths.py")
    data = merge(source.read_bytes() for source in sources)
    expected = draw_with_go(go_pprof, data, f"-nodecount={max_nodes}")
    assert draw(data, max_nodes=max_nodes) == expected
    assert any(is_residual for _, is_residual, _ in expected.edges.values())


def test_inlined_and_residual_calls_are_marked(go_pprof: GoPprof) -> None:
    inlined = Location(lines=tuple(Line(Function(name, name)) for name in (b"inner", b"outer")))
    samples = [Sample((inlined, *stack("main")), (1, 500)), Sample(stack("leaf", "tiny", "main"), (1, 500))]
    data = encode(profile(*samples, sample_types=((b"a", b"count"), (b"b", b"count"))))
    whole = draw(data)
    assert whole == draw_with_go(go_pprof, data)
    assert whole.edges["outer", "inner"] == ("500", False, True)
    part = draw(data, max_nodes=4)
    assert part == draw_with_go(go_pprof, data, "-nodecount=4")
    assert any(is_residual for _, is_residual, _ in part.edges.values())


@examples(15)
@given(profile_sets(columns=False, headers=False))
def test_graphs_of_any_profiles_hold_its_functions(profiles: list[Profile]) -> None:
    message = decode(encode(profiles[0])).message
    text = to_dot(message, 0, 500)
    assert len(parse_dot(text).nodes) <= len(message.function) + len(message.mapping) + 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)


def test_names_cannot_break_the_format() -> None:
    names = ('a"];b', "back\\", "new\nline", "a&b", "\x1b[2J")
    data = encode(profile(*(Sample(stack(name), (1, 1)) for name in names), comments=(b'x"\\l]}',)))
    text = to_dot(decode(data).message, 1, 80)
    assert set(parse_dot(text).nodes) == {'a\\"];b', "back\\\\", "new\ufffdline", "a&b", "\ufffd[2J"}
    assert 'label="x\\"\\\\l]}\\lType: cpu\\l' in text
