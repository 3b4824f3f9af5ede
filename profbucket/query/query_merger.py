"""Merges of the profiles that match a query, and of profiles by id."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from profbucket.errors import Damaged, Invalid, NotFound, NotMergeable
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId, escape_service
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.model.profile_type import COMMON_TYPES
from profbucket.model.sample_kinds import Aggregate
from profbucket.query.aggregate import merge_aggregated
from profbucket.query.aggregate_attempt import AggregateRequest
from profbucket.query.merging import (
    MergeGuard,
    MergeResult,
    SourceMerge,
    add_from_block,
    describe_losses,
    describe_query,
    describe_selectors,
    describe_services,
    find_dropped_labels,
    name_file,
    nothing_found,
)
from profbucket.query.postprocessing import prepare_postprocessing
from profbucket.query.series_plan import describe_added_up, describe_count, has_only_sums
from profbucket.query.services import ask_each, each_service
from profbucket.storage.damage import DamageReport
from profbucket.storage.located_profiles import LocatedProfile
from profbucket.storage.ports import SeriesSelection
from profbucket.storage.retry import retry_on_compaction
from profbucket.storage.sources import Source, order_by_time, source_of_object
from profbucket.storage.store import Storage
from profbucket.times import format_time

if TYPE_CHECKING:
    from profbucket.pprof.merge import Merger

_Item = TypeVar("_Item")


class QueryMerger:
    """Merges profiles in *storage*, within *limits*; the part of :class:`Querier` that opens profiles.

    *timer* returns seconds. What is damaged is left out and counted.
    """

    def __init__(
        self, storage: Storage, limits: Limits = Limits(), timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage = storage
        self._lookup = storage.lookup
        self._limits = limits
        self._timer = timer

    def merge(self, query: Query, options: MergeOptions = MergeOptions()) -> MergeResult:
        """Merge all profiles that match *query*, or ``query.limit`` of them, evenly spread over the range.

        Other aggregates than the sum are described in :mod:`profbucket.query.aggregate`.

        Raises:
            NotFound: There are no matches, all have expired, or no series has two profiles for a delta.
            NotMergeable: The query has no profile type, or one that cannot be merged.
            TooMany: The merge exceeds a limit.
            Invalid: The profiles have no sample type in common, or not that of *options*. Or for a delta, the
                query has a limit, or the profiles have no counters. Or a refinement is malformed.
        """
        _require_mergeable(query)
        advice = "narrow the range, add labels, or set limit= to merge that many profiles, evenly spread"
        guard = MergeGuard(self._limits, describe_query(query), advice, self._timer)
        finish = prepare_postprocessing(options, self._limits, guard)
        return finish(self._combine(query, options, guard))

    def _combine(self, query: Query, options: MergeOptions, guard: MergeGuard) -> MergeResult:
        """Return the result of :meth:`merge` before its refinement."""
        is_sum = options.aggregate is Aggregate.SUM
        if is_sum or (options.aggregate is Aggregate.AUTO and self._adds_up(query, guard)):
            return self._merge(query, options, guard)
        return self._aggregate(query, options, guard) or self._merge(query, options, guard)

    def _adds_up(self, query: Query, guard: MergeGuard) -> bool:
        """Return whether all values of the series that *query* may select are known to be sums."""
        for own in each_service(query, guard):
            selection = SeriesSelection(own.service, own.type, start=own.start, end=own.end)
            groups = self._storage.index.series_groups(selection)
            if not groups or not all(has_only_sums(self._limits, group) for group in groups):
                return False
        return True

    @retry_on_compaction
    def _aggregate(self, query: Query, options: MergeOptions, guard: MergeGuard) -> MergeResult | None:
        """Return the aggregate of the profiles that match *query*; ``None`` if it is just their sum."""
        if query.limit is not None and options.aggregate is Aggregate.DELTA:
            raise Invalid("a delta cannot be combined with limit=; leave one of them out", code="delta_with_limit")
        damage = DamageReport()
        located = guard.until_deadline(self._locate(query, damage, guard))
        if query.limit is None:
            profiles = list(islice(located, self._limits.aggregate + 1))
            found = len(profiles)
            guard.check_aggregate(found)
        else:
            profiles, found = pick_evenly(located, self._check_limit(query.limit))
        if not profiles:
            raise damage.error() if damage.ids else nothing_found(query)
        if options.keep_labels:
            profiles = [LocatedProfile(profile.meta) for profile in profiles]
        request = AggregateRequest(self._lookup, options, guard, self._limits, damage)
        return merge_aggregated(request, query, profiles, found)

    def merge_ids(self, ids: Sequence[ProfileId], options: MergeOptions = MergeOptions()) -> MergeResult:
        """Merge the profiles with these ids, all of one profile type. The only aggregate is the sum.

        Raises:
            NotFound: One of the profiles does not exist.
            NotMergeable: Profiles of their type cannot be merged.
            TooMany: The merge exceeds a limit.
            Invalid: Profile types differ, no sample type is common or that of *options*, or an id is repeated. Or
                the options are malformed, or have another aggregate.
        """
        if options.aggregate is not Aggregate.SUM:
            raise Invalid(
                f"aggregate={options.aggregate} selects profiles by time, not by id; leave it out",
                code="invalid_parameter",
            )
        if len(ids) > self._limits.merge:
            raise self._limits.too_many("merge", f"the request has {len(ids)} ids; ask for fewer")
        profile_types = sorted({profile_id.type for profile_id in ids})
        if len(profile_types) > 1:
            raise Invalid(
                f"profiles of different types cannot be merged: {' and '.join(profile_types)}",
                code="profile_types_differ",
            )
        [profile_type] = profile_types
        if not profile_type.is_pprof:
            raise NotMergeable(f"profiles of type {profile_type} cannot be merged; fetch them one by one")
        if len(set(ids)) < len(ids):
            raise Invalid("the request has an id more than once; remove the duplicate", code="duplicate_id")
        guard = MergeGuard(self._limits, "by id", "ask for fewer ids", self._timer)
        finish = prepare_postprocessing(options, self._limits, guard)
        return finish(self._merge_ids(ids, options, guard))

    def _merge_ids(self, ids: Sequence[ProfileId], options: MergeOptions, guard: MergeGuard) -> MergeResult:
        """Return the result of :meth:`merge_ids` before its refinement."""
        from profbucket.pprof.merge import Merger

        dropped_labels = find_dropped_labels(options, self._limits)
        merger = Merger(self._limits, sample_type=options.sample_type, dropped_labels=dropped_labels)
        damage = DamageReport()
        metas = []
        for profile_id, meta in zip(ids, self._storage.read_metas(ids), strict=True):
            if isinstance(meta, Damaged):
                damage.add(str(profile_id), meta)
            elif meta is not None:
                metas.append(meta)
            else:
                self._add_from_block(merger, profile_id, damage, options)
        merge = SourceMerge(merger, self._lookup, self._limits, damage, service_label=options.service_label)
        for source, data in self._read([source_of_object(meta) for meta in metas], guard):
            if data is None:
                self._add_from_block(merger, ProfileId.parse(source.id), damage, options)
            else:
                merge.add(source, data)
        merge.finish()
        if damage.profiles == len(ids):
            raise damage.error()
        merged = len(ids) - damage.profiles
        count = f"{merged} profile{'s' if merged > 1 else ''}"
        services = ",".join(sorted({profile_id.service for profile_id in ids}))
        profile_type = ids[0].type
        comment = f"service={services} type={profile_type} merged {count} by id"
        comment += describe_losses(0, damage.profiles)
        comment += describe_added_up(self._limits, profile_type, merger.value_types(), merged)
        comment += merger.describe_left_out()
        filename = f"{escape_service(ids[0].service)}-{profile_type}.pb.gz"
        return MergeResult(merger.result([comment]), filename, len(ids), merged, 0, damage.profiles)

    def _add_from_block(
        self, merger: "Merger", profile_id: ProfileId, damage: DamageReport, options: MergeOptions
    ) -> None:
        try:
            add_from_block(merger, self._lookup, profile_id, self._limits, service_label=options.service_label)
        except Damaged as error:
            damage.add(str(profile_id), error)

    @retry_on_compaction
    def _merge(self, query: Query, options: MergeOptions, guard: MergeGuard) -> MergeResult:
        # Imports numpy, which the function that only stores profiles does not need.
        from profbucket.pprof.merge import Merger

        damage = DamageReport()
        sources, found = self._plan_merge(query, damage, options.keep_labels, guard)
        if not sources:
            raise damage.error() if damage.ids else nothing_found(query)
        planned = sum(source.count for source in sources)
        guard.check_size(len(sources), planned, sum(source.size for source in sources))
        dropped_labels = find_dropped_labels(options, self._limits)
        merger = Merger(self._limits, sample_type=options.sample_type, dropped_labels=dropped_labels)
        lost_in_plan = damage.profiles
        merge = SourceMerge(merger, self._lookup, self._limits, damage, service_label=options.service_label)
        restored = 0
        for source, data in self._read(sources, guard):
            if data is None and options.keep_labels and (block_source := self._find_in_block(source)):
                restored += 1
                [content] = self._lookup.read_sources([block_source])
                merge.add(block_source, content)
            else:
                merge.add(source, data)
        merge.finish()
        merged = planned - merge.expired - (damage.profiles - lost_in_plan)
        subject = describe_selectors(query)
        span = f"from {format_time(sources[0].first)} to {format_time(max(source.last for source in sources))}"
        if not merged and damage.ids:
            raise damage.error()
        if not merged:
            raise NotFound(f"{subject}: all {found} profiles {span} have expired")
        count = f"{merged}" if merged == found else f"{merged} of {found}"
        services = describe_services(query, {source.service for source in sources})
        comment = f"{subject} merged {count} profile{'s' if found > 1 else ''}{services} {span}"
        comment += describe_losses(merge.expired, damage.profiles)
        comment += f", {restored} from blocks, which do not keep all labels" if restored else ""
        value_types = merger.value_types()
        comment += describe_added_up(self._limits, query.type, value_types, merged) + merger.describe_left_out()
        meanings = {name: describe_count(Aggregate.SUM, merged) for name, _ in value_types}
        data, filename = merger.result([comment]), f"{name_file(query)}.pb.gz"
        return MergeResult(data, filename, found, merged, merge.expired, damage.profiles, meanings)

    def _find_in_block(self, source: Source) -> Source | None:
        """Return the source in a block of the profile of *source*, which is an object."""
        return self._lookup.find_in_block(ProfileId.parse(source.id)) if source.meta else None

    def _plan_merge(
        self, query: Query, damage: DamageReport, keep_labels: bool, guard: MergeGuard
    ) -> tuple[list[Source], int]:
        """Return the sources of a merge, and how many profiles match. With *keep_labels*, all are objects.

        Sources of several services are ordered by time, too. If there are too many, some are left out.
        """
        max_profiles = self._limits.merge
        if query.limit is None and not keep_labels:
            sources: list[Source] = []
            for own_sources in ask_each(
                each_service(query, guard), lambda own: self._lookup.plan_merge(own, max_profiles, damage)
            ):
                sources += own_sources
                if len(sources) > max_profiles:
                    break
            return order_by_time(sources), sum(source.count for source in sources)
        limit = max_profiles + 1 if query.limit is None else self._check_limit(query.limit)
        profiles, found = pick_evenly(self._locate(query, damage, guard), limit)
        if keep_labels:
            return order_by_time(source_of_object(profile.meta) for profile in profiles), found
        return self._lookup.plan_merge_of(profiles), found

    def _locate(self, query: Query, damage: DamageReport, guard: MergeGuard) -> Iterator[LocatedProfile]:
        """Yield all profiles that match *query*, whatever its limit.

        They come one service after the other: an even choice has the share of each, spread over the range.
        """
        unlimited = each_service(replace(query, limit=None), guard)
        return chain.from_iterable(self._lookup.locate(own, damage) for own in unlimited)

    def _check_limit(self, limit: int) -> int:
        """Return the *limit* of a query; raise ``TooMany`` if it exceeds that of a merge."""
        if limit > self._limits.merge:
            raise self._limits.too_many("merge", f"limit={limit} asks for too many profiles to merge")
        return limit

    def _read(
        self, sources: Sequence[Source], guard: MergeGuard
    ) -> Iterator[tuple[Source, bytes | Damaged | None]]:
        """Yield each source with its bytes, until the deadline."""
        total, done = sum(source.count for source in sources), 0
        for source, data in zip(sources, self._lookup.read_sources(sources), strict=True):
            guard.check_time(f" after {done} of {total} profiles")
            yield source, data
            done += source.count


def pick_evenly(items: Iterable[_Item], count: int) -> tuple[list[_Item], int]:
    """Return *count* of *items*, evenly spread over them, and how many there are. Hold at most twice *count*."""
    picked: list[_Item] = []
    step, total = 1, 0
    for item in items:
        if total % step == 0:
            picked.append(item)
            if len(picked) == 2 * count:
                picked, step = picked[::2], 2 * step
        total += 1
    if len(picked) > count:
        picked = [picked[i * len(picked) // count] for i in range(count)]
    return picked, total


def _require_mergeable(query: Query) -> None:
    if query.type is None or not query.type.is_pprof:
        mergeable = ", ".join(profile_type for profile_type in COMMON_TYPES if profile_type.is_pprof)
        which = "without a type" if query.type is None else f"of type {query.type}"
        raise NotMergeable(f"profiles {which} cannot be merged; set type= to {mergeable} or another type")
