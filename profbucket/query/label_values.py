"""The labels and profile types of a service, to choose from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Series

_NAMES, _VALUES = 200, 1000  # of labels in one answer; a person chooses from fewer


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from: types, and labels with their values, all sorted.

    ``complete`` is false where there were too many labels or values to list.
    """

    types: tuple[ProfileType, ...]
    labels: dict[str, list[str]]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        labels = [{"key": key, "values": values} for key, values in self.labels.items()]
        return {"types": list(self.types), "labels": labels, "complete": self.complete}


def choices(series: Iterable[Series], kind: ProfileType | None) -> Choices:
    """The types of *series*, and the labels of those of type *kind*, of all if it is ``None``."""
    types: set[ProfileType] = set()
    labels: dict[str, set[str]] = {}
    for one in series:
        types.add(one.type)
        if kind in (None, one.type):
            for key, value in one.labels:
                labels.setdefault(key, set()).add(value)
    return Choices(
        tuple(one for one in ProfileType if one in types),
        {key: sorted(labels[key])[:_VALUES] for key in sorted(labels)[:_NAMES]},
        len(labels) <= _NAMES and all(len(values) <= _VALUES for values in labels.values()),
    )
