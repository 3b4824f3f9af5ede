"""Read locations, lines and functions in the one layout that nearly all encoders use, in few steps.

The layout: only known fields, in the order of their numbers, zeros omitted or not; a location's mapping before its
address or behind its lines, and is_folded not set. Messages are found by their tags, as every second varint is a
tag, and read field by field, all messages of a type together. The result counts only if it accounts for every
byte: each message must begin where the one before it, or the fields of the location around it, end. Then it is
what a parser would have found.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from profbucket.pprof import wire
from profbucket.pprof.columnar.arrays import Bools, Ints, Words, flatnonzero, to_offsets
from profbucket.pprof.columnar.varint_reader import MAX_SHORT, UncommonLayout, VarintReader

# A line within a location has the same tag as a location.
_LOCATION, _FUNCTION = wire.Profile.LOCATION, wire.Profile.FUNCTION
_LOCATION_OR_FUNCTION_MASK = 0xFF ^ _LOCATION ^ _FUNCTION


class EncodedLocations(NamedTuple):
    """The L locations, N lines and F functions of a batch as encoded: references are ids, strings are indexes.

    ``location_profile``, ``line_profile`` and ``function_profile`` are the profile that each is from.
    """

    location_profile: Ints  # (L,)
    location_id: Words  # (L,)
    location_mapping_id: Words  # (L,)
    location_address: Words  # (L,)
    location_is_folded: Bools  # (L,)
    line_count: Ints  # (L,)
    line_profile: Ints  # (N,)
    line_function_id: Words  # (N,)
    line_number: Words  # (N,)
    line_column: Words  # (N,)
    function_profile: Ints  # (F,)
    function_columns: list[Words]  # id, name, system name, file, start line; (F,) each


def read_locations(profiles: Sequence[bytes]) -> EncodedLocations:
    """Read *profiles*, which hold locations and functions and nothing else, or raise ``UncommonLayout``."""
    bounds = to_offsets(np.fromiter(map(len, profiles), np.int64, len(profiles)))
    reader = VarintReader(*profiles)
    start = reader.find_tags(_LOCATION_OR_FUNCTION_MASK, _LOCATION & _LOCATION_OR_FUNCTION_MASK)
    if not len(start):
        raise UncommonLayout
    size = reader.read_short(start + 1)
    begin = start + 2
    begin += size > 127
    stop = begin + size
    # An inner message is one that does not reach beyond all before it.
    is_outer = np.empty(len(start), bool)
    is_outer[0] = True
    np.greater(stop[1:], np.maximum.accumulate(stop)[:-1], out=is_outer[1:])
    outer, lines = flatnonzero(is_outer), flatnonzero(~is_outer)
    is_function = reader.data.take(start) == _FUNCTION
    # Messages whose size takes more than two bytes are not common.
    if size.max() > MAX_SHORT or stop.max() != bounds[-1] or is_function.take(lines).any():
        raise UncommonLayout
    is_function = is_function.take(outer)
    functions, outer_locations = outer.take(flatnonzero(is_function)), flatnonzero(~is_function)
    locations = outer.take(outer_locations)
    line_count = (np.append(outer[1:], len(start)) - outer).take(outer_locations) - 1

    # Where the fields read from a message end: those of a location with lines end before its first line.
    end = np.empty(len(start), np.int64)
    function_columns, end[functions] = _read_fields(reader, begin.take(functions), wire.Function.SCALARS)
    (function_id, line, column), end[lines] = _read_fields(reader, begin.take(lines), wire.Line.SCALARS)
    (location_id, mapping_id, address), end[locations] = _read_fields(
        reader, begin.take(locations), (wire.Location.ID, wire.Location.MAPPING_ID, wire.Location.ADDRESS)
    )
    is_incomplete = end != stop
    is_incomplete[locations] = False
    if is_incomplete.any():
        raise UncommonLayout
    last = locations + line_count
    unfinished = flatnonzero(end.take(last) != stop.take(locations))
    if len(unfinished):
        # The mapping may come behind the lines; if there is one before them, the last counts.
        last_line = last[unfinished]
        mapping_id[unfinished], end[last_line] = reader.read_field(end[last_line], wire.Location.MAPPING_ID)
        if (end[last_line] != stop[locations[unfinished]]).any():
            raise UncommonLayout
    # Messages must follow each other without a gap, and profiles begin with outer ones.
    profile_begins = bounds[:-1][np.diff(bounds) > 0]
    first_message = np.searchsorted(start, profile_begins)
    if (
        start[0] != 0
        or end[-1] != bounds[-1]
        or (start[1:] != end[:-1]).any()
        or (start.take(first_message, mode="clip") != profile_begins).any()
        or not is_outer.take(first_message, mode="clip").all()
    ):
        raise UncommonLayout

    return EncodedLocations(
        location_profile=_find_profiles(start.take(locations), bounds),
        location_id=location_id,
        location_mapping_id=mapping_id,
        location_address=address,
        location_is_folded=np.zeros(len(locations), bool),
        line_count=line_count,
        line_profile=_find_profiles(start.take(lines), bounds),
        line_function_id=function_id,
        line_number=line,
        line_column=column,
        function_profile=_find_profiles(start.take(functions), bounds),
        function_columns=function_columns,
    )


def _read_fields(reader: VarintReader, at: Ints, tags: Sequence[int]) -> tuple[list[Words], Ints]:
    """Return the values of the fields that follow each other at these positions, and where the last one ends."""
    columns = []
    for tag in tags:
        column, at = reader.read_field(at, tag)
        columns.append(column)
    return columns, at


def _find_profiles(start: Ints, bounds: Ints) -> Ints:
    """Return the profile that each of these positions is in."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(np.searchsorted(start, bounds)))
