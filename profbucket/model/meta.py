"""The record of a stored profile, and the query that selects profiles."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from profbucket.model.labels import Labels, Matcher
from profbucket.model.profile_type import ProfileType
from profbucket.times import format_time


def series_id(service: str, profile_type: ProfileType, labels: Labels) -> str:
    """Return the id of a series: 32 hex digits of a hash over service, type and labels."""
    return formatted_series_id(service, profile_type, labels.format())


def formatted_series_id(service: str, profile_type: ProfileType, labels: str) -> str:
    """Return the id of a series whose labels :meth:`Labels.format` has formatted."""
    from hashlib import sha256

    return sha256("\0".join((service, profile_type, labels)).encode()).hexdigest()[:32]


class Total(NamedTuple):
    """The sum of a profile's samples for one sample type, as in ``("cpu", "nanoseconds", 120000000)``.

    ``kind`` is what the agent said about the values, a :class:`~profbucket.model.sample_kinds.Kind`.
    """

    type: str
    unit: str
    value: int
    kind: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields; without the kind, if the agent said nothing."""
        fields = self._asdict()
        return fields if self.kind else {name: value for name, value in fields.items() if name != "kind"}


class SampleType(NamedTuple):
    """A quantity that the values of a profile's samples measure, as in ``("cpu", "nanoseconds")``.

    ``kind`` is that of :class:`Total`.
    """

    type: str
    unit: str
    kind: str | None = None


class BatchPart(NamedTuple):
    """The place of a profile in a batch of its service: the *name* of the batch, and its offset in bytes."""

    name: str
    begin: int

    def dump(self) -> str:
        return f"{self.name}:{self.begin}"

    @classmethod
    def load(cls, text: str) -> "BatchPart":
        """Read what :meth:`dump` wrote, or raise ``ValueError``."""
        if not _BATCH_PART.fullmatch(text):
            raise ValueError(f"not a part of a batch: {text[:80]!r}")
        name, _, begin = text.partition(":")
        return cls(name, int(begin))


_BATCH_PART = re.compile(r"\d{8}T\d{6}\.\d{9}Z-[0-9a-f]{16}:\d{1,15}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Meta:
    """The record of a stored profile. ``created_at`` is nanoseconds since 1970, ``size`` bytes as stored.

    A profile that was stored in a batch has a ``part``, others an object of their own; metas that differ only in
    that are equal.
    """

    id: str
    service: str
    type: ProfileType
    labels: Labels
    created_at: int
    size: int
    totals: tuple[Total, ...] = ()
    part: BatchPart | None = field(default=None, compare=False)

    @property
    def series(self) -> str:
        """The id of the profile's series."""
        return series_id(self.service, self.type, self.labels)

    @property
    def sample_types(self) -> tuple[SampleType, ...]:
        """The sample types of the profile, in its order."""
        return tuple(SampleType(total.type, total.unit, total.kind) for total in self.totals)

    @property
    def position(self) -> tuple[int, str]:
        """The sort key of all lists of profiles: oldest first, then by id."""
        return self.created_at, self.id


def meta_to_json(meta: Meta) -> dict[str, Any]:
    """Return *meta* as the API's JSON object."""
    return {
        "id": meta.id,
        "type": meta.type,
        "service": meta.service,
        "labels": [{"key": key, "value": value} for key, value in meta.labels],
        "created_at": format_time(meta.created_at),
        "size": meta.size,
        "totals": [total.to_json() for total in meta.totals],
    }


@dataclass(frozen=True, slots=True)
class Query:
    """A selection of a service's profiles from ``start`` to ``end``, both included. ``type=None`` is any type.

    With ``services``, it selects the profiles of these, and ``service`` is the condition that they meet, such
    as ``~shop-.*``; see :mod:`profbucket.query.services`.
    """

    service: str
    type: ProfileType | None
    start: int
    end: int
    matchers: tuple[Matcher, ...] = ()
    after: tuple[int, str] | None = None  # only profiles after this position
    limit: int | None = None
    services: tuple[str, ...] = ()

    def each_service(self) -> "Iterator[Query]":
        """Yield the query of each service."""
        for service in self.services or (self.service,):
            yield replace(self, service=service, services=())


@dataclass(frozen=True, slots=True)
class Page:
    """A page of profiles, oldest first. ``next`` is the page token of the next one, or ``None`` on the last.

    ``damaged`` are the ids of damaged objects whose profiles could not be listed.
    """

    profiles: Sequence[Meta]
    next: str | None
    damaged: Sequence[str] = ()
