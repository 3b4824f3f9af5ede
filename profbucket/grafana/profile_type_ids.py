"""Pyroscope's ids of profile types: ``process_cpu:cpu:nanoseconds:cpu:nanoseconds``.

An id has a name, a sample type and its unit, and a period type and its unit; each is one sample type of one of
profbucket's profile types. Grafana knows some names and labels them. The period is decoration: ids that differ in
nothing else are the same.
"""

from collections.abc import Mapping
from typing import NamedTuple

from profbucket.errors import Invalid
from profbucket.model.profile_type import ProfileType

_CONTENTIONS = ("contentions", "count")
_SPACE = ("space", "bytes")

# The names of profile types that have another one in Pyroscope.
_NAMES: Mapping[ProfileType, str] = {ProfileType.CPU: "process_cpu", ProfileType.HEAP: "memory"}
# Period type and unit. Other profile types have those of the sample type.
_PERIODS: Mapping[ProfileType, tuple[str, str]] = {
    ProfileType.CPU: ("cpu", "nanoseconds"),
    ProfileType.WALL: ("wall", "nanoseconds"),
    ProfileType.HEAP: _SPACE,
    ProfileType.ALLOC: _SPACE,
    ProfileType.BLOCK: _CONTENTIONS,
    ProfileType.MUTEX: _CONTENTIONS,
    ProfileType.GOROUTINE: ("goroutine", "count"),
    ProfileType.THREADCREATE: ("threadcreate", "count"),
}
# Profile types by names under which Pyroscope's clients push them. Dashboards may ask for these, too.
_ALIASES: Mapping[str, tuple[ProfileType, ...]] = {
    "memory": (ProfileType.ALLOC,),
    "goroutines": (ProfileType.GOROUTINE,),
}

_SHOWN_CHARACTERS = 80


class ProfileTypeId(NamedTuple):
    """The parts of an id."""

    name: str
    sample_type: str
    sample_unit: str
    period_type: str
    period_unit: str

    def __str__(self) -> str:
        return ":".join(self)

    @classmethod
    def of(cls, profile_type: ProfileType, sample_type: str, unit: str) -> "ProfileTypeId":
        """Return the id of a sample type of *profile_type*. A colon in a name becomes an underscore."""
        name = _NAMES.get(profile_type, profile_type)
        parts = (name, sample_type, unit, *_PERIODS.get(profile_type, (sample_type, unit)))
        return cls(*(part.replace(":", "_") for part in parts))

    @classmethod
    def parse(cls, text: str) -> "ProfileTypeId":
        """Read an id, which may end in ``:delta``; raise ``Invalid``."""
        parts = text.split(":")
        if len(parts) == len(cls._fields) + 1 and parts[-1] == "delta":
            del parts[-1]
        if len(parts) != len(cls._fields) or not parts[0] or not parts[1]:
            raise Invalid(
                f"invalid profile type {text[:_SHOWN_CHARACTERS]!r}; write name:type:unit:period_type:period_unit,"
                " as in process_cpu:cpu:nanoseconds:cpu:nanoseconds",
                code="invalid_profile_type",
            )
        return cls(*parts)

    def labels(self) -> dict[str, str]:
        """Return the labels that series of this type have in Pyroscope."""
        return {
            "__profile_type__": str(self),
            "__name__": self.name,
            "__type__": self.sample_type,
            "__unit__": self.sample_unit,
            "__period_type__": self.period_type,
            "__period_unit__": self.period_unit,
        }

    def is_same(self, other: "ProfileTypeId") -> bool:
        """Return whether the ids differ in the period at most."""
        return self[:3] == other[:3]

    def may_mean(self, profile_type: ProfileType) -> bool:
        """Return whether clients of Pyroscope push profiles of *profile_type* under this name, too."""
        return profile_type in _ALIASES.get(self.name, ())
