"""Giving profiles out: find, read, merge."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from profbucket.delta import difference, note
from profbucket.errors import Invalid, NotFound, NotMergeable
from profbucket.keys import Id, escape
from profbucket.limits import Limits
from profbucket.meta import Meta, ProfileType, Query
from profbucket.storage import Reader
from profbucket.times import format_time

_NARROW = "narrow the range, add labels, or set limit= to merge that many of them, evenly spread"

DEFAULT_LIMIT = 1000  # profiles in an answer of find that was asked for no number


@dataclass(frozen=True, slots=True)
class Page:
    """Profiles, oldest first. ``next`` is the id to ask on from, where there are more."""

    profiles: Sequence[Meta]
    next: str | None


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

    def read(self, profile_id: Id) -> bytes:
        """The bytes of a profile as they were posted, or raise ``NotFound``."""
        try:
            return self._storage.read(profile_id)
        except NotFound:
            raise missing(profile_id) from None

    def offer(self, data: bytes, filename: str) -> str | None:
        """Where *data* can be fetched instead, if it is too large to be answered and the storage has links."""
        return self._storage.offer(data, filename) if len(data) > self._limits.answer_bytes else None

    def link(self, profile_id: Id, data: bytes, filename: str) -> str | None:
        """Where a profile with *data* can be fetched instead, if it is too large and the storage has links."""
        return self._storage.link(profile_id, filename) if len(data) > self._limits.answer_bytes else None

    def merge(self, query: Query) -> Merged:
        """The merge of all profiles that *query* asks for; with a limit, of that many spread over the range.

        Raise ``NotFound`` where there is none, ``NotMergeable`` without a type that can be merged, ``TooMany``
        where there are more than ``limits.merge`` and no limit was asked for, ``Invalid`` where their sample
        types differ.
        """
        _check_mergeable(query)
        profiles, found = self._select(query)
        if not profiles:
            raise self._nothing(query)
        labels = "".join(f" {m.key}{m.operator}{m.value}" for m in query.matchers)
        return self._merge(
            [Id.parse(meta.id) for meta in profiles],
            found,
            f"service={query.service} type={query.type}{labels}",
            f"from {format_time(profiles[0].created_at)} to {format_time(profiles[-1].created_at)}",
        )

    def delta(self, query: Query) -> Merged:
        """What happened between the profiles that *query* asks for; see :mod:`profbucket.delta`.

        Raise as :meth:`merge` does, and ``Invalid`` with a limit, or for profiles that hold no counters.
        """
        _check_mergeable(query)
        if query.limit is not None:
            raise Invalid("limit= and delta=1 exclude each other: of each series the ends are compared")
        labels = "".join(f" {m.key}{m.operator}{m.value}" for m in query.matchers)
        what = f"service={query.service} type={query.type}{labels}"
        made = difference(self._storage, query, what, self._limits, self._timer)
        filename = f"{escape(query.service)}-{query.type}-delta.pb.gz"
        return Merged(made.data, filename, made.found, made.merged, made.expired)

    def merge_ids(self, ids: Sequence[Id]) -> Merged:
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
        return self._merge(ids, len(ids), f"service={services} type={kinds[0]}", "by id", complete=True)

    def _select(self, query: Query) -> tuple[list[Meta], int]:
        """The profiles to merge, and out of how many they are."""
        cap = self._limits.merge
        if query.limit is None:
            profiles = list(self._storage.find(replace(query, limit=cap + 1)))
            if len(profiles) > cap:
                raise self._limits.too_many(
                    "merge",
                    f"{_described(query)} has more than {cap} profiles to merge; {_NARROW}",
                )
            return self._bounded(query, profiles), len(profiles)
        if query.limit > cap:
            raise self._limits.too_many("merge", f"limit={query.limit} asks for too many profiles to merge")
        profiles, found = spread(self._storage.find(replace(query, limit=None)), query.limit)
        return self._bounded(query, profiles), found

    def _bounded(self, query: Query, profiles: list[Meta]) -> list[Meta]:
        if (size := sum(meta.size for meta in profiles)) > self._limits.merge_bytes:
            raise self._limits.too_many(
                "merge_bytes",
                f"{_described(query)} has {size} bytes to merge in {len(profiles)} profiles; {_NARROW}",
            )
        return profiles

    def _merge(self, ids: Sequence[Id], found: int, what: str, span: str, *, complete: bool = False) -> Merged:
        # Numpy is imported here, not by the function that takes profiles in.
        from profbucket.pprof.merge import Merger

        merger = Merger(self._limits)
        expired = 0
        end = self._timer() + self._limits.merge_seconds
        for number, (profile_id, data) in enumerate(zip(ids, self._storage.read_many(ids), strict=True)):
            if self._timer() > end:
                raise self._limits.too_many(
                    "merge_seconds", f"{what}: the time was up after {number} of {len(ids)} profiles; {_NARROW}"
                )
            if data is not None:
                merger.add(data)
            elif complete:
                raise missing(profile_id)
            else:
                expired += 1
        merged = len(ids) - expired
        if not merged:
            raise NotFound(f"{what}: all {found} profiles {span} have expired")
        count = f"{merged}" if merged == found else f"{merged} of {found}"
        comment = f"{what} merged {count} profile{'s' if found > 1 else ''} {span}"
        if expired:
            comment += f", {expired} had expired"
        comment += note(merger.sample_types(), merged)
        filename = f"{escape(ids[0].service)}-{ids[0].type}.pb.gz"
        return Merged(merger.result([comment]), filename, found, merged, expired)

    def _nothing(self, query: Query) -> NotFound:
        return NotFound(f"nothing found: {_described(query)} has no profiles; widen the range or drop labels")


def missing(profile_id: Id) -> NotFound:
    """The error for a profile that is not there."""
    return NotFound(f"no profile {profile_id}: it never was, or has expired")


def spread(profiles: Iterable[Meta], count: int) -> tuple[list[Meta], int]:
    """*count* of *profiles*, evenly spread over them, and how many there are. Holds twice *count* at most."""
    kept: list[Meta] = []
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


def _described(query: Query) -> str:
    labels = "".join(f" {m.key}{m.operator}{m.value}" for m in query.matchers)
    kind = f" type={query.type}" if query.type else ""
    return f"service={query.service}{kind}{labels} from {format_time(query.start)} to {format_time(query.end)}"
