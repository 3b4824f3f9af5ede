"""Conversions of uploaded pprofs, and the limits that all parsers of requests share."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind
from profbucket.model.upload import Content
from profbucket.pprof.codec import Profile, decode_inflated
from profbucket.pprof.compression import inflate

# A decoded profile takes up to thirty times its size, so that large ones are decoded one at a time. That costs no
# throughput: protobuf holds the GIL anyway.
LARGE_LOCK = threading.RLock()

_JSON_VALUES_PER_PROFILE = 200


# Of agents that subtract the previous profile from each of net/http/pprof.
COUNTED_PER_PROFILE = {"contentions": Kind.SUM, "delay": Kind.SUM}


class Piece(NamedTuple):
    """A pprof, and its content if that is known."""

    data: bytes
    content: Content | None = None


def split_by_type(
    data: bytes, limits: Limits, choose_types: Callable[[Sequence[str]], Sequence[ProfileType | None]]
) -> dict[ProfileType, Piece]:
    """Return the pprof *data* as one pprof for each profile type.

    *choose_types* returns the profile type of each sample type, given their names; ``None`` leaves one out. If all
    have the same, the result is *data* unchanged, with its content. It is empty if there are no samples, as when a
    program is idle.

    Raises:
        Invalid: *data* is not a valid pprof.
        TooLarge: it exceeds one of *limits*.
    """
    from profbucket.pprof.split import split_profile

    with decode_large_alone(data, limits) as profile:
        if not profile.has_samples:
            return {}
        profile_types = choose_types([total.type for total in profile.totals])
        first = profile_types[0]
        if first is not None and len(set(profile_types)) == 1:
            return {first: Piece(data, Content(profile.time_nanos, profile.totals))}
        return {own: Piece(part) for own, part in split_profile(profile, profile_types).items()}


def rename_sample_types(data: bytes, names: Mapping[str, str], limits: Limits) -> Piece:
    """Return the pprof *data* with sample types renamed by *names*: unchanged if it has none of them.

    If unchanged, it has its content. Its data are empty if there are no samples. Raise ``Invalid`` or ``TooLarge``
    as :func:`split_by_type`.
    """
    from profbucket.pprof.rename import rename

    with decode_large_alone(data, limits) as profile:
        if not profile.has_samples:
            return Piece(b"")
        renamed = rename(profile, names)
        return Piece(renamed) if renamed else Piece(data, Content(profile.time_nanos, profile.totals))


def read_content(data: bytes, limits: Limits) -> Content:
    """Return the content of the pprof *data*; raise the errors of ``decode``, and ``Invalid`` without samples."""
    with decode_large_alone(data, limits) as profile:
        if not profile.has_samples:
            raise Invalid("the profile is empty: it has no samples", code="empty_profile")
        return Content(profile.time_nanos, profile.totals)


@contextmanager
def decode_large_alone(data: bytes, limits: Limits) -> Iterator[Profile]:
    """Yield the pprof *data* decoded; hold a lock, which all threads share, meanwhile if it is a large one.

    Raise the errors of ``decode``.
    """
    with ExitStack() as stack:
        raw = inflate(data, limits, lambda: stack.enter_context(LARGE_LOCK))
        yield decode_inflated(raw, limits)


def check_json_size(body: bytes, limits: Limits) -> None:
    """Raise ``TooLarge`` if the JSON in *body* would become too many objects. Base64 counts as one."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _JSON_VALUES_PER_PROFILE * limits.profiles:
        raise limits.too_large("profiles", "the JSON has more values than that many profiles need")
