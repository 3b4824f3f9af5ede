"""The call graph of a profile in Graphviz's language, with the nodes and edges of `go tool pprof -dot`."""

from collections.abc import Callable, Iterator
from math import ceil, sqrt

from profbucket.limits import Limits
from profbucket.model.printable import to_printable
from profbucket.pprof import profile_pb2
from profbucket.pprof.export.call_graph import CallGraph, GraphEdge, GraphNode
from profbucket.pprof.report.stacks import shorten_name
from profbucket.pprof.report.top import (
    TopRow,
    choose_unit,
    collect_node_stacks,
    compute_total,
    describe_profile,
    sample_types_to_json,
)
from profbucket.pprof.report.units import format_percentage, format_value

_SMALLEST_FONT, _FONT_GROWTH = 8, 16  # points
_MAX_PEN_WIDTH = 5
_MAX_LEGEND_CHARACTERS = 400  # of one line, which may be a comment of a profile


def to_dot(
    message: profile_pb2.Profile,
    column: int,
    max_nodes: int,
    limits: Limits = Limits(),
    check_time: Callable[[], None] = lambda: None,
) -> str:
    """Return the call graph of *message* in sample type *column*, with at most *max_nodes* functions.

    *check_time* is called now and then, and may raise an error. Raise ``TooMany`` if the stacks have more than
    ``limits.frames`` frames.
    """
    nodes, stacks = collect_node_stacks(message, column, limits)
    names = [to_printable(shorten_name(node.name)) for node in nodes]
    graph = CallGraph(names, stacks, max_nodes, check_time)
    return "\n".join([*_Writer(message, column, graph).lines(), ""])


class _Writer:
    def __init__(self, message: profile_pb2.Profile, column: int, graph: CallGraph) -> None:
        self._message = message
        self._column = column
        self._graph = graph
        self._total = compute_total(message, column)
        self._profile_unit = sample_types_to_json(message)[column]["unit"]
        rows = [TopRow(node.name, node.flat, node.cum) for node in graph.nodes]
        self._unit = choose_unit(rows, self._total, self._profile_unit)

    def lines(self) -> Iterator[str]:
        """Yield the graph, line by line."""
        yield "digraph profile {"
        yield 'node [style=filled fillcolor="#f8f8f8" shape=box]'
        lines = (to_printable(line[:_MAX_LEGEND_CHARACTERS]) for line in self._describe())
        legend = _quote(*lines, end="\\l")
        yield f"subgraph cluster_L {{ L [fontsize=16 label={legend}] }}"
        largest = max((abs(node.flat) for node in self._graph.nodes), default=0)
        numbers = {node: number for number, node in enumerate(self._graph.nodes, 1)}
        for node, number in numbers.items():
            yield f"N{number} [{self._node_attributes(node, largest)}]"
        for edge in self._graph.edges():
            yield f"N{numbers[edge.source]} -> N{numbers[edge.target]} [{self._edge_attributes(edge)}]"
        yield "}"

    def _describe(self) -> Iterator[str]:
        total = self._format(self._total)
        yield from describe_profile(self._message, self._column, self._total, total)
        shown = sum(node.flat for node in self._graph.nodes)
        yield f"Showing nodes accounting for {self._format(shown)}, {self._share(shown)} of {total} total"

    def _node_attributes(self, node: GraphNode, largest: int) -> str:
        label = [node.name, f"{self._format(node.flat)} ({self._share(node.flat)})" if node.flat else "0"]
        if node.cum != node.flat:
            label.append(f"of {self._format(node.cum)} ({self._share(node.cum)})")
        font = _SMALLEST_FONT + (ceil(_FONT_GROWTH * sqrt(abs(node.flat) / largest)) if largest else 0)
        tooltip = f"{node.name} ({self._format(node.cum)})"
        colors = f'color="{self._choose_color(node.cum, 100)}" fillcolor="{self._choose_color(node.cum, 12)}"'
        return f"label={_quote(*label)} fontsize={font} tooltip={_quote(tooltip)} {colors}"

    def _edge_attributes(self, edge: GraphEdge) -> str:
        weight = self._format(edge.weight)
        label = [f" {weight}", " (inline)"] if edge.is_inlined else [f" {weight}"]
        arrow = "..." if edge.is_residual else "->"
        tooltip = _quote(f"{edge.source.name} {arrow} {edge.target.name} ({weight})")
        share = min(abs(edge.weight) / self._total, 1.0) if self._total else 0.0
        width = 1 + int(share * _MAX_PEN_WIDTH)
        style = " style=dotted" if edge.is_residual else ""
        return (
            f"label={_quote(*label)} weight={1 + int(100 * share)} penwidth={width}"
            f' color="{self._choose_color(edge.weight, 100)}" tooltip={tooltip} labeltooltip={tooltip}{style}'
        )

    def _format(self, value: int) -> str:
        return format_value(value, self._profile_unit, self._unit)

    def _share(self, value: int) -> str:
        return format_percentage(value, self._total).strip()

    def _choose_color(self, value: int, saturation: int) -> str:
        """Return hue, saturation and value of a color: red, green for a negative value, gray for a small one."""
        share = min(abs(value) / self._total, 1.0) if self._total else 0.0
        hue = 0.0 if value >= 0 else 0.33
        return f"{hue} {min(share**0.3, 1.0) * saturation / 100:.3f} {0.7 if saturation == 100 else 0.95}"


def _quote(*lines: str, end: str = "") -> str:
    """Return *lines* as one quoted string, each but the last followed by a line break, or each by *end*."""
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    text = "".join(line + end for line in escaped) if end else "\\n".join(escaped)
    return f'"{text}"'
