"""The increase of counters between the first and the last profile of each series.

The heap, block and mutex profiles of ``net/http/pprof`` hold counters, which grow from the start of the process,
and gauges. A delta takes the increase of each counter and the last value of each gauge. A counter that is lower
than before was reset by a restart: its new value is all increase. A restart after which the total is soon higher
again is found by a stack whose counter is lower.

Processes that share all labels are one series; their counters cannot be told apart, and each time a lower one
follows a higher one is counted as a restart.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from profbucket.errors import Damaged, Invalid, NotFound
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.merging import (
    MergeGuard,
    MergeResult,
    describe_losses,
    describe_selectors,
    name_file,
    nothing_found,
    read_from_block,
)
from profbucket.query.retry import retry_on_compaction
from profbucket.storage.damage import DamageReport
from profbucket.storage.store import Storage
from profbucket.times import format_time

_Item = TypeVar("_Item")

# Sample types that are counters from the start of the process, except in profiles of the type alloc. All others
# are gauges, or cover a duration.
CUMULATIVE = frozenset({"alloc_objects", "alloc_space", "contentions", "delay"})


def describe_counters(profile_type: ProfileType | None, sample_types: Iterable[str], merged: int) -> str:
    """Return a warning to append to the comment of a plain merge that adds up counters, or ``""``."""
    cumulative = [sample_type for sample_type in sample_types if sample_type in CUMULATIVE]
    if not cumulative or merged < 2 or profile_type == ProfileType.ALLOC:
        return ""
    return f"; {', '.join(cumulative)} count from the start of each process and are added up here: see delta=1"


@retry_on_compaction
def compute_delta(
    storage: Storage,
    query: Query,
    guard: MergeGuard,
    limits: Limits = Limits(),
    sample_type: str | None = None,
) -> MergeResult:
    """Return the sum of the deltas of all series that match *query*; with *sample_type*, only its values.

    Raises:
        NotFound: There are no matches, no series has two profiles, or all have expired.
        Invalid: The profiles have no counters, or no sample type in common, or not *sample_type*.
        TooMany: The merge exceeds a limit.
    """
    series_by_id: dict[str, _Series] = {}
    found = first = last = 0
    damage = DamageReport()
    metas = (meta for own in query.each_service() for meta in storage.lookup.find(own, damage))
    for meta in _until_deadline(metas, guard):
        first, last, found = min(first or meta.created_at, meta.created_at), max(last, meta.created_at), found + 1
        series_by_id.setdefault(meta.series, _Series()).add(meta)
    if not found:
        raise damage.error() if damage.ids else nothing_found(query)
    all_series = series_by_id.values()
    if query.type == ProfileType.ALLOC or not any(series.has_counters for series in all_series):
        raise Invalid(
            f"delta=1 needs profiles with {', '.join(sorted(CUMULATIVE))}; those of type {query.type} have no"
            " counters, so leave it out",
            code="no_counters",
        )
    subject = describe_selectors(query)
    span = f"from {format_time(first)} to {format_time(last)}"
    terms = [term for series in all_series for term in series.terms()]
    if not terms:
        raise NotFound(
            f"delta=1 compares two profiles of a series, but {subject} has one of each {span}; widen the range",
            code="nothing_to_compare",
        )
    guard.check_size(len(terms), len(terms), sum(term.meta.size for term in terms))
    comment = f"{subject} delta of {found} profiles in {len(all_series)} series {span}"
    if restarts := sum(len(series.before_restarts) for series in all_series):
        comment += f", {restarts} restarts"
    if singles := sum(series.first is series.last for series in all_series):
        comment += f", {singles} with one profile left out"
    contents = _until_deadline(_read_terms(storage, terms, limits), guard)
    data, merged, expired = _merge_terms(contents, comment, limits, damage, sample_type)
    filename = f"{name_file(query)}-delta.pb.gz"
    return MergeResult(data, filename, found, merged, expired, damage.profiles)


@dataclass(frozen=True, slots=True)
class _Term:
    """A profile in the sum: the factors of its counters and of its gauges, and the duration it stands for."""

    meta: Meta
    counter_factor: int
    gauge_factor: int
    duration_nanos: int

    def factors(self) -> dict[str, int]:
        """Return the factor of each sample type."""
        return {
            total.type: self.counter_factor if total.type in CUMULATIVE else self.gauge_factor
            for total in self.meta.totals
        }


@dataclass(slots=True)
class _Series:
    """The profiles of one series that its delta needs: the first, and the last of each process."""

    first: Meta | None = None
    last: Meta | None = None
    before_restarts: list[Meta] = field(default_factory=list)
    has_counters: bool = False

    def add(self, meta: Meta) -> None:
        """Add the next profile, in the order of time."""
        if self.last is None:
            self.first = meta
        elif _has_restarted(self.last, meta):
            self.before_restarts.append(self.last)
        self.last = meta
        self.has_counters = self.has_counters or any(total.type in CUMULATIVE for total in meta.totals)

    def terms(self) -> list[_Term]:
        """Return the terms whose sum is the delta; none if there is only one profile."""
        first, last = self.first, self.last
        if first is None or last is None or first is last:
            return []
        process_ends = [*self.before_restarts, last]
        terms, previous = [], first
        if process_ends[0] is not first:
            terms.append(_Term(first, -1, 0, 0))  # directly before the term that it is subtracted from
        for meta in process_ends:
            if meta is not first:
                terms.append(_Term(meta, 1, int(meta is last), meta.created_at - previous.created_at))
            previous = meta
        return terms


def _has_restarted(earlier: Meta, later: Meta) -> bool:
    """Return whether a counter of *later* is lower than in *earlier*."""
    values = {total.type: total.value for total in earlier.totals if total.type in CUMULATIVE}
    return any(total.value < values.get(total.type, total.value) for total in later.totals)


def _until_deadline(items: Iterable[_Item], guard: MergeGuard) -> Iterator[_Item]:
    for item in items:
        guard.check_time()
        yield item


_Content = bytes | Damaged | None  # of a profile; None if it has expired and is in no block


def _read_terms(storage: Storage, terms: Sequence[_Term], limits: Limits) -> Iterator[tuple[_Term, _Content]]:
    """Yield each term with the content of its profile."""
    contents = storage.lookup.read_profiles([term.meta for term in terms])
    for term, data in zip(terms, contents, strict=True):
        content: _Content = data
        if data is None:
            try:
                content = read_from_block(storage.lookup, ProfileId.parse(term.meta.id), limits)
            except Damaged as error:
                content = error
        yield term, content


def _has_negative_counter(data: bytes, limits: Limits) -> bool:
    from profbucket.pprof import decode

    # Two profiles that are within the limits may exceed them together.
    limits = replace(limits, entries=2 * limits.entries, inflated_bytes=2 * limits.inflated_bytes)
    message = decode(data, limits).message
    names = [message.string_table[sample_type.type] for sample_type in message.sample_type]
    columns = [column for column, name in enumerate(names) if name.decode(errors="replace") in CUMULATIVE]
    return any(sample.value[column] < 0 for sample in message.sample for column in columns)


def _merge_terms(
    contents: Iterable[tuple[_Term, _Content]],
    comment: str,
    limits: Limits,
    damage: DamageReport,
    sample_type: str | None,
) -> tuple[bytes, int, int]:
    """Merge the terms that have neither expired nor are damaged.

    Return the pprof, how many terms are in it, and how many are not because a profile has expired.
    """
    from profbucket.pprof.merge import Merger
    from profbucket.pprof.scale import scale_profile

    merger = Merger(limits, sample_type=sample_type, dropped_labels=limits.dropped_labels)
    merged = expired = hidden_restarts = 0
    pending: list[tuple[_Term, _Content]] = []
    for term, content in contents:
        if isinstance(content, Damaged):
            damage.add(term.meta.id, content)
        pending.append((term, content))
        if term.counter_factor < 0:
            continue  # both are merged, or neither
        readable = [(term, data) for term, data in pending if isinstance(data, bytes)]
        if len(readable) == len(pending):
            scaled = [
                (scale_profile(data, term.factors(), term.duration_nanos, limits), term.meta.id)
                for term, data in readable
            ]
            if len(scaled) > 1:
                pair = Merger(limits, dropped_labels=limits.dropped_labels)
                for data, name in scaled:
                    pair.add(data, name)
                # A stack whose counter fell shows a restart even if the total is higher than before.
                if _has_negative_counter(pair.result(), limits):
                    hidden_restarts += 1
                    scaled = scaled[1:]
            for data, name in scaled:
                merger.add(data, name)
            merged += len(pending)
        elif any(data is None for _, data in pending):
            expired += len(pending)
        pending.clear()
    if not merged:
        raise damage.error() if damage.ids else NotFound(f"{comment}: the profiles to compare have expired")
    if hidden_restarts:
        comment += f", {hidden_restarts} restarts found by stack"
    comment += describe_losses(expired, damage.profiles) + merger.describe_left_out()
    return merger.result([comment]), merged, expired
