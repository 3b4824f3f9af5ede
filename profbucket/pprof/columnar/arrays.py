"""Array types, and idioms that numpy has no name for, or a slow one."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]  # positions, counts, numbers of rows
Words: TypeAlias = npt.NDArray[np.uint64]  # what a varint holds
Bytes: TypeAlias = npt.NDArray[np.uint8]
Bools: TypeAlias = npt.NDArray[np.bool_]


def where(found: npt.NDArray[Any] | np.bool_) -> Ints:
    """The places that are true, or not 0: ``np.flatnonzero`` without what that takes for a small array."""
    return np.asarray(found).nonzero()[0]


def ranges(first: Ints, count: Ints) -> Ints:
    """The elements of many slices, end to end: ``first[0], … first[0]+count[0]-1, first[1], …``."""
    total = int(count.sum())
    before = np.cumsum(count)
    before -= count
    return np.repeat(first - before, count) + np.arange(total)


def offsets(count: Ints) -> Ints:
    """Where slices of these lengths begin when they are laid end to end, and where the last one ends."""
    out = np.zeros(len(count) + 1, np.int64)
    np.cumsum(count, out=out[1:])
    return out
