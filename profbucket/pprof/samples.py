"""Samples as protobuf writes them anew: stacks packed, then values packed, then labels."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from profbucket.pprof.arrays import Bytes, Ints, Words, offsets, ranges
from profbucket.pprof.pairs import MAPPING, Irregular, Pairs
from profbucket.pprof.places import OtherLayout, Source

_PADDING = bytes(16)


class Samples:
    """The samples of some profiles, end to end. ``stream`` is the profile that each is from."""

    def __init__(self, samples: Sequence[list[bytes]]) -> None:
        """Read *samples*, a list for each profile; raise ``Irregular`` for those with fields that nobody knows."""
        every = list(chain.from_iterable(samples))
        self.stream = np.repeat(np.arange(len(samples)), np.fromiter(map(len, samples), np.int64, len(samples)))
        self._bounds = offsets(np.fromiter(map(len, every), np.int64, len(every)))
        every.append(_PADDING)
        self._source = Source(b"".join(every))
        at = self._bounds[:-1]
        self.location_ids, self.location_count, at = self._packed(at, 0x0A)
        values, self.value_count, at = self._packed(at, 0x12)
        self.values: Ints = values.view(np.int64)
        self._read_labels(at)

    def _packed(self, at: Ints, tag: int) -> tuple[Words, Ints, Ints]:
        """The numbers in packed fields with *tag* at these positions, their counts, and where they end."""
        source = self._source
        try:
            size, begin = source.field(at, tag)
        except OtherLayout:
            raise Irregular(np.unique(self.stream)) from None
        # Protobuf wrote it, so it is what it says; what is not of protobuf's making begins with another tag.
        length = size.view(np.int64)
        data: Bytes = source.data[ranges(begin, length)]
        first = np.flatnonzero(data < 128)
        count = np.diff(np.searchsorted(first, offsets(length)))
        first += 1
        starts = np.empty(len(first), np.int64)
        if len(starts):
            starts[0] = 0
            starts[1:] = first[:-1]
        numbers, _ = Source(data.tobytes() + _PADDING).numbers(starts)
        return numbers, count, begin + length

    def _read_labels(self, at: Ints) -> None:
        end = self._bounds[1:]
        self.labelled: Ints = np.flatnonzero(at < end)
        if not len(self.labelled):
            self.label_row = np.empty(0, np.int64)
            self.label_columns = [np.empty(0, np.uint64)] * 4
            return
        length = end[self.labelled] - at[self.labelled]
        data = self._source.data[ranges(at[self.labelled], length)]
        try:
            # A label's tag is a mapping's, one level up.
            pairs = Pairs(data.tobytes(), offsets(length))
            labels = pairs.messages(MAPPING)
            self.label_columns = labels.columns(0x08, 0x10, 0x18, 0x20)
            if pairs.count_of(MAPPING) != pairs.count_of(None):
                raise Irregular(np.arange(len(self.labelled)))
        except Irregular as irregular:
            raise Irregular(np.unique(self.stream[self.labelled[irregular.streams]])) from None
        self.label_row = self.labelled[labels.stream]
