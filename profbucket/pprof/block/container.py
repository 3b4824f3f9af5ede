"""Parts of a block that are no pprof: gzip members with one field of protobuf that no tool knows.

Joined behind a gzip pprof they make one gzip pprof, whose readers pass over them.
"""

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.blocks import Members
from profbucket.pprof.compression import deflate, inflate, varint

# Field numbers of pprof's Profile message that google/pprof does not use.
MEMBERS_FIELD, SERIES_FIELD, PROFILES_FIELD = 2001, 2002, 2003


def encode_part(field: int, body: bytes) -> bytes:
    """A gzip member with *body* in *field*."""
    return deflate(varint(field << 3 | 2) + varint(len(body)) + body)


def decode_part(data: bytes, field: int, limits: Limits = Limits()) -> bytes:
    """Return the body that :func:`encode_part` was given.

    Raise ``Invalid`` if *data* is not such a part, ``TooLarge`` if it inflates beyond ``limits.inflated_bytes``.
    """
    message = inflate(data, limits)
    tag = varint(field << 3 | 2)
    for begin in range(len(tag) + 1, len(tag) + 11):
        if message[:begin] == tag + varint(len(message) - begin):
            return message[begin:]
    raise Invalid(f"not the part of a block that has field {field}")


def encode_members(members: Members) -> bytes:
    """The part of a block that lists its members."""
    return encode_part(MEMBERS_FIELD, members.dump())


def decode_members(data: bytes, limits: Limits = Limits()) -> Members:
    """The list in the part that :func:`encode_members` made, or raise ``Invalid``."""
    return Members.load(decode_part(data, MEMBERS_FIELD, limits))
