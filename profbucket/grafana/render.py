"""Pyroscope's older JSON, which Profiles Drilldown reads: /pyroscope/render and /pyroscope/render-diff."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profbucket.grafana import querier_pb2 as pb
from profbucket.grafana.flame_graphs import FlameGraphs
from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.grafana.selection import MILLISECOND, MayAccess, parse_range
from profbucket.grafana.time_series import select_points
from profbucket.limits import Limits
from profbucket.query.points import Points, Steps
from profbucket.query.querier import Querier
from profbucket.times import SECOND

if TYPE_CHECKING:
    from profbucket.pprof.report.flame_levels import FlameLevels

_MIN_STEP_SECONDS = 15
_MAX_STEPS = 1500
_OBJECTS = frozenset({"inuse_objects", "alloc_objects", "goroutine", "samples"})

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RenderQuery:
    """A selection: ``<profile type id>{<conditions>}`` from *start* to *end* in nanoseconds."""

    text: str
    start: int
    end: int

    def request(self) -> pb.SelectMergeStacktracesRequest:
        """Return the same selection as a message."""
        type_id, brace, conditions = self.text.partition("{")
        return pb.SelectMergeStacktracesRequest(
            profile_typeID=type_id.strip(),
            label_selector=f"{brace}{conditions}",
            start=self.start // MILLISECOND,
            end=self.end // MILLISECOND,
        )


class Renderer:
    """Flame graphs and timelines of the profiles that *querier* finds, as JSON."""

    def __init__(self, querier: Querier, graphs: FlameGraphs, limits: Limits) -> None:
        self._querier = querier
        self._graphs = graphs
        self._limits = limits

    def render(
        self,
        query: RenderQuery,
        max_nodes: int,
        group_by: Sequence[str],
        may_access: MayAccess,
        *,
        is_average: bool = False,
    ) -> Json:
        """Return a flame graph and its timeline, and with *group_by* a timeline for each group of labels.

        Timelines are sums of profiles, or their averages. Raise ``Invalid`` for a malformed query, ``TooMany`` for
        too many nodes.
        """
        nodes = self._graphs.count_nodes(max_nodes)
        request = query.request()
        graph = self._graphs.build([self._graphs.merge(request, may_access)], nodes)
        result = _to_json(graph, request.profile_typeID, "single")
        start, end = parse_range(request.start, request.end, is_required=True)
        seconds = max(_MIN_STEP_SECONDS, -((start - end) // (_MAX_STEPS * SECOND)))
        steps = Steps.parse(start, end, seconds)
        selection = pb.SelectSeriesRequest(
            profile_typeID=request.profile_typeID,
            label_selector=request.label_selector,
            start=request.start,
            end=request.end,
            step=seconds,
            aggregation=pb.TimeSeriesAggregationType.Name(int(is_average)),
        )
        points = select_points(self._querier, selection, self._limits, may_access)
        result["timeline"] = _to_timeline(points.get((), {}), steps)
        if group_by:
            selection.group_by.extend(group_by)
            groups = select_points(self._querier, selection, self._limits, may_access)
            result["groups"] = {
                ", ".join(value for _, value in group) or "*": _to_timeline(own, steps)
                for group, own in groups.items()
            }
        return result

    def render_dot(self, query: RenderQuery, max_nodes: int, may_access: MayAccess) -> str:
        """Return a call graph in Graphviz's language. Raise as :meth:`render` does."""
        request = query.request()
        request.max_nodes = max_nodes
        return self._graphs.draw_dot(request, may_access) or "digraph profile {\n}\n"

    def render_diff(self, left: RenderQuery, right: RenderQuery, max_nodes: int, may_access: MayAccess) -> Json:
        """Return a flame graph of two selections. Raise as :meth:`render` does."""
        nodes = self._graphs.count_nodes(max_nodes)
        requests = [left.request(), right.request()]
        sides = [self._graphs.merge(request, may_access) for request in requests]
        graph = self._graphs.build(sides, nodes)
        left_ticks, right_ticks = graph.totals
        result = _to_json(graph, requests[0].profile_typeID, "double")
        return {**result, "leftTicks": left_ticks, "rightTicks": right_ticks}


def _to_json(graph: "FlameLevels", profile_type_id: str, form: str) -> Json:
    type_id = ProfileTypeId.parse(profile_type_id)
    units, rate = type_id.sample_unit, 100
    if type_id.sample_type == "cpu":
        units, rate = "samples", SECOND  # the page divides by the rate, and shows seconds
    elif type_id.sample_type in _OBJECTS:
        units = "objects"
    return {
        "version": 1,
        "flamebearer": {
            "names": graph.names,
            "levels": graph.levels,
            "numTicks": graph.total,
            "maxSelf": graph.max_self,
        },
        "metadata": {
            "format": form,
            "spyName": "",
            "sampleRate": rate,
            "units": units,
            "name": type_id.sample_type,
        },
        "timeline": None,
        "groups": None,
        "heatmap": None,
    }


def _to_timeline(points: Points, steps: Steps) -> Json:
    return {
        "startTime": steps.start // SECOND,
        "samples": [round(points.get(number, 0)) for number in range(steps.count)],
        "durationDelta": steps.length // SECOND,
        "watermarks": None,
    }
