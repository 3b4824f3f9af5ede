"""Fields of varints, written whole columns at a time, straight to where they belong."""

import numpy as np

from profbucket.pprof.arrays import Bytes, Ints, Words


def size_of(values: Words) -> Ints:
    """How many bytes each of *values* takes as a varint."""
    size = np.ones(len(values), np.int64)
    for bits in range(7, 64, 7):
        longer = values >= np.uint64(1 << bits)
        if not longer.any():
            break
        size += longer
    return size


def put(out: Bytes, at: Ints, values: Words) -> None:
    """Write each of *values* as a varint to *out*, from the position beside it on."""
    out[at] = values
    rows = np.flatnonzero(values > 127)
    if not len(rows):
        return
    at, left = at[rows], values[rows]
    while True:
        out[at] |= 128
        at = at + 1
        left >>= np.uint64(7)
        out[at] = left
        more = np.flatnonzero(left > 127)
        if not len(more):
            return
        at, left = at[more], left[more]


class Fields:
    """Fields with one-byte tags, for each of some rows; those that are zero are not written."""

    def __init__(self, *columns: tuple[int, Words]) -> None:
        self._columns = columns
        self._sizes = [np.where(column > 0, size_of(column) + 1, 0) for _, column in columns]
        self.size: Ints = np.sum(self._sizes, axis=0)

    def put(self, out: Bytes, at: Ints) -> None:
        """Write the fields of each row, one after the other, from the position beside it on."""
        at = at.copy()
        for (tag, column), size in zip(self._columns, self._sizes, strict=True):
            rows = np.flatnonzero(size)
            whole = len(rows) == len(column)
            here, values = (at, column) if whole else (at[rows], column[rows])
            out[here] = tag
            put(out, here + 1, values)
            at += size


def head_size(size: Ints) -> Ints:
    """How many bytes tag and length take before bodies of these sizes."""
    return 1 + size_of(size.view(np.uint64))


def put_head(out: Bytes, at: Ints, tag: int, size: Ints) -> None:
    """Write tag and length of bodies of these sizes."""
    out[at] = tag
    put(out, at + 1, size.view(np.uint64))
