"""What the page asks beside find and merge: labels to choose from, and merges as trees to draw."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from profbucket.errors import NotFound, TooMany
from profbucket.limits import Limits
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Merged, Querier
from profbucket.storage.ports import Series

_NAMES, _VALUES = 200, 1000  # of labels in one answer; a person chooses from fewer

DEFAULT_NODES = 5000  # frames in a flame graph that was asked for no number
LEAST_NODES = 2  # the root, and all else in one


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from: types, and labels with their values, all sorted.

    ``complete`` is false where there were too many labels or values to list.
    """

    types: tuple[ProfileType, ...]
    labels: dict[str, list[str]]
    complete: bool

    def shown(self) -> dict[str, Any]:
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


def flame(
    querier: Querier,
    queries: Iterable[Query],
    limits: Limits,
    *,
    sample_type: str = "",
    max_nodes: int | None = None,
    focus: str | None = None,
) -> dict[str, Any]:
    """The merge of what the first of *queries* asks for as a tree; with a second one, each value beside its own.

    Raise what ``Querier.merge`` raises; ``TooMany`` for more nodes than the cap; ``Invalid`` where there is no
    such sample type or function.
    """
    nodes = min(DEFAULT_NODES, limits.flame_nodes) if max_nodes is None else max(max_nodes, LEAST_NODES)
    if nodes > limits.flame_nodes:
        raise limits.too_many("flame_nodes", f"max_nodes={nodes} asks for too many frames")
    merges = [_merge(querier, query, "the base: " if number else "") for number, query in enumerate(queries)]
    # Numpy is imported here, not by the function that takes profiles in.
    from profbucket.pprof.report.flamegraph import flame as flame_of

    answer = flame_of([merged.data for merged in merges], sample_type, nodes, focus, limits)
    answer["profiles"] = [{"found": one.found, "merged": one.merged, "expired": one.expired} for one in merges]
    return answer


def _merge(querier: Querier, query: Query, whose: str) -> Merged:
    try:
        return querier.merge(query)
    except (NotFound, TooMany) as error:
        raise type(error)(f"{whose}{error}") from None
