"""Giving profiles out: find, read, merge."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from profbucket.errors import Invalid, NotFound, NotMergeable
from profbucket.limits import Limits
from profbucket.model.blocks import MERGED
from profbucket.model.ids import ProfileId, escape_service
from profbucket.model.meta import Page, Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.delta import difference, note
from profbucket.query.timeline import timeline
from profbucket.storage.lookup import Source
from profbucket.storage.ports import ObjectRange, Series
from profbucket.storage.store import Reader, retry_on_compaction
from profbucket.times import format_time

if TYPE_CHECKING:
    from profbucket.pprof.merge import Merger

_Item = TypeVar("_Item")

_NARROW = "narrow the range, add labels, or set limit= to merge that many of them, evenly spread"

_ATTEMPTS = 5  # at a merge whose blocks become part of others while it is under way

DEFAULT_LIMIT = 1000  # profiles in an answer of find that was asked for no number


@dataclass(frozen=True, slots=True)
class Merged:
    """One gzip pprof made of ``merged`` profiles, out of ``found``; ``expired`` had lost their objects."""

    data: bytes
    filename: str
    found: int
    merged: int
    expired: int


class Querier:
    """Answers questions from *storage*. *timer* counts seconds."""

    def __init__(
        self, storage: Reader, limits: Limits = Limits(), timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage = storage
        self._limits = limits
        self._timer = timer

    def services(self, seen: Callable[[str], bool] = lambda _: True) -> list[str]:
        """The services that have profiles and may be *seen*, sorted. Raise ``NotFound`` where there is none."""
        services = [service for service in self._storage.services() if seen(service)]
        if not services:
            raise NotFound("there are no services: nothing has been stored yet")
        return services

    def series(self, service: str) -> list[Series]:
        """The series of *service*. Raise ``NotFound`` where there is none."""
        series = self._storage.series(service, None)
        if not series:
            raise NotFound(f"nothing found: service={service} has no profiles")
        return series

    def find(self, query: Query) -> Page:
        """The profiles that *query* asks for, at most ``query.limit`` of them and at most ``limits.find``.

        Raise ``NotFound`` where there is none.
        """
        limit = min(query.limit or DEFAULT_LIMIT, self._limits.find)
        profiles = list(self._storage.find(replace(query, limit=limit + 1)))
        if not profiles:
            raise self._nothing(query)
        more = len(profiles) > limit
        return Page(profiles[:limit], profiles[limit - 1].id if more else None)

    def timeline(self, query: Query, group_by: Sequence[str] = (), step: int | None = None) -> dict[str, Any]:
        """What the profiles that *query* asks for add up to, per *step* in seconds and per value of labels.

        As :func:`~profbucket.query.timeline.timeline` has it; no profile is opened. Raise ``NotFound`` for none.
        """
        points = self._storage.points(query)
        if not points:
            raise self._nothing(query)
        return timeline(points, query.start, query.end, group_by, step, limits=self._limits)

    def read(self, profile_id: ProfileId) -> bytes:
        """The bytes of a profile as they were posted; of one that has expired and is in a block, what that knows.

        Raise ``NotFound`` where there is neither.
        """
        data = self.stored(profile_id)
        return self.merge_ids([profile_id]).data if data is None else data

    def stored(self, profile_id: ProfileId) -> bytes | None:
        """The bytes of a profile as they were posted; ``None`` where only a block may know it: see ``merge_ids``.

        Raise ``NotFound`` for one that is not there and cannot be in a block.
        """
        try:
            return self._storage.read(profile_id)
        except NotFound:
            if profile_id.type.is_pprof:
                return None
            raise missing(profile_id) from None

    def offer(self, data: bytes, filename: str) -> str | None:
        """Where *data* can be fetched instead, if it is too large to be answered and the storage has links."""
        return self._storage.offer(data, filename) if len(data) > self._limits.answer_bytes else None

    def link(self, profile_id: ProfileId, data: bytes, filename: str) -> str | None:
        """Where a stored profile with *data* can be fetched instead, if it is too large and there are links."""
        return self._storage.link(profile_id, filename) if len(data) > self._limits.answer_bytes else None

    def merge(self, query: Query) -> Merged:
        """The merge of all profiles that *query* asks for; with a limit, of that many spread over the range.

        Raise ``NotFound`` where there is none, ``NotMergeable`` without a type that can be merged, ``TooMany``
        where there are more than ``limits.merge`` and no limit was asked for, ``Invalid`` where their sample
        types differ.
        """
        _check_mergeable(query)
        return retry_on_compaction(lambda: self._merge(query))

    def delta(self, query: Query) -> Merged:
        """What happened between the profiles that *query* asks for; see :mod:`profbucket.query.delta`.

        Raise as :meth:`merge` does, and ``Invalid`` with a limit, or for profiles that hold no counters.
        """
        _check_mergeable(query)
        if query.limit is not None:
            raise Invalid("limit= and delta=1 exclude each other: of each series the ends are compared")
        made = difference(
            self._storage, query, _subject(query), self._restored, limits=self._limits, timer=self._timer
        )
        filename = f"{escape_service(query.service)}-{query.type}-delta.pb.gz"
        return Merged(made.data, filename, made.found, made.merged, made.expired)

    def merge_ids(self, ids: Sequence[ProfileId]) -> Merged:
        """The merge of the profiles with these ids, all of one type.

        Raise ``NotFound`` where one of them is missing, ``Invalid`` where types differ or an id is repeated.
        """
        if len(ids) > self._limits.merge:
            raise self._limits.too_many("merge", f"{len(ids)} ids in one request; ask for fewer")
        kinds = sorted({profile_id.type for profile_id in ids})
        if len(kinds) > 1:
            raise Invalid(f"profiles of different types cannot be merged: {' and '.join(kinds)}")
        if not kinds[0].is_pprof:
            raise NotMergeable(f"profiles of type {kinds[0]} cannot be merged: fetch them one by one")
        if len(set(ids)) < len(ids):
            raise Invalid("an id is given twice: a merge counts each profile once")
        services = ",".join(sorted({profile_id.service for profile_id in ids}))
        from profbucket.pprof.merge import Merger

        merger = Merger(self._limits)
        sources = [Source(ObjectRange(one.object_key), one.created_at, one.created_at, 1, 0) for one in ids]
        for profile_id, data in zip(ids, self._in_time("by id", sources), strict=True):
            if data is not None:
                merger.add(data)
            else:
                self._restore(merger, profile_id)
        count = f"{len(ids)} profile{'s' if len(ids) > 1 else ''}"
        comment = f"service={services} type={kinds[0]} merged {count} by id{note(merger.sample_types(), len(ids))}"
        filename = f"{escape_service(ids[0].service)}-{ids[0].type}.pb.gz"
        return Merged(merger.result([comment]), filename, len(ids), len(ids), 0)

    def _select(self, query: Query) -> tuple[list[Source], int]:
        """What to merge, and out of how many profiles that is."""
        cap = self._limits.merge
        if query.limit is None:
            sources = self._storage.sources(query, cap)
            if len(sources) > cap:
                raise self._limits.too_many(
                    "merge",
                    f"{_described(query)} has more than {cap} profiles to merge; {_NARROW}",
                )
            found = sum(source.count for source in sources)
        elif query.limit > cap:
            raise self._limits.too_many("merge", f"limit={query.limit} asks for too many profiles to merge")
        else:
            some, found = spread(self._storage.locate(replace(query, limit=None)), query.limit)
            sources = self._storage.sources_of(some)
        if (size := sum(source.size for source in sources)) > self._limits.merge_bytes:
            count = sum(source.count for source in sources)
            raise self._limits.too_many(
                "merge_bytes",
                f"{_described(query)} has {size} bytes to merge in {count} profiles; {_NARROW}",
            )
        return sources, found

    def _merge(self, query: Query) -> Merged:
        # Numpy is imported here, not by the function that takes profiles in.
        from profbucket.pprof.merge import Merger

        sources, found = self._select(query)
        if not sources:
            raise self._nothing(query)
        what = _subject(query)
        span = f"from {format_time(sources[0].first)} to {format_time(max(one.last for one in sources))}"
        merger = Merger(self._limits)
        merged = 0
        for source, data in zip(sources, self._in_time(what, sources), strict=True):
            if data is not None:
                self._add(merger, source, data)
                merged += source.count
        if not merged:
            raise NotFound(f"{what}: all {found} profiles {span} have expired")
        count = f"{merged}" if merged == found else f"{merged} of {found}"
        comment = f"{what} merged {count} profile{'s' if found > 1 else ''} {span}"
        if expired := sum(source.count for source in sources) - merged:
            comment += f", {expired} had expired"
        filename = f"{escape_service(query.service)}-{query.type}.pb.gz"
        comment += note(merger.sample_types(), merged)
        return Merged(merger.result([comment]), filename, found, merged, expired)

    def _in_time(self, what: str, sources: Sequence[Source]) -> Iterable[bytes | None]:
        """The bytes of *sources*, as long as there is time."""
        end = self._timer() + self._limits.merge_seconds
        total, done = sum(source.count for source in sources), 0
        for source, data in zip(sources, self._storage.read_sources(sources), strict=True):
            if self._timer() > end:
                raise self._limits.too_many(
                    "merge_seconds", f"{what}: the time was up after {done} of {total} profiles; {_NARROW}"
                )
            yield data
            done += source.count

    def _add(self, merger: "Merger", source: Source, data: bytes) -> None:
        if source.block is None:
            merger.add(data)
        elif source.rows_of == MERGED:
            merger.add(data, source.block.id)
        else:
            from profbucket.pprof.block.build import BlockContent, add_rows

            add_rows(merger, BlockContent(source.block, data, self._limits), source.rows_of, source.rows)

    def _restore(self, merger: "Merger", profile_id: ProfileId) -> None:
        """Add a profile that has expired from the block that holds it, or raise ``NotFound``."""

        def attempt() -> None:
            if source := self._storage.holder(profile_id):
                [data] = self._storage.read_sources([source])
                if data is not None:
                    return self._add(merger, source, data)
            raise missing(profile_id)

        retry_on_compaction(attempt)

    def _restored(self, profile_id: ProfileId) -> bytes | None:
        """What a block knows of a profile that has expired, or ``None``."""
        from profbucket.pprof.merge import Merger

        merger = Merger(self._limits)
        try:
            self._restore(merger, profile_id)
        except NotFound:
            return None
        return merger.result()

    def _nothing(self, query: Query) -> NotFound:
        return NotFound(f"nothing found: {_described(query)} has no profiles; widen the range or drop labels")


def missing(profile_id: ProfileId) -> NotFound:
    """The error for a profile that is not there."""
    return NotFound(f"no profile {profile_id}: it never was, or has expired")


def spread(profiles: Iterable[_Item], count: int) -> tuple[list[_Item], int]:
    """*count* of *profiles*, evenly spread over them, and how many there are. Holds twice *count* at most."""
    kept: list[_Item] = []
    step, total = 1, 0
    for profile in profiles:
        if total % step == 0:
            kept.append(profile)
            if len(kept) == 2 * count:
                kept, step = kept[::2], 2 * step
        total += 1
    if len(kept) > count:
        kept = [kept[i * len(kept) // count] for i in range(count)]
    return kept, total


def _check_mergeable(query: Query) -> None:
    if query.type is None or not query.type.is_pprof:
        mergeable = ", ".join(kind for kind in ProfileType if kind.is_pprof)
        what = "without a type" if query.type is None else f"of type {query.type}"
        raise NotMergeable(f"profiles {what} cannot be merged: set type= to one of {mergeable}")


def _subject(query: Query) -> str:
    labels = "".join(f" {m.key}{m.operator}{m.value}" for m in query.matchers)
    kind = f" type={query.type}" if query.type else ""
    return f"service={query.service}{kind}{labels}"


def _described(query: Query) -> str:
    return f"{_subject(query)} from {format_time(query.start)} to {format_time(query.end)}"
