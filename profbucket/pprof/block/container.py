"""The parts of a block besides the merged profile.

Each is a gzip member that holds one protobuf field, unknown to pprof tools. Joined behind a gzip pprof they make
one gzip pprof, whose readers skip them.
"""

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.blocks import Members
from profbucket.pprof.compression import deflate, inflate
from profbucket.pprof.wire import delimited_tag, encode_varint

# Field numbers of pprof's Profile message that google/pprof does not use.
MEMBERS_FIELD, SERIES_FIELD, PROFILES_FIELD = 2001, 2002, 2003

_MAX_VARINT_BYTES = 10


def encode_part(field_number: int, body: bytes) -> bytes:
    """Return a gzip member with *body* in this field."""
    return deflate(encode_varint(delimited_tag(field_number)) + encode_varint(len(body)) + body)


def decode_part(data: bytes, field_number: int, limits: Limits = Limits()) -> bytes:
    """Return the body that :func:`encode_part` was given.

    Raise ``Invalid`` if *data* is not such a part, ``TooLarge`` if it inflates beyond ``limits.inflated_bytes``.
    """
    message = inflate(data, limits)
    tag = encode_varint(delimited_tag(field_number))
    for begin in range(len(tag) + 1, len(tag) + _MAX_VARINT_BYTES + 1):
        if message[:begin] == tag + encode_varint(len(message) - begin):
            return message[begin:]
    raise Invalid(f"not the part of a block with field {field_number}", code="damaged_block")


def encode_members(members: Members) -> bytes:
    """Return the part of a block that lists its members."""
    return encode_part(MEMBERS_FIELD, members.dump())


def decode_members(data: bytes, limits: Limits = Limits()) -> Members:
    """Return the members that :func:`encode_members` was given, or raise ``Invalid``."""
    return Members.load(decode_part(data, MEMBERS_FIELD, limits))
