"""Flame graphs of merged profiles."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.query.merging import MergeResult
from profbucket.query.postprocessing import resolve_max_nodes
from profbucket.query.querier import Querier


def build_flame_graph(
    querier: Querier,
    queries: Iterable[Query],
    limits: Limits,
    options: MergeOptions = MergeOptions(),
    *,
    max_nodes: int | None = None,
    function: str | None = None,
) -> dict[str, Any]:
    """Return the merge of the first of *queries* as a tree; with a second, the base, nodes have two values.

    The tree is of the sample type of *options*, by default the profiles' own. If not all profiles have it, it is
    of those that do.

    Raises:
        TooMany: *max_nodes* or one of the merges exceeds a limit.
        Invalid: The profiles do not have the sample type, or not the function *function*.
        ProfbucketError: One of the merges failed; see :meth:`Querier.merge`.
    """
    nodes = resolve_max_nodes(max_nodes, limits)
    # Imports numpy, which the function that only stores profiles does not need.
    from profbucket.pprof.report.flamegraph import build_flamegraph, list_sample_types

    queries, merges = list(queries), list[MergeResult]()
    sample_type = options.sample_type or ""
    try:
        merges = _merge_all(querier, queries, replace(options, sample_type=None))
        graph = build_flamegraph([merge.data for merge in merges], sample_type, nodes, function, limits)
    except Invalid as error:
        if not sample_type or error.code not in ("unknown_sample_type", "sample_types_differ"):
            raise
        common = list_sample_types(merges[0].data, limits) if merges else []
        merges = _merge_all(querier, queries, options)
        graph = build_flamegraph([merge.data for merge in merges], sample_type, nodes, function, limits)
        graph["sample_types"] = [*common, *(t for t in graph["sample_types"] if t not in common)]
    shown = graph["sample_type"]["type"]
    graph["profiles"] = [{**merge.counts(), "aggregate": merge.meanings.get(shown, "")} for merge in merges]
    return graph


def _merge_all(querier: Querier, queries: Iterable[Query], options: MergeOptions) -> list[MergeResult]:
    return [_merge(querier, query, options, is_base=number > 0) for number, query in enumerate(queries)]


def _merge(querier: Querier, query: Query, options: MergeOptions, *, is_base: bool) -> MergeResult:
    try:
        return querier.merge(query, options)
    except ProfbucketError as error:
        if is_base:
            raise error.about("the base") from None
        raise
