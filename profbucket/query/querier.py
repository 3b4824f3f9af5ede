"""Read access to stored profiles: find, read, merge."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain, islice
from typing import Any

from profbucket.errors import NotFound
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Matcher
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Page, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.model.series import Series, SeriesGroup, list_label_values, list_series
from profbucket.query.label_values import MAX_VALUES, LabelValues, merge_label_values
from profbucket.query.merging import (
    MergeGuard,
    MergeResult,
    describe_query,
    nothing_found,
    profile_not_found,
)
from profbucket.query.query_merger import QueryMerger
from profbucket.query.service_summary import ServiceSummary, summarize
from profbucket.query.services import ask_each, each_service, find_first, select_accessible, select_services
from profbucket.query.timeline import build_timeline
from profbucket.storage.damage import DamageReport
from profbucket.storage.ports import SeriesSelection
from profbucket.storage.retry import retry_on_compaction
from profbucket.storage.store import Storage
from profbucket.storage.totals import Totals
from profbucket.times import DAY, LATEST

DEFAULT_LIMIT = 1000  # profiles in one answer of find, if the query has no limit
_CONCURRENT_SPAN = 7 * DAY  # the totals of several services fit into memory together up to it


class Querier:
    """Read access to the profiles in *storage*, within *limits*. *timer* returns seconds.

    All methods that read blocks retry if compaction replaces a block, and finally raise ``Unavailable``. What is
    damaged is left out and counted; an answer that would consist of damage alone is ``Damaged``.
    """

    def __init__(
        self, storage: Storage, limits: Limits = Limits(), timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage = storage
        self._lookup = storage.lookup
        self._limits = limits
        self._timer = timer
        self._merges = QueryMerger(storage, limits, timer)

    def services(self, may_access: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Return the services that the caller *may_access*, sorted, or raise ``NotFound``."""
        services = [service for service in self._storage.index.services() if may_access(service)]
        if not services:
            raise NotFound("there are no services: nothing has been stored yet")
        return services

    def describe_services(self, may_access: Callable[[str], bool] = lambda _: True) -> list[ServiceSummary]:
        """Return the services that the caller *may_access* with what their series tell, or raise ``NotFound``."""
        return summarize(self.services(may_access), self._storage.index.series_groups(SeriesSelection()))

    def select_services(
        self, conditions: Sequence[Matcher], may_access: Callable[[str], bool] = lambda _: True
    ) -> tuple[str, ...]:
        """Return the services that the caller *may_access* and whose names meet all *conditions*, sorted.

        A :class:`Query` takes them as its ``services``. Raise ``NotFound`` if there are none, ``TooMany`` if there
        are too many.
        """
        return select_services(self._storage.index.services(), conditions, may_access, self._limits)

    def label_values(self, services: Sequence[str], profile_type: ProfileType | None) -> LabelValues:
        """Return the profile types of *services*, and the label values of *profile_type*, or of all types.

        Raise ``NotFound`` if the services have no profiles.
        """
        guard = self.guard(f"the labels of {len(services)} services")
        of_services = []
        for service in services:
            guard.check_time()
            values = self._storage.index.label_values(service, MAX_VALUES + 1)
            of_services.append(values or list_label_values(self._derive_series(service), MAX_VALUES + 1))
        if not any(of_services):
            raise NotFound(f"nothing found: service={','.join(services)[:1000]} has no profiles")
        return merge_label_values(of_services, profile_type)

    def series(self, selection: SeriesSelection, may_access: Callable[[str], bool]) -> Iterator[Series]:
        """Return the series of *selection* of the services that the caller *may_access*."""
        return select_accessible(self._storage.index.series(selection), may_access)

    def series_groups(
        self, selection: SeriesSelection, may_access: Callable[[str], bool]
    ) -> Iterator[SeriesGroup]:
        """Return the groups of the same series."""
        return select_accessible(self._storage.index.series_groups(selection), may_access)

    @retry_on_compaction
    def _derive_series(self, service: str) -> list[Series]:
        """Return the series that the profiles of *service* belong to: those in the index may have been lost."""
        if service not in self._storage.index.services():
            return []
        metas = self._lookup.find(Query(service, None, 0, LATEST))
        return list_series(map(Series.of, metas))

    @retry_on_compaction
    def find(self, query: Query) -> Page:
        """Return the profiles that match *query*, at most ``query.limit`` and ``limits.find``.

        Raise ``NotFound`` if there are none.
        """
        limit = min(query.limit or DEFAULT_LIMIT, self._limits.find)
        damage = DamageReport()
        profiles = find_first(self._lookup, self._each_service(query), limit + 1, damage)
        if not profiles:
            raise damage.error() if damage.ids else nothing_found(query)
        has_more = len(profiles) > limit
        return Page(profiles[:limit], profiles[limit - 1].id if has_more else None, damage.ids)

    def revision(self, queries: Iterable[Query]) -> str | None:
        """Return a text that stays the same as long as the index has the same blocks and profiles for *queries*.

        Late profiles change it, and so does compaction. Return ``None`` if there is nothing, or more than a merge
        may have.
        """
        content = sha256()
        count = 0

        def list_contents(own: Query) -> list[str]:
            return list(islice(self._lookup.list_contents(own), self._limits.merge + 1))

        for query in queries:
            for object_ids in ask_each(self._each_service(query), list_contents):
                count += len(object_ids)
                if count > self._limits.merge:
                    return None
                content.update("\0".join([*object_ids, "\n"]).encode())
        return content.hexdigest() if count else None

    @retry_on_compaction
    def timeline(
        self,
        query: Query,
        group_by: Sequence[str] = (),
        step: int | None = None,
        aggregate: Aggregate = Aggregate.SUM,
    ) -> dict[str, Any]:
        """Return the totals of the profiles that match *query*, per *step* in seconds and group of labels.

        :func:`~profbucket.query.timeline.build_timeline` describes the result. No profile is opened.

        Raises:
            NotFound: There are no matches.
            TooMany: The range has too many steps.
        """
        damage = DamageReport()
        start = query.start
        if query.services and not start:  # the totals of all services may be too many to hold them
            first = find_first(self._lookup, self._each_service(query), 1, damage)
            start = first[0].created_at if first else 0
        totals = self._stream_totals(query, query.end - start, damage)
        if (first_totals := next(totals, None)) is None:
            raise damage.error() if damage.ids else nothing_found(query)
        totals = chain([first_totals], totals)
        timeline = build_timeline(
            totals, start, query.end, group_by, step, limits=self._limits, aggregate=aggregate
        )
        return {**timeline, "damaged": damage.profiles} if damage.ids else timeline

    def _stream_totals(self, query: Query, span: int, damage: DamageReport) -> Iterator[Totals]:
        """Yield the totals of the profiles that match *query*, which covers *span* nanoseconds.

        Only those of a block are in memory; or, of a short span, those of some services, which are read at once.
        """
        queries = self._each_service(query)
        if span > _CONCURRENT_SPAN:
            return chain.from_iterable(self._lookup.read_totals(own, damage) for own in queries)
        return chain.from_iterable(ask_each(queries, lambda own: list(self._lookup.read_totals(own, damage))))

    def totals(self, query: Query) -> Iterator[Totals]:
        """Yield the totals of the profiles that match *query*, service by service. No profile is opened.

        Raise ``TooMany`` after the deadline, and ``BlockReplaced``: then all is to be read again.
        """
        damage, is_empty = DamageReport(), True
        for totals in self._stream_totals(query, query.end - query.start, damage):
            is_empty = False
            yield totals
        if is_empty and damage.ids:
            raise damage.error()

    def read(self, profile_id: ProfileId) -> bytes:
        """Return the bytes of a profile as posted, or, if it has expired, as its block restores it.

        Raise ``NotFound`` if there is neither, ``Damaged`` if its bytes are not those that were posted.
        """
        data = self.read_posted(profile_id)
        return self.merge_ids([profile_id]).data if data is None else data

    def read_posted(self, profile_id: ProfileId) -> bytes | None:
        """Return the bytes of a profile as posted; ``None`` if it may be in a block: see :meth:`merge_ids`.

        Raise ``NotFound`` if it does not exist and cannot be in a block, and ``Damaged`` as :meth:`read` does.
        """
        try:
            return self._storage.read(profile_id)
        except NotFound:
            if profile_id.type.is_pprof:
                return None
            raise profile_not_found(profile_id) from None

    def publish_if_large(self, data: bytes, filename: str) -> str | None:
        """Store *data*, if it is too large for an answer, and return a signed URL of it.

        Return ``None`` if it is small enough, or if the storage has no signed URLs.
        """
        return self._storage.publish_result(data, filename) if len(data) > self._limits.answer_bytes else None

    def sign_url_if_large(self, profile_id: ProfileId, data: bytes, filename: str) -> str | None:
        """Return a signed URL of a stored profile with the bytes *data*, if they are too large for an answer.

        Return ``None`` if they are small enough, or if the storage has no signed URLs.
        """
        is_large = len(data) > self._limits.answer_bytes
        return self._storage.sign_url(profile_id, data, filename) if is_large else None

    def merge(self, query: Query, options: MergeOptions = MergeOptions()) -> MergeResult:
        """Merge all profiles that match *query*; see :meth:`QueryMerger.merge`."""
        return self._merges.merge(query, options)

    def merge_ids(self, ids: Sequence[ProfileId], options: MergeOptions = MergeOptions()) -> MergeResult:
        """Merge the profiles with these ids, all of one profile type; see :meth:`QueryMerger.merge_ids`."""
        return self._merges.merge_ids(ids, options)

    def guard(self, subject: str) -> MergeGuard:
        """Return the limits on one request about *subject*, whose time counts from now."""
        advice = "narrow the range, or select fewer services"
        return MergeGuard(self._limits, subject, advice, self._timer)

    def _each_service(self, query: Query) -> Iterator[Query]:
        return each_service(query, self.guard(describe_query(query)))
