"""Merges and flame graphs of what a request selects."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from profbucket.errors import Invalid, NotFound
from profbucket.grafana import querier_pb2 as pb
from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.grafana.selection import MayAccess, Selection, SeriesQuery, parse_range, select_profiles
from profbucket.grafana.selectors import Selector
from profbucket.limits import Limits
from profbucket.model.merge_options import MergeOptions
from profbucket.model.sample_kinds import Aggregate
from profbucket.pprof.profile_pb2 import Profile
from profbucket.query.postprocessing import DEFAULT_DOT_NODES, MAX_DOT_NODES
from profbucket.query.querier import Querier
from profbucket.telemetry.request import current_record

if TYPE_CHECKING:
    from profbucket.pprof.report.flame_levels import FlameLevels, Side

ProfileRequest: TypeAlias = pb.SelectMergeStacktracesRequest | pb.SelectMergeProfileRequest
MergeRequest: TypeAlias = ProfileRequest | pb.SelectMergeSpanProfileRequest

DEFAULT_NODES = 8192


class FlameGraphs:
    """Merges and flame graphs of the profiles that *querier* finds, within *limits*."""

    def __init__(self, querier: Querier, limits: Limits) -> None:
        self._querier = querier
        self._limits = limits

    def merge(self, request: MergeRequest, may_access: MayAccess, *, keep_labels: bool = False) -> "Side":
        """Return the merge of the selected profiles, whose values mean what the sample type says.

        With *keep_labels*, samples have the labels that merges leave out, as far as they are stored.

        Raises:
            Invalid: the id, the selector or the range is malformed.
            ProfbucketError: the merge failed; see :meth:`Querier.merge`.
        """
        from profbucket.pprof.report.flame_levels import Side

        type_id = ProfileTypeId.parse(request.profile_typeID)
        selector = Selector.parse(request.label_selector, self._limits)
        start, end = parse_range(request.start, request.end, is_required=True)
        selections = select_profiles(
            self._querier, type_id, SeriesQuery((selector,), start, end, may_access), self._limits
        )
        return Side(self._merge(selections, keep_labels), type_id.sample_type, type_id.sample_unit)

    def merge_profile(self, request: ProfileRequest, may_access: MayAccess) -> Profile | None:
        """Return the merge of the selected profiles and stacks as pprof; ``None`` without a match.

        It has all nodes unless the request has a maximum. Raise as :meth:`merge` and :meth:`count_nodes` do.
        """
        max_nodes = self.count_nodes(request.max_nodes)
        profile = self._merge_stacks(request, may_access)
        if profile is None:
            return None
        from profbucket.pprof.report.fold_samples import fold_samples

        if request.max_nodes > 0:
            fold_samples(profile, max_nodes)
        start, profile.time_nanos = parse_range(request.start, request.end, is_required=True)
        profile.duration_nanos = profile.time_nanos - start
        return profile

    def draw_dot(self, request: ProfileRequest, may_access: MayAccess) -> str:
        """Return the call graph of the selected profiles and stacks for Graphviz; ``""`` without a match.

        Raise as :meth:`merge` does, and ``TooMany`` if the graph is too large or takes too long.
        """
        guard = self._querier.guard(f"{request.profile_typeID[:80]} as a graph")
        profile = self._merge_stacks(request, may_access)
        if profile is None:
            return ""
        from profbucket.pprof.export.dot import to_dot

        max_nodes = min(request.max_nodes, MAX_DOT_NODES) if request.max_nodes > 0 else DEFAULT_DOT_NODES
        return to_dot(profile, 0, max_nodes, self._limits, guard.check_time)

    def merge_spans(self, request: pb.SelectMergeSpanProfileRequest, may_access: MayAccess) -> "Side":
        """Return the merge of the samples that belong to the selected spans. Raise as :meth:`merge` does."""
        side = self.merge(request, may_access, keep_labels=True)
        if side.data is None:
            return side
        from profbucket.pprof.codec import encode, parse_valid
        from profbucket.pprof.report.samples import keep_spans

        profile = parse_valid(side.data, self._limits)
        keep_spans(profile, frozenset(request.span_selector))
        return side._replace(data=encode(profile) if profile.sample else None)

    def count_nodes(self, max_nodes: int) -> int:
        """Return the number of nodes that a flame graph may have; raise ``TooMany`` above the limit.

        0 and less, which Grafana sends, stand for the default.
        """
        if max_nodes <= 0:
            return min(DEFAULT_NODES, self._limits.flame_nodes)
        if max_nodes > self._limits.flame_nodes:
            raise self._limits.too_many("flame_nodes", f"max_nodes={max_nodes} asks for too many frames")
        return max_nodes

    def build(self, sides: "Sequence[Side]", max_nodes: int, call_site: Sequence[str] = ()) -> "FlameLevels":
        """Return the flame graph of *sides*; see :func:`build_flame_levels`."""
        from profbucket.pprof.report.flame_levels import build_flame_levels

        return build_flame_levels(sides, max_nodes, call_site, self._limits)

    def _merge_stacks(self, request: ProfileRequest, may_access: MayAccess) -> Profile | None:
        """Return the merge of the selected profiles with the stacks of the call site; ``None`` without a match."""
        side = self.merge(request, may_access)
        if side.data is None:
            return None
        from profbucket.pprof.codec import parse_valid
        from profbucket.pprof.report.samples import keep_call_site

        profile = parse_valid(side.data, self._limits)
        keep_call_site(profile, [location.name for location in request.stack_trace_selector.call_site])
        return profile

    def _merge(self, selections: Sequence[Selection], keep_labels: bool) -> bytes | None:
        """Return the merge of all *selections*; ``None`` if they have no profiles."""
        merges: list[bytes] = []
        counts: Counter[str] = Counter()
        for selection in selections:
            try:
                options = MergeOptions(selection.sample_type, keep_labels, aggregate=Aggregate.AUTO)
                result = self._querier.merge(selection.query, options)
                merges.append(result.data)
                counts.update(result.counts())
            except NotFound:
                continue  # the index lists series a day longer than they have profiles
            except Invalid as error:
                if error.code != "unknown_sample_type":
                    raise
        current_record().counts = dict(counts)
        if len(merges) < 2:
            return merges[0] if merges else None
        from profbucket.pprof.merge import Merger

        merger = Merger(self._limits)
        for number, data in enumerate(merges):
            merger.add(data, f"selection {number}", self._limits.of_blocks())
        return merger.result()


def to_flame_graph(graph: "FlameLevels") -> pb.FlameGraph:
    """Return the message of a flame graph of one profile."""
    levels = [pb.Level(values=level) for level in graph.levels]
    return pb.FlameGraph(names=graph.names, levels=levels, total=graph.total, max_self=graph.max_self)


def to_flame_graph_diff(graph: "FlameLevels") -> pb.FlameGraphDiff:
    """Return the message of a flame graph of two profiles."""
    left, right = graph.totals
    return pb.FlameGraphDiff(
        names=graph.names,
        levels=[pb.Level(values=level) for level in graph.levels],
        total=graph.total,
        max_self=graph.max_self,
        leftTicks=left,
        rightTicks=right,
    )
