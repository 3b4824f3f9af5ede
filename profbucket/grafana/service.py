"""The methods of Pyroscope's QuerierService and SettingsService."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message

from profbucket.errors import Invalid, NotFound
from profbucket.grafana import querier_pb2 as pb
from profbucket.grafana.flame_graphs import FlameGraphs, to_flame_graph, to_flame_graph_diff
from profbucket.grafana.listing import Listing
from profbucket.grafana.messages import LabelSets, decode_message, encode_message
from profbucket.grafana.render import Renderer
from profbucket.grafana.selection import MILLISECOND, MayAccess, SeriesQuery, parse_range
from profbucket.grafana.selectors import Selector
from profbucket.grafana.time_series import select_series
from profbucket.limits import Limits
from profbucket.pprof.profile_pb2 import Profile
from profbucket.query.querier import Querier
from profbucket.storage.ports import SeriesSelection


class _Method(NamedTuple):
    request: type[Message]
    answer: Callable[[Any, MayAccess], Message | LabelSets]


class GrafanaService:
    """Answers the calls of Grafana from *querier*, within *limits*. *clock* returns nanoseconds since 1970.

    A selection without a match is an empty message, not an error. Each method raises ``Invalid`` for a malformed
    request, and the errors of the query that it makes.
    """

    def __init__(self, querier: Querier, limits: Limits, clock: Callable[[], int]) -> None:
        self._querier = querier
        self._limits = limits
        self._clock = clock
        self._graphs = FlameGraphs(querier, limits)
        self.renderer = Renderer(querier, self._graphs, limits)
        self._methods: Mapping[str, _Method] = {
            "querier.v1.QuerierService/ProfileTypes": _Method(pb.ProfileTypesRequest, self._profile_types),
            "querier.v1.QuerierService/LabelNames": _Method(pb.LabelNamesRequest, self._label_names),
            "querier.v1.QuerierService/LabelValues": _Method(pb.LabelValuesRequest, self._label_values),
            "querier.v1.QuerierService/Series": _Method(pb.SeriesRequest, self._label_sets),
            "querier.v1.QuerierService/SelectMergeStacktraces": _Method(
                pb.SelectMergeStacktracesRequest, self._merge_stacktraces
            ),
            "querier.v1.QuerierService/SelectMergeSpanProfile": _Method(
                pb.SelectMergeSpanProfileRequest, self._merge_span_profile
            ),
            "querier.v1.QuerierService/SelectMergeProfile": _Method(
                pb.SelectMergeProfileRequest, self._merge_profile
            ),
            "querier.v1.QuerierService/SelectSeries": _Method(pb.SelectSeriesRequest, self._select_series),
            "querier.v1.QuerierService/Diff": _Method(pb.DiffRequest, self._diff),
            "querier.v1.QuerierService/GetProfileStats": _Method(pb.GetProfileStatsRequest, self._profile_stats),
            "querier.v1.QuerierService/AnalyzeQuery": _Method(
                pb.AnalyzeQueryRequest, lambda *_: pb.AnalyzeQueryResponse()
            ),
            "settings.v1.SettingsService/Get": _Method(pb.GetSettingsRequest, lambda *_: pb.GetSettingsResponse()),
            # Settings are not stored: they last as long as the page that sets them.
            "settings.v1.SettingsService/Set": _Method(
                pb.SetSettingsRequest, lambda request, _: pb.SetSettingsResponse(setting=request.setting)
            ),
        }

    def require_method(self, name: str) -> None:
        """Raise ``NotFound`` unless there is a method called *name*, as in ``querier.v1.QuerierService/Diff``."""
        if name not in self._methods:
            raise NotFound(
                f"unknown method {name[:80]!r}; docs/grafana.md lists those there are", code="unknown_route"
            )

    def call(self, name: str, body: bytes, may_access: MayAccess, *, is_json: bool) -> bytes:
        """Return the answer of the method *name* to the request in *body*, both in JSON or protobuf."""
        method = self._methods[name]
        request = decode_message(body, method.request, is_json=is_json)
        return encode_message(method.answer(request, may_access), is_json=is_json)

    def _profile_types(self, request: pb.ProfileTypesRequest, may_access: MayAccess) -> Message:
        ids = self._listing((), request, may_access).profile_types()
        return pb.ProfileTypesResponse(
            profile_types=[
                pb.ProfileType(
                    ID=str(type_id),
                    name=type_id.name,
                    sample_type=type_id.sample_type,
                    sample_unit=type_id.sample_unit,
                    period_type=type_id.period_type,
                    period_unit=type_id.period_unit,
                )
                for type_id in ids
            ]
        )

    def _label_names(self, request: pb.LabelNamesRequest, may_access: MayAccess) -> Message:
        return pb.LabelNamesResponse(names=self._listing(request.matchers, request, may_access).label_names())

    def _label_values(self, request: pb.LabelValuesRequest, may_access: MayAccess) -> Message:
        listing = self._listing(request.matchers, request, may_access)
        return pb.LabelValuesResponse(names=listing.label_values(request.name))

    def _label_sets(self, request: pb.SeriesRequest, may_access: MayAccess) -> LabelSets:
        self._check_count("label_names", request.label_names)
        listing = self._listing(request.matchers, request, may_access)
        return LabelSets(listing.label_sets(request.label_names))

    def _merge_stacktraces(self, request: pb.SelectMergeStacktracesRequest, may_access: MayAccess) -> Message:
        max_nodes = self._graphs.count_nodes(request.max_nodes)
        if request.format == pb.PROFILE_FORMAT_DOT:
            return pb.SelectMergeStacktracesResponse(dot=self._graphs.draw_dot(request, may_access))
        if request.format == pb.PROFILE_FORMAT_PPROF:
            profile = self._graphs.merge_profile(request, may_access)
            return pb.SelectMergeStacktracesResponse(pprof=profile.SerializeToString() if profile else b"")
        if request.format not in (pb.PROFILE_FORMAT_UNSPECIFIED, pb.PROFILE_FORMAT_FLAMEGRAPH):
            raise Invalid(
                f"format={request.format} is not supported; use 1 for a flame graph, 3 for dot, 4 for pprof",
                code="invalid_parameter",
            )
        side = self._graphs.merge(request, may_access)
        if side.data is None:
            return pb.SelectMergeStacktracesResponse()
        call_site = [location.name for location in request.stack_trace_selector.call_site]
        graph = self._graphs.build([side], max_nodes, call_site)
        return pb.SelectMergeStacktracesResponse(flamegraph=to_flame_graph(graph))

    def _merge_span_profile(self, request: pb.SelectMergeSpanProfileRequest, may_access: MayAccess) -> Message:
        max_nodes = self._graphs.count_nodes(request.max_nodes)
        side = self._graphs.merge_spans(request, may_access)
        if side.data is None:
            return pb.SelectMergeSpanProfileResponse()
        return pb.SelectMergeSpanProfileResponse(flamegraph=to_flame_graph(self._graphs.build([side], max_nodes)))

    def _merge_profile(self, request: pb.SelectMergeProfileRequest, may_access: MayAccess) -> Message:
        return self._graphs.merge_profile(request, may_access) or Profile()

    def _select_series(self, request: pb.SelectSeriesRequest, may_access: MayAccess) -> Message:
        self._check_count("group_by", request.group_by)
        if request.stack_trace_selector.call_site:
            raise Invalid(
                "stack_trace_selector is not supported in SelectSeries; leave it out", code="invalid_parameter"
            )
        return pb.SelectSeriesResponse(series=select_series(self._querier, request, self._limits, may_access))

    def _diff(self, request: pb.DiffRequest, may_access: MayAccess) -> Message:
        max_nodes = max(self._graphs.count_nodes(side.max_nodes) for side in (request.left, request.right))
        sides = [self._graphs.merge(side, may_access) for side in (request.left, request.right)]
        if all(side.data is None for side in sides):
            return pb.DiffResponse()
        return pb.DiffResponse(flamegraph=to_flame_graph_diff(self._graphs.build(sides, max_nodes)))

    def _profile_stats(self, request: pb.GetProfileStatsRequest, may_access: MayAccess) -> Message:
        groups = list(self._querier.series_groups(SeriesSelection(), may_access))
        if not groups:
            return pb.GetProfileStatsResponse()
        # The index rounds the times of a series outward, by less than a day.
        newest = min(max(group.last_seen for group in groups), self._clock())
        return pb.GetProfileStatsResponse(
            data_ingested=True,
            oldest_profile_time=min(group.first_seen for group in groups) // MILLISECOND,
            newest_profile_time=newest // MILLISECOND,
        )

    def _listing(
        self,
        matchers: Sequence[str],
        request: pb.ProfileTypesRequest | pb.LabelNamesRequest | pb.LabelValuesRequest | pb.SeriesRequest,
        may_access: MayAccess,
    ) -> Listing:
        self._check_count("matchers", matchers)
        start, end = parse_range(request.start, request.end, is_required=False)
        selectors = tuple(Selector.parse(matcher, self._limits) for matcher in matchers or [""])
        return Listing(self._querier, SeriesQuery(selectors, start, end, may_access))

    def _check_count(self, name: str, values: Sequence[str]) -> None:
        if len(values) > self._limits.labels:
            raise self._limits.invalid("labels", f"{name} has {len(values)} items")
