"""The encoding of flame graphs that Grafana and Pyroscope read: a row of numbers for each depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from profbucket.limits import Limits
from profbucket.pprof.codec import parse_valid
from profbucket.pprof.columnar.arrays import Ints
from profbucket.pprof.numbers import wrap_int64
from profbucket.pprof.report.flamegraph import (
    OTHER,
    ROOT,
    Tree,
    build_tree,
    fold_lightest,
)
from profbucket.pprof.report.stacks import Functions, Stacks, collect_stacks, concatenate_stacks
from profbucket.pprof.report.top import find_sample_type, sample_types_to_json
from profbucket.pprof.units import find_factor

_ROOT_NAME, _OTHER_NAME = "total", "other"


class Side(NamedTuple):
    """A profile of a flame graph: a valid pprof, or ``None`` if there is none, and what to show of it."""

    data: bytes | None
    sample_type: str
    unit: str


@dataclass(frozen=True, slots=True)
class FlameLevels:
    """A flame graph of one or two profiles.

    A level holds its nodes from left to right. A node is the numbers offset, total and self for each profile, and
    the position of its name in ``names``. An offset counts from the end of the node before it on the level.
    ``totals`` has a number for each profile.
    """

    names: list[str]
    levels: list[list[int]]
    totals: list[int]
    max_self: int

    @property
    def total(self) -> int:
        """The sum of the totals."""
        return wrap_int64(sum(self.totals))


def build_flame_levels(
    sides: Sequence[Side], max_nodes: int, call_site: Sequence[str] = (), limits: Limits = Limits()
) -> FlameLevels:
    """Return the flame graph of *sides*, of stacks that begin with the functions *call_site*, the root first.

    Nodes that weigh less than the *max_nodes*-th heaviest become nodes called "other".

    Raises:
        Invalid: a profile does not have its sample type.
        TooLarge: a profile exceeds one of *limits*.
        TooMany: the stacks have more than ``limits.frames`` frames.
    """
    functions = Functions()
    parts: list[tuple[Stacks, Ints]] = []
    for side in sides:
        if side.data is None:
            parts.append((Stacks(np.zeros(0, np.int64), np.zeros(1, np.int64)), np.zeros(0, np.int64)))
            continue
        message = parse_valid(side.data, limits)
        column = find_sample_type(message, side.sample_type)
        already = sum(len(stacks.frames) for stacks, _ in parts)
        stacks, column_values = collect_stacks(message, column, functions, limits, already=already)
        factor = find_factor(sample_types_to_json(message)[column]["unit"], side.unit) or 1
        if factor < 1:
            column_values = np.rint(column_values * factor).astype(np.int64)
        elif factor > 1:  # and whole
            column_values = column_values * wrap_int64(round(factor))
        parts.append((stacks, column_values))
    stacks, values = concatenate_stacks(parts)
    if call_site:
        rows = _find_call_site(stacks, functions, call_site)
        stacks, values = stacks.select(rows), values[rows]
    tree = fold_lightest(build_tree(stacks, values), max_nodes, limits.flame_nodes)
    return encode_levels(tree, functions.names)


def encode_levels(tree: Tree, names: Sequence[str]) -> FlameLevels:
    """Return *tree* encoded; *names* are those of functions by number. Children are sorted by name."""
    totals = tree.values.tolist()
    functions = tree.function.tolist()
    children: list[list[int]] = [[] for _ in totals]
    own = [list(row) for row in totals]
    for node, parent in enumerate(tree.parent.tolist()):
        if node:
            children[parent].append(node)
            own[parent] = [value - part for value, part in zip(own[parent], totals[node], strict=True)]
    fixed = {ROOT: _ROOT_NAME, OTHER: _OTHER_NAME}
    labels = [fixed.get(function) or names[function] for function in functions]
    for siblings in children:
        siblings.sort(key=lambda node: (functions[node] == OTHER, labels[node]))
    numbers: dict[str, int] = {}
    levels: list[list[tuple[int, list[int]]]] = []  # nodes with their absolute offsets, from right to left
    stack = [(0, 0, [0] * len(totals[0]))]
    while stack:
        node, depth, offsets = stack.pop()
        if depth == len(levels):
            levels.append([])
        numbers.setdefault(labels[node], len(numbers))
        levels[depth].append((node, offsets))
        begin = [offset + value for offset, value in zip(offsets, own[node], strict=True)]
        for child in children[node]:
            stack.append((child, depth + 1, begin))
            begin = [offset + value for offset, value in zip(begin, totals[child], strict=True)]
    rows = []
    for level in levels:
        row: list[int] = []
        ends = [0] * len(totals[0])
        for node, offsets in reversed(level):
            for side, offset in enumerate(offsets):
                total = totals[node][side]
                row += (wrap_int64(offset - ends[side]), wrap_int64(total), wrap_int64(own[node][side]))
                ends[side] = offset + total
            row.append(numbers[labels[node]])
        rows.append(row)
    max_self = max(max(map(wrap_int64, values)) for values in own)
    return FlameLevels(list(numbers), rows, [wrap_int64(total) for total in totals[0]], max(max_self, 0))


def _find_call_site(stacks: Stacks, functions: Functions, call_site: Sequence[str]) -> Ints:
    """Return the numbers of the *stacks* that begin with these functions."""
    rows = np.flatnonzero(stacks.lengths >= len(call_site))
    for depth, name in enumerate(call_site):
        at_depth = stacks.frames[stacks.ends[rows] + depth]
        rows = rows[np.isin(at_depth, functions.find(name))]
    return rows
