"""The profile types and the label values of a service, to choose from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from profbucket.model.profile_type import ProfileType, sort_types
from profbucket.storage.ports import Series

_MAX_LABELS = 200
_MAX_VALUES = 1000  # of one label


@dataclass(frozen=True, slots=True)
class LabelValues:
    """Profile types, and the values of each label, both sorted.

    ``complete`` is false if there were too many labels or values to list.
    """

    profile_types: tuple[ProfileType, ...]
    values: dict[str, list[str]]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        labels = [{"key": key, "values": values} for key, values in self.values.items()]
        return {"types": list(self.profile_types), "labels": labels, "complete": self.complete}


def list_label_values(all_series: Iterable[Series], profile_type: ProfileType | None) -> LabelValues:
    """Return the profile types of *all_series*, and the label values of those of *profile_type*, or of all."""
    profile_types: set[ProfileType] = set()
    values: dict[str, set[str]] = {}
    for series in all_series:
        profile_types.add(series.type)
        if profile_type in (None, series.type):
            for key, value in series.labels:
                values.setdefault(key, set()).add(value)
    return LabelValues(
        sort_types(profile_types),
        {key: sorted(values[key])[:_MAX_VALUES] for key in sorted(values)[:_MAX_LABELS]},
        len(values) <= _MAX_LABELS and all(len(of_label) <= _MAX_VALUES for of_label in values.values()),
    )
