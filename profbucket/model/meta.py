"""The record of a stored profile, and what is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from profbucket.model.labels import Labels, Matcher
from profbucket.model.profile_type import ProfileType
from profbucket.times import format_time


def series_id(service: str, profile_type: ProfileType, labels: Labels) -> str:
    """What series all profiles of this service, type and label set are: see :attr:`Meta.series`."""
    from hashlib import sha256

    return sha256("\0".join((service, profile_type, labels.format())).encode()).hexdigest()[:32]


class Total(NamedTuple):
    """The sum of a profile's samples in one of its sample types, as in ``("cpu", "nanoseconds", 120000000)``."""

    type: str
    unit: str
    value: int


@dataclass(frozen=True, slots=True)
class Meta:
    """The record of a stored profile. Times are nanoseconds since 1970, sizes are bytes as stored."""

    id: str
    service: str
    type: ProfileType
    labels: Labels
    created_at: int
    size: int
    totals: tuple[Total, ...] = ()

    @property
    def series(self) -> str:
        """The id of its series: 32 hex digits of a hash over service, type and labels."""
        return series_id(self.service, self.type, self.labels)

    @property
    def position(self) -> tuple[int, str]:
        """Where it stands in every list: oldest first, and by id among equals."""
        return self.created_at, self.id


def meta_to_json(meta: Meta) -> dict[str, Any]:
    """*meta* as the API shows it, in JSON."""
    return {
        "id": meta.id,
        "type": meta.type,
        "service": meta.service,
        "labels": [{"key": key, "value": value} for key, value in meta.labels],
        "created_at": format_time(meta.created_at),
        "size": meta.size,
        "totals": [total._asdict() for total in meta.totals],
    }


@dataclass(frozen=True, slots=True)
class Query:
    """Profiles of a service in a range of time, both ends in it. ``type=None`` is any type."""

    service: str
    type: ProfileType | None
    start: int
    end: int
    matchers: tuple[Matcher, ...] = ()
    after: tuple[int, str] | None = None  # only what stands behind this position
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of profiles, oldest first. ``next`` is the page token of the next one, or ``None`` on the last."""

    profiles: Sequence[Meta]
    next: str | None
