"""Count what a message claims to hold before anything is allocated for it."""

from collections.abc import Mapping
from typing import TypeAlias

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.pprof import wire
from profbucket.pprof.wire import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT

PRECHECK_BYTES = 4 << 20  # a message up to this size cannot take much memory, whatever it claims to hold

Fields: TypeAlias = "Mapping[int, Fields | int]"

# The length-delimited fields of each message, by tag: a message, packed varints or (where absent) bytes. Of packed
# varints this is how many count as one entry: a number takes a quarter of the memory of a message.
PACKED = 4
_PACKED_STRINGS = 1  # indexes of strings
_NO_SUBMESSAGES: Fields = {}
_SAMPLE: Fields = {
    wire.Sample.LOCATION_ID_PACKED: PACKED,
    wire.Sample.VALUE_PACKED: PACKED,
    wire.Sample.LABEL: _NO_SUBMESSAGES,
}
_PROFILE: Fields = {
    wire.Profile.SAMPLE_TYPE: _NO_SUBMESSAGES,
    wire.Profile.SAMPLE: _SAMPLE,
    wire.Profile.MAPPING: _NO_SUBMESSAGES,
    wire.Profile.LOCATION: {wire.Location.LINE: _NO_SUBMESSAGES},
    wire.Profile.FUNCTION: _NO_SUBMESSAGES,
    wire.Profile.PERIOD_TYPE: _NO_SUBMESSAGES,
    wire.Profile.COMMENT_PACKED: _PACKED_STRINGS,
}

_CONTINUATION_BYTES = bytes(range(128, 256))
_CHUNK_BYTES = 1 << 20  # copied at once


def count_entries(raw: bytes, limits: Limits, fields_of_message: Fields = _PROFILE) -> int:  # noqa: PLR0912 - one loop without calls is what makes it fast
    """Return the number of fields in the message *raw*, at all depths; four packed numbers count as one.

    *fields_of_message* are the length-delimited fields, by tag; the default is those of a pprof.

    An entry of two bytes takes fifty bytes and more in memory, so a small body can ask for a thousand times its
    size. Raise ``TooLarge`` as soon as there are more than ``limits.entries``, ``Invalid`` if *raw* is not
    protobuf. Counting takes about 0.3 µs an entry, which is why only large messages are counted.
    """
    max_entries = limits.entries
    count = 0
    at, end, fields = 0, len(raw), fields_of_message
    outer: list[tuple[int, int, Fields]] = []  # messages around the current one, and where they go on
    try:
        while True:
            if at >= end:
                if at > end:
                    raise IndexError
                if not outer:
                    return count
                at, end, fields = outer.pop()
                continue
            count += 1
            tag = raw[at]
            at += 1
            if tag > 127:
                tag, at = _read_varint(raw, at, tag & 127)
            wire_type = tag & 7
            if wire_type == VARINT:
                while raw[at] > 127:
                    at += 1
                at += 1
            elif wire_type == LENGTH_DELIMITED:
                length = raw[at]
                at += 1
                if length > 127:
                    length, at = _read_varint(raw, at, length & 127)
                begin, at = at, at + length
                inner = fields.get(tag)
                if isinstance(inner, int):
                    count += -(-_count_varints(raw, begin, at) // inner)
                elif inner is not None and length:
                    if at > end:
                        raise IndexError
                    outer.append((at, end, fields))
                    at, end, fields = begin, at, inner
            elif wire_type in (FIXED64, FIXED32):
                at += 8 if wire_type == FIXED64 else 4
            else:
                raise Invalid(f"not a pprof: wire type {wire_type} at byte {at}", code="invalid_protobuf")
            if count > max_entries:
                raise limits.too_large(
                    "entries", "the profile holds too many samples, locations, strings and numbers"
                )
    except IndexError:
        raise Invalid(
            "not a pprof: the protobuf message is malformed or truncated", code="invalid_protobuf"
        ) from None


def _count_varints(raw: bytes, begin: int, end: int) -> int:
    """Return how many varints *raw* has from *begin* to *end*, which may be beyond its last byte."""
    end = min(end, len(raw))
    chunks = (raw[at : min(at + _CHUNK_BYTES, end)] for at in range(begin, end, _CHUNK_BYTES))
    return sum(len(chunk.translate(None, _CONTINUATION_BYTES)) for chunk in chunks)


def _read_varint(raw: bytes, at: int, low: int) -> tuple[int, int]:
    """Return the varint whose lowest seven bits are *low* and whose other bytes begin at *at*, and its end."""
    value, shift = low, 7
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise Invalid(f"not a pprof: a number longer than ten bytes at byte {at}", code="invalid_protobuf")
