"""The direct callers and callees of a function, as ``go tool pprof -peek`` lists them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profbucket.pprof.columnar.arrays import Bools, Ints
from profbucket.pprof.report.stacks import Stacks


@dataclass(frozen=True, slots=True)
class Calls:
    """The N functions at the other end of a function's calls, the heaviest first. There are P profiles."""

    functions: Ints  # (N,)
    values: Ints  # of the samples with such a call, (N, P)


def list_callers(stacks: Stacks, values: Ints, numbers: Sequence[int], most: int) -> Calls:
    """Return the functions that call one of the functions *numbers*, at most *most*.

    A sample counts once per caller. The calls between *numbers*, which are one function, do not count.
    """
    is_function, adjacent = _mark(stacks, numbers)
    calls = np.flatnonzero(adjacent & is_function[1:] & ~is_function[:-1])
    return _sum_calls(stacks, values, calls, stacks.frames[calls], most)


def list_callees(stacks: Stacks, values: Ints, numbers: Sequence[int], most: int) -> Calls:
    """Return the functions that one of the functions *numbers* calls, as :func:`list_callers` does."""
    is_function, adjacent = _mark(stacks, numbers)
    calls = np.flatnonzero(adjacent & is_function[:-1] & ~is_function[1:])
    return _sum_calls(stacks, values, calls, stacks.frames[calls + 1], most)


def _mark(stacks: Stacks, numbers: Sequence[int]) -> tuple[Bools, Bools]:
    """Return which frames are of *numbers*, and which are followed by a frame of the same stack (one shorter)."""
    owners = stacks.owners
    return np.isin(stacks.frames, numbers), owners[1:] == owners[:-1]


def _sum_calls(stacks: Stacks, values: Ints, calls: Ints, functions: Ints, most: int) -> Calls:
    """Add up *values* by the function at the other end of each of *calls*, positions in ``stacks.frames``."""
    width = int(stacks.frames.max(initial=0)) + 1
    owner, function = np.divmod(np.unique(stacks.owners[calls] * width + functions), width)
    distinct, inverse = np.unique(function, return_inverse=True)
    sums = np.zeros((len(distinct), values.shape[1]), values.dtype)
    np.add.at(sums, inverse, values[owner])
    weight = np.abs(sums).astype(float).sum(axis=1)
    order = np.argsort(-weight, kind="stable")[: min(most, np.count_nonzero(weight))]
    return Calls(distinct[order], sums[order])
