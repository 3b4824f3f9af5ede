"""The profiles of an aggregate by series, and what becomes of each sample type's values in it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from profbucket.limits import Limits
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate, Kind, choose_aggregate, find_kind
from profbucket.model.series import SeriesGroup
from profbucket.storage.located_profiles import LocatedProfile
from profbucket.times import DAY_SECONDS

Weights = frozenset[tuple[str, Fraction]]  # of sample types by name; all others have the weight 0

# Profiles whose counters are compared. More would take longer than a request may.
_MAX_COMPARED = 2000


@dataclass(slots=True)
class SeriesPlan:
    """The profiles of one series, ordered by time; ``actions`` are how sample types are aggregated, by name."""

    profiles: list[LocatedProfile] = field(default_factory=list)
    actions: dict[str, Aggregate] = field(default_factory=dict)

    @property
    def span(self) -> int:
        """The nanoseconds from the first profile to the last."""
        return self.profiles[-1].meta.created_at - self.profiles[0].meta.created_at

    def weights(self) -> Weights:
        """Return the weights of all profiles, without what only some of them contribute."""
        average = Fraction(1, len(self.profiles))
        by_action = {Aggregate.SUM: Fraction(1), Aggregate.AVERAGE: average}
        return frozenset((name, by_action[action]) for name, action in self.actions.items() if action in by_action)

    def names(self, action: Aggregate) -> set[str]:
        """Return the sample types that are aggregated by *action*."""
        return {name for name, own in self.actions.items() if own is action}

    def is_counter(self, name: str) -> bool:
        return self.actions.get(name) is Aggregate.DELTA


def plan_series(profiles: Iterable[LocatedProfile], options: MergeOptions, limits: Limits) -> list[SeriesPlan]:
    """Return the plan of each series of *profiles*, which are ordered by time, in the order of their first ones.

    With a sample type in *options*, profiles that lack it are left out.
    """
    plans: dict[object, SeriesPlan] = {}
    known: dict[tuple[ProfileType, Total], Aggregate] = {}
    for profile in profiles:
        meta = profile.meta
        if options.sample_type is not None and all(total.type != options.sample_type for total in meta.totals):
            continue
        plan = plans.setdefault((meta.service, meta.type, meta.labels), SeriesPlan())
        plan.profiles.append(profile)
        for total in meta.totals:
            key = meta.type, total._replace(value=0)
            if key not in known:
                known[key] = choose_aggregate(options.aggregate, kind_of(limits, meta.type, total))
            plan.actions[total.type] = known[key]
    return list(plans.values())


def kind_of(limits: Limits, profile_type: ProfileType | None, total: Total) -> Kind:
    """Return the kind of a sample type."""
    declared = Kind(total.kind) if total.kind else None
    return find_kind(limits.sample_kinds, profile_type or "", total.type, total.unit, declared)


def has_only_sums(limits: Limits, group: SeriesGroup) -> bool:
    """Return whether all sample types of the series of *group* are known, and their values are sums."""
    totals = (Total(item.type, item.unit, 0, item.kind) for item in group.sample_types)
    kinds = {kind_of(limits, group.type, total) for total in totals}
    return kinds == {Kind.SUM} and not group.has_more_types


def choose_compared(plans: Sequence[SeriesPlan]) -> set[str]:
    """Return the ids of the profiles whose counters are compared: all, or if there are too many, these.

    Of each series the first and the last; those around each fall of a total, which shows a restart; and others,
    evenly spread.
    """
    plans = [plan for plan in plans if plan.names(Aggregate.DELTA) and len(plan.profiles) > 1]
    metas = [[profile.meta for profile in plan.profiles] for plan in plans]
    total = sum(map(len, metas))
    if total <= _MAX_COMPARED:
        return {meta.id for series in metas for meta in series}
    chosen = {meta.id for series in metas for meta in (series[0], series[-1])}
    falls = [
        meta.id
        for plan, series in zip(plans, metas, strict=True)
        for pair in pairwise(series)
        if _has_fallen(plan, *pair)
        for meta in pair
    ]
    for candidates in (falls, [meta.id for series in metas for meta in series]):
        rest = [profile_id for profile_id in dict.fromkeys(candidates) if profile_id not in chosen]
        room = max(_MAX_COMPARED - len(chosen), 0)
        count = min(room, len(rest))
        chosen.update(rest[i * len(rest) // count] for i in range(count))
    return chosen


def _has_fallen(plan: SeriesPlan, earlier: Meta, later: Meta) -> bool:
    """Return whether the total of a counter is lower in *later* than in *earlier*."""
    values = {total.type: total.value for total in earlier.totals if plan.is_counter(total.type)}
    return any(total.value < values.get(total.type, total.value) for total in later.totals)


def describe_actions(plans: Sequence[SeriesPlan]) -> Mapping[str, str]:
    """Return in words how the values of each sample type have been aggregated, by its name."""
    by_name: dict[str, dict[Aggregate, list[SeriesPlan]]] = {}
    for plan in plans:
        for name, action in plan.actions.items():
            by_name.setdefault(name, {}).setdefault(action, []).append(plan)
    return {
        name: " and ".join(_describe(action, members) for action, members in actions.items())
        for name, actions in by_name.items()
    }


def _describe(action: Aggregate, plans: Sequence[SeriesPlan]) -> str:
    if action is Aggregate.DELTA:
        first = min(plan.profiles[0].meta.created_at for plan in plans)
        last = max(plan.profiles[-1].meta.created_at for plan in plans)
        text = f"increase over {format_span(last - first)}"
    else:
        text = describe_count(action, sum(len(plan.profiles) for plan in plans))
    return text if action is Aggregate.SUM or len(plans) == 1 else f"{text} in {len(plans)} series, added up"


def describe_added_up(
    limits: Limits, profile_type: ProfileType | None, value_types: Iterable[tuple[str, str]], merged: int
) -> str:
    """Return the end of the comment of a merge that adds up other values than sums, a warning, or ``""``."""
    by_kind: dict[Kind, list[str]] = {}
    for name, unit in value_types:
        by_kind.setdefault(kind_of(limits, profile_type, Total(name, unit, 0)), []).append(name)
    texts = [f"{', '.join(by_kind[kind])} {text}" for kind, text in _WARNINGS.items() if kind in by_kind]
    return f"; {', and '.join(texts)}; all are added up here: see aggregate=auto" if texts and merged > 1 else ""


_WARNINGS = {
    Kind.CUMULATIVE: "count from the start of each process",
    Kind.INSTANT: "are values of one moment",
}


def describe_count(action: Aggregate, count: int) -> str:
    """Return an *action* on *count* profiles in words."""
    return f"{action} of {count} profile{'s' if count > 1 else ''}"


_SPANS = (("d", DAY_SECONDS), ("h", 3600), ("min", 60), ("s", 1))


def format_span(nanoseconds: int) -> str:
    """Return a length of time in words with one decimal at most, as in ``51 min`` and ``1.5 h``."""
    seconds = nanoseconds / 1e9
    unit, size = next((item for item in _SPANS if seconds >= item[1]), _SPANS[-1])
    return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
