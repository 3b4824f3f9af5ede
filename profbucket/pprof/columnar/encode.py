"""The one profile that a pool of many makes, as protobuf."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np

from profbucket.pprof.columnar.accumulator import LISTED, Accumulator
from profbucket.pprof.columnar.arrays import Bytes, Ints, Words, offsets, ranges, where
from profbucket.pprof.columnar.varint_writer import Fields, head_size, put, put_head, size_of
from profbucket.pprof.compression import varint

_LOW = np.uint64(2**32 - 1)


def encode(pool: Accumulator, comments: Sequence[bytes], *, every: bool = False) -> bytes:
    """The protobuf of what *pool* holds, with nothing in it that no sample needs; *comments* come first.

    With *every*, samples that have added up to zero are in it, too: each then stands at its number in the pool.
    """
    return _Writer(pool, every=every).encode(comments)


class _Writer:
    def __init__(self, pool: Accumulator, *, every: bool) -> None:
        self.pool = pool
        self.types = pool.types or ((), (0, 0))
        values = pool.values[: len(pool.samples)]
        sample = np.arange(len(values)) if every else where(values.any(axis=1))
        self.values = pool.values[sample]
        items, count = pool.samples.of(sample)
        first = offsets(count)[:-1]
        self.labels, self.label_count = self._labels(items[first].astype(np.int64))
        inner = np.ones(len(items), bool)
        inner[first] = False
        self.stack_items, self.stack_count = items[where(inner)].astype(np.int64), count - 1

        self.location, self.location_ids = _used(self.stack_items, len(pool.locations))
        place, _, *words = (pool.locations.column(i)[self.location] for i in range(4))
        self.location_folded = place & np.uint64(1)
        # Lines of all locations: those that stand in their rows, and those of lists between them.
        self.line_count = (place >> np.uint64(1) & np.uint64(3)).view(np.int64)
        listed = self.line_count == LISTED
        lists = where(listed)
        items, count = pool.line_lists.of(words[0][lists].view(np.int64))
        count //= 3
        self.line_count[lists] = count
        first = offsets(self.line_count)
        self.line_function, self.line_number, self.line_column = np.zeros((3, first[-1]), np.uint64)
        few = np.where(listed, 0, self.line_count)
        for i in range(2):
            rows = where(few > i)
            at, word = first[rows] + i, words[i][rows]
            self.line_function[at], self.line_number[at] = word >> np.uint64(32), word & _LOW
        inner = ranges(first[lists], count)
        self.line_function[inner], self.line_number[inner], self.line_column[inner] = items.reshape(-1, 3).T
        self.function, self.function_ids = _used(self.line_function.view(np.int64), len(pool.functions))

        # The first mapping is the program itself by convention, in profiles and therefore in their merge.
        mapping = place.view(np.int64) >> 3
        used = np.zeros(len(pool.bases) + 1, bool)
        used[mapping] = True
        used[1:] |= pool.mapping_first > 0
        self.mapping = sorted(
            where(used[1:]).tolist(), key=lambda i: (-pool.mapping_first[i], *pool.bases[i][3:], i)
        )
        self.mapping_ids = np.zeros(len(pool.bases) + 1, np.uint64)
        self.mapping_ids[np.array(self.mapping, np.int64) + 1] = np.arange(1, len(self.mapping) + 1)
        self.location_mapping = mapping

    def _labels(self, words: Ints) -> tuple[Ints, Ints]:
        """Return the labels of all samples, end to end, and how many each has; see ``Accumulator.samples``."""
        one, more = where(words & 1), where((words > 0) & (words & 1 == 0))
        items, length = self.pool.label_lists.of((words[more] >> 1) - 1)
        count = np.zeros(len(words), np.int64)
        count[one], count[more] = 1, length
        first = offsets(count)
        labels = np.empty(first[-1], np.int64)
        labels[first[one]] = words[one] >> 1
        labels[ranges(first[more], length)] = items
        return labels, count

    def encode(self, comments: Sequence[bytes]) -> bytes:
        pool = self.pool
        names = self.name_strings(comments)
        parts = [
            b"".join(_message(0x0A, [(0x08, self.id(k)), (0x10, self.id(u))]) for k, u in self.types[0]),
            self.samples(),
            self.mappings(),
            self.locations(),
            self.functions(),
            b"".join(chain.from_iterable(zip(map(_string_head, map(len, names)), names, strict=True))),
            _fields(zip((0x38, 0x40), map(self.id, pool.texts[:2]), strict=True)),
            _fields([(0x48, pool.time_nanos), (0x50, pool.duration_nanos)]),
            _message(0x5A, zip((0x08, 0x10), map(self.id, self.types[1]), strict=True)),
            _fields([(0x60, pool.period)]),
            b"".join(b"\x68" + varint(i) for i in self.comment_ids),
            _fields(zip((0x70, 0x78), map(self.id, pool.texts[2:]), strict=True)),
        ]
        return b"".join(parts)

    def name_strings(self, comments: Sequence[bytes]) -> list[bytes]:
        """Decide which strings the result has and in which order, and return them."""
        pool = self.pool
        comment = [*dict.fromkeys([*(pool.strings.number(c) for c in comments), *pool.comments])]
        used = np.zeros(len(pool.strings), bool)
        used[[i for pair in (*self.types[0], self.types[1]) for i in pair]] = True
        used[pool.texts] = True
        used[comment] = True
        for i in self.mapping:
            used[[pool.strings.number(text) for text in pool.bases[i][3:]]] = True
        name, self.function_file = pool.functions.column(0)[self.function], pool.functions.column(1)[self.function]
        self.function_name, self.function_system_name = _high(name), _low(name)
        used[self.function_name] = used[self.function_system_name] = used[self.function_file.view(np.int64)] = True
        key = pool.labels.column(0)[self.labels]
        self.label_key, self.label_text = _high(key), _low(key)
        self.label_unit = pool.labels.column(2)[self.labels].view(np.int64)
        used[self.label_key] = used[self.label_text] = used[self.label_unit] = True
        used[0] = True
        numbers = where(used)
        self.string_ids = np.zeros(len(used), np.uint64)
        self.string_ids[numbers] = np.arange(len(numbers))
        self.comment_ids = [self.id(i) for i in comment]
        names = list(pool.strings)
        return [names[i] for i in numbers.tolist()]

    def id(self, number: int) -> int:
        return int(self.string_ids[number])

    def samples(self) -> bytes:
        width = self.values.shape[1]
        # From the inside out: how much room everything takes …
        ids = self.location_ids[self.stack_items]
        id_size = size_of(ids)
        id_ends = offsets(id_size)
        stack_ends = offsets(self.stack_count)
        stack_size = np.diff(id_ends[stack_ends])
        stack_head = np.where(stack_size > 0, head_size(stack_size), 0)
        values = self.values.ravel().view(np.uint64)
        value_ends = offsets(size_of(values))
        value_size = np.diff(value_ends[::width])
        value_head = head_size(value_size)
        labels = Fields(
            (0x08, self.string_ids[self.label_key]),
            (0x10, self.string_ids[self.label_text]),
            (0x18, self.pool.labels.column(1)[self.labels]),
            (0x20, self.string_ids[self.label_unit]),
        )
        label_ends = offsets(labels.size + head_size(labels.size))
        label_size = np.diff(label_ends[offsets(self.label_count)])
        size = stack_head + stack_size + value_head + value_size + label_size
        head = head_size(size)
        ends = offsets(size + head)
        # … and from the outside in: where it goes.
        out = np.empty(int(ends[-1]), np.uint8)
        at = ends[:-1]
        put_head(out, at, 0x12, size)
        at = at + head
        some = where(stack_size)
        put_head(out, at[some], 0x0A, stack_size[some])
        at += stack_head
        put(out, id_ends[:-1] + np.repeat(at - id_ends[stack_ends[:-1]], self.stack_count), ids)
        at += stack_size
        put_head(out, at, 0x12, value_size)
        at += value_head
        put(out, value_ends[:-1] + np.repeat(at - value_ends[:-1:width], width), values)
        at += value_size
        if len(self.labels):
            first = label_ends[offsets(self.label_count)[:-1]]
            at = label_ends[:-1] + np.repeat(at - first, self.label_count)
            put_head(out, at, 0x1A, labels.size)
            labels.put(out, at + head_size(labels.size))
        return out.tobytes()

    def mappings(self) -> bytes:
        out = []
        for place, i in enumerate(self.mapping, 1):
            start, limit, offset, file, build_id = self.pool.bases[i]
            strings = [self.id(self.pool.strings.number(text)) for text in (file, build_id)]
            values = (place, start, limit, offset, *strings, *self.pool.mapping_flags[i].tolist())
            out.append(_message(0x1A, zip(range(0x08, 0x58, 8), values, strict=True)))
        return b"".join(out)

    def locations(self) -> bytes:
        pool = self.pool
        start = np.array([0, *(base[0] for base in pool.bases)], np.uint64)
        head = Fields(
            (0x08, self.location_ids[self.location]),
            (0x10, self.mapping_ids[self.location_mapping]),
            (0x18, pool.locations.column(1)[self.location] + start[self.location_mapping]),
            (0x28, self.location_folded),
        )
        lines = Fields(
            (0x08, self.function_ids[self.line_function.view(np.int64)]),
            (0x10, self.line_number),
            (0x18, self.line_column),
        )
        line_head = head_size(lines.size)
        line_ends = offsets(lines.size + line_head)
        first = line_ends[offsets(self.line_count)]
        size = head.size + np.diff(first)
        ends = offsets(size + head_size(size))
        out = np.empty(int(ends[-1]), np.uint8)
        put_head(out, ends[:-1], 0x22, size)
        at = ends[1:] - size
        head.put(out, at)
        at = line_ends[:-1] + np.repeat(at + head.size - first[:-1], self.line_count)
        put_head(out, at, 0x22, lines.size)
        lines.put(out, at + line_head)
        return out.tobytes()

    def functions(self) -> bytes:
        function = Fields(
            (0x08, self.function_ids[self.function]),
            (0x10, self.string_ids[self.function_name]),
            (0x18, self.string_ids[self.function_system_name]),
            (0x20, self.string_ids[self.function_file.view(np.int64)]),
            (0x28, self.pool.functions.column(2)[self.function]),
        )
        ends = offsets(function.size + head_size(function.size))
        out: Bytes = np.empty(int(ends[-1]), np.uint8)
        put_head(out, ends[:-1], 0x2A, function.size)
        function.put(out, ends[1:] - function.size)
        return out.tobytes()


def _used(numbers: Ints, count: int) -> tuple[Ints, Words]:
    """Those of *count* numbers that occur, and for all an id from 1 on."""
    used = np.zeros(count, bool)
    used[numbers] = True
    found = where(used)
    ids = np.zeros(count, np.uint64)
    ids[found] = np.arange(1, len(found) + 1)
    return found, ids


def _high(words: Words) -> Ints:
    return (words >> np.uint64(32)).view(np.int64)


def _low(words: Words) -> Ints:
    return (words & _LOW).view(np.int64)


@lru_cache(1 << 12)
def _string_head(length: int) -> bytes:
    """What stands before a string of that length in the table."""
    return b"\x32" + varint(length)


def _message(tag: int, pairs: Iterable[tuple[int, int]]) -> bytes:
    body = _fields(pairs)
    return bytes([tag]) + varint(len(body)) + body


def _fields(pairs: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(bytes([tag]) + varint(value) for tag, value in pairs if value)
