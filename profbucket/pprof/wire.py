"""Protobuf's wire format: varints, and the tags of pprof's messages.

A tag precedes each field and holds the field's number and its wire type. Messages and fields are named as in
google/pprof's profile.proto; SCALARS are the fields of a message that hold one number. All tags fit one byte.
"""

from collections.abc import Iterable
from functools import lru_cache

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types


@lru_cache(1 << 12)  # of lengths, ids and lines, most of which are small
def encode_varint(value: int) -> bytes:
    """Return *value* modulo 2**64 as a varint."""
    value %= 2**64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_delimited(tag: int, content: bytes) -> bytes:
    """Return a length-delimited field with this *tag*, which has one byte."""
    return b"%c%b%b" % (tag, encode_varint(len(content)), content)


def encode_scalars(tags: Iterable[int], values: Iterable[int]) -> bytes:
    """Return the fields with these *tags* of one byte and *values*; zeros are omitted."""
    return b"".join(map(_encode_scalar, tags, values))


@lru_cache(1 << 13)
def _encode_scalar(tag: int, value: int) -> bytes:
    return b"%c%b" % (tag, encode_varint(value)) if value else b""


def scalar_tag(field_number: int) -> int:
    """Return the tag of a field that holds one varint."""
    return field_number << 3 | VARINT


def delimited_tag(field_number: int) -> int:
    """Return the tag of a length-delimited field: a message, bytes or packed varints."""
    return field_number << 3 | LENGTH_DELIMITED


class Profile:
    """Tags of the fields of a Profile."""

    SAMPLE_TYPE = delimited_tag(1)
    SAMPLE = delimited_tag(2)
    MAPPING = delimited_tag(3)
    LOCATION = delimited_tag(4)
    FUNCTION = delimited_tag(5)
    STRING_TABLE = delimited_tag(6)
    DROP_FRAMES = scalar_tag(7)
    KEEP_FRAMES = scalar_tag(8)
    TIME_NANOS = scalar_tag(9)
    DURATION_NANOS = scalar_tag(10)
    PERIOD_TYPE = delimited_tag(11)
    PERIOD = scalar_tag(12)
    COMMENT = scalar_tag(13)
    COMMENT_PACKED = delimited_tag(13)
    DEFAULT_SAMPLE_TYPE = scalar_tag(14)
    DOC_URL = scalar_tag(15)


class ValueType:
    """Tags of the fields of a sample type or period type."""

    TYPE = scalar_tag(1)
    UNIT = scalar_tag(2)
    SCALARS = (TYPE, UNIT)


class Sample:
    """Tags of the fields of a Sample."""

    LOCATION_ID = scalar_tag(1)
    LOCATION_ID_PACKED = delimited_tag(1)
    VALUE = scalar_tag(2)
    VALUE_PACKED = delimited_tag(2)
    LABEL = delimited_tag(3)


class Label:
    """Tags of the fields of a Label."""

    KEY = scalar_tag(1)
    STR = scalar_tag(2)
    NUM = scalar_tag(3)
    NUM_UNIT = scalar_tag(4)
    SCALARS = (KEY, STR, NUM, NUM_UNIT)


class Mapping:
    """Tags of the fields of a Mapping."""

    ID = scalar_tag(1)
    MEMORY_START = scalar_tag(2)
    MEMORY_LIMIT = scalar_tag(3)
    FILE_OFFSET = scalar_tag(4)
    FILENAME = scalar_tag(5)
    BUILD_ID = scalar_tag(6)
    HAS_FUNCTIONS = scalar_tag(7)
    HAS_FILENAMES = scalar_tag(8)
    HAS_LINE_NUMBERS = scalar_tag(9)
    HAS_INLINE_FRAMES = scalar_tag(10)
    SCALARS = (
        ID,
        MEMORY_START,
        MEMORY_LIMIT,
        FILE_OFFSET,
        FILENAME,
        BUILD_ID,
        HAS_FUNCTIONS,
        HAS_FILENAMES,
        HAS_LINE_NUMBERS,
        HAS_INLINE_FRAMES,
    )


class Location:
    """Tags of the fields of a Location."""

    ID = scalar_tag(1)
    MAPPING_ID = scalar_tag(2)
    ADDRESS = scalar_tag(3)
    LINE = delimited_tag(4)
    IS_FOLDED = scalar_tag(5)
    SCALARS = (ID, MAPPING_ID, ADDRESS, IS_FOLDED)


class Line:
    """Tags of the fields of a Line."""

    FUNCTION_ID = scalar_tag(1)
    LINE = scalar_tag(2)
    COLUMN = scalar_tag(3)
    SCALARS = (FUNCTION_ID, LINE, COLUMN)


class Function:
    """Tags of the fields of a Function."""

    ID = scalar_tag(1)
    NAME = scalar_tag(2)
    SYSTEM_NAME = scalar_tag(3)
    FILENAME = scalar_tag(4)
    START_LINE = scalar_tag(5)
    SCALARS = (ID, NAME, SYSTEM_NAME, FILENAME, START_LINE)
