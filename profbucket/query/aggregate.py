"""Aggregates other than a sum: averages, latest profiles and increases, each sample type in its own way.

An average is that of the profiles of each series; averages, latest values and increases are added up over series.
The result is a sum of profiles times weights, rounded once, half to even, so that it does not depend on where the
profiles are stored. A part of a block counts as one profile where all its members have the same weight.

An increase compares the counters of all profiles of a series by stack (``pprof/aggregate/processes.py``).
"""

from collections.abc import Sequence

from profbucket.errors import Invalid, NotFound
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.model.sample_kinds import Aggregate
from profbucket.query.aggregate_attempt import AggregateAttempt, AggregateRequest
from profbucket.query.merging import (
    MergeResult,
    describe_losses,
    describe_selectors,
    describe_services,
    name_file,
    nothing_found,
)
from profbucket.query.series_plan import SeriesPlan, describe_actions, plan_series
from profbucket.storage.located_profiles import LocatedProfile
from profbucket.times import format_time

_VERBS = {Aggregate.AVERAGE: "average of", Aggregate.LATEST: "latest of", Aggregate.DELTA: "delta of"}


def merge_aggregated(
    request: AggregateRequest, query: Query, located: Sequence[LocatedProfile], found: int
) -> MergeResult | None:
    """Return the aggregate of the profiles *located*, of *found* that match; ``None`` if it is just their sum.

    Raises:
        NotFound: all have expired, or no series has two profiles for an increase.
        Invalid: the profiles have no counters for a delta, no sample type in common, or not that of *options*.
        TooMany: the merge exceeds a limit.
        Damaged: all are damaged.
    """
    options, damage = request.options, request.damage
    excluded: set[str] = set()
    expired = 0
    while True:
        remaining = (profile for profile in located if profile.meta.id not in excluded)
        plans = plan_series(remaining, options, request.limits)
        if not plans and not excluded:
            return None  # no profile has the sample type
        if not plans:
            if damage.ids or not expired:
                raise damage.error() if damage.ids else nothing_found(query)
            raise NotFound(f"{describe_selectors(query)}: all {found} profiles have expired")
        if all(action is Aggregate.SUM for plan in plans for action in plan.actions.values()):
            return None
        singles = _check_plans(query, plans, options)
        attempt = AggregateAttempt(request, plans)
        attempt.run()
        if not attempt.lost:
            break
        # Those that are left have other averages, and other last profiles.
        excluded |= attempt.lost
        expired += attempt.expired
    merged = sum(len(plan.profiles) for plan in plans)
    first = min(plan.profiles[0].meta.created_at for plan in plans)
    last = max(plan.profiles[-1].meta.created_at for plan in plans)
    verb = _VERBS.get(options.aggregate, "merged")
    count = f"{merged}" if merged == found else f"{merged} of {found}"
    comment = f"{describe_selectors(query)} {verb} {count} profile{'s' if found > 1 else ''}"
    comment += describe_services(query, {plan.profiles[0].meta.service for plan in plans})
    comment += f" in {len(plans)} series from {format_time(first)} to {format_time(last)}"
    comment += f", {singles} with one profile left out" if singles else ""
    comment += describe_losses(expired, damage.profiles)
    meanings = describe_actions(plans)
    data = attempt.result(comment, meanings)
    filename = f"{name_file(query)}-{options.aggregate}.pb.gz"
    return MergeResult(data, filename, found, merged, expired, damage.profiles, meanings)


def _check_plans(query: Query, plans: list[SeriesPlan], options: MergeOptions) -> int:
    """Check that there are increases. Remove from *plans* those without, if only increases are asked for.

    Return how many were removed. Raise ``Invalid`` or ``NotFound``.
    """
    has_counters = any(plan.names(Aggregate.DELTA) for plan in plans)
    if options.aggregate is Aggregate.DELTA and not has_counters:
        raise Invalid(
            "an increase needs counters, such as alloc_space, contentions and delay;"
            f" profiles of type {query.type} have none",
            code="no_counters",
        )
    needs_two = options.aggregate is Aggregate.DELTA or all(
        action is Aggregate.DELTA for plan in plans for action in plan.actions.values()
    )
    kept = [plan for plan in plans if not needs_two or len(plan.profiles) > 1]
    if not kept:
        raise NotFound(
            f"an increase compares two profiles of a series, but {describe_selectors(query)} has one of each;"
            " widen the range",
            code="nothing_to_compare",
        )
    removed = len(plans) - len(kept)
    plans[:] = kept
    return removed
