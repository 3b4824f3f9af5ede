"""The profile types and the label values of a service, to choose from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profbucket.model.profile_type import ProfileType, sort_types

_MAX_LABELS = 200
MAX_VALUES = 1000  # of one label


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


def merge_label_values(
    of_services: Iterable[Mapping[ProfileType, Mapping[str, Sequence[str]]]], profile_type: ProfileType | None
) -> LabelValues:
    """Return all profile types of *of_services*, and the label values of *profile_type*, or of all types.

    Each has the first ``MAX_VALUES + 1`` values of a label, or all if there are fewer.
    """
    profile_types: set[ProfileType] = set()
    values: dict[str, set[str]] = {}
    for of_service in of_services:
        profile_types.update(of_service)
        for own_type, of_type in of_service.items():
            if profile_type in (None, own_type):
                for key, of_label in of_type.items():
                    values.setdefault(key, set()).update(of_label)
    return LabelValues(
        sort_types(profile_types),
        {key: sorted(values[key])[:MAX_VALUES] for key in sorted(values)[:_MAX_LABELS]},
        len(values) <= _MAX_LABELS and all(len(of_label) <= MAX_VALUES for of_label in values.values()),
    )
