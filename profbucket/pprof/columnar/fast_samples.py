"""Samples as nearly all encoders write them: stack and values, or values and stack, and then labels."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from profbucket.pprof.columnar.arrays import Ints, Words, offsets, ranges, where
from profbucket.pprof.columnar.generic_reader import MAPPING, Irregular, Pairs
from profbucket.pprof.columnar.varint_reader import OtherLayout, Source

_LONE = 2  # ids of a stack that encoders write one by one: Go's pack what is more
_VALUES = 0xFD  # the tags of values, packed and not, without the bit in which they differ
_LABELS = 8  # labels of a sample that are read one after the other


class Samples:
    """The samples of some profiles, end to end. ``stream`` is the profile that each is from."""

    def __init__(self, samples: Sequence[list[bytes]], width: Ints) -> None:
        """Read *samples*, a list for each profile, with *width* values each.

        Raise ``Irregular`` for profiles with samples that have another layout.
        """
        count = np.fromiter(map(len, samples), np.int64, len(samples))
        self.stream = np.repeat(np.arange(len(samples)), count)
        every = list(chain.from_iterable(samples))
        # A number stands before all of them, so that there is one before each stack.
        bounds = offsets(np.fromiter(map(len, every), np.int64, len(every))) + 1
        self._source = Source(b"\0", *every)
        self._stop = bounds[1:]
        self._most = width.max(initial=0)
        self._stream_bounds = bounds[offsets(count)]
        try:
            at = bounds[:-1]
            if (self._source.data[at] & _VALUES == 0x10).all():
                # As Go's runtime writes them.
                at = self._read_values(at, width[self.stream])
                at = self._read_stacks(at)
            else:
                at = self._read_stacks(at)
                at = self._read_values(at, width[self.stream])
            self._read_labels(at)
        except OtherLayout:
            raise Irregular(np.unique(self.stream)) from None

    def _read_stacks(self, at: Ints) -> Ints:
        source = self._source
        begin, end = self._packed(at, 0x0A)
        self.stack_first = source.rank(begin)
        self.stack_count = source.rank(end) - self.stack_first
        lone = where(source.data[at] == 0x08)
        here = at[lone]
        for _ in range(_LONE):
            self.stack_count[lone] += source.data[here] == 0x08
            _, here = source.field(here, 0x08)
        end[lone] = here
        self._check(lone[here > self._stop[lone]])
        # Of two that stand alone the first is taken for a neighbour of the second, where the tag is between them.
        self.stack_first[lone] += self.stack_count[lone]
        self._pairs = self.stack_first[lone[self.stack_count[lone] == _LONE]]
        return end

    def short_ids(self) -> tuple[npt.NDArray[np.uint16], Ints]:
        """The ids from each of ``stack_first`` on, and where in them those of each profile begin.

        What is between stacks belongs to none, and before each of them there is something. What is more than
        ``SHORT`` is not what it says.
        """
        ids = self._source.all_short()
        ids[self._pairs] = ids[self._pairs - 1]
        return ids, self._source.rank(self._stream_bounds)

    def ids(self) -> Words:
        """The ids of all stacks, end to end, whatever their size."""
        starts = self._source.starts()
        starts[self._pairs] = starts[self._pairs - 1]
        try:
            ids, _ = self._source.numbers(starts[ranges(self.stack_first, self.stack_count)])
        except OtherLayout:
            raise Irregular(np.unique(self.stream)) from None
        return ids

    def _read_values(self, at: Ints, width: Ints) -> Ints:
        source = self._source
        here, end = self._packed(at, 0x12)
        lone = where(here == at)
        most = int(self._most)
        self.values = np.zeros((len(at), most), np.int64)
        for i in range(most):
            rows = where(width > i)
            if len(lone):
                more = lone[width[lone] > i]
                self._check(more[source.data[here[more]] != 0x10])
                here[more] += 1
            values, here[rows] = source.numbers(here[rows])
            self.values[rows, i] = values.view(np.int64)
        end[lone] = here[lone]
        self._check(where((here != end) | (here > self._stop)))
        return end

    def _read_labels(self, at: Ints) -> None:
        source = self._source
        labelled = where(at < self._stop)
        at = at[labelled]
        found: list[tuple[Ints, list[Words]]] = [(np.empty(0, np.int64), [np.empty(0, np.uint64)] * 4)]
        for _ in range(_LABELS):
            if not len(labelled):
                break
            size, here = source.field(at, 0x1A)
            stop = self._stop[labelled]
            self._check(labelled[(here == at) | (size > (stop - here).view(np.uint64))])
            at = here + size.view(np.int64)
            columns = []
            for tag in (0x08, 0x10, 0x18, 0x20):
                column, here = source.field(here, tag)
                columns.append(column)
            self._check(labelled[here != at])
            found.append((labelled, columns))
            rest = where(at < stop)
            labelled, at = labelled[rest], at[rest]
        if len(labelled):
            found.append(self._further_labels(labelled, at))
        self.label_row = np.concatenate([row for row, _ in found])
        self.label_columns = [np.concatenate([columns[i] for _, columns in found]) for i in range(4)]

    def _further_labels(self, rows: Ints, at: Ints) -> tuple[Ints, list[Words]]:
        length = self._stop[rows] - at
        try:
            # A label's tag is a mapping's, one level up.
            pairs = Pairs(self._source.data[ranges(at, length)].tobytes(), offsets(length))
            labels = pairs.messages(MAPPING)
            columns = labels.columns(0x08, 0x10, 0x18, 0x20)
            if pairs.count_of(MAPPING) != pairs.count_of(None):
                raise Irregular(np.arange(len(rows)))
        except Irregular as irregular:
            raise Irregular(np.unique(self.stream[rows[irregular.streams]])) from None
        return rows[labels.stream], columns

    def _packed(self, at: Ints, tag: int) -> tuple[Ints, Ints]:
        """Where the numbers in packed fields with *tag* begin and end; where there is another, at once."""
        size, begin = self._source.field(at, tag)
        self._check(where(size > (self._stop - begin).view(np.uint64)))
        end = begin + size.view(np.int64)
        self._check(where((size > 0) & (self._source.data[end - 1] > 127)))
        return begin, end

    def _check(self, rows: Ints) -> None:
        """Raise ``Irregular`` if there are such *rows*."""
        if len(rows):
            raise Irregular(np.unique(self.stream[rows]))
