"""Split profiles with protobuf: strings, samples, locations and the rest become separate byte strings."""

import os
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof import stream_pb2
from profbucket.pprof.columnar.pending_profile import PendingProfile
from profbucket.pprof.columnar.string_table import StringTable
from profbucket.pprof.precheck import PRECHECK_BYTES, count_entries

# Separates the fields that protobuf parses from those it keeps as they came. Random, so that no profile contains
# it.
_SEPARATOR = os.urandom(16)
_SEPARATOR_FIELD = stream_pb2.SplitProfile(separator=_SEPARATOR).SerializeToString()


def split_profile(profile: PendingProfile, strings: StringTable, limits: Limits) -> None:
    """Split *profile* into its parts, interning its strings in *strings*; most of it is not validated.

    Raise ``Invalid`` or ``TooLarge``, with the profile's name, if it is no protobuf message or exceeds a limit.
    """
    try:
        if len(profile.raw) > PRECHECK_BYTES:
            count_entries(profile.raw, limits)
        message = stream_pb2.SplitProfile.FromString(profile.raw)
    except (DecodeError, Invalid):
        split_validated(profile, strings, limits)
        return
    except ProfbucketError as error:
        raise error.about(profile.name) from None
    _store_parts(profile, strings, message)


def split_validated(profile: PendingProfile, strings: StringTable, limits: Limits) -> None:
    """Decode and validate *profile*, then split it in the common layout.

    Raise ``Invalid`` or ``TooLarge``, with the profile's name, as ``codec.decode`` does.
    """
    from profbucket.pprof.codec import decode  # imported on use: few profiles are decoded

    try:
        message = decode(profile.raw, limits).message
        if profile.is_validated:
            raise Invalid("the profile is valid, but cannot be merged")
    except ProfbucketError as error:
        raise error.about(profile.name) from None
    message.DiscardUnknownFields()
    normalized = stream_pb2.NormalizedProfile.FromString(message.SerializeToString())
    _store_parts(profile, strings, stream_pb2.SplitProfile.FromString(normalized.SerializeToString()))
    profile.is_validated = True


def normalize_samples(samples: Sequence[bytes]) -> list[bytes] | None:
    """Return *samples* as protobuf encodes them, in order and packed; ``None`` if they are invalid."""
    raw = stream_pb2.EncodedSamples(sample=samples).SerializeToString()
    try:
        raw = stream_pb2.NormalizedSamples.FromString(raw).SerializeToString()
    except DecodeError:
        return None
    return stream_pb2.EncodedSamples.FromString(raw).sample[:]


def _store_parts(profile: PendingProfile, strings: StringTable, message: stream_pb2.SplitProfile) -> None:
    profile.string_indexes = strings.intern_all(message.string_table[:])
    profile.samples = message.sample[:]
    message.ClearField("string_table")
    message.ClearField("sample")
    message.separator = _SEPARATOR
    profile.header, _, profile.locations = message.SerializeToString().partition(_SEPARATOR_FIELD)
