"""Some profiles as columns: checked, with every reference resolved to a row."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from profbucket.pprof.columnar.arrays import Bools, Ints, Words, offsets, ranges, where
from profbucket.pprof.columnar.fast_locations import Places, read_places
from profbucket.pprof.columnar.fast_samples import Samples
from profbucket.pprof.columnar.generic_reader import (
    FUNCTION,
    LINE,
    LOCATION,
    MAPPING,
    PERIOD_TYPE,
    SAMPLE,
    SAMPLE_TYPE,
    TOP,
    Irregular,
    Pairs,
)
from profbucket.pprof.columnar.varint_reader import SHORT, OtherLayout

# Pairs of strings, by number: those of the sample types, and that of the period type.
Types = tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]

_WIDE = 64
_SURE = float(2**62)  # sums that floats say are below this are below 2**63


class Batch:
    """What some profiles hold, all of them end to end, strings as numbers in one table for all.

    What is called ``*_row`` refers to rows of another kind; a count of -1 … is never met: whatever is not as the
    format has it raises ``Irregular`` with the numbers of the profiles, and the general way says what it is. What
    passes here has passed every check of ``validate`` but those of names and number of sample types.
    """

    def __init__(
        self,
        streams: Sequence[bytes],
        places: Sequence[bytes],
        samples: Sequence[list[bytes]],
        tables: Sequence[bytes],
        checked: Bools,
    ) -> None:
        """Read *streams*, locations and functions from *places*, *samples*, and numbers of strings from *tables*.

        The totals of *checked* profiles are known to fit 64 bits.
        """
        self.count = len(streams)
        size = np.fromiter(map(len, tables), np.int64, len(tables)) >> 3
        self._string_bounds = offsets(size)
        self._string_numbers = np.frombuffer(b"".join(tables), np.int64)
        _check(where(size == 0), np.arange(self.count))
        _check(where(self._string_numbers[self._string_bounds[:-1]] != 0), np.arange(self.count))
        found: Places | None = None
        try:
            found = read_places(places)
        except OtherLayout:
            streams = [a + b for a, b in zip(streams, places, strict=True)]
        bounds = offsets(np.fromiter(map(len, streams), np.int64, self.count))
        pairs = Pairs(b"".join(streams), bounds)
        self._read_header(pairs, checked)
        self._read_mappings(pairs)
        if found and (pairs.count_of(LOCATION) or pairs.count_of(FUNCTION)):
            raise Irregular(np.arange(self.count))
        found = found or _places(pairs)
        self._read_functions(found)
        self._read_locations(found)
        if pairs.count_of(SAMPLE):
            raise Irregular(np.arange(self.count))
        try:
            found_samples = Samples(samples, self.width)
        except Irregular as irregular:
            found_samples = Samples(_normalised(samples, irregular.streams), self.width)
        self._read_samples(found_samples, checked)

    def _read_header(self, pairs: Pairs, checked: Bools) -> None:
        top = pairs.messages(TOP)
        fields = top.fields(0x38, 0x40, 0x70, 0x78, 0x48, 0x50, 0x60, 0x68)
        everyone = np.arange(self.count)
        columns = []
        for row, values in fields[:-1]:
            column = np.zeros(self.count, np.uint64)
            column[row] = values
            columns.append(column)
        self.drop_frames, self.keep_frames, self.default_sample_type, self.doc_url = self._texts(
            columns[:4], everyone
        )
        self.time_nanos, self.duration_nanos, self.period = (column.view(np.int64) for column in columns[4:])
        _check(where((self.time_nanos < 0) | (self.duration_nanos < 0)), everyone)
        self.comment_stream, comments = fields[-1]
        [self.comment] = self._texts([comments], self.comment_stream)

        types = pairs.messages(SAMPLE_TYPE)
        self.types = np.stack([*self._texts(types.columns(0x08, 0x10), types.stream)], axis=1)
        self.width = np.bincount(types.stream, minlength=self.count)
        # Values are read one column after the other; whether there may be so many is for the general way to say.
        _check(where((self.width == 0) | ((self.width > _WIDE) & ~checked)), everyone)
        periods = pairs.messages(PERIOD_TYPE)
        # Of one that comes twice, protobuf makes one: the general way does.
        _check(where(np.bincount(periods.stream, minlength=self.count) > 1), everyone)
        self.period_type = np.zeros((self.count, 2), np.int64)
        for i, text in enumerate(self._texts(periods.columns(0x08, 0x10), periods.stream)):
            self.period_type[periods.stream, i] = text

    def _read_mappings(self, pairs: Pairs) -> None:
        mappings = pairs.messages(MAPPING)
        columns = mappings.columns(*range(0x08, 0x58, 8))
        self.mapping_stream = mappings.stream
        self._mapping_ids = _Ids(self.count, mappings.stream, columns[0])
        self.mapping_start, self.mapping_limit, self.mapping_offset = columns[1:4]
        self.mapping_file, self.mapping_build_id = self._texts(columns[4:6], mappings.stream)
        self.mapping_flags = np.stack(columns[6:], axis=1) != 0

    def _read_functions(self, places: Places) -> None:
        ids, *strings, self.function_start_line = places.function_columns
        self._function_ids = _Ids(self.count, places.function_stream, ids)
        self.function_name, self.function_system_name, self.function_file = self._texts(
            strings, places.function_stream
        )

    def _read_locations(self, places: Places) -> None:
        self._location_ids = _Ids(self.count, places.location_stream, places.location_id)
        self.location_address, self.location_folded = places.location_address, places.location_folded
        # -1 where the mapping is unknown.
        self.location_mapping_row = np.full(len(places.location_stream), -1, np.int64)
        known = where(places.location_mapping_id)
        self.location_mapping_row[known] = self._mapping_ids.rows(
            places.location_mapping_id[known], places.location_stream[known]
        )
        self.line_function_row = self._function_ids.rows(places.line_function_id, places.line_stream)
        self.line_number, self.line_column, self.line_count = (
            places.line_number,
            places.line_column,
            places.line_count,
        )

    def _read_samples(self, samples: Samples, checked: Bools) -> None:
        stream = samples.stream
        self.sample_stream = stream
        self._read_stacks(samples)
        self.values = samples.values
        total = np.bincount(stream, np.abs(self.values.astype(float)).sum(axis=1), minlength=self.count)
        _check(where((total > _SURE) & ~checked), np.arange(self.count))
        key, text, self.label_number, unit = samples.label_columns
        self.label_sample_row = samples.label_row
        self.label_key, self.label_text, self.label_unit = self._texts(
            (key, text, unit), stream[samples.label_row]
        )

    def _read_stacks(self, samples: Samples) -> None:
        # Where in stack_row the stack of each sample is. What is between them is any row or none; before each of
        # them there is something that is its own.
        self.stack_first, self.stack_count = samples.stack_first, samples.stack_count
        stream, ids = samples.stream, self._location_ids
        rows = ids.dense_rows(*samples.short_ids(), stream, self.stack_first, self.stack_count)
        if rows is None:
            found = ids.rows(samples.ids(), stream, self.stack_count)
            self.stack_first = offsets(self.stack_count + 1)[:-1] + 1
            rows = np.zeros(len(found) + len(stream), np.int64)
            rows[ranges(self.stack_first, self.stack_count)] = found
        self.stack_row = rows

    def signatures(self) -> list[Types]:
        """What each profile measures: the strings of its sample types and of its period type."""
        width = int(self.width[0])
        if (self.width == width).all() and (self.period_type == self.period_type[0]).all():
            types = self.types.reshape(self.count, 2 * width)
            if (types == types[0]).all():
                one = (tuple(map(tuple, self.types[:width].tolist())), tuple(self.period_type[0].tolist()))
                return [one] * self.count
        ends = np.cumsum(self.width).tolist()
        pairs = list(map(tuple, self.types.tolist()))
        return [
            (tuple(pairs[end - width : end]), tuple(period))
            for end, width, period in zip(ends, self.width.tolist(), self.period_type.tolist(), strict=True)
        ]

    def _texts(self, columns: Iterable[Words], stream: Ints) -> Iterator[Ints]:
        """The numbers of the strings that stand at these indices in the tables of their profiles."""
        first = self._string_bounds.take(stream)
        room = (self._string_bounds.take(stream + 1) - first).view(np.uint64)
        for indices in columns:
            if indices.any():
                _check(where(indices >= room), stream)
                yield self._string_numbers.take(first + indices.view(np.int64))
            else:
                yield np.zeros(len(indices), np.int64)


class _Ids:
    """The ids of one kind of message, each in the realm of its profile."""

    def __init__(self, count: int, stream: Ints, ids: Words) -> None:
        self._bounds = offsets(np.bincount(stream, minlength=count))
        _check(where(ids == 0), stream)
        place = np.arange(1, len(ids) + 1)
        place -= self._bounds[stream]
        self._dense = bool((ids == place.view(np.uint64)).all())
        if not self._dense:
            self._known = np.unique(ids)
            keys = self._keys(np.searchsorted(self._known, ids), stream)
            self._order = np.argsort(keys, kind="stable")
            self._keys_sorted = keys[self._order]
            _check(self._order[1:][self._keys_sorted[1:] == self._keys_sorted[:-1]], stream)

    def rows(self, ids: Words, stream: Ints, count: Ints | None = None) -> Ints:
        """The rows of the messages that have these ids, in the profiles that ask for them.

        Profile ``stream[0]`` asks for one, or for the first ``count[0]`` of *ids*, and so on.
        """
        if self._dense:
            first = self._bounds[stream]
            room = self._bounds[stream + 1] - first
            if count is not None:
                first, room = np.repeat(first, count), np.repeat(room, count)
            # 0 wraps and is too large.
            rows = ids - np.uint64(1)
            bad = rows >= room.view(np.uint64)
            if bad.any():
                _check(where(bad), stream if count is None else np.repeat(stream, count))
            first += rows.view(np.int64)
            return first
        if count is not None:
            stream = np.repeat(stream, count)
        if not len(ids):
            return np.empty(0, np.int64)
        place = np.minimum(np.searchsorted(self._known, ids), len(self._known) - 1)
        keys = self._keys(place, stream)
        at = np.minimum(np.searchsorted(self._keys_sorted, keys), len(keys_sorted := self._keys_sorted) - 1)
        _check(where((self._known[place] != ids) | (keys_sorted[at] != keys)), stream)
        return self._order[at]

    def dense_rows(
        self, ids: npt.NDArray[np.uint16], bounds: Ints, stream: Ints, first: Ints, count: Ints
    ) -> Ints | None:
        """The rows of the messages with these ids, of which each profile has those between two of *bounds*.

        Profile ``stream[0]`` asks for *count* of them, from *first* on; what the others are does not count.
        ``None`` where ids do not count from 1, or are unknown or over ``SHORT``.
        """
        if not self._dense:
            return None
        ids -= np.uint16(1)  # 0 becomes too large
        some = where(count)
        if len(some):
            pairs = np.stack((first[some], first[some] + count[some]), axis=1).ravel()
            most = np.maximum.reduceat(np.append(ids, np.uint16(0)), pairs)[::2]
            room = np.diff(self._bounds)[stream[some]]
            if (most >= np.minimum(room, SHORT)).any():
                return None
        rows = ids.astype(np.int64)
        rows[bounds[0] :] += np.repeat(self._bounds[:-1], np.diff(bounds))
        return rows

    def _keys(self, place: Ints, stream: Ints) -> Ints:
        return place * (len(self._bounds) - 1) + stream


def _places(pairs: Pairs) -> Places:
    """Locations, lines and functions in any layout."""
    functions, locations, lines = pairs.messages(FUNCTION), pairs.messages(LOCATION), pairs.messages(LINE)
    location_id, mapping_id, address, folded = locations.columns(0x08, 0x10, 0x18, 0x28)
    function_id, line, column = lines.columns(0x08, 0x10, 0x18)
    count = np.bincount(pairs.parents(LOCATION, LINE), minlength=len(locations))
    return Places(
        locations.stream,
        location_id,
        mapping_id,
        address,
        folded != 0,
        count,
        lines.stream,
        function_id,
        line,
        column,
        functions.stream,
        functions.columns(*range(0x08, 0x30, 8)),
    )


def _normalised(samples: Sequence[list[bytes]], streams: Ints) -> list[list[bytes]]:
    """*samples*, those of these profiles normalised; raise ``Irregular`` for those that have others."""
    from profbucket.pprof.columnar.split import normalised

    found = list(samples)
    bad = []
    for i in streams.tolist():
        again = normalised(samples[i])
        if again is None:
            bad.append(i)
        else:
            found[i] = again
    _check(np.array(bad, np.int64), np.arange(len(samples)))
    return found


def _check(bad: Ints, stream: Ints) -> None:
    """Raise ``Irregular`` if there are *bad* rows; *stream* says which profile each row is from."""
    if len(bad):
        raise Irregular(np.unique(stream[bad]))
