"""Bytes to a checked profile, and back."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.meta import Total
from profbucket.pprof import profile_pb2
from profbucket.pprof.compression import deflate, inflate
from profbucket.pprof.precheck import count_entries
from profbucket.pprof.validate import validate

SMALL = 4 << 20  # below this size no claim in a message can cost much memory


@dataclass(frozen=True, slots=True)
class Profile:
    """A decoded profile that is valid.

    ``totals`` are the sums of all samples, one for each sample type, in their order. ``time_nanos`` is the time
    the profile says it was taken, in nanoseconds since 1970, or 0.
    """

    message: profile_pb2.Profile
    totals: tuple[Total, ...]

    @property
    def time_nanos(self) -> int:
        return self.message.time_nanos


def decode(data: bytes, limits: Limits = Limits()) -> Profile:
    """Read a pprof, gzip or raw.

    Raise ``Invalid`` for what is not a valid pprof, ``TooLarge`` for one over a cap of *limits*.
    """
    raw = inflate(data, limits)
    if len(raw) > SMALL:
        count_entries(raw, limits)
    message = profile_pb2.Profile()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        raise Invalid("not a pprof: the protobuf message is malformed or cut short") from None
    return Profile(message, validate(message, raw, limits))


def encode(message: profile_pb2.Profile) -> bytes:
    """The gzip pprof of *message*. Equal messages give equal bytes."""
    return deflate(message.SerializeToString(deterministic=True))
