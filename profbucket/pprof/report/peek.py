"""The direct callers and callees of a function, as ``go tool pprof -peek`` lists them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profbucket.pprof.columnar.arrays import Ints
from profbucket.pprof.report.stacks import Stacks


@dataclass(frozen=True, slots=True)
class Calls:
    """The N functions at the other end of a function's calls, the heaviest first. There are P profiles."""

    functions: Ints  # (N,)
    values: Ints  # of the samples with such a call, (N, P)


def list_calls(stacks: Stacks, values: Ints, numbers: Sequence[int], most: int) -> tuple[Calls, Calls]:
    """Return the callers and the callees of the functions *numbers*, at most *most* of each.

    A sample counts once per caller and callee. The calls between *numbers*, which are one function, do not count.
    """
    owners = stacks.owners
    is_function, is_followed = np.isin(stacks.frames, numbers), owners[1:] == owners[:-1]
    callers = np.flatnonzero(is_followed & is_function[1:] & ~is_function[:-1])
    callees = np.flatnonzero(is_followed & is_function[:-1] & ~is_function[1:]) + 1
    return (
        _sum_calls(owners[callers], stacks.frames[callers], values, most),
        _sum_calls(owners[callees], stacks.frames[callees], values, most),
    )


def _sum_calls(owners: Ints, functions: Ints, values: Ints, most: int) -> Calls:
    """Add up *values* by function; call i is with ``functions[i]``, in the sample ``owners[i]``."""
    width = int(functions.max(initial=0)) + 1
    owner, function = np.divmod(np.unique(owners * width + functions), width)
    distinct, inverse = np.unique(function, return_inverse=True)
    sums = np.zeros((len(distinct), values.shape[1]), values.dtype)
    np.add.at(sums, inverse, values[owner])
    weight = np.abs(sums).astype(float).sum(axis=1)
    order = np.argsort(-weight, kind="stable")[: min(most, np.count_nonzero(weight))]
    return Calls(distinct[order], sums[order])
