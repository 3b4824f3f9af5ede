"""The content of a merge: each string, function, mapping, location, stack and set of labels once."""

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from profbucket.pprof.columnar.arrays import Ints, Words, expand_ranges, flatnonzero, to_offsets
from profbucket.pprof.columnar.batch import (
    Batch,
    FrameRules,
    FunctionColumns,
    HeaderColumns,
    LocationColumns,
    MappingColumns,
    SampleColumns,
    Signature,
)
from profbucket.pprof.columnar.common_types import CommonTypes
from profbucket.pprof.columnar.interning import RowTable, SequenceTable
from profbucket.pprof.columnar.packed_words import LINE_LIST, pack_label, pack_label_list, pack_location, pack_pair
from profbucket.pprof.columnar.string_table import StringTable
from profbucket.pprof.numbers import MAX_INT64

_PAGE_BYTES = 0x1000
_MAX_INLINE_LINES = 2
_MIN_CAPACITY = 1024  # samples
# Memory of an interned item besides its bytes: an entry of a dict, its key's header and its number.
_ITEM_BYTES = 150
_ROW_BYTES = 100  # of a RowTable, whose arrays and slots are up to twice as large as needed

_MappingBase = tuple[int, int, int, bytes, bytes]


class Accumulator:
    """The tables of a merge: batches are added, ``encode.py`` turns the content into one profile.

    With *sample_type*, only the values of that one are kept; labels with a key in *dropped_labels* are not.
    """

    def __init__(self, sample_type: str | None = None, dropped_labels: Collection[str] = ()) -> None:
        self._sample_type, self._dropped_labels = sample_type, dropped_labels
        self._dropped_keys = [key.encode() for key in dropped_labels]
        self.dropped: set[str] = set()  # those that samples had
        self.strings = StringTable()
        # Of the table, not of self: a reference cycle would keep the whole content until garbage is collected.
        self.types = CommonTypes(self.strings.find_text, None if sample_type is None else sample_type.encode())
        self.signature: Signature | None = None  # what all profiles have in common
        self.names_differ = False  # whether a profile had other sample types, or another order of them
        self.period = self.time_nanos = self.duration_nanos = 0
        self.frame_rules: FrameRules = (0, 0)  # of the first profile that has any
        self.header_strings = [0, 0]  # default_sample_type, doc_url
        self.comments: dict[int, None] = {}  # strings
        # name and system name as a pair, file, start line
        self.functions = RowTable(3)
        # function, line, column; and so on for each line
        self.line_lists = SequenceTable(np.uint64)
        # size in pages, offset, build id or else file
        self.mappings = RowTable(3)
        # The lowest load address of each mapping: start, limit, offset, file, build id.
        self.mapping_bases: list[_MappingBase] = []
        self.mapping_flags = np.empty((0, 4), bool)
        self.mapping_main_count = np.empty(0, np.int64)  # in how many profiles it is the first mapping
        # pack_location(mapping + 1 or 0 …), address within the mapping, two lines as pairs of function and line
        # number or, for a LINE_LIST, the list and 0
        self.locations = RowTable(4)
        # key and text as a pair, number, unit
        self.labels = RowTable(3)
        # labels
        self.label_lists = SequenceTable(np.uint32)
        # 0, pack_label(…) or pack_label_list(…); then the locations of the stack
        self.samples = SequenceTable(np.uint32)
        self.values = np.empty((0, 0), np.int64)  # by sample and sample type; there may be unused rows at the end
        self._measured = [0, 0, 0, 0]  # items of the four tables of bytes that are in _measured_bytes
        self._measured_bytes = 0

    def fork(self) -> "Accumulator":
        """Return an empty accumulator with the same settings, which shares the strings and :attr:`dropped`."""
        other = Accumulator(self._sample_type, self._dropped_labels)
        other.strings, other.types, other.dropped = self.strings, self.types, self.dropped
        other.header_strings, other.comments = self.header_strings, self.comments
        return other

    def add(self, batch: Batch, *, keep_zeros: bool = False) -> Ints:
        """Add a batch of profiles that have a sample type in common with those added before.

        Return the index in ``samples`` of each of the batch's samples; -1 if all its values are zero, unless
        *keep_zeros* is set. Shape: (samples of the batch,).
        """
        values = batch.samples.values
        # Decided before sample types are left out: then the order of samples does not depend on the batches.
        kept = np.arange(len(values)) if keep_zeros else flatnonzero(values.any(axis=1))
        batch = self._unify(batch)
        self._add_header(batch.header)
        mapping = self._intern_mappings(batch.mappings)
        function = self._intern_functions(batch.functions)
        location = self._intern_locations(batch.locations, batch.mappings, mapping, function)
        return self._add_samples(batch.samples, location, kept)

    def estimate_bytes(self) -> int:
        """Return about how much memory the content takes. A call takes time for what is new since the last one."""
        tables: tuple[dict[bytes, Any], ...] = (self.strings, self.samples, self.line_lists, self.label_lists)
        for i, table in enumerate(tables):
            new_count = len(table) - self._measured[i]
            self._measured_bytes += sum(map(len, islice(reversed(table), new_count))) + _ITEM_BYTES * new_count
            self._measured[i] = len(table)
        rows = sum(map(len, (self.functions, self.mappings, self.locations, self.labels)))
        return self._measured_bytes + _ROW_BYTES * rows + self.values.nbytes

    def intern_label(self, label: tuple[str, str] | None) -> tuple[int, int] | None:
        """Return the strings of a *label*, its key and its value."""
        return (
            None
            if label is None
            else (self.strings.intern(label[0].encode()), self.strings.intern(label[1].encode()))
        )

    def string(self, index: int) -> bytes:
        """Return the string with this index."""
        return self.strings.find_text(index)

    def narrow(self, signatures: Sequence[Signature]) -> Signature:
        """Reduce the content to what all profiles so far and *signatures* have in common, and return that."""
        common = self.signature
        for signature in signatures:
            common = self.types.narrow(common, signature)
        if common is None:
            raise ValueError("the batch has no sample type in common with the profiles before it")
        self.names_differ |= any(
            _names(signature) != _names(common) for signature in (*signatures, self.signature or common)
        )
        self.project(common)
        return common

    def project(self, common: Signature) -> None:
        """Reduce the content to *common*, which has been narrowed to the signature of the content."""
        if self.signature is None:
            self.values = np.empty((0, len(common[0])), np.int64)
        elif self.signature != common:
            projection = self.types.project(self.signature, common)
            self.values = projection.apply(self.values)
            self.period = projection.scale_period(self.period)
        self.signature = common

    def order_sample_types(self, names: Sequence[str]) -> None:
        """Put the sample types into the order of *names*, and those that are not among them behind."""
        if self.signature is None:
            return
        rank = {name.encode(): number for number, name in reversed(list(enumerate(names)))}
        sample_types = sorted(self.signature[0], key=lambda pair: rank.get(self.string(pair[0]), len(rank)))
        ordered = tuple(sample_types), self.signature[1]
        if ordered != self.signature and len({name for name, _ in sample_types}) == len(sample_types):
            self.values = self.types.project(self.signature, ordered).apply(self.values)
            self.signature = ordered

    def default_sample_type(self) -> int:
        """Return the string of the default sample type: the first sample type if the default is not common."""
        default = self.header_strings[0]
        sample_types = self.signature[0] if self.signature and self.names_differ else ()
        is_left_out = default and sample_types and all(default != name for name, _ in sample_types)
        return sample_types[0][0] if is_left_out else default

    def describe_difference(self, expected: Signature, actual: Signature) -> str:
        """Return a sentence that names the sample types or period types in which two signatures differ."""
        what, left, right = "sample", expected[0], actual[0]
        if left == right:
            what, left, right = "period", (expected[1],), (actual[1],)
        return f"{what} types differ: {self._format_types(left)} cannot be merged with {self._format_types(right)}"

    def _format_types(self, types: Iterable[Sequence[int]]) -> str:
        names = ("/".join(self.string(i).decode(errors="replace") for i in pair) for pair in types)
        return f"[{', '.join(names)}]"

    def _unify(self, batch: Batch) -> Batch:
        """Return *batch* with the sample types of all profiles so far, to which the content is reduced as well."""
        signatures, index = batch.header.signatures()
        common = self.narrow(signatures)
        return batch if signatures == [common] else self.types.project_batch(batch, signatures, index, common)

    def _add_header(self, header: HeaderColumns) -> None:
        self.period = max(self.period, int(header.period.max()))
        times = header.time_nanos[header.time_nanos > 0]
        if len(times):
            self.time_nanos = min(self.time_nanos or 2**63, int(times.min()))
        self.duration_nanos = min(self.duration_nanos + sum(header.duration_nanos.tolist()), MAX_INT64)
        if self.frame_rules == (0, 0):
            self.frame_rules = next((rules for rules in header.frame_rules() if any(rules)), (0, 0))
        self.add_header_strings(header)

    def add_header_strings(self, header: HeaderColumns) -> None:
        """Add the strings whose order is that of the profiles."""
        for i, column in enumerate((header.default_sample_type, header.doc_url)):
            nonempty = column[column > 0]
            if len(nonempty) and not self.header_strings[i]:
                self.header_strings[i] = int(nonempty[0])
        self.comments.update(dict.fromkeys(header.comment.tolist()))

    def _intern_functions(self, functions: FunctionColumns) -> Ints:
        return self.functions.intern(
            pack_pair(functions.name, functions.system_name),
            _to_words(functions.file),
            functions.start_line,
        )

    def _intern_mappings(self, mappings: MappingColumns) -> Ints:
        start, limit, file, build_id = mappings.start, mappings.limit, mappings.file, mappings.build_id
        pages = (limit - start + np.uint64(_PAGE_BYTES - 1)) // np.uint64(_PAGE_BYTES)
        index = self.mappings.intern(pages, mappings.offset, _to_words(np.where(build_id > 0, build_id, file)))
        if not len(index):
            return index
        # A merged mapping has the lowest load address, and a flag only if all have it.
        new_count = len(self.mappings) - len(self.mapping_bases)
        self.mapping_flags = np.concatenate((self.mapping_flags, np.ones((new_count, 4), bool)))
        np.logical_and.at(self.mapping_flags, index, mappings.flags)
        self.mapping_main_count = np.concatenate((self.mapping_main_count, np.zeros(new_count, np.int64)))
        first_of_profiles = flatnonzero(np.diff(mappings.profile, prepend=-1))
        np.add.at(self.mapping_main_count, index[first_of_profiles], 1)
        lowest = np.full(len(self.mappings), 2**64 - 1, np.uint64)
        np.minimum.at(lowest, index, start)
        candidates = flatnonzero(start == lowest[index])
        columns = (index, start, limit, mappings.offset, file, build_id)
        bases: dict[int, _MappingBase] = dict(enumerate(self.mapping_bases))
        for i, *numbers, file_index, build_id_index in set(
            zip(*(column[candidates].tolist() for column in columns), strict=True)
        ):
            base = (*numbers, self.string(file_index), self.string(build_id_index))
            bases[i] = min(bases.get(i, base), base)
        self.mapping_bases = [bases[i] for i in range(len(bases))]
        return index

    def _intern_locations(
        self, locations: LocationColumns, mappings: MappingColumns, mapping: Ints, function: Ints
    ) -> Ints:
        """Return the index of each location; *mapping* and *function* are the indexes of the batch's rows."""
        row, address = locations.mapping, locations.address
        if len(mapping):
            # The row -1 takes the last element, which is discarded.
            has_mapping = row >= 0
            address = address - np.where(has_mapping, mappings.start[row], np.uint64(0))
            mapping_number = np.where(has_mapping, mapping[row] + 1, 0)
        else:
            mapping_number = np.zeros(len(row), np.int64)
        # Most locations have one line or two, which fit the row. Those of the others are interned as a list.
        count = locations.line_count
        line, column = locations.line_number, locations.line_column
        function = function[locations.line_function]
        is_inline = count <= _MAX_INLINE_LINES
        oversized = flatnonzero((line >> np.uint64(32) > 0) | (column > 0))
        if len(oversized):
            is_inline[np.repeat(np.arange(len(row)), count)[oversized]] = False
        first = to_offsets(count)[:-1]
        line_word = pack_pair(function, line.view(np.int64))  # meaningless for oversized lines
        line_words = np.zeros((_MAX_INLINE_LINES, len(row)), np.uint64)
        for i in range(_MAX_INLINE_LINES):
            rows = flatnonzero(is_inline & (count > i))
            line_words[i, rows] = line_word[first[rows] + i]
        lists = flatnonzero(~is_inline)
        if len(lists):
            inner = expand_ranges(first[lists], count[lists])
            items = np.stack((_to_words(function)[inner], line[inner], column[inner]), axis=1).ravel()
            length = 3 * count[lists]
            line_words[0, lists] = _to_words(self.line_lists.intern(items, to_offsets(length)[:-1], length))
        location = pack_location(mapping_number, np.where(is_inline, count, LINE_LIST), locations.is_folded)
        return self.locations.intern(location, address, *line_words)

    def _add_samples(self, samples: SampleColumns, location: Ints, kept: Ints) -> Ints:
        """Add the samples *kept*; *location* are the indexes of the batch's locations.

        Return what :meth:`add` does.
        """
        width = self.values.shape[1]
        values, first, count = samples.values, samples.stack_first, samples.stack_count
        labels = self._intern_labels(samples)
        if len(kept) < len(values):
            values, first, count, labels = values[kept], first[kept], count[kept], labels[kept]
        items = location.astype(np.uint32)
        if len(items):
            items = items.take(samples.stack_location, mode="clip")
        else:
            items = np.zeros(len(samples.stack_location), np.uint32)
        items[first - 1] = labels
        index = self.samples.intern(items, first - 1, count + 1)
        if len(self.samples) > len(self.values):
            larger = np.zeros((max(_MIN_CAPACITY, 2 * len(self.samples)), width), np.int64)
            larger[: len(self.values)] = self.values
            self.values = larger
        for i in range(width):
            np.add.at(self.values[:, i], index, values[:, i])
        indexes = np.full(len(samples.values), -1, np.int64)
        indexes[kept] = index
        return indexes

    def _intern_labels(self, samples: SampleColumns) -> Ints:
        """Return the word of each sample that stands for its labels; see ``packed_words``."""
        key, text, number, unit = samples.label_key, samples.label_text, samples.label_number, samples.label_unit
        # As in google/pprof, a label with a text has no number, and one without text, number and unit is ignored.
        number, unit = np.where(text > 0, np.uint64(0), number), np.where(text > 0, 0, unit)
        is_used = (text > 0) | (number > 0) | (unit > 0)
        for dropped in filter(self.strings.__contains__, self._dropped_keys):
            is_dropped = is_used & (key == self.strings.intern(dropped))
            if is_dropped.any():
                self.dropped.add(dropped.decode())
                is_used &= ~is_dropped
        used = flatnonzero(is_used)
        words = np.zeros(len(samples.values), np.int64)
        if not len(used):
            return words
        label = self.labels.intern(pack_pair(key[used], text[used]), number[used], _to_words(unit[used]))
        row = samples.label_sample[used]
        # The order of keys does not tell samples apart; the order among the values of one key does.
        order = np.lexsort((text[used] == 0, key[used], row))
        label, count = label[order], np.bincount(row, minlength=len(words))
        first = to_offsets(count)[:-1]
        single, several = flatnonzero(count == 1), flatnonzero(count > 1)
        words[single] = pack_label(label[first[single]])
        words[several] = pack_label_list(self.label_lists.intern(label, first[several], count[several]))
        return words


def _names(signature: Signature) -> tuple[int, ...]:
    return tuple(name for name, _ in signature[0])


def _to_words(numbers: Ints) -> Words:
    return numbers.view(np.uint64)
