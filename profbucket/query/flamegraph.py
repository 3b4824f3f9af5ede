"""Merges as trees to draw."""

from collections.abc import Iterable
from typing import Any

from profbucket.errors import NotFound, TooMany
from profbucket.limits import Limits
from profbucket.model.meta import Query
from profbucket.query.querier import Merged, Querier

DEFAULT_NODES = 5000  # frames in a flame graph that was asked for no number
LEAST_NODES = 2  # the root, and all else in one


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
    from profbucket.pprof.report.flamegraph import build_flamegraph

    answer = build_flamegraph([merged.data for merged in merges], sample_type, nodes, focus, limits)
    answer["profiles"] = [{"found": one.found, "merged": one.merged, "expired": one.expired} for one in merges]
    return answer


def _merge(querier: Querier, query: Query, whose: str) -> Merged:
    try:
        return querier.merge(query)
    except (NotFound, TooMany) as error:
        raise type(error)(f"{whose}{error}") from None
