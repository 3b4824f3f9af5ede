"""The series and the profiles that a request selects."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from profbucket.errors import Invalid
from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.grafana.selectors import SERVICE, Selector
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.meta import Query, SampleType
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind, find_kind
from profbucket.query.querier import Querier
from profbucket.storage.ports import Series, SeriesSelection
from profbucket.times import LATEST

MILLISECOND = 10**6  # in nanoseconds

_ANY_SERVICE = "~.*"  # in comments and messages about a selection of several services

MayAccess = Callable[[str], bool]
SelectedTypes = tuple[tuple[ProfileTypeId, SampleType], ...]


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """The series that *selector* selects and that may have profiles from *start* to *end*.

    They are those of services that the caller *may_access*; the others are as if they did not exist.
    """

    selector: Selector
    start: int
    end: int
    may_access: MayAccess

    def to_selection(self) -> SeriesSelection:
        """Return the query of the index: what it can select, which is more."""
        services = [matcher.value for matcher in self.selector.service if matcher.operator == "="]
        labels = {matcher.key: matcher.value for matcher in self.selector.labels if matcher.operator == "="}
        return SeriesSelection(
            services[0] if services else None,
            labels=Labels(tuple(sorted((key, value) for key, value in labels.items() if value))),
            start=self.start,
            end=self.end,
        )


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


def list_series(querier: Querier, query: SeriesQuery) -> Iterator[tuple[Series, SelectedTypes]]:
    """Yield the series of *query* that have selected sample types, with these and their ids."""
    selector = query.selector
    selected_types: dict[tuple[ProfileType, tuple[SampleType, ...]], SelectedTypes] = {}
    for series in querier.all_series(query.to_selection(), selector.service, query.may_access):
        key = series.type, series.sample_types
        selected = selected_types.get(key)
        if selected is None:
            selected = selected_types[key] = _select_types(*key, selector)
        if selected and all(matcher.matches(series.labels) for matcher in selector.labels):
            yield series, selected


def select_profiles(
    querier: Querier, type_id: ProfileTypeId, query: SeriesQuery, limits: Limits
) -> list[Selection]:
    """Return the profiles of the series of *query* that have *type_id*: a selection for each profile type.

    There is more than one only if services push the same sample type in different ways. Raise ``TooMany`` for too
    many services.
    """
    exact: dict[tuple[ProfileType, str], list[tuple[str, SampleType]]] = {}
    alternatives: dict[tuple[ProfileType, str], list[tuple[str, SampleType]]] = {}
    for series, selected_types in list_series(querier, query):
        for series_id, sample_type in selected_types:
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
        selected = Query(services[0], profile_type, query.start, query.end, query.selector.labels)
        if len(services) > 1:
            selected = replace(selected, service=_ANY_SERVICE, services=tuple(services))
        declared = next((Kind(sample_type.kind) for _, sample_type in found if sample_type.kind), None)
        kind = find_kind(limits.sample_kinds, profile_type, name, found[0][1].unit, declared)
        selections.append(Selection(selected, name, kind))
    return selections


def _select_types(
    profile_type: ProfileType, sample_types: Iterable[SampleType], selector: Selector
) -> SelectedTypes:
    """Return those of *sample_types* whose ids fulfil the conditions of *selector*."""
    ids = [(ProfileTypeId.of(profile_type, item.type, item.unit), item) for item in sample_types]
    return tuple(
        (type_id, item)
        for type_id, item in ids
        if all(matcher.matches_value(type_id.labels().get(matcher.key, "")) for matcher in selector.profile_type)
    )


def _to_nanos(milliseconds: int) -> int:
    return min(max(milliseconds * MILLISECOND, 0), LATEST)
