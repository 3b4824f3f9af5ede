"""The call graph of a profile, reduced to what can be looked at, as `go tool pprof` does for its `-dot`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import log2

from profbucket.pprof.report.top import NodeStack

_MIN_NODE_FRACTION = 0.005
_MIN_EDGE_FRACTION = 0.001


@dataclass(slots=True, eq=False)
class GraphEdge:
    """Calls from one node to another. A residual edge passes nodes that are not shown."""

    source: "GraphNode"
    target: "GraphNode"
    weight: int = 0
    is_residual: bool = False
    is_inlined: bool = True


@dataclass(slots=True, eq=False)
class GraphNode:
    """A function: ``flat`` is its own value, ``cum`` includes all that it called. Edges are by the other node."""

    name: str
    flat: int = 0
    cum: int = 0
    incoming: "dict[GraphNode, GraphEdge]" = field(default_factory=dict)
    outgoing: "dict[GraphNode, GraphEdge]" = field(default_factory=dict)

    def score(self) -> int:
        """Return how much the node tells: those that only pass on what one caller wants score lower."""
        score = _compute_entropy(self.incoming.values(), 0) if self.incoming else 1.0
        score += _compute_entropy(self.outgoing.values(), self.flat) if self.outgoing else 1.0
        return int(score * self.cum) + self.flat


class CallGraph:
    """The graph of *stacks* of nodes, each with a value. *names* are those of the nodes, by number.

    It has at most *max_nodes* nodes, those that tell most, without those and edges that are too light to see.
    """

    def __init__(
        self,
        names: Sequence[str],
        stacks: Sequence[tuple[NodeStack, int]],
        max_nodes: int,
        check_time: Callable[[], None] = lambda: None,
    ) -> None:
        self._names = names
        self._stacks = stacks
        self._check_time = check_time
        nodes = self._build(frozenset(range(len(names))))
        total = sum(node.flat for node in nodes.values())
        node_cutoff, edge_cutoff = abs(int(total * _MIN_NODE_FRACTION)), abs(int(total * _MIN_EDGE_FRACTION))
        kept = [number for number, node in nodes.items() if abs(node.cum) >= node_cutoff]
        if len(kept) < len(nodes):
            nodes = self._build(frozenset(kept))
        _trim_edges(nodes.values(), edge_cutoff)
        order = _sort_nodes(nodes)
        if len(order) > max_nodes:
            nodes = self._build(frozenset(order[:max_nodes]))
            order = _sort_nodes(nodes)
            _trim_edges(nodes.values(), edge_cutoff)
        self.nodes = [nodes[number] for number in order]
        for node in reversed(self.nodes):
            check_time()
            _remove_redundant_edges(node)

    def edges(self) -> list[GraphEdge]:
        """Return all edges, the heaviest first."""
        return _sort_edges(edge for node in self.nodes for edge in node.outgoing.values())

    def _build(self, kept: frozenset[int]) -> dict[int, GraphNode]:
        """Return the graph of the *kept* nodes, by number."""
        nodes = {number: GraphNode(self._names[number]) for number in kept}
        for position, (stack, value) in enumerate(self._stacks):
            if position % 10_000 == 0:
                self._check_time()
            _add_stack(nodes, stack, value)
        return {number: node for number, node in sorted(nodes.items()) if node.flat or node.cum}


def _add_stack(nodes: dict[int, GraphNode], stack: NodeStack, value: int) -> None:
    """Add *value* to the nodes of *stack*, and to the edges between them, once to each."""
    seen_nodes: set[GraphNode] = set()
    seen_edges: set[tuple[GraphNode, GraphNode]] = set()
    parent: GraphNode | None = None
    is_residual = False
    for location in stack:
        for depth, number in enumerate(location):
            node = nodes.get(number)
            if node is None:
                is_residual = True
                continue
            if node not in seen_nodes:
                seen_nodes.add(node)
                node.cum += value
            if parent is not None and parent is not node and (parent, node) not in seen_edges:
                seen_edges.add((parent, node))
                edge = parent.outgoing.get(node)
                if edge is None:
                    edge = parent.outgoing[node] = node.incoming[parent] = GraphEdge(parent, node)
                edge.weight += value
                edge.is_residual |= is_residual
                edge.is_inlined &= depth > 0
            parent, is_residual = node, False
    if parent is not None and not is_residual:
        parent.flat += value


def _compute_entropy(edges: Iterable[GraphEdge], own: int) -> float:
    """Return the entropy of the weights of *edges* and the node's *own* value."""
    weights = [edge.weight for edge in edges]
    total = own + sum(weight for weight in weights if weight > 0)
    if not total:
        return 0.0
    fractions = [abs(weight) / total for weight in weights if weight] + ([own / total] if own > 0 else [])
    return sum(-fraction * log2(fraction) for fraction in fractions if fraction > 0)


def _sort_nodes(nodes: dict[int, GraphNode]) -> list[int]:
    """Return the numbers of *nodes*, those that tell most first."""
    return sorted(
        nodes, key=lambda number: (-abs(nodes[number].score()), nodes[number].name, -abs(nodes[number].flat))
    )


def _trim_edges(nodes: Iterable[GraphNode], cutoff: int) -> None:
    for node in nodes:
        for edge in list(node.incoming.values()):
            if abs(edge.weight) < cutoff:
                _remove_edge(edge)


def _remove_redundant_edges(node: GraphNode) -> None:
    """Remove residual edges to *node*, the lightest first, if there is another way and no lighter true edge."""
    for edge in reversed(_sort_edges(node.incoming.values())):
        if not edge.is_residual:
            break
        if _has_other_way(edge):
            _remove_edge(edge)


def _has_other_way(edge: GraphEdge) -> bool:
    """Return whether the target of *edge* can be reached from its source without it."""
    seen, pending = {edge.target}, [edge.target]
    while pending:
        for caller, incoming in pending.pop().incoming.items():
            if incoming is edge or caller in seen:
                continue
            if caller is edge.source:
                return True
            seen.add(caller)
            pending.append(caller)
    return False


def _remove_edge(edge: GraphEdge) -> None:
    del edge.source.outgoing[edge.target], edge.target.incoming[edge.source]


def _sort_edges(edges: Iterable[GraphEdge]) -> list[GraphEdge]:
    return sorted(edges, key=lambda edge: (-abs(edge.weight), edge.source.name, edge.target.name))
