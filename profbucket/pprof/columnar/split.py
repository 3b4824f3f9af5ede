"""Profiles taken apart by protobuf: the quick way for all, the plain way for those that are odd."""

import os
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof import stream_pb2
from profbucket.pprof.codec import SMALL, decode
from profbucket.pprof.columnar.pending import Pending, Strings
from profbucket.pprof.precheck import count_entries

# What stands between the fields that protobuf knows and those that it does not; nobody can guess it.
_END = os.urandom(16)
_END_FIELD = stream_pb2.Quick(end=_END).SerializeToString()


def split(profile: Pending, strings: Strings, limits: Limits) -> None:
    """Part a profile into its strings and the streams of everything else.

    Raise ``Invalid`` or ``TooLarge``, with its name, for what is plainly none.
    """
    try:
        if len(profile.raw) > SMALL:
            count_entries(profile.raw, limits)
        message = stream_pb2.Quick.FromString(profile.raw)
    except DecodeError:
        split_plainly(profile, strings, limits)
        return
    except ProfbucketError as error:
        raise error.about(profile.name) from None
    _part(profile, strings, message)


def split_plainly(profile: Pending, strings: Strings, limits: Limits) -> None:
    """The same by way of the plain decoder, which knows what is wrong with a profile and raises it."""
    try:
        decoded = decode(profile.raw, limits).message
        if profile.checked:
            raise Invalid("it is valid, but it cannot be merged")
    except ProfbucketError as error:
        raise error.about(profile.name) from None
    decoded.DiscardUnknownFields()
    whole = stream_pb2.Whole.FromString(decoded.SerializeToString())
    _part(profile, strings, stream_pb2.Quick.FromString(whole.SerializeToString()))
    profile.checked = True


def _part(profile: Pending, strings: Strings, message: stream_pb2.Quick) -> None:
    profile.strings = strings.numbers(message.string_table[:])
    profile.samples = message.sample[:]
    message.ClearField("string_table")
    message.ClearField("sample")
    message.end = _END
    profile.stream, _, profile.places = message.SerializeToString().partition(_END_FIELD)


def normalised(samples: Sequence[bytes]) -> list[bytes] | None:
    """*samples* as protobuf writes them, in order and packed; ``None`` if they are none."""
    raw = stream_pb2.Parts(sample=samples).SerializeToString()
    try:
        raw = stream_pb2.Samples.FromString(raw).SerializeToString()
    except DecodeError:
        return None
    return stream_pb2.Parts.FromString(raw).sample[:]
