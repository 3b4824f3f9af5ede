"""Taking profiles in: check, date, write."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from profbucket.errors import Invalid, TooLarge
from profbucket.ingest import gotrace
from profbucket.limits import Limits
from profbucket.model import ids
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode
from profbucket.pprof.compression import inflate
from profbucket.storage.store import Writer

EMPTY = "the profile is empty: it has no samples"  # what is wrong with a profile of nothing

# A decoded profile takes up to thirty times its size: those that are larger than this, inflated, are checked one
# at a time. That costs no time, because protobuf holds the interpreter all the same.
_LARGE = 64 << 10
_ONE_LARGE = threading.Lock()


class Collector:
    """Checks what agents post and writes it to *storage*. *clock* gives nanoseconds since 1970."""

    def __init__(
        self, storage: Writer, limits: Limits = Limits(), clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._storage = storage
        self._limits = limits
        self._clock = clock

    def collect(
        self, service: str, profile_type: ProfileType, labels: Labels, data: bytes, created_at: int | None = None
    ) -> Meta:
        """Store a profile and return its meta. Once returned, it is durable and found.

        The time it was taken is the profile's own, else *created_at*, else now. The same service, type, labels,
        time and bytes are the same profile: stored again, it is there once. Raise ``Invalid`` or ``TooLarge`` for
        what cannot be stored; then nothing is.
        """
        self._check_names(service, labels)
        if len(data) > self._limits.body_bytes:
            raise self._limits.too_large("body_bytes", f"the body has {len(data)} bytes")
        taken_at, totals = self._check_pprof(data) if profile_type.is_pprof else self._check_trace(data)
        taken_at = taken_at or created_at or self._clock()
        digest = ids.profile_digest(service, profile_type, labels, taken_at, data)
        meta = Meta(
            id=str(ids.ProfileId(service, profile_type, taken_at, digest)),
            service=service,
            type=profile_type,
            labels=labels,
            created_at=taken_at,
            size=len(data),
            totals=totals,
        )
        self._storage.write(meta, data)
        return meta

    def _check_names(self, service: str, labels: Labels) -> None:
        ids.check_service(service, self._limits)
        if len(labels) > self._limits.labels:
            raise self._limits.invalid("labels", f"there are {len(labels)} labels")
        if (size := len(labels.format())) > self._limits.label_bytes:
            raise self._limits.invalid("label_bytes", f"the labels have {size} bytes, percent-encoded")

    def _check_pprof(self, data: bytes) -> tuple[int, tuple[Total, ...]]:
        with _ONE_LARGE if _is_large(data, self._limits) else nullcontext():
            profile = decode(data, self._limits)
            if not profile.message.sample:
                raise Invalid(EMPTY)
            time_nanos, totals = profile.time_nanos, profile.totals
            del profile  # before the next one may be decoded
        return time_nanos, totals

    def _check_trace(self, data: bytes) -> tuple[int, tuple[Total, ...]]:
        return gotrace.started_at(data), ()


def _is_large(data: bytes, limits: Limits) -> bool:
    """Whether *data* has more than ``_LARGE`` bytes, inflated: a thousandth of that is enough to be sent."""
    if len(data) > _LARGE:
        return True
    try:
        inflate(data, replace(limits, inflated_bytes=min(_LARGE, limits.inflated_bytes)))
    except TooLarge:
        return True
    return False
