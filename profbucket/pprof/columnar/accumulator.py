"""What a merge holds: each string, function, mapping, location, stack and set of labels once."""

from collections.abc import Iterable, Sequence

import numpy as np

from profbucket.pprof.columnar.arrays import Ints, Words, offsets, ranges, where
from profbucket.pprof.columnar.batch import Batch, Types
from profbucket.pprof.columnar.interning import Rows, Sequences
from profbucket.pprof.columnar.pending import Strings

_PAGE = 0x1000
LISTED = 3  # lines of a location, or more, or such that do not fit a row: a list of them

_Base = tuple[int, int, int, bytes, bytes]


class Accumulator:
    """Batches go in, columns for the one profile come out (see ``result.py``).

    All tables are by number. Two numbers below 2**32 share a word where a row has a column less for it.
    """

    def __init__(self) -> None:
        self.types: Types | None = None
        self.period = self.time_nanos = self.duration_nanos = 0
        # drop_frames, keep_frames, default_sample_type, doc_url
        self.texts = [0, 0, 0, 0]
        self.comments: dict[int, None] = {}
        self.strings = Strings()
        self._names: list[bytes] = []
        self.functions = Rows(3)  # name and system name, file, start line
        self.line_lists = Sequences(np.uint64)  # function, line, column, and so on
        self.mappings = Rows(3)  # pages, offset, build id or file
        self.bases: list[_Base] = []  # the lowest of each mapping: start, limit, offset, file, build id
        self.mapping_flags = np.empty((0, 4), bool)
        self.mapping_first = np.empty(0, np.int64)  # in how many profiles it is the first
        # Mapping from 1 on, << 3, | how many lines, << 1, | 1 for one that is folded; address; then function << 32
        # | line of up to two lines or else, where they are LISTED, the list of lines.
        self.locations = Rows(4)
        self.labels = Rows(3)  # key and text, number, unit
        self.label_lists = Sequences(np.uint32)
        # Labels, as 0 for none, label << 1 | 1 for one, list + 1 << 1 for more; then the locations of the stack.
        self.samples = Sequences(np.uint32)
        self.values = np.empty((0, 0), np.int64)

    def add(self, batch: Batch, *, every: bool = False) -> Ints:
        """Take in a batch whose types are those of all before, or the first.

        Return what each sample of the batch has become: its number here, or -1 where all its values are zero and
        not *every* sample is wanted.
        """
        self._add_header(batch)
        mapping = self._intern_mappings(batch)
        function = self.functions.intern(
            _paired(batch.function_name, batch.function_system_name),
            _word(batch.function_file),
            batch.function_start_line,
        )
        location = self._intern_locations(batch, mapping, function)
        return self._add_samples(batch, location, every)

    def name(self, number: int) -> bytes:
        """The string of that number."""
        if len(self._names) < len(self.strings):
            self._names = list(self.strings)
        return self._names[number]

    def differ(self, wanted: Types, types: Types) -> str:
        """What is wrong with *types*, for people."""
        what, left, right = "sample", wanted[0], types[0]
        if left == right:
            what, left, right = "period", (wanted[1],), (types[1],)
        return f"{what} types differ: {self._named(left)} cannot be merged with {self._named(right)}"

    def _named(self, types: Iterable[Sequence[int]]) -> str:
        return f"[{', '.join('/'.join(self.name(i).decode(errors='replace') for i in pair) for pair in types)}]"

    def _add_header(self, batch: Batch) -> None:
        if self.types is None:
            self.types = batch.signatures()[0]
            self.values = np.empty((0, len(self.types[0])), np.int64)
        self.period = max(self.period, int(batch.period.max()))
        times = batch.time_nanos[batch.time_nanos > 0]
        if len(times):
            self.time_nanos = min(self.time_nanos or 2**63, int(times.min()))
        self.duration_nanos = _wrapped(self.duration_nanos + sum(batch.duration_nanos.tolist()))
        texts = (batch.drop_frames, batch.keep_frames, batch.default_sample_type, batch.doc_url)
        for i, column in enumerate(texts):
            given = column[column > 0]
            if len(given) and not self.texts[i]:
                self.texts[i] = int(given[0])
        self.comments.update(dict.fromkeys(batch.comment.tolist()))

    def _intern_mappings(self, batch: Batch) -> Ints:
        start, limit, offset = batch.mapping_start, batch.mapping_limit, batch.mapping_offset
        file, build_id = batch.mapping_file, batch.mapping_build_id
        pages = (limit - start + np.uint64(_PAGE - 1)) // np.uint64(_PAGE)
        number = self.mappings.intern(pages, offset, _word(np.where(build_id > 0, build_id, file)))
        if not len(number):
            return number
        # The lowest of all bases stands for all, and it is as symbolized as the least of them.
        fresh = len(self.mappings) - len(self.bases)
        self.mapping_flags = np.concatenate((self.mapping_flags, np.ones((fresh, 4), bool)))
        np.logical_and.at(self.mapping_flags, number, batch.mapping_flags)
        self.mapping_first = np.concatenate((self.mapping_first, np.zeros(fresh, np.int64)))
        mains = where(np.diff(batch.mapping_stream, prepend=-1))
        np.add.at(self.mapping_first, number[mains], 1)
        lowest = np.full(len(self.mappings), 2**64 - 1, np.uint64)
        np.minimum.at(lowest, number, start)
        low = where(start == lowest[number])
        columns = (number, start, limit, offset, file, build_id)
        found: dict[int, _Base] = dict(enumerate(self.bases))
        for n, a, b, c, f, i in set(zip(*(column[low].tolist() for column in columns), strict=True)):
            base = (a, b, c, self.name(f), self.name(i))
            found[n] = min(found.get(n, base), base)
        self.bases = [found[n] for n in range(len(found))]
        return number

    def _intern_locations(self, batch: Batch, mapping: Ints, function: Ints) -> Ints:
        row, address = batch.location_mapping_row, batch.location_address
        if len(mapping):
            # Of none, the last element is taken and discarded.
            known = row >= 0
            address = address - np.where(known, batch.mapping_start[row], np.uint64(0))
            number = np.where(known, mapping[row] + 1, 0)
        else:
            number = np.zeros(len(row), np.int64)
        # Most locations have one line or two. The others have a list of lines that are numbered, too.
        count = batch.line_count
        line, column = batch.line_number, batch.line_column
        function = function[batch.line_function_row]
        few = count < LISTED
        odd = where((line >> np.uint64(32) > 0) | (column > 0))
        if len(odd):
            few[np.repeat(np.arange(len(row)), count)[odd]] = False
        first = offsets(count)[:-1]
        word = _word(function << 32) | line
        words = np.zeros((2, len(row)), np.uint64)
        for i in range(2):
            rows = where(few & (count > i))
            words[i, rows] = word[first[rows] + i]
        lists = where(~few)
        if len(lists):
            inner = ranges(first[lists], count[lists])
            items = np.stack((_word(function)[inner], line[inner], column[inner]), axis=1).ravel()
            length = 3 * count[lists]
            words[0, lists] = _word(self.line_lists.intern(items, offsets(length)[:-1], length))
        place = number << 3 | np.where(few, count, LISTED) << 1 | batch.location_folded
        return self.locations.intern(_word(place), address, *words)

    def _add_samples(self, batch: Batch, location: Ints, every: bool) -> Ints:
        width = self.values.shape[1]
        values, first, count = batch.values, batch.stack_first, batch.stack_count
        labels = self._intern_labels(batch, len(values))
        alive = np.arange(len(values)) if every else where(values.any(axis=1))
        if len(alive) < len(values):
            values, first, count, labels = values[alive], first[alive], count[alive], labels[alive]
        items = location.astype(np.uint32)
        if len(items):
            items = items.take(batch.stack_row, mode="clip")
        else:
            items = np.zeros(len(batch.stack_row), np.uint32)
        items[first - 1] = labels
        sample = self.samples.intern(items, first - 1, count + 1)
        if len(self.samples) > len(self.values):
            grown = np.zeros((max(1024, 2 * len(self.samples)), width), np.int64)
            grown[: len(self.values)] = self.values
            self.values = grown
        for i in range(width):
            np.add.at(self.values[:, i], sample, values[:, i])
        numbers = np.full(len(batch.values), -1, np.int64)
        numbers[alive] = sample
        return numbers

    def _intern_labels(self, batch: Batch, samples: int) -> Ints:
        key, text, number, unit = batch.label_key, batch.label_text, batch.label_number, batch.label_unit
        # As google/pprof reads it: a label with a text has no number, and one without anything is none.
        number, unit = np.where(text > 0, np.uint64(0), number), np.where(text > 0, 0, unit)
        says = where((text > 0) | (number > 0) | (unit > 0))
        if not len(says):
            return np.zeros(samples, np.int64)
        label = self.labels.intern(_paired(key[says], text[says]), number[says], _word(unit[says]))
        row = batch.label_sample_row[says]
        # The order among the values of one key is part of a profile, the order of keys is not.
        order = np.lexsort((text[says] == 0, key[says], row))
        label, count = label[order], np.bincount(row, minlength=samples)
        first = offsets(count)[:-1]
        found = np.zeros(samples, np.int64)
        one, more = where(count == 1), where(count > 1)
        found[one] = label[first[one]] << 1 | 1
        found[more] = self.label_lists.intern(label, first[more], count[more]) + 1 << 1
        return found


def _word(numbers: Ints) -> Words:
    return numbers.view(np.uint64)


def _paired(high: Ints, low: Ints) -> Words:
    return (high << 32 | low).view(np.uint64)


def _wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63
