"""Where the time went, as a tree: what a flame graph shows, of one profile or of two beside each other.

The tree is folded: what is small becomes, in each frame, one frame called "other". No value gets lost by it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.pprof import profile_pb2
from profbucket.pprof.codec import SMALL
from profbucket.pprof.columnar.arrays import Bools, Ints, offsets, ranges
from profbucket.pprof.compression import inflate
from profbucket.pprof.precheck import count_entries
from profbucket.pprof.report.stacks import Functions, Stacks, stacks, together
from profbucket.pprof.report.top import find_sample_type

ALL, OTHER = -1, -2  # instead of a function: the root, and what was folded

Floats: TypeAlias = npt.NDArray[np.float64]

_DEEPEST = 1000  # frames of a stack; what is called below is "other"


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes by number, a parent before its children; the root is number 0 and its own parent.

    ``values`` has a column for each profile: what a node spent with all that it called. ``weight`` is the share of
    its samples in each profile, added up, whatever their signs: no child has more of it than its parent.
    """

    parent: Ints
    function: Ints
    values: Ints
    weight: Floats


def build_flamegraph(
    profiles: Sequence[bytes],
    sample_type: str,
    max_nodes: int,
    focus: str | None = None,
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """The tree, and all functions that matter, of one or of two *profiles*, as the API gives them in JSON.

    *profiles* are valid pprofs. Without *sample_type* it is the default of the first. The tree has *max_nodes*
    nodes at most. With *focus*, the name of a function, it is of what that calls, and ``callers`` is a second one,
    from the function down to what calls it; of a recursion the outermost call counts. The values of functions are
    those of everything, whatever was folded. Raise ``Invalid`` where there is no such sample type or function, or
    where that of the profiles differs, ``TooLarge`` for a profile over a cap of *limits*.
    """
    messages = [_message(data, limits) for data in profiles]
    kinds = _kinds(messages[0])
    kind = kinds[find_sample_type(messages[0], sample_type)]
    functions = Functions()
    parts = [stacks(message, _column(message, kind), functions) for message in messages]
    everything, values = together(parts)
    flat, cum = function_values(everything, values, len(functions))
    trees: dict[str, tuple[Stacks, Ints]] = {"nodes": (everything, values)}
    if focus is not None:
        numbers = functions.called(focus)
        if not numbers:
            raise Invalid(f"no function {focus[:80]!r} is in these profiles")
        trees = _focused(everything, values, numbers)
    folded = {name: fold(tree(*asked), max_nodes) for name, asked in trees.items()}
    picked = _picked(folded.values(), flat, cum, max_nodes)
    place = np.zeros(len(functions) + 2, np.int64)
    place[picked] = np.arange(len(picked))
    place[[OTHER, ALL]] = OTHER, ALL
    return {
        "sample_type": kind,
        "sample_types": kinds,
        "totals": values.sum(axis=0).tolist(),
        "functions": _table(functions, picked, flat, cum),
        **{name: _columns(one, place) for name, one in folded.items()},
    }


def function_values(asked: Stacks, values: Ints, count: int) -> tuple[Ints, Ints]:
    """What each of *count* functions spent itself, and with all that it called, once for each stack."""
    some = np.flatnonzero(asked.lengths)
    leaf = asked.frames[asked.ends[1:][some] - 1]
    # np.unique would hash them, which takes forty times as long.
    pairs = np.sort(asked.owners * max(count, 1) + asked.frames)
    owner, function = np.divmod(pairs[np.diff(pairs, prepend=-1) != 0], max(count, 1))
    return _added(values[some], leaf, count), _added(values[owner], function, count)


def tree(asked: Stacks, values: Ints) -> Tree:
    """All stacks as one tree, level by level; what is too deep ends in a node for "other"."""
    weight = _shares(values)
    parents, functions = [np.zeros(1, np.int64)], [np.array([ALL])]
    sums, weights = [values.sum(axis=0)[None, :]], [np.full(1, np.inf)]
    width = int(asked.frames.max(initial=0)) + 1
    lengths = asked.lengths
    active = np.flatnonzero(lengths)
    at = np.zeros(len(active), np.int64)  # the node that each has reached
    count = 1
    for depth in range(_DEEPEST + 1):
        if not len(active):
            break
        if depth == _DEEPEST:
            found, inverse = np.unique(at, return_inverse=True)
            parent, function = found, np.full(len(found), OTHER)
        else:
            key = at * width + asked.frames[asked.ends[active] + depth]
            found, inverse = np.unique(key, return_inverse=True)
            parent, function = found // width, found % width
        parents.append(parent)
        functions.append(function)
        sums.append(_added(values[active], inverse, len(found)))
        # In the order of stacks on each level, so that rounding, too, leaves a parent no less than a child.
        weights.append(np.bincount(inverse, weight[active], len(found)))
        further = lengths[active] > depth + 1
        active, at = active[further], inverse[further] + count
        count += len(found)
    return Tree(*map(np.concatenate, (parents, functions, sums, weights)))


def fold(whole: Tree, max_nodes: int) -> Tree:
    """The heaviest nodes of *whole*, and in each of them one for all of its children that are not among them.

    There are *max_nodes* at most, those for "other" included; the root and one of those are the least.
    """
    # Stable: a parent weighs no less than its children and stands before them, so it is kept with any of them.
    order = np.argsort(-whole.weight, kind="stable")
    low, high = 1, min(len(order), max_nodes)
    while low < high:  # how many are kept: those and the others they need are never fewer for one more
        middle = (low + high + 1) // 2
        kept = _first(order, middle)
        if middle + len(np.unique(whole.parent[~kept & kept[whole.parent]])) <= max_nodes:
            low = middle
        else:
            high = middle - 1
    kept = _first(order, low)
    cut = np.flatnonzero(~kept & kept[whole.parent])
    owners, inverse = np.unique(whole.parent[cut], return_inverse=True)
    sums = _added(whole.values[cut], inverse, len(owners))
    place = np.cumsum(kept) - 1
    return Tree(
        np.concatenate([place[whole.parent[kept]], place[owners]]),
        np.concatenate([whole.function[kept], np.full(len(owners), OTHER)]),
        np.concatenate([whole.values[kept], sums]),
        np.concatenate([whole.weight[kept], np.bincount(inverse, whole.weight[cut], len(owners))]),
    )


def _focused(asked: Stacks, values: Ints, numbers: Sequence[int]) -> dict[str, tuple[Stacks, Ints]]:
    """Of the stacks that hold one of *numbers*, what is below the outermost of it, and what is above, turned."""
    hits = np.flatnonzero(np.isin(asked.frames, numbers))
    owner, first = np.unique(asked.owners[hits], return_index=True)
    at = hits[first]
    below = asked.ends[1:][owner] - at
    above = at - asked.ends[:-1][owner] + 1
    up = np.repeat(at, above) - ranges(np.zeros(len(above), np.int64), above)
    return {
        "nodes": (Stacks(asked.frames[ranges(at, below)], offsets(below)), values[owner]),
        "callers": (Stacks(asked.frames[up], offsets(above)), values[owner]),
    }


def _table(functions: Functions, picked: Ints, flat: Ints, cum: Ints) -> dict[str, Any]:
    numbers = picked.tolist()
    return {
        "name": [functions.names[i] for i in numbers],
        "file": [functions.files[i] for i in numbers],
        "line": [functions.lines[i] for i in numbers],
        "flat": flat[picked].T.tolist(),
        "cum": cum[picked].T.tolist(),
        "count": int(np.count_nonzero(flat.any(axis=1) | cum.any(axis=1))),
    }


def _columns(one: Tree, place: Ints) -> dict[str, Any]:
    """*one* in JSON; its functions are called by their *place* in the table."""
    return {
        "parent": one.parent.tolist(),
        "function": place[one.function].tolist(),
        "values": one.values.T.tolist(),
    }


def _picked(trees: Iterable[Tree], flat: Ints, cum: Ints, most: int) -> Ints:
    """The numbers of the functions that are in *trees*, and of *most* of those that have the largest values."""
    picked = np.zeros(len(flat), bool)
    for one in trees:
        picked[one.function[one.function >= 0]] = True
    weight = _shares(cum) + _shares(flat)
    picked[np.argsort(-weight, kind="stable")[: min(most, np.count_nonzero(weight))]] = True
    return np.flatnonzero(picked)


def _added(values: Ints, place: Ints, count: int) -> Ints:
    """The sums of the rows of *values* that have the same *place*, for *count* places."""
    sums = np.zeros((count, values.shape[1]), values.dtype)
    for side in range(values.shape[1]):
        np.add.at(sums[:, side], place, values[:, side])
    return sums


def _shares(values: Ints) -> Floats:
    """Rows as shares of all that is in each column, added up; signs do not count."""
    sizes = np.abs(values).astype(float)
    shares: Floats = (sizes / np.maximum(sizes.sum(axis=0), 1)).sum(axis=1)
    return shares


def _first(order: Ints, count: int) -> Bools:
    kept = np.zeros(len(order), bool)
    kept[order[:count]] = True
    return kept


def _message(data: bytes, limits: Limits) -> profile_pb2.Profile:
    raw = inflate(data, limits)
    if len(raw) > SMALL:  # a merge may be larger than any of the profiles in it was allowed to be
        count_entries(raw, limits)
    return profile_pb2.Profile.FromString(raw)


def _kinds(profile: profile_pb2.Profile) -> list[dict[str, str]]:
    text = profile.string_table
    return [
        {"type": text[kind.type].decode(errors="replace"), "unit": text[kind.unit].decode(errors="replace")}
        for kind in profile.sample_type
    ]


def _column(profile: profile_pb2.Profile, kind: dict[str, str]) -> int:
    kinds = _kinds(profile)
    if kind not in kinds:
        there = ", ".join(f"{one['type']}/{one['unit']}" for one in kinds)
        wanted = f"{kind['type'][:80]}/{kind['unit'][:80]}"
        raise Invalid(f"the two differ: one has the sample type {wanted}, the other has {there}")
    return kinds.index(kind)
