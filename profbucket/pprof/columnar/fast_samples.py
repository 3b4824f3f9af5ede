"""Read samples as nearly all encoders write them: stack and values in either order, then labels."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from profbucket.pprof import wire
from profbucket.pprof.columnar.arrays import Ints, Words, expand_ranges, flatnonzero, to_offsets
from profbucket.pprof.columnar.generic_reader import MAPPING, GenericReader, NeedsProtobuf
from profbucket.pprof.columnar.varint_reader import UncommonLayout, VarintReader

_MAX_UNPACKED_IDS = 2  # Go's encoder packs longer stacks
_VALUE_MASK = 0xFF ^ wire.Sample.VALUE ^ wire.Sample.VALUE_PACKED
_LABEL_PASSES = 8  # labels of a sample that are read one after the other; GenericReader reads the rest


class SampleReader:
    """The S samples of a batch, with their stacks, values and labels.

    ``profile`` is the profile that each is from; shape (S,). ``values`` are the values, 0 where a profile has
    fewer sample types; shape (S, most sample types). ``label_row`` is the sample of each of the L labels; shape
    (L,). ``label_columns`` are their keys, texts, numbers and units as encoded; shape (L,) each. ``stack_first``
    and ``stack_count`` tell where the stack of each sample is in :meth:`read_short_ids`, and how many ids it has;
    shape (S,).
    """

    def __init__(self, samples: Sequence[list[bytes]], width: Ints) -> None:
        """Read *samples*, a list for each profile, whose samples have ``width[i]`` values.

        Raise ``NeedsProtobuf`` for profiles with samples in another layout.
        """
        count = np.fromiter(map(len, samples), np.int64, len(samples))
        self.profile = np.repeat(np.arange(len(samples)), count)
        all_samples = list(chain.from_iterable(samples))
        # A zero stands before and behind each sample: each stack has a varint before it, and no field seems to
        # follow the last one of a sample, or of its last label.
        bounds = to_offsets(np.fromiter(map(len, all_samples), np.int64, len(all_samples)) + 1) + 1
        self._reader = VarintReader(b"\0".join((b"", *all_samples, b"")))
        self._stop = bounds[1:] - 1
        self._max_width = int(width.max(initial=0))
        self._profile_bounds = bounds[to_offsets(count)]
        try:
            at = bounds[:-1]
            if (self._reader.data[at] & _VALUE_MASK == wire.Sample.VALUE & _VALUE_MASK).all():
                # Go's runtime writes values first.
                at = self._read_values(at, width[self.profile])
                at = self._read_stacks(at)
            else:
                at = self._read_stacks(at)
                at = self._read_values(at, width[self.profile])
            self._read_labels(at)
        except UncommonLayout:
            raise NeedsProtobuf(np.unique(self.profile)) from None

    def _read_stacks(self, at: Ints) -> Ints:
        reader = self._reader
        begin, end = self._read_packed(at, wire.Sample.LOCATION_ID_PACKED)
        self.stack_first = reader.rank(begin)
        self.stack_count = reader.rank(end) - self.stack_first
        unpacked = flatnonzero(reader.data[at] == wire.Sample.LOCATION_ID)
        unpacked_at = at[unpacked]
        for _ in range(_MAX_UNPACKED_IDS):
            self.stack_count[unpacked] += reader.data[unpacked_at] == wire.Sample.LOCATION_ID
            _, unpacked_at = reader.read_field(unpacked_at, wire.Sample.LOCATION_ID)
        end[unpacked] = unpacked_at
        self._check(unpacked[unpacked_at > self._stop[unpacked]])
        # Two unpacked ids have a tag between them. In the results, the first id replaces that tag.
        self.stack_first[unpacked] += self.stack_count[unpacked]
        self._tags_between = self.stack_first[unpacked[self.stack_count[unpacked] == _MAX_UNPACKED_IDS]]
        return end

    def read_short_ids(self) -> tuple[npt.NDArray[np.uint16], Ints]:
        """Return the ids of all stacks, and where in them those of each profile begin.

        The stack of sample i has the ``stack_count[i]`` ids from ``stack_first[i]`` on. Between stacks there are
        other numbers, at least one before each. An id above ``MAX_SHORT`` marks one that did not fit.
        """
        ids = self._reader.read_all_short()
        ids[self._tags_between] = ids[self._tags_between - 1]
        return ids, self._reader.rank(self._profile_bounds)

    def read_ids(self) -> Words:
        """Return the ids of all stacks, end to end, whatever their size."""
        starts = self._reader.find_starts()
        starts[self._tags_between] = starts[self._tags_between - 1]
        try:
            ids, _ = self._reader.read(starts[expand_ranges(self.stack_first, self.stack_count)])
        except UncommonLayout:
            raise NeedsProtobuf(np.unique(self.profile)) from None
        return ids

    def _read_values(self, at: Ints, width: Ints) -> Ints:
        reader = self._reader
        value_at, end = self._read_packed(at, wire.Sample.VALUE_PACKED)
        unpacked = flatnonzero(value_at == at)
        self.values = np.zeros((len(at), self._max_width), np.int64)
        for i in range(self._max_width):
            rows = flatnonzero(width > i)
            if len(unpacked):
                tagged = unpacked[width[unpacked] > i]
                self._check(tagged[reader.data[value_at[tagged]] != wire.Sample.VALUE])
                value_at[tagged] += 1
            values, value_at[rows] = reader.read(value_at[rows])
            self.values[rows, i] = values.view(np.int64)
        end[unpacked] = value_at[unpacked]
        self._check(flatnonzero((value_at != end) | (value_at > self._stop)))
        return end

    def _read_labels(self, at: Ints) -> None:
        reader = self._reader
        labelled = flatnonzero(at < self._stop)
        at = at[labelled]
        parts: list[tuple[Ints, list[Words]]] = [(np.empty(0, np.int64), [np.empty(0, np.uint64)] * 4)]
        for _ in range(_LABEL_PASSES):
            if not len(labelled):
                break
            size, field_at = reader.read_field(at, wire.Sample.LABEL)
            stop = self._stop[labelled]
            is_odd = (field_at == at) | (field_at > stop)
            self._check(labelled[is_odd | (size > (stop - field_at).view(np.uint64))])
            at = field_at + size.view(np.int64)
            columns = []
            for tag in wire.Label.SCALARS:
                column, field_at = reader.read_field(field_at, tag)
                columns.append(column)
            self._check(labelled[field_at != at])
            parts.append((labelled, columns))
            rest = flatnonzero(at < stop)
            labelled, at = labelled[rest], at[rest]
        if len(labelled):
            parts.append(self._read_remaining_labels(labelled, at))
        self.label_row = np.concatenate([row for row, _ in parts])
        self.label_columns = [np.concatenate([columns[i] for _, columns in parts]) for i in range(4)]

    def _read_remaining_labels(self, rows: Ints, at: Ints) -> tuple[Ints, list[Words]]:
        length = self._stop[rows] - at
        try:
            # In a profile, the tag of a sample's label is that of a mapping.
            reader = GenericReader(self._reader.data[expand_ranges(at, length)].tobytes(), to_offsets(length))
            labels = reader.messages(MAPPING)
            columns = labels.columns(*wire.Label.SCALARS)
            if reader.count_messages(MAPPING) != reader.count_messages():
                raise NeedsProtobuf(np.arange(len(rows)))
        except NeedsProtobuf as error:
            raise NeedsProtobuf(np.unique(self.profile[rows[error.profiles]])) from None
        return rows[labels.profile], columns

    def _read_packed(self, at: Ints, tag: int) -> tuple[Ints, Ints]:
        """Return where the numbers in packed fields with *tag* begin and end; other fields are taken as empty."""
        size, begin = self._reader.read_field(at, tag)
        self._check(flatnonzero((begin > self._stop) | (size > (self._stop - begin).view(np.uint64))))
        end = begin + size.view(np.int64)
        self._check(flatnonzero((size > 0) & (self._reader.data[end - 1] > 127)))
        return begin, end

    def _check(self, bad: Ints) -> None:
        """Raise ``NeedsProtobuf`` if there are *bad* samples."""
        if len(bad):
            raise NeedsProtobuf(np.unique(self.profile[bad]))
