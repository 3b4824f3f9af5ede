"""Array types, and array operations that numpy lacks or does slowly."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]  # positions, counts, row indexes
Words: TypeAlias = npt.NDArray[np.uint64]  # values of varints
Bytes: TypeAlias = npt.NDArray[np.uint8]
Bools: TypeAlias = npt.NDArray[np.bool_]


def flatnonzero(array: npt.NDArray[Any] | np.bool_) -> Ints:
    """Return the indexes of what is true or not 0, as ``np.flatnonzero``, with less overhead for small arrays."""
    return np.asarray(array).nonzero()[0]


def expand_ranges(first: Ints, count: Ints) -> Ints:
    """Return the indexes of many slices, end to end: ``first[0], …, first[0]+count[0]-1, first[1], …``."""
    total = int(count.sum())
    before = np.cumsum(count)
    before -= count
    return np.repeat(first - before, count) + np.arange(total)


def to_offsets(count: Ints) -> Ints:
    """Return where slices of these lengths begin when laid end to end, and last where the final one ends."""
    out = np.zeros(len(count) + 1, np.int64)
    np.cumsum(count, out=out[1:])
    return out
