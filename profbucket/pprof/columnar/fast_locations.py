"""Locations, lines and functions in the one layout that nearly all encoders use, read in few steps.

The layout: no fields but known ones, in the order of their numbers, zeros left out or not; a location's mapping
before its address or behind its lines, and is_folded not set. Messages are found by their tags, as every other
number is a tag, and read field by field, all of a kind together. What was found is believed only if it accounts
for every byte: each message must begin where the one before it, or the fields of the location around it, end.
Then it is what a parser would have found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profbucket.pprof.columnar.arrays import Bools, Ints, Words, offsets, where
from profbucket.pprof.columnar.varint_reader import SHORT, OtherLayout, Source

_LOCATION = _LINE = 0x22
_FUNCTION = 0x2A
_ANY = 0xF7  # the two tags without the bit in which they differ


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
    source = Source(*streams)
    start = source.tags(_ANY, _LOCATION)
    if not len(start):
        raise OtherLayout
    size = source.short(start + 1)
    begin = start + 2
    begin += size > 127
    stop = begin + size
    # An inner message is one that does not reach beyond all before it.
    outermost = np.empty(len(start), bool)
    outermost[0] = True
    np.greater(stop[1:], np.maximum.accumulate(stop)[:-1], out=outermost[1:])
    outer, lines = where(outermost), where(~outermost)
    function = source.data.take(start) == _FUNCTION
    # Of more than two bytes there is no size that is common.
    if size.max() > SHORT or stop.max() != bounds[-1] or function.take(lines).any():
        raise OtherLayout
    function = function.take(outer)
    functions, others = outer.take(where(function)), where(~function)
    locations = outer.take(others)
    count = (np.append(outer[1:], len(start)) - outer).take(others) - 1

    # Where what is known of a message ends: that of a location before its lines, or else with it.
    end = np.empty(len(start), np.int64)
    function_columns, end[functions] = _fields(source, begin.take(functions), 0x08, 0x10, 0x18, 0x20, 0x28)
    (function_id, line, column), end[lines] = _fields(source, begin.take(lines), 0x08, 0x10, 0x18)
    (location_id, mapping, address), end[locations] = _fields(source, begin.take(locations), 0x08, 0x10, 0x18)
    loose = end != stop
    loose[locations] = False
    if loose.any():
        raise OtherLayout
    last = locations + count
    odd = where(end.take(last) != stop.take(locations))
    if len(odd):
        # A mapping may stand behind the lines; if there is one before them, the last counts.
        mapping[odd], end[last[odd]] = source.field(end[last[odd]], 0x10)
        if (end[last[odd]] != stop[locations[odd]]).any():
            raise OtherLayout
    # Messages must follow each other without a gap, and streams begin with outermost ones.
    begins = bounds[:-1][np.diff(bounds) > 0]
    place = np.searchsorted(start, begins)
    if (
        start[0] != 0
        or end[-1] != bounds[-1]
        or (start[1:] != end[:-1]).any()
        or (start.take(place, mode="clip") != begins).any()
        or not outermost.take(place, mode="clip").all()
    ):
        raise OtherLayout

    stream = _streams(start.take(locations), bounds)
    return Places(
        location_stream=stream,
        location_id=location_id,
        location_mapping_id=mapping,
        location_address=address,
        location_folded=np.zeros(len(locations), bool),
        line_count=count,
        line_stream=_streams(start.take(lines), bounds),
        line_function_id=function_id,
        line_number=line,
        line_column=column,
        function_stream=_streams(start.take(functions), bounds),
        function_columns=function_columns,
    )


def _fields(source: Source, at: Ints, *tags: int) -> tuple[list[Words], Ints]:
    """The fields with these tags that stand one after the other at these positions, and where they end."""
    columns = []
    for tag in tags:
        column, at = source.field(at, tag)
        columns.append(column)
    return columns, at


def _streams(start: Ints, bounds: Ints) -> Ints:
    """The stream that each of these positions is in."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(np.searchsorted(start, bounds)))
