"""The series and the profiles that a request selects."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from profbucket.errors import Invalid
from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.grafana.selectors import SERVICE, Selector
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.meta import Query, SampleType
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind, find_kind
from profbucket.model.series import Series, SeriesGroup
from profbucket.query.querier import Querier
from profbucket.storage.ports import SeriesSelection
from profbucket.telemetry.request import current_record
from profbucket.times import LATEST

MILLISECOND = 10**6  # in nanoseconds

_NO_LABELS = Labels()
_ANY_SERVICE = "~.*"  # in comments and messages about a selection of several services

MayAccess = Callable[[str], bool]
SelectedTypes = tuple[tuple[ProfileTypeId, SampleType], ...]


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """The series that any of *selectors* selects and that may have profiles from *start* to *end*.

    They are those of services that the caller *may_access*; the others are as if they did not exist.
    """

    selectors: tuple[Selector, ...]
    start: int
    end: int
    may_access: MayAccess

    def to_selections(self) -> list[SeriesSelection]:
        """Return queries of the index that select no series twice, and together what the index can select."""
        by_service: dict[str | None, list[set[tuple[str, str]]]] = {}
        for selector in self.selectors:
            services = [matcher.value for matcher in selector.service if matcher.operator == "="]
            labels = {matcher.key: matcher.value for matcher in selector.labels if matcher.operator == "="}
            conditions = {(key, value) for key, value in labels.items() if value}
            by_service.setdefault(services[0] if services else None, []).append(conditions)
        if None in by_service:
            by_service = {None: [conditions for of_service in by_service.values() for conditions in of_service]}
        return [
            SeriesSelection(
                service,
                labels=Labels(tuple(sorted(set.intersection(*of_service)))),
                start=self.start,
                end=self.end,
            )
            for service, of_service in by_service.items()
        ]


class SelectedSeries(NamedTuple):
    """A series, or all of a group with no labels, and which of its sample types are selected."""

    service: str
    type: ProfileType
    labels: Labels
    sample_types: SelectedTypes


@dataclass(frozen=True, slots=True)
class Selection:
    """Profiles of one profile type, and the sample type to show, whose values are of one *kind*."""

    query: Query
    sample_type: str
    kind: Kind


def parse_range(start: int, end: int, *, is_required: bool) -> tuple[int, int]:
    """Return a range of milliseconds in nanoseconds; 0 to 0 is all time.

    Raise ``Invalid`` for that if a range *is_required*, and for one that ends before it starts.
    """
    is_missing = start == end == 0
    if is_missing and not is_required:
        return 0, LATEST
    if is_missing or start > end:
        raise Invalid(
            f"start={start} and end={end} are no range of milliseconds since 1970", code="invalid_time_range"
        )
    return _to_nanos(start), _to_nanos(end)


def list_series(
    querier: Querier, query: SeriesQuery, wanted: ProfileTypeId | None = None, *, with_labels: bool = True
) -> Iterator[SelectedSeries]:
    """Yield the series of *query* that have selected sample types.

    Series of which the index does not know all sample types have the *wanted* one. If the caller does not need the
    labels, all series of a group may be one.
    """
    selectors = query.selectors
    selections = query.to_selections()
    if len(selections) == 1 and selections[0].service:
        current_record().set_subject(selections[0].service, None)
    has_label_conditions = any(selector.labels for selector in selectors)
    selectors_of_service: dict[str, tuple[int, ...]] = {}
    known_types: dict[tuple[object, ...], SelectedTypes] = {}
    for selection in selections:
        if with_labels or has_label_conditions:
            found: Iterable[Series | SeriesGroup] = querier.series(selection, query.may_access)
        else:
            found = querier.series_groups(selection, query.may_access)
        for series in found:
            service = series.service
            numbers = selectors_of_service.get(service)
            if numbers is None:
                numbers = selectors_of_service[service] = _match_service(selectors, service)
            labels = series.labels if isinstance(series, Series) else _NO_LABELS
            if has_label_conditions:
                numbers = tuple(
                    number
                    for number in numbers
                    if all(matcher.matches(labels) for matcher in selectors[number].labels)
                )
            key = numbers, series.type, series.sample_types, series.has_more_types
            types = known_types.get(key)
            if types is None:
                types = _select_types(series, [selectors[number] for number in numbers], wanted)
                known_types[key] = types
            if types:
                yield SelectedSeries(service, series.type, labels, types)


def select_profiles(
    querier: Querier, type_id: ProfileTypeId, query: SeriesQuery, limits: Limits
) -> list[Selection]:
    """Return the profiles of the series of *query*, which has one selector, that have *type_id*.

    There is a selection for each profile type, more than one only if services push the same sample type in
    different ways. Raise ``TooMany`` for too many services.
    """
    [selector] = query.selectors
    exact: dict[tuple[ProfileType, str], list[tuple[str, SampleType]]] = {}
    alternatives: dict[tuple[ProfileType, str], list[tuple[str, SampleType]]] = {}
    for series in list_series(querier, query, type_id, with_labels=False):
        for series_id, sample_type in series.sample_types:
            if series_id.is_same(type_id):
                exact.setdefault((series.type, sample_type.type), []).append((series.service, sample_type))
            elif type_id.may_mean(series.type) and series_id[1:3] == type_id[1:3]:
                alternatives.setdefault((series.type, sample_type.type), []).append((series.service, sample_type))
    selections = []
    for (profile_type, name), found in (exact or alternatives).items():
        services = sorted({service for service, _ in found})
        if len(services) > limits.services:
            raise limits.too_many(
                "services", f"the selector matches {len(services)} services; add a condition on {SERVICE}"
            )
        selected = Query(services[0], profile_type, query.start, query.end, selector.labels)
        if len(services) > 1:
            selected = replace(selected, service=_ANY_SERVICE, services=tuple(services))
        declared = next((Kind(sample_type.kind) for _, sample_type in found if sample_type.kind), None)
        kind = find_kind(limits.sample_kinds, profile_type, name, found[0][1].unit, declared)
        selections.append(Selection(selected, name, kind))
        current_record().set_subject(selected.service, profile_type)
    return selections


def _match_service(selectors: Sequence[Selector], service: str) -> tuple[int, ...]:
    """Return the numbers of the *selectors* whose conditions on the service are fulfilled."""
    return tuple(
        number
        for number, selector in enumerate(selectors)
        if all(matcher.matches_value(service) for matcher in selector.service)
    )


def _select_types(
    series: Series | SeriesGroup, selectors: Sequence[Selector], wanted: ProfileTypeId | None
) -> SelectedTypes:
    """Return the sample types of *series* whose ids fulfil the conditions of one of *selectors*."""
    sample_types = list(series.sample_types)
    if wanted is not None and series.has_more_types:
        sample_types.append(SampleType(wanted.sample_type, wanted.sample_unit))
    selected: dict[ProfileTypeId, SampleType] = {}
    for item in sample_types:
        type_id = ProfileTypeId.of(series.type, item.type, item.unit)
        labels = type_id.labels()
        if any(
            all(matcher.matches_value(labels.get(matcher.key, "")) for matcher in selector.profile_type)
            for selector in selectors
        ):
            selected.setdefault(type_id, item)
    return tuple(selected.items())


def _to_nanos(milliseconds: int) -> int:
    return min(max(milliseconds * MILLISECOND, 0), LATEST)
