"""Read the profiles of an aggregate, merge those with equal weights, and compare counters in the order of time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import heappop, heappush
from itertools import count as count_up
from typing import TYPE_CHECKING

from profbucket.errors import Damaged, Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.model.blocks import Block
from profbucket.model.ids import ProfileId
from profbucket.model.merge_options import MergeOptions
from profbucket.model.sample_kinds import Aggregate
from profbucket.query.merging import SERVICE_LABEL, MergeGuard, SourceMerge, find_dropped_labels
from profbucket.query.series_plan import SeriesPlan, Weights, choose_compared
from profbucket.storage.damage import DamageReport
from profbucket.storage.located_profiles import LocatedProfile
from profbucket.storage.lookup import Lookup
from profbucket.storage.sources import Source, source_of_object, source_of_profiles, source_of_rows

if TYPE_CHECKING:
    from profbucket.pprof.aggregate.counters import Counters
    from profbucket.pprof.aggregate.weighted_sum import Part
    from profbucket.pprof.merge import Merger

_BATCH_PROFILES = 64  # whose counters are read at once


@dataclass(frozen=True, slots=True)
class AggregateRequest:
    """The parts of a request that do not change from one attempt to the next."""

    lookup: Lookup
    options: MergeOptions
    guard: MergeGuard
    limits: Limits
    damage: DamageReport


@dataclass(slots=True)
class _Read:
    """One read, of a profile's object or of a block: the sources in it, each of which is merged with its weights.

    ``profiles`` are all that it stands for, by time; ``compared`` those whose counters are compared, by row.
    """

    profiles: list[LocatedProfile] = field(default_factory=list)
    tasks: list[tuple[Weights, Source]] = field(default_factory=list)
    compared: dict[int, LocatedProfile] = field(default_factory=dict)

    @property
    def block(self) -> Block | None:
        return self.profiles[0].block

    def source(self) -> Source:
        """Return the source that includes all others."""
        sources = [source for _, source in self.tasks]
        if self.compared:
            sources.append(_source_of_compared(list(self.compared.values())))
        return max(sources, key=lambda source: source.object_range.end or 0)


class AggregateAttempt:
    """One try to aggregate all profiles of *plans*; afterwards ``lost`` are the ids of those that are missing."""

    def __init__(self, request: AggregateRequest, plans: Sequence[SeriesPlan]) -> None:
        # Imports numpy, which the function that only stores profiles does not need.
        from profbucket.pprof.aggregate.counters import CounterReader
        from profbucket.pprof.aggregate.processes import Processes

        self._lookup = request.lookup
        self._options, self._guard = request.options, request.guard
        self._limits, self._damage = request.limits, request.damage
        self._plans = plans
        self.lost: set[str] = set()
        self.expired = 0
        self._dropped_labels = find_dropped_labels(request.options, request.limits)
        counters = {name for plan in plans for name in plan.names(Aggregate.DELTA)}
        self._reader = CounterReader(self._limits, self._dropped_labels, counters.__contains__)
        self._processes = [Processes(plan.is_counter) for plan in plans]
        self._plan_of = {profile.meta.id: i for i, plan in enumerate(plans) for profile in plan.profiles}
        self._compared = choose_compared(plans)
        self._mergers: dict[Weights, _WeightedMerge] = {}
        self._heads: list[tuple[LocatedProfile, bytes]] = []  # whose counters have not been read yet
        # Counters that wait for those of earlier profiles, with a number that makes positions distinct.
        self._waiting: list[tuple[tuple[int, str], int, Counters]] = []
        self._numbers = count_up()

    def run(self) -> None:
        """Read and merge everything; raise as :func:`merge_aggregated` does."""
        reads = self._plan_reads()
        sources = [read.source() for read in reads]
        profiles = sum(len(read.profiles) for read in reads)
        self._guard.check_size(len(reads), profiles, sum(source.size for source in sources))
        contents = self._lookup.read_sources(sources)
        for number, (read, data) in enumerate(zip(reads, contents, strict=True)):
            self._guard.check_time(f" after {number} of {len(reads)} objects")
            if read.block or len(self._heads) >= _BATCH_PROFILES:
                self._read_heads()
            if not self._heads:
                self._compare_until(read.profiles[0].meta.position)
            self._take(read, data)
            self._check_memory()
        self._read_heads()
        self._compare_until(None)
        for merge in self._mergers.values():
            known = set(self._damage.ids)
            merge.sources.finish()
            for object_id in self._damage.ids:
                if object_id not in known:
                    self.lost |= merge.profiles[object_id]

    def result(self, comment: str, meanings: Mapping[str, str]) -> bytes:
        """Return the aggregate as pprof; *comment* describes it, and *meanings* each sample type."""
        from profbucket.pprof.aggregate.weighted_sum import add_up_parts
        from profbucket.pprof.compression import deflate

        counted = [plan for plan in self._plans if plan.names(Aggregate.DELTA)]
        comment += self._finish_processes(len(counted))
        duration = sum(plan.span for plan in counted) if counted else None
        # Which profiles are read, and whether from blocks, does not show in the result.
        first = min((plan.profiles[0].meta for plan in self._plans), key=lambda meta: meta.position)
        whole = add_up_parts(
            list(self._parts()),
            self._limits,
            self._options.sample_type,
            duration,
            time_nanos=first.created_at,
            order=[total.type for total in first.totals],
        )
        mergers = [*(merge.merger for merge in self._mergers.values()), whole]
        left_out = [*(merger.describe_left_out() for merger in mergers), self._reader.describe_left_out()]
        comment += "".join(dict.fromkeys(left_out))
        names = whole.sample_types()
        return deflate(
            whole.encode([comment, *(f"{name}: {meanings[name]}" for name in names if name in meanings)])
        )

    def _plan_reads(self) -> list[_Read]:
        """Return all reads, ordered by their first profiles."""
        reads: list[_Read] = []
        in_blocks: dict[str, tuple[_Read, dict[Weights, list[LocatedProfile]]]] = {}
        for plan in self._plans:
            latest = frozenset((name, Fraction(1)) for name in plan.names(Aggregate.LATEST))
            for profile in plan.profiles:
                weights = [plan.weights(), latest if profile is plan.profiles[-1] else frozenset()]
                weights = [own for own in weights if own]
                is_compared = profile.meta.id in self._compared
                if not weights and not is_compared:
                    continue
                if profile.block is None:
                    read = _Read([profile], [(own, source_of_object(profile.meta)) for own in weights])
                    reads.append(read)
                else:
                    read, members = in_blocks.setdefault(profile.block.id, (_Read(), {}))
                    read.profiles.append(profile)
                    for own in weights:
                        members.setdefault(own, []).append(profile)
                if is_compared:
                    read.compared[profile.row] = profile
        for read, members in in_blocks.values():
            read.profiles.sort(key=lambda profile: profile.meta.position)
            read.tasks = [(weights, _source_in_block(profiles)) for weights, profiles in members.items()]
            reads.append(read)
        return sorted(reads, key=lambda read: read.profiles[0].meta.position)

    def _take(self, read: _Read, data: bytes | Damaged | None) -> None:
        """Merge the *data* of a read, and read the counters in it, or note that they are missing."""
        profile = read.profiles[0]
        if data is None and read.block is None:
            try:
                restored = self._lookup.find_in_block(ProfileId.parse(profile.meta.id))
            except Damaged as error:
                data, restored = error, None
            if restored and restored.block:
                [data] = self._lookup.read_sources([restored])
                profile = LocatedProfile(profile.meta, restored.block, restored.rows[0])
                compared = {profile.row: profile} if read.compared else {}
                read = _Read([profile], [(weights, restored) for weights, _ in read.tasks], compared)
        if not isinstance(data, bytes):
            self._lose(read, data)
            return
        for weights, source in read.tasks:
            self._find_merge(weights).add(source, data, {profile.meta.id for profile in read.profiles})
        if not read.compared:
            return
        if read.block is None:
            self._heads.append((profile, data))
            return
        from profbucket.pprof.block.content import BlockContent

        try:
            content = BlockContent(read.block, data, self._limits)
            for row, counters in self._reader.read_members(
                content, list(read.compared), self._find_label(profile)
            ):
                self._wait(read.compared[row], counters)
        except Invalid as error:
            self._lose(read, error)

    def _lose(self, read: _Read, reason: ProfbucketError | None) -> None:
        """Note that the profiles of *read* are damaged or, without a *reason*, expired."""
        self.lost.update(profile.meta.id for profile in read.profiles)
        if reason is None:
            self.expired += len(read.profiles)
        else:
            self._damage.add(read.block.id if read.block else read.profiles[0].meta.id, reason, len(read.profiles))

    def _find_merge(self, weights: Weights) -> "_WeightedMerge":
        from profbucket.pprof.merge import Merger

        if weights not in self._mergers:
            merger = Merger(
                self._limits, sample_type=self._options.sample_type, dropped_labels=self._dropped_labels
            )
            sources = SourceMerge(
                merger,
                self._lookup,
                self._limits,
                self._damage,
                service_label=self._options.service_label,
            )
            self._mergers[weights] = _WeightedMerge(merger, sources)
        return self._mergers[weights]

    def _read_heads(self) -> None:
        """Read the counters of the profiles that have an object."""
        located = {profile.meta.id: profile for profile, _ in self._heads}
        contents = [(profile.meta.id, data, self._find_label(profile)) for profile, data in self._heads]
        self._heads.clear()
        for profile_id, counters in self._reader.read_profiles(contents):
            profile = located[profile_id]
            if isinstance(counters, Invalid):
                self._lose(_Read([profile]), counters)
            elif isinstance(counters, ProfbucketError):
                raise counters
            else:
                self._wait(profile, counters)

    def _find_label(self, profile: LocatedProfile) -> tuple[str, str] | None:
        """Return the label that the samples of *profile* get."""
        return (SERVICE_LABEL, profile.meta.service) if self._options.service_label else None

    def _wait(self, profile: LocatedProfile, counters: "Counters") -> None:
        heappush(self._waiting, (profile.meta.position, next(self._numbers), counters))

    def _compare_until(self, position: tuple[int, str] | None) -> None:
        """Compare the counters of the profiles before *position*, or all, in the order of time."""
        while self._waiting and (position is None or self._waiting[0][0] < position):
            (_, profile_id), _, counters = heappop(self._waiting)
            self._processes[self._plan_of[profile_id]].add(counters)

    def _check_memory(self) -> None:
        estimate = self._reader.estimate_bytes()
        estimate += sum(merge.merger.estimate_bytes() for merge in self._mergers.values())
        if estimate > self._limits.merge_memory_bytes:
            raise self._limits.too_many(
                "merge_memory_bytes",
                f"the distinct stacks and strings of the merge take {estimate} bytes; choose a shorter range, or"
                " select by labels",
            )

    def _finish_processes(self, series: int) -> str:
        """Add up the increases. Return the part of the comment that says what the counters have shown."""
        restarts = others = 0
        for own_restarts, own_others in (processes.finish() for processes in self._processes):
            restarts, others = restarts + own_restarts, others + own_others
        text = f", {restarts} restarts" if restarts else ""
        if others > series:
            text += f", {others} processes with equal labels, told apart by their counters"
        total = sum(len(plan.profiles) for plan in self._plans if plan.names(Aggregate.DELTA))
        if self._compared and len(self._compared) < total:
            text += f", counters of {len(self._compared)} compared"
        return text

    def _parts(self) -> "Iterator[Part]":
        from profbucket.pprof.aggregate.weighted_sum import Part

        for weights, merge in self._mergers.items():
            if merge.merger.sample_types():
                duration_weight = max(weight for _, weight in weights)
                yield Part(next(iter(merge.profiles)), merge.merger.encode(), dict(weights), duration_weight)
        counters = {name for plan in self._plans for name in plan.names(Aggregate.DELTA)}
        for space in self._reader.spaces():
            yield Part("the counters", space.encode(), dict.fromkeys(counters, Fraction(1)), Fraction(0))


@dataclass(frozen=True, slots=True)
class _WeightedMerge:
    """The merge of the sources with the same weights; ``profiles`` are the ids of those in each, by its id."""

    merger: "Merger"
    sources: SourceMerge
    profiles: dict[str, set[str]] = field(default_factory=dict)

    def add(self, source: Source, data: bytes, profiles: set[str]) -> None:
        self.profiles[source.id] = profiles
        self.sources.add(source, data[: source.object_range.end])


def _source_in_block(profiles: Sequence[LocatedProfile]) -> Source:
    """Return the cheapest source of *profiles*, which are members of one block."""
    block, members = profiles[0].block, profiles[0].members
    if block is None or members is None:
        raise ValueError("the profiles are in no block")
    return source_of_rows(block, members, sorted(profile.row for profile in profiles))


def _source_of_compared(profiles: Sequence[LocatedProfile]) -> Source:
    """Return a source that has each of *profiles*, which are in one block, or one that has an object."""
    block = profiles[0].block
    if block is None:
        return source_of_object(profiles[0].meta)
    times = [profile.meta.created_at for profile in profiles]
    return source_of_profiles(block, [profile.row for profile in profiles], min(times), max(times))
