"""Parts of a block that are no pprof: gzip members with one field of protobuf that no tool knows.

Joined behind a gzip pprof they make one gzip pprof, whose readers pass over them.
"""

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.blocks import Members
from profbucket.pprof.compression import deflate, inflate, varint

METAS, SERIES, PROFILES = 2001, 2002, 2003  # fields of pprof's Profile that google/pprof does not use


def seal(field: int, body: bytes) -> bytes:
    """A gzip member with *body* in *field*."""
    return deflate(varint(field << 3 | 2) + varint(len(body)) + body)


def unseal(data: bytes, field: int, limits: Limits = Limits()) -> bytes:
    """The bytes that :func:`seal` was given, or raise ``Invalid``, ``TooLarge`` for what inflates beyond a cap."""
    message = inflate(data, limits)
    tag = varint(field << 3 | 2)
    for begin in range(len(tag) + 1, len(tag) + 11):
        if message[:begin] == tag + varint(len(message) - begin):
            return message[begin:]
    raise Invalid(f"not the part of a block that has field {field}")


def seal_members(members: Members) -> bytes:
    """The part of a block that lists its members."""
    return seal(METAS, members.dump())


def load_members(data: bytes, limits: Limits = Limits()) -> Members:
    """The list in the part that :func:`seal_members` made, or raise ``Invalid``."""
    return Members.load(unseal(data, METAS, limits))
