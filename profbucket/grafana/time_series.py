"""The time series that a request selects."""

from collections.abc import Mapping

from profbucket.grafana import querier_pb2 as pb
from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.grafana.selection import MILLISECOND, MayAccess, SeriesQuery, parse_range, select_profiles
from profbucket.grafana.selectors import SERVICE, Selector
from profbucket.limits import Limits
from profbucket.query.points import Group, Measure, Points, PointsBuilder, Steps
from profbucket.query.querier import Querier
from profbucket.storage.retry import retry_on_compaction


@retry_on_compaction
def select_points(
    querier: Querier, request: pb.SelectSeriesRequest, limits: Limits, may_access: MayAccess
) -> Mapping[Group, Points]:
    """Return the points of each group of labels; with a limit, of those with the largest sums.

    Raises:
        Invalid: the id, the selector, the range or the step is malformed.
        TooMany: there are too many points, values or services, or the request timed out.
        ProfbucketError: the query failed; see :meth:`Querier.totals`.
    """
    type_id = ProfileTypeId.parse(request.profile_typeID)
    selector = Selector.parse(request.label_selector, limits)
    steps = _parse_steps(request)
    average = request.aggregation == pb.TIME_SERIES_AGGREGATION_TYPE_AVERAGE
    builder = PointsBuilder(steps, request.group_by, SERVICE, limits, average=average)
    # Profiles of the first step are from before the start.
    query = SeriesQuery((selector,), max(steps.first, 0), steps.last, may_access)
    for selection in select_profiles(querier, type_id, query, limits):
        measure = Measure(selection.sample_type, type_id.sample_unit, selection.kind)
        for totals in querier.totals(selection.query):
            builder.add(totals, measure, type_id.labels())
    points = builder.build()
    if request.limit > 0:
        largest = sorted(points, key=lambda group: -sum(points[group].values()))[: request.limit]
        return {group: points[group] for group in sorted(largest)}
    return points


def select_series(
    querier: Querier, request: pb.SelectSeriesRequest, limits: Limits, may_access: MayAccess
) -> list[pb.Series]:
    """Return the same as messages."""
    steps = _parse_steps(request)
    return [
        pb.Series(
            labels=[pb.LabelPair(name=name, value=value) for name, value in group],
            points=[
                pb.Point(value=value, timestamp=steps.time(number) // MILLISECOND)
                for number, value in points.items()
            ],
        )
        for group, points in select_points(querier, request, limits, may_access).items()
    ]


def _parse_steps(request: pb.SelectSeriesRequest) -> Steps:
    start, end = parse_range(request.start, request.end, is_required=True)
    return Steps.parse(start, end, request.step)
