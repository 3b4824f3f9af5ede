"""Build the trees of flame graphs: of one profile, or of two for a comparison.

Trees are folded: the small children of a frame become one child called "other", so that no value is lost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.pprof import profile_pb2
from profbucket.pprof.codec import parse_valid
from profbucket.pprof.columnar.arrays import Bools, Ints, expand_ranges, to_offsets
from profbucket.pprof.report.peek import Calls, list_calls
from profbucket.pprof.report.stacks import Functions, Stacks, collect_stacks, concatenate_stacks
from profbucket.pprof.report.top import find_sample_type, sample_types_to_json
from profbucket.pprof.units import find_factor, find_finest

ROOT, OTHER = -1, -2  # in place of a function's number: the root, and folded frames

Floats: TypeAlias = npt.NDArray[np.float64]

_ROUNDING = 1e-9  # by which equal weights may differ
_MAX_DEPTH = 1000  # frames of a stack; deeper frames become "other"


@dataclass(frozen=True, slots=True)
class Tree:
    """N nodes, a parent before its children. Node 0 is the root, which is its own parent. There are P profiles."""

    parent: Ints  # (N,)
    function: Ints  # numbers of functions, ROOT or OTHER, (N,)
    values: Ints  # of each node with all that it called, (N, P)
    # Sum of the node's shares of all samples in each profile, without signs: a child never outweighs its parent.
    # (N,)
    weight: Floats


def build_flamegraph(
    profiles: Sequence[bytes],
    sample_type: str,
    max_nodes: int,
    function: str | None = None,
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """Return the tree of one or two *profiles*, valid pprofs, and their heaviest functions, as the API's JSON.

    *sample_type* is by default the first profile's; values are in the finer unit of both. The tree has at most
    *max_nodes* nodes. With *function*, the name of a function, it is the tree of what that function calls, and
    ``callers`` is a second one, from the function to its callers; in a recursion the outermost call counts.
    ``peek`` lists the function's direct callers and callees, whatever the trees have folded.
    Functions' values are not affected by folding.

    Raises:
        Invalid: there is no such sample type or function (codes ``unknown_sample_type``, ``unknown_function``), or
            the second profile lacks the sample type (``sample_types_differ``).
        TooLarge: a profile exceeds one of *limits*.
        TooMany: the stacks have more than ``limits.frames`` frames.
    """
    messages = [parse_valid(data, limits) for data in profiles]
    return build_from_messages(messages, sample_type, max_nodes, function, limits)


def build_from_messages(
    messages: Sequence[profile_pb2.Profile],
    sample_type: str,
    max_nodes: int,
    function: str | None = None,
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """Return the tree of one or two *messages*, valid profiles, as :func:`build_flamegraph` does."""
    sample_types = sample_types_to_json(messages[0])
    selected = sample_types[find_sample_type(messages[0], sample_type)]
    columns = [_find_column(message, selected) for message in messages]
    units = [
        sample_types_to_json(message)[column]["unit"] for message, column in zip(messages, columns, strict=True)
    ]
    selected = {**selected, "unit": find_finest(units)}
    functions = Functions()
    parts: list[tuple[Stacks, Ints]] = []
    for message, column, unit in zip(messages, columns, units, strict=True):
        already = sum(len(stacks.frames) for stacks, _ in parts)
        stacks, part_values = collect_stacks(message, column, functions, limits, already=already)
        factor = round(find_factor(unit, selected["unit"]) or 1)
        parts.append((stacks, part_values.astype(object) * factor if factor != 1 else part_values))
    stacks, values = concatenate_stacks(parts)
    flat, cum = sum_by_function(stacks, values, len(functions))
    tree_stacks: dict[str, tuple[Stacks, Ints]] = {"nodes": (stacks, values)}
    calls: dict[str, Calls] = {}
    if function is not None:
        numbers = functions.find(function)
        if not numbers:
            raise Invalid(f"no function {function[:80]!r} is in these profiles", code="unknown_function")
        tree_stacks = _split_at(stacks, values, numbers)
        callers, callees = list_calls(stacks, values, numbers, max_nodes)
        calls = {"callers": callers, "callees": callees}
    trees = {name: fold_tree(build_tree(*part), max_nodes) for name, part in tree_stacks.items()}
    in_trees = [tree.function[tree.function >= 0] for tree in trees.values()]
    in_calls = [neighbors.functions for neighbors in calls.values()]
    listed = _select_functions([*in_trees, *in_calls], flat, cum, max_nodes)
    position = np.zeros(len(functions) + 2, np.int64)
    position[listed] = np.arange(len(listed))
    position[[OTHER, ROOT]] = OTHER, ROOT
    return {
        "sample_type": selected,
        "sample_types": sample_types,
        "totals": values.sum(axis=0).tolist(),
        "functions": _functions_to_json(functions, listed, flat, cum),
        **{name: _tree_to_json(tree, position) for name, tree in trees.items()},
        **({"peek": {name: _calls_to_json(end, position) for name, end in calls.items()}} if calls else {}),
    }


def sum_by_function(stacks: Stacks, values: Ints, count: int) -> tuple[Ints, Ints]:
    """Return the flat and the cumulative values of each of *count* functions. Shape: (count, profiles) each.

    A function that is in a stack several times counts once.
    """
    nonempty = np.flatnonzero(stacks.lengths)
    leaf = stacks.frames[stacks.ends[1:][nonempty] - 1]
    # Sorted, because np.unique would hash them, which takes forty times as long.
    pairs = np.sort(stacks.owners * max(count, 1) + stacks.frames)
    owner, function = np.divmod(pairs[np.diff(pairs, prepend=-1) != 0], max(count, 1))
    return _sum_by_group(values[nonempty], leaf, count), _sum_by_group(values[owner], function, count)


def build_tree(stacks: Stacks, values: Ints) -> Tree:
    """Return *stacks* as one tree, built level by level; frames below ``_MAX_DEPTH`` become "other"."""
    weight = _compute_shares(values)
    parents, functions = [np.zeros(1, np.int64)], [np.array([ROOT])]
    sums, weights = [values.sum(axis=0)[None, :]], [np.full(1, np.inf)]
    width = int(stacks.frames.max(initial=0)) + 1
    lengths = stacks.lengths
    active = np.flatnonzero(lengths)
    node = np.zeros(len(active), np.int64)  # that each active stack has reached
    count = 1
    for depth in range(_MAX_DEPTH + 1):
        if not len(active):
            break
        if depth == _MAX_DEPTH:
            parent, inverse = np.unique(node, return_inverse=True)
            function = np.full(len(parent), OTHER)
        else:
            key = node * width + stacks.frames[stacks.ends[active] + depth]
            distinct, inverse = np.unique(key, return_inverse=True)
            parent, function = distinct // width, distinct % width
        parents.append(parent)
        functions.append(function)
        sums.append(_sum_by_group(values[active], inverse, len(parent)))
        # Added in the same order on each level, so that rounding does not make a child heavier than its parent.
        weights.append(np.bincount(inverse, weight[active], len(parent)))
        is_deeper = lengths[active] > depth + 1
        active, node = active[is_deeper], inverse[is_deeper] + count
        count += len(parent)
    return Tree(*map(np.concatenate, (parents, functions, sums, weights)))


def fold_tree(tree: Tree, max_nodes: int) -> Tree:
    """Return the heaviest nodes of *tree*, each with one "other" for all of its children that are not kept.

    The result has at most *max_nodes* nodes, which must be 2 or more: the root and an "other" at least.
    """
    # Stable: a parent weighs no less than its children and comes before them, so it is kept if one of them is.
    order = np.argsort(-tree.weight, kind="stable")
    # Binary search: keeping one more node never takes fewer nodes, "other" included.
    low, high = 1, min(len(order), max_nodes)
    while low < high:
        middle = (low + high + 1) // 2
        kept = _mark_first(order, middle)
        if middle + len(np.unique(tree.parent[~kept & kept[tree.parent]])) <= max_nodes:
            low = middle
        else:
            high = middle - 1
    return _fold(tree, _mark_first(order, low))


def fold_lightest(tree: Tree, max_nodes: int, most: int) -> Tree:
    """Return *tree* with each node that weighs less than the *max_nodes*-th heaviest folded into an "other".

    Nodes of equal weight are kept or folded together, unless more than *most* would be kept. The root counts not.
    """
    weight = tree.weight[1:]
    if len(weight) <= max_nodes:
        return tree
    threshold = np.partition(weight, -max_nodes)[-max_nodes] * (1 - _ROUNDING)
    kept = tree.weight >= threshold
    if np.count_nonzero(kept) > most:
        kept = _mark_first(np.argsort(-tree.weight, kind="stable"), most)
    return _fold(tree, kept)


def _fold(tree: Tree, kept: Bools) -> Tree:
    """Return the *kept* nodes, a parent with each child, and one "other" for all other children of each."""
    cut = np.flatnonzero(~kept & kept[tree.parent])
    cut_parents, inverse = np.unique(tree.parent[cut], return_inverse=True)
    sums = _sum_by_group(tree.values[cut], inverse, len(cut_parents))
    position = np.cumsum(kept) - 1
    return Tree(
        np.concatenate([position[tree.parent[kept]], position[cut_parents]]),
        np.concatenate([tree.function[kept], np.full(len(cut_parents), OTHER)]),
        np.concatenate([tree.values[kept], sums]),
        np.concatenate([tree.weight[kept], np.bincount(inverse, tree.weight[cut], len(cut_parents))]),
    )


def _split_at(stacks: Stacks, values: Ints, numbers: Sequence[int]) -> dict[str, tuple[Stacks, Ints]]:
    """Split the stacks that contain one of the functions *numbers* at its outermost call.

    ``nodes`` are the stacks from that call to their leaves, ``callers`` those from it to their roots.
    """
    hits = np.flatnonzero(np.isin(stacks.frames, numbers))
    owner, first = np.unique(stacks.owners[hits], return_index=True)
    at = hits[first]
    down_count = stacks.ends[1:][owner] - at
    up_count = at - stacks.ends[:-1][owner] + 1
    up = np.repeat(at, up_count) - expand_ranges(np.zeros(len(up_count), np.int64), up_count)
    return {
        "nodes": (Stacks(stacks.frames[expand_ranges(at, down_count)], to_offsets(down_count)), values[owner]),
        "callers": (Stacks(stacks.frames[up], to_offsets(up_count)), values[owner]),
    }


def _functions_to_json(functions: Functions, listed: Ints, flat: Ints, cum: Ints) -> dict[str, Any]:
    numbers = listed.tolist()
    return {
        "name": [functions.names[i] for i in numbers],
        "file": [functions.files[i] for i in numbers],
        "line": [functions.lines[i] for i in numbers],
        "flat": flat[listed].T.tolist(),
        "cum": cum[listed].T.tolist(),
        "count": int(np.count_nonzero(flat.any(axis=1) | cum.any(axis=1))),
    }


def _tree_to_json(tree: Tree, position: Ints) -> dict[str, Any]:
    """Return the columns of *tree*, its functions by their *position* in the listed ones."""
    return {
        "parent": tree.parent.tolist(),
        "function": position[tree.function].tolist(),
        "values": tree.values.T.tolist(),
    }


def _calls_to_json(calls: Calls, position: Ints) -> dict[str, Any]:
    return {"function": position[calls.functions].tolist(), "values": calls.values.T.tolist()}


def _select_functions(shown: Iterable[Ints], flat: Ints, cum: Ints, count: int) -> Ints:
    """Return the numbers of functions that are *shown*, and of the *count* heaviest ones, sorted."""
    is_selected = np.zeros(len(flat), bool)
    for numbers in shown:
        is_selected[numbers] = True
    weight = _compute_shares(cum) + _compute_shares(flat)
    is_selected[np.argsort(-weight, kind="stable")[: min(count, np.count_nonzero(weight))]] = True
    return np.flatnonzero(is_selected)


def _sum_by_group(values: Ints, group: Ints, count: int) -> Ints:
    """Return the sums of the rows of *values* in each of *count* groups. Shape: (count, profiles)."""
    sums = np.zeros((count, values.shape[1]), values.dtype)
    for side in range(values.shape[1]):
        np.add.at(sums[:, side], group, values[:, side])
    return sums


def _compute_shares(values: Ints) -> Floats:
    """Return for each row its shares of the columns' absolute sums, added up. Shape: (rows,)."""
    sizes = np.abs(values).astype(float)
    shares: Floats = (sizes / np.maximum(sizes.sum(axis=0), 1)).sum(axis=1)
    return shares


def _mark_first(order: Ints, count: int) -> Bools:
    """Return an array that is true at the first *count* indexes of *order*."""
    is_marked = np.zeros(len(order), bool)
    is_marked[order[:count]] = True
    return is_marked


def list_sample_types(data: bytes, limits: Limits) -> list[dict[str, str]]:
    """Return the sample types of *data*, a valid pprof, as the API's JSON."""
    return sample_types_to_json(parse_valid(data, limits))


def _find_column(message: profile_pb2.Profile, sample_type: dict[str, str]) -> int:
    """Return the number of the sample type with the name and a unit that can be converted."""
    sample_types = sample_types_to_json(message)
    if sample_type in sample_types:
        return sample_types.index(sample_type)
    name, unit = sample_type["type"], sample_type["unit"]
    for column, known in enumerate(sample_types):
        if known["type"] == name and find_factor(known["unit"], unit):
            return column
    known_names = ", ".join(f"{known['type']}/{known['unit']}" for known in sample_types)
    raise Invalid(
        f"sample types differ: one profile has {name[:80]}/{unit[:80]}, the other has {known_names}",
        code="sample_types_differ",
    )
