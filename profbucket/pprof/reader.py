"""Profiles to batches: the quick way for all, the plain way for those that are not as they should be."""

import os
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import DecodeError

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof import stream_pb2
from profbucket.pprof.batch import Batch
from profbucket.pprof.census import count_entries
from profbucket.pprof.interning import Strings
from profbucket.pprof.pairs import Irregular
from profbucket.pprof.wire import SMALL, decode

# What stands between the fields that protobuf knows and those that it does not; nobody can guess it.
_END = os.urandom(16)
_END_FIELD = stream_pb2.Quick(end=_END).SerializeToString()


@dataclass(slots=True)
class Pending:
    """A profile that waits for its batch."""

    name: str
    raw: bytes
    stream: bytes = b""  # all but strings, samples, locations and functions
    samples: list[bytes] = field(default_factory=list)
    places: bytes = b""  # locations and functions
    strings: bytes = b""  # the numbers of its strings
    checked: bool = False  # by the plain decoder


def read(
    profiles: list[Pending], strings: Strings, limits: Limits, errors: list[ProfbucketError]
) -> tuple[Batch | None, list[Pending]]:
    """Read *profiles* as one batch, and return it with those that are in it; ``None`` if that is none.

    What is invalid is left out and has its error appended to *errors*.
    """
    while profiles:
        try:
            batch = Batch(
                [p.stream for p in profiles],
                [p.places for p in profiles],
                [p.samples for p in profiles],
                [p.strings for p in profiles],
                np.fromiter((p.checked for p in profiles), bool, len(profiles)),
            )
        except Irregular as irregular:
            odd = set(irregular.streams.tolist())
            profiles = [p for i, p in enumerate(profiles) if i not in odd or _is_valid(p, strings, limits, errors)]
        else:
            return batch, profiles
    return None, []


def _is_valid(profile: Pending, strings: Strings, limits: Limits, errors: list[ProfbucketError]) -> bool:
    """Split *profile* plainly, which tells."""
    try:
        split_plainly(profile, strings, limits)
    except ProfbucketError as error:
        errors.append(error)
        return False
    return True


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
        raise named(error, profile.name) from None
    _part(profile, strings, message)


def split_plainly(profile: Pending, strings: Strings, limits: Limits) -> None:
    """The same by way of the plain decoder, which knows what is wrong with a profile and raises it."""
    try:
        decoded = decode(profile.raw, limits).message
        if profile.checked:
            raise Invalid("it is valid, but it cannot be merged")
    except ProfbucketError as error:
        raise named(error, profile.name) from None
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


def named(error: ProfbucketError, name: str) -> ProfbucketError:
    """The same error about the profile called *name*."""
    return type(error)(f"{name}: {error}")
