"""The labels of the samples of merged profiles."""

from typing import Any

from profbucket.limits import Limits
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.query.querier import Querier


def list_tags(querier: Querier, query: Query, limits: Limits, options: MergeOptions) -> dict[str, Any]:
    """Return the labels of the samples of the merge of *query*, with the totals of their values.

    Raise as :meth:`Querier.merge` does.
    """
    # Imports numpy, which the function that only stores profiles does not need.
    from profbucket.pprof.report.tags import build_tags

    merge = querier.merge(query, options)
    return {**build_tags(merge.data, limits=limits), "profiles": merge.counts()}
