"""Ingestion of profiles, one or many at once: validate, determine the time, write."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

from profbucket.errors import Invalid, ProfbucketError, detach
from profbucket.ingest import gotrace
from profbucket.ingest.upload import read_content
from profbucket.limits import Limits
from profbucket.model import ids
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind
from profbucket.model.upload import Content, Upload
from profbucket.storage.store import Writer
from profbucket.times import LATEST, read_clock


class Collector:
    """The entry point of uploaded profiles, which it validates and writes to *storage*.

    *clock* returns nanoseconds since 1970, *timer* seconds.
    """

    def __init__(
        self,
        storage: Writer,
        limits: Limits = Limits(),
        clock: Callable[[], int] = read_clock,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._limits = limits
        self._clock = clock
        self._timer = timer

    def collect(
        self,
        service: str,
        profile_type: ProfileType,
        labels: Labels,
        data: bytes,
        created_at: int | None = None,
        *,
        kinds: Mapping[str, Kind] | None = None,
    ) -> Meta:
        """Store a profile durably and return its meta.

        The time of the profile is the one it contains, else *created_at*, else now. A repeated upload (the same
        service, type, labels, time and bytes) is stored once. *kinds* are those of sample types that the agent
        has said, by name.

        Raises:
            Invalid: the service, a label or the profile is malformed, or the profile is empty.
            TooLarge: the profile exceeds a limit.
            Unavailable: the storage cannot be reached.
        """
        meta = self._check(Upload(service, profile_type, labels, data, created_at, kinds=kinds or {}))
        self._storage.write(meta, data)
        return meta

    def store_batch(
        self, uploads: Sequence[Upload], *, has_deadline: bool = False
    ) -> list[Meta | ProfbucketError]:
        """Store those of *uploads* that are valid, durably; return the meta or the error of each, in order.

        Each gets the same id as by :meth:`collect`. Profiles of one service may share objects, and have the same
        error if the storage fails. If a client waits, the batch *has_deadline*: after it, the rest is not stored.
        """
        begin, seconds = self._timer(), self._limits.batch_seconds if has_deadline else math.inf
        # Half of the time is for writes, so that each retry stores some.
        outcomes = [self._check_or_error(upload, begin + seconds / 2) for upload in uploads]
        valid: dict[str, list[tuple[Meta, bytes]]] = {}
        for upload, outcome in zip(uploads, outcomes, strict=True):
            if isinstance(outcome, Meta):
                valid.setdefault(upload.service, []).append((outcome, upload.data))
        for service, profiles in valid.items():
            try:
                self._check_time(begin + seconds)
                self._storage.write_batch(profiles)
            except ProfbucketError as error:
                detach(error)
                outcomes = [
                    error if isinstance(outcome, Meta) and outcome.service == service else outcome
                    for outcome in outcomes
                ]
        return outcomes

    def _check_or_error(self, upload: Upload, deadline: float) -> Meta | ProfbucketError:
        try:
            self._check_time(deadline)
            return self._check(upload)
        except ProfbucketError as error:
            return detach(error)

    def _check_time(self, deadline: float) -> None:
        if self._timer() > deadline:
            raise self._limits.unavailable("batch_seconds", "the profiles before it took too long; send it again")

    def _check(self, upload: Upload) -> Meta:
        """Return the meta of a valid profile; raise ``Invalid`` or ``TooLarge`` as :meth:`collect` does."""
        service, profile_type, labels, data = upload.service, upload.type, upload.labels, upload.data
        check_names(service, labels, self._limits)
        if len(data) > self._limits.body_bytes:
            raise self._limits.too_large("body_bytes", f"the body has {len(data)} bytes")
        content = upload.content if profile_type.is_pprof else Content(gotrace.started_at(data), ())
        own_time, totals = content or read_content(data, self._limits)
        taken_at = own_time or upload.created_at or self._clock()
        if not 0 <= taken_at <= LATEST:
            raise Invalid(f"the time of the profile, {taken_at} ns, is not from 1970 to 2262", code="invalid_time")
        digest = ids.profile_digest(service, profile_type, labels, taken_at, data)
        kinds = upload.kinds
        return Meta(
            id=str(ids.ProfileId(service, profile_type, taken_at, digest)),
            service=service,
            type=profile_type,
            labels=labels,
            created_at=taken_at,
            size=len(data),
            totals=tuple(total._replace(kind=kinds.get(total.type)) for total in totals) if kinds else totals,
        )


def check_names(service: str, labels: Labels, limits: Limits) -> None:
    """Raise ``Invalid`` if *service* is malformed, or if it or *labels* exceed *limits*."""
    ids.check_service(service, limits)
    if len(labels) > limits.labels:
        raise limits.invalid("labels", f"the profile has {len(labels)} labels")
    if (size := len(labels.format())) > limits.label_bytes:
        raise limits.invalid("label_bytes", f"the labels have {size} bytes, percent-encoded")
