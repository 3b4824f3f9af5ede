"""Selections of several services, by conditions on their names.

The services are determined once, from those that the caller may access. Each is then asked for on its own:
a storage finds the profiles of one service.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from heapq import merge
from itertools import chain, islice
from typing import TypeVar

from profbucket.errors import Invalid, NotFound
from profbucket.limits import Limits
from profbucket.model.ids import CONDITIONS
from profbucket.model.labels import CONTROL, Matcher
from profbucket.model.meta import Meta, Query
from profbucket.model.series import Series, SeriesGroup
from profbucket.query.merging import MergeGuard
from profbucket.storage.damage import DamageReport
from profbucket.storage.lookup import Lookup

_T = TypeVar("_T")
_Series = TypeVar("_Series", Series, SeriesGroup)

# Services that are asked for at once: a storage in the cloud takes tens of milliseconds for each.
_CONCURRENCY = 8


def parse_condition(service: str) -> Matcher | None:
    """Return the condition that *service* is: ``~regex`` or ``!~regex``; ``None`` if it is a name.

    Raise ``Invalid`` for a malformed regular expression.
    """
    if not service.startswith(CONDITIONS):
        return None
    if CONTROL.search(service):
        raise Invalid(f"control character in service={service[:80]!r}", code="invalid_matcher")
    negation, _, pattern = service.partition("~")
    return Matcher("service", f"{negation or '='}~", pattern).compile()


def select_services(
    services: Sequence[str], conditions: Sequence[Matcher], may_access: Callable[[str], bool], limits: Limits
) -> tuple[str, ...]:
    """Return those of *services* that the caller *may_access* and whose names meet all *conditions*.

    Raises:
        NotFound: There are none. A service that the caller may not access is as one that does not exist.
        TooMany: There are too many.
    """
    selected = tuple(
        service
        for service in services
        if may_access(service) and all(condition.matches_value(service) for condition in conditions)
    )
    subject = ",".join(f"service{condition.operator}{condition.value}" for condition in conditions)
    if not selected:
        raise NotFound(f"nothing found: no service matches {subject}")
    if len(selected) > limits.services:
        raise limits.too_many(
            "services", f"{subject} matches {len(selected)} services; write a condition that matches fewer"
        )
    return selected


def select_accessible(all_series: Iterable[_Series], may_access: Callable[[str], bool]) -> Iterator[_Series]:
    """Yield those of *all_series* whose service the caller *may_access*."""
    is_accessible: dict[str, bool] = {}
    for series in all_series:
        service = series.service
        if service not in is_accessible:
            is_accessible[service] = may_access(service)
        if is_accessible[service]:
            yield series


def each_service(query: Query, guard: MergeGuard) -> Iterator[Query]:
    """Yield the query of each service, until the deadline."""
    for own in query.each_service():
        guard.check_time()
        yield own


def ask_each(queries: Iterator[Query], ask: Callable[[Query], _T]) -> Iterator[_T]:
    """Yield what *ask* returns for each of *queries*, in order; some are asked for at once, in threads."""
    first_two = list(islice(queries, 2))
    if len(first_two) < 2:
        yield from map(ask, first_two)
        return
    pending: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(_CONCURRENCY, "service") as threads:
        try:
            for query in chain(first_two, queries):
                pending.append(threads.submit(copy_context().run, ask, query))  # for the trace in log entries
                if len(pending) >= _CONCURRENCY:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def find_first(lookup: Lookup, queries: Iterator[Query], limit: int, damage: DamageReport) -> list[Meta]:
    """Return the first *limit* profiles that match one of *queries*, each of one service.

    Holds a small multiple of these: once they are enough, later queries end where they end.
    """
    profiles: list[Meta] = []

    def limit_query(query: Query) -> Query:
        end = profiles[-1].created_at if len(profiles) == limit else query.end
        return replace(query, end=min(end, query.end), limit=limit)

    for found in ask_each(map(limit_query, queries), lambda query: list(lookup.find(query, damage))):
        profiles = list(islice(merge(profiles, found, key=lambda meta: meta.position), limit))
    return profiles
