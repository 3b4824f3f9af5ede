"""Locations, lines and functions in the one layout that nearly all encoders use, read in few steps.

The layout: no fields but known ones, in the order of their numbers, zeros left out or not; a location's mapping
before its address or behind its lines, and is_folded not set. Messages are found where a byte looks like the
head of one, and read field by field, all of them together. What was found is believed only if it accounts for
every byte: each message must begin where the one before it, or the fields of the location around it, end. Then
it is what a parser would have found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from profbucket.pprof.arrays import Bools, Bytes, Ints, Words, offsets

_LOCATION = _LINE = 0x22
_FUNCTION = 0x2A
_ANY = 0xF7  # the two tags without the bit in which they differ
_PADDING = bytes(16)
_SHORT = 2**14 - 1  # the largest number of two bytes


class OtherLayout(Exception):
    """The streams are not in the common layout; that says nothing about whether they are valid."""


@dataclass(frozen=True, slots=True)
class Places:
    """The locations, lines and functions of some streams, in their order, with the stream each is from."""

    location_stream: Ints
    location_id: Words
    location_mapping_id: Words
    location_address: Words
    location_folded: Bools
    line_count: Ints  # of each location
    line_stream: Ints
    line_function_id: Words
    line_number: Words
    line_column: Words
    function_stream: Ints
    function_columns: list[Words]  # id, name, system name, file, start line


def read_places(streams: Sequence[bytes]) -> Places:
    """Read *streams*, which hold locations and functions and nothing else, or raise ``OtherLayout``."""
    bounds = offsets(np.fromiter(map(len, streams), np.int64, len(streams)))
    source = Source(b"".join((*streams, _PADDING)))
    data = source.data
    start, begin, stop = _heads(source, bounds)
    function = data[start] == _FUNCTION
    # id, id or function; name, mapping or line; system name, address or column.
    first, at = source.field(begin, 0x08)
    second, at = source.field(at, 0x10)
    third, at = source.field(at, 0x18)
    functions = np.flatnonzero(function)
    filename, more = source.field(at[functions], 0x20)
    start_line, more = source.field(more, 0x28)
    at[functions] = more

    # What looked like a head and is none has in general no fields that end where it says.
    after = data[at]
    good = (at == stop) | (((after == _LINE) | (after == 0x10)) & ~function)
    if not good.all():
        kept = np.flatnonzero(good)
        functions = np.flatnonzero(good[functions])
        filename, start_line = filename[functions], start_line[functions]
        first, second, third = first[kept], second[kept], third[kept]
        start, stop, at, function = start[kept], stop[kept], at[kept], function[kept]
    if not len(start):
        raise OtherLayout
    # An inner message is one that does not reach beyond all before it.
    outer = np.empty(len(start), bool)
    outer[0] = True
    np.greater(stop[1:], np.maximum.accumulate(stop)[:-1], out=outer[1:])

    # Where what is known of a message ends: a location's before its lines, a last line's behind the mapping there.
    final = np.append(outer[1:], True)
    holds = outer & ~final
    end = np.where(holds, at, stop)
    location = np.flatnonzero(outer & ~function)
    last = np.flatnonzero(final & ~function)  # of each location its last line, or itself
    begun = np.where(outer[last], at[last], stop[last])
    mapping, mapped = source.field(begun, 0x10)
    end[last] = mapped
    if len(last) != len(location) or ((mapped > begun) & (second[location] > 0)).any():
        raise OtherLayout
    mapping += second[location]
    _prove(start, stop, end, function=function, outer=outer, bounds=bounds)
    at = np.where(outer, stop, at)
    if (at != stop).any():
        raise OtherLayout

    lines, functions = np.flatnonzero(~outer), np.flatnonzero(function)
    count = last - location
    stream = _streams(start[location], bounds)
    return Places(
        location_stream=stream,
        location_id=first[location],
        location_mapping_id=mapping,
        location_address=third[location],
        location_folded=np.zeros(len(location), bool),
        line_count=count,
        line_stream=np.repeat(stream, count),
        line_function_id=first[lines],
        line_number=second[lines],
        line_column=third[lines],
        function_stream=_streams(start[functions], bounds),
        function_columns=[first[functions], second[functions], third[functions], filename, start_line],
    )


def _prove(start: Ints, stop: Ints, end: Ints, *, function: Bools, outer: Bools, bounds: Ints) -> None:
    """Raise ``OtherLayout`` unless the messages follow each other without a gap and nest as they say."""
    tops = np.flatnonzero(outer)
    top_start, top_stop = start[tops], stop[tops]
    begins = bounds[:-1][np.diff(bounds) > 0]
    place = np.minimum(np.searchsorted(top_start, begins), len(top_start) - 1)
    inner_of_function = function[:-1] & ~outer[1:]
    if (
        start[0] != 0
        or end[-1] != bounds[-1]
        or (start[1:] != end[:-1]).any()
        or (top_start[1:] != top_stop[:-1]).any()
        or top_stop[-1] != bounds[-1]
        or (function & ~outer).any()
        or inner_of_function.any()
        or (top_start[place] != begins).any()
    ):
        raise OtherLayout


class Source:
    """Bytes and the numbers in them. Behind what is read there are some zeros."""

    def __init__(self, raw: bytes) -> None:
        self.data: Bytes = np.frombuffer(raw, np.uint8)

    @cached_property
    def short(self) -> npt.NDArray[np.uint16]:
        """For each position the number that begins there."""
        # Most numbers have one byte or two. All that could begin anywhere are put together at once, which costs
        # less than to look for those that do. What is more than _SHORT goes on in further bytes.
        return _short(self.data[:-1], self.data[1:])

    def field(self, at: Ints, tag: int) -> tuple[Words, Ints]:
        """The numbers in fields with *tag* at these positions, 0 where there is another, and where they end."""
        present = self.data[at] == tag
        if present.all():
            return self.numbers(at + 1)
        rows = np.flatnonzero(present)
        values, end = np.zeros(len(at), np.uint64), at.copy()
        values[rows], end[rows] = self.numbers(at[rows] + 1)
        return values, end

    def numbers(self, at: Ints) -> tuple[Words, Ints]:
        """The numbers at these positions, and where they end. *at* is overwritten."""
        few = 8 * len(at) < len(self.data)
        short = _short(self.data[at], self.data[at + 1]) if few else self.short[at]
        values = short.astype(np.uint64)
        at += 1
        at += short > 127
        longer = np.flatnonzero(short > _SHORT)
        place = at[longer]
        value = ((self.data[place - 1] & 127).astype(np.uint64) << np.uint64(7)) | (self.data[place - 2] & 127)
        for shift in range(14, 70, 7):
            if not len(longer):
                break
            byte = self.data[place]
            place += 1
            if shift == 63 and (byte > 1).any():
                raise OtherLayout
            value |= (byte & 127).astype(np.uint64) << np.uint64(shift)
            done = np.flatnonzero(byte < 128)
            ready = longer[done]
            values[ready], at[ready] = value[done], place[done]
            rest = np.flatnonzero(byte > 127)
            longer, value, place = longer[rest], value[rest], place[rest]
        return values, at


def _short(byte: Bytes, following: Bytes) -> npt.NDArray[np.uint16]:
    """The numbers that begin with each *byte*, if they end with it or with the one *following* it."""
    number = following.astype(np.uint16)
    number <<= 7
    number *= byte >> 7
    number += byte & 127
    return number


def _heads(source: Source, bounds: Ints) -> tuple[Ints, Ints, Ints]:
    """Where messages seem to begin, where their first field is, and where they end."""
    data, size = source.data, int(bounds[-1])
    start = np.flatnonzero((data[:size] & _ANY) == _LOCATION)
    length = source.short[start + 1]
    begin = start + 2
    begin += length > 127
    stop = begin + length
    # Of more than two bytes there is none that is common.
    good = np.flatnonzero((data[begin] == 0x08) & (stop <= size) & (length <= _SHORT))
    start, begin, stop = start[good], begin[good], stop[good]
    after = data[stop]
    good = np.flatnonzero(((after & _ANY) == _LOCATION) | (after == 0x10) | (stop == size))
    return start[good], begin[good], stop[good]


def _streams(start: Ints, bounds: Ints) -> Ints:
    """The stream that each of these positions is in."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(np.searchsorted(start, bounds)))
