"""Write whole columns of varints, each value straight to its position."""

import numpy as np

from profbucket.pprof.columnar.arrays import Bytes, Ints, Words, flatnonzero


def measure_varints(values: Words) -> Ints:
    """Return how many bytes each of *values* takes as a varint."""
    size = (values > 127).astype(np.int64)
    size += 1
    largest = int(values.max(initial=0))
    for bits in range(14, largest.bit_length(), 7):
        size += values >= np.uint64(1 << bits)
    return size


def write_varints(out: Bytes, at: Ints, values: Words) -> None:
    """Write ``values[i]`` as a varint to *out* from position ``at[i]`` on."""
    while True:
        byte = values.astype(np.uint8)
        more = flatnonzero(values > 127)
        if not len(more):
            out[at] = byte
            return
        byte[more] |= 128
        out[at] = byte
        at, values = at.take(more) + 1, values.take(more) >> np.uint64(7)


class FieldWriter:
    """Writes the scalar fields of many messages; a field whose value is 0 is omitted.

    ``size`` is how many bytes the fields of each message take together.
    """

    def __init__(self, *columns: tuple[int, Words]) -> None:
        """Prepare to write *columns*: pairs of a one-byte tag and its values, one for each message."""
        self._columns = []
        self.size: Ints = np.zeros(len(columns[0][1]), np.int64)
        for tag, column in columns:
            size = measure_varints(column)
            size += 1
            rows = flatnonzero(column > 0)
            if len(rows) < len(column):
                size *= column > 0
            self._columns.append((tag, column, size, rows))
            self.size += size

    def write(self, out: Bytes, at: Ints) -> None:
        """Write the fields of message i, one after the other, to *out* from position ``at[i]`` on."""
        at = at.copy()
        for tag, column, size, rows in self._columns:
            if not len(rows):
                continue
            field_at, values = at, column
            if len(rows) < len(column):
                field_at, values = at.take(rows), column.take(rows)
            out[field_at] = tag
            write_varints(out, field_at + 1, values)
            at += size


def measure_prefixes(size: Ints) -> Ints:
    """Return how many bytes tag and length take before length-delimited fields of these sizes."""
    return 1 + measure_varints(size.view(np.uint64))


def write_prefixes(out: Bytes, at: Ints, tag: int, size: Ints) -> None:
    """Write *tag* and ``size[i]``, the prefix of a length-delimited field, to *out* at position ``at[i]``."""
    out[at] = tag
    write_varints(out, at + 1, size.view(np.uint64))
