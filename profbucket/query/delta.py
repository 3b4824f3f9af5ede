"""What happened between profiles that count from the start of their process: the latest minus the earliest.

What `net/http/pprof` shows as heap, block and mutex holds counters that only grow, beside values of the moment.
Of each series the counters' increase is taken, and of values of the moment the latest. A counter that is lower
than before was begun anew, with its process: what it shows from then on has all been counted since.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from profbucket.errors import Invalid, NotFound
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.model.meta import Meta, Query
from profbucket.storage.store import Reader
from profbucket.times import format_time

T = TypeVar("T")

_NARROW = "narrow the range or add labels"

# Sample types whose values count from the start of their process. All others are of the moment, or of a duration.
CUMULATIVE = frozenset({"alloc_objects", "alloc_space", "contentions", "delay"})


@dataclass(frozen=True, slots=True)
class Difference:
    """A gzip pprof made of ``merged`` profiles that stand for ``found``; ``expired`` had lost their objects."""

    data: bytes
    found: int
    merged: int
    expired: int


def note(kinds: Iterable[str], merged: int) -> str:
    """What the comment on a plain merge of so many profiles with these sample types is to say, or ``""``."""
    cumulative = [kind for kind in kinds if kind in CUMULATIVE]
    if not cumulative or merged < 2:
        return ""
    return f"; {', '.join(cumulative)} count from the start of each process and are added up here: see delta=1"


def difference(
    storage: Reader,
    query: Query,
    what: str,
    restore: Callable[[ProfileId], bytes | None],
    *,
    limits: Limits,
    timer: Callable[[], float] = time.monotonic,
) -> Difference:
    """The increase over the range of *query*, of all its series together; *what* begins the comment.

    *restore* gives what is still known of a profile that has expired, or ``None``.
    Raise ``NotFound`` where nothing is found or no series has two profiles to compare, ``Invalid`` for profiles
    that count nothing from the start of their process, ``TooMany`` over the caps on a merge.
    """
    ends = timer() + limits.merge_seconds

    def timed(items: Iterable[T]) -> Iterator[T]:
        for item in items:
            if timer() > ends:
                raise limits.too_many("merge_seconds", f"{what}: the time was up; {_NARROW}")
            yield item

    series: dict[str, _Series] = {}
    found = 0
    begin = end = 0
    for meta in timed(storage.find(query)):
        begin, end, found = begin or meta.created_at, meta.created_at, found + 1
        series.setdefault(meta.series, _Series()).add(meta)
    span = f"from {format_time(begin)} to {format_time(end)}"
    if not found:
        raise NotFound(f"nothing found: {what} has no profiles; widen the range or drop labels")
    if not any(one.counts for one in series.values()):
        raise Invalid(
            f"delta=1 is for profiles with {', '.join(sorted(CUMULATIVE))}: those of type {query.type} count "
            "nothing from the start of their process, leave it out"
        )
    terms = [term for one in series.values() for term in one.terms()]
    if not terms:
        raise NotFound(f"{what} has one profile of each series {span}, and delta=1 compares two; widen the range")
    if len(terms) > limits.merge:
        raise limits.too_many("merge", f"{what} has {len(terms)} profiles to compare; {_NARROW}")
    if (size := sum(term.meta.size for term in terms)) > limits.merge_bytes:
        raise limits.too_many("merge_bytes", f"{what} has {size} bytes to compare; {_NARROW}")
    comment = f"{what} delta of {found} profiles in {len(series)} series {span}"
    if restarts := sum(len(one.ended) for one in series.values()):
        comment += f", {restarts} restarts"
    if singles := sum(one.first is one.last for one in series.values()):
        comment += f", {singles} with one profile left out"
    ids = [ProfileId.parse(term.meta.id) for term in terms]
    contents = (
        restore(profile_id) if data is None else data
        for profile_id, data in zip(ids, storage.read_many(ids), strict=True)
    )
    data, merged = _added(timed(zip(terms, contents, strict=True)), len(terms), comment, limits)
    return Difference(data, found, merged, len(terms) - merged)


@dataclass(frozen=True, slots=True)
class _Term:
    """A profile, what its counters and its values of the moment are multiplied by, and the time it stands for."""

    meta: Meta
    counters: int
    moment: int
    duration: int

    def factors(self) -> dict[str, int]:
        """What each sample type is multiplied by."""
        return {t.type: self.counters if t.type in CUMULATIVE else self.moment for t in self.meta.totals}


@dataclass(slots=True)
class _Series:
    """Profiles of one series, oldest first: each process's last is kept, and the very first."""

    first: Meta | None = None
    last: Meta | None = None
    ended: list[Meta] = field(default_factory=list)
    counts: bool = False

    def add(self, meta: Meta) -> None:
        if self.last is None:
            self.first = meta
        elif _began_anew(self.last, meta):
            self.ended.append(self.last)
        self.last = meta
        self.counts = self.counts or any(total.type in CUMULATIVE for total in meta.totals)

    def terms(self) -> list[_Term]:
        """What is to be added up; nothing where there is only one profile."""
        first, last = self.first, self.last
        if first is None or last is None or first is last:
            return []
        ends = [*self.ended, last]
        terms, before = [], first
        if ends[0] is not first:
            terms.append(_Term(first, -1, 0, 0))  # and behind it what it is taken from
        for one in ends:
            if one is not first:
                terms.append(_Term(one, 1, int(one is last), one.created_at - before.created_at))
            before = one
        return terms


def _began_anew(before: Meta, after: Meta) -> bool:
    """Whether a counter is lower than it was."""
    values = {total.type: total.value for total in before.totals if total.type in CUMULATIVE}
    return any(total.value < values.get(total.type, total.value) for total in after.totals)


def _added(
    read: Iterable[tuple[_Term, bytes | None]], count: int, comment: str, limits: Limits
) -> tuple[bytes, int]:
    """The sum of what was *read*, *count* terms, and how many of them are in it: some have expired."""
    from profbucket.pprof.merge import Merger
    from profbucket.pprof.scale import scale_profile

    merger = Merger(limits)
    merged = 0
    held: list[tuple[_Term, bytes | None]] = []
    for term, data in read:
        held.append((term, data))
        if term.counters < 0:
            continue  # it means nothing without the next
        if all(data is not None for _, data in held):
            for one, content in held:
                merger.add(scale_profile(content or b"", one.factors(), one.duration, limits), one.meta.id)
            merged += len(held)
        held.clear()
    if not merged:
        raise NotFound(f"{comment}: what is to be compared has expired")
    expired = count - merged
    return merger.result([comment + (f", {expired} had expired" if expired else "")]), merged
