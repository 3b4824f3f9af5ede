"""Decode one profile from bytes, and encode it."""

from dataclasses import dataclass
from functools import cached_property

from google.protobuf.message import DecodeError

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.meta import Total
from profbucket.pprof import profile_pb2
from profbucket.pprof.compression import deflate_reproducibly, inflate
from profbucket.pprof.fast_validate import Summary, summarize
from profbucket.pprof.foreign_format import describe_foreign_format
from profbucket.pprof.numbers import normalize_time
from profbucket.pprof.precheck import PRECHECK_BYTES, count_entries
from profbucket.pprof.validate import validate


@dataclass(frozen=True)
class Profile:
    """A valid profile: the bytes of its protobuf message, and what ``decode`` found out about it."""

    raw: bytes
    summary: Summary

    @cached_property
    def message(self) -> profile_pb2.Profile:
        """The message, parsed when it is first used, without unknown fields."""
        message = profile_pb2.Profile.FromString(self.raw)
        message.DiscardUnknownFields()
        return message

    @property
    def totals(self) -> tuple[Total, ...]:
        """The sums of all samples, one for each sample type, in their order."""
        return self.summary.totals

    @property
    def has_samples(self) -> bool:
        """False for a profile without samples, which is valid, too."""
        return self.summary.has_samples

    @property
    def time_nanos(self) -> int:
        """When the profile was taken, by its own account, in nanoseconds since 1970; 0 if unknown."""
        return normalize_time(self.summary.time_nanos)


def decode(data: bytes, limits: Limits = Limits()) -> Profile:
    """Decode and validate a pprof, gzip or raw.

    Raises:
        Invalid: *data* is not a valid pprof; the code is ``empty_body``, ``invalid_gzip``, ``compressed_twice``,
            ``invalid_protobuf``, ``invalid_profile``, ``legacy_format`` or ``concatenated_profiles``.
        TooLarge: it exceeds one of *limits*.
    """
    return decode_inflated(inflate(data, limits), limits)


def decode_inflated(raw: bytes, limits: Limits) -> Profile:
    """Decode and validate the pprof *raw*, which ``inflate`` returned; raise the errors of :func:`decode`."""
    message = profile_pb2.Profile()
    try:
        if len(raw) > PRECHECK_BYTES:
            count_entries(raw, limits)
        if (summary := summarize(raw, limits)) is None:
            message.ParseFromString(raw)
            totals = validate(message, raw, limits)
            summary = Summary(totals, message.time_nanos, len(message.sample) > 0)
        return Profile(raw, summary)
    except DecodeError:
        error = Invalid("not a pprof: the protobuf message is malformed or truncated", code="invalid_protobuf")
    except Invalid as invalid:
        error = invalid
    raise describe_foreign_format(raw, list(message.string_table)) or error


def parse_valid(data: bytes, limits: Limits = Limits()) -> profile_pb2.Profile:
    """Return the message of *data*, a valid pprof, gzip or raw; raise ``TooLarge`` if it exceeds *limits*."""
    raw = inflate(data, limits)
    if len(raw) > PRECHECK_BYTES:  # a merge may be larger than each of the profiles in it was allowed to be
        count_entries(raw, limits)
    return profile_pb2.Profile.FromString(raw)


def encode(message: profile_pb2.Profile) -> bytes:
    """Return *message* as a gzip pprof. Equal messages give equal bytes, and so equal ids."""
    return deflate_reproducibly(message.SerializeToString(deterministic=True))
