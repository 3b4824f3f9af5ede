"""Fields of varints, written whole columns at a time, straight to where they belong."""

import numpy as np

from profbucket.pprof.columnar.arrays import Bytes, Ints, Words, where


def size_of(values: Words) -> Ints:
    """How many bytes each of *values* takes as a varint."""
    size = (values > 127).astype(np.int64)
    size += 1
    top = int(values.max(initial=0))
    for bits in range(14, top.bit_length(), 7):
        size += values >= np.uint64(1 << bits)
    return size


def put(out: Bytes, at: Ints, values: Words) -> None:
    """Write each of *values* as a varint to *out*, from the position beside it on."""
    while True:
        byte = values.astype(np.uint8)
        more = where(values > 127)
        if not len(more):
            out[at] = byte
            return
        byte[more] |= 128
        out[at] = byte
        at, values = at.take(more) + 1, values.take(more) >> np.uint64(7)


class Fields:
    """Fields with one-byte tags, for each of some rows; those that are zero are not written."""

    def __init__(self, *columns: tuple[int, Words]) -> None:
        self._columns = []
        self.size: Ints = np.zeros(len(columns[0][1]), np.int64)
        for tag, column in columns:
            size = size_of(column)
            size += 1
            rows = where(column > 0)
            if len(rows) < len(column):
                size *= column > 0
            self._columns.append((tag, column, size, rows))
            self.size += size

    def put(self, out: Bytes, at: Ints) -> None:
        """Write the fields of each row, one after the other, from the position beside it on."""
        at = at.copy()
        for tag, column, size, rows in self._columns:
            if not len(rows):
                continue
            here, values = at, column
            if len(rows) < len(column):
                here, values = at.take(rows), column.take(rows)
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
