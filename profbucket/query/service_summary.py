"""The summary of each service in a list of all services."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from profbucket.model.profile_type import ProfileType, sort_types
from profbucket.model.series import SeriesGroup
from profbucket.times import LATEST, format_time


@dataclass(frozen=True, slots=True)
class ServiceSummary:
    """The profile types of a service, and the time of its last profile, rounded up by less than a day.

    ``last_seen`` is in nanoseconds since 1970; 0 if the index does not tell.
    """

    service: str
    profile_types: tuple[ProfileType, ...]
    last_seen: int

    def to_json(self) -> dict[str, Any]:
        last_seen = format_time(self.last_seen) if self.last_seen else ""
        return {"service": self.service, "types": list(self.profile_types), "last_seen": last_seen}


def summarize(services: Sequence[str], groups: Iterable[SeriesGroup]) -> list[ServiceSummary]:
    """Return a summary of each of *services*, in their order."""
    profile_types: dict[str, set[ProfileType]] = {service: set() for service in services}
    last_seen = dict.fromkeys(services, 0)
    for group in groups:
        if group.service in last_seen:
            profile_types[group.service].add(group.type)
            if group.last_seen < LATEST:
                last_seen[group.service] = max(last_seen[group.service], group.last_seen)
    return [
        ServiceSummary(service, tuple(sort_types(profile_types[service])), last_seen[service])
        for service in services
    ]
