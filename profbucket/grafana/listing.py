"""Lists of what is stored: profile types, label names, label values and sets of labels. No profile is opened."""

from collections.abc import Iterator, Sequence

from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.grafana.selection import SelectedTypes, SeriesQuery, list_series
from profbucket.grafana.selectors import SERVICE, is_hidden
from profbucket.query.querier import Querier
from profbucket.storage.ports import Series

LabelSet = tuple[tuple[str, str], ...]  # pairs of name and value, sorted


class Listing:
    """The profile types and the labels of the series of one or more *queries*."""

    def __init__(self, querier: Querier, queries: Sequence[SeriesQuery]) -> None:
        self._querier = querier
        self._queries = queries

    def profile_types(self) -> list[ProfileTypeId]:
        """Return the ids of profile types, sorted."""
        return sorted({type_id for selected in {types for _, types in self._series()} for type_id, _ in selected})

    def label_names(self) -> list[str]:
        """Return the names of labels, sorted, without Pyroscope's own."""
        all_labels = {series.labels for series, _ in self._series()}
        names = {name for labels in all_labels for name, value in labels if value and not is_hidden(name)}
        return sorted(names | {SERVICE}) if all_labels else []

    def label_values(self, name: str) -> list[str]:
        """Return the values of the label *name*, sorted."""
        return sorted({value for labels in self.label_sets([name]) for _, value in labels})

    def label_sets(self, names: Sequence[str]) -> list[LabelSet]:
        """Return the distinct sets of the labels *names*, sorted; without *names* of all but Pyroscope's own."""
        hidden = sorted({name for name in names if is_hidden(name)})
        has_service = SERVICE in names or not names
        has_labels = not names or len(hidden) + has_service < len(set(names))
        # Without hidden labels, series that differ in their sample types are the same, and usually there are many.
        keys: set[tuple[str, LabelSet, SelectedTypes]] = set()
        for series, selected in self._series():
            labels = _select_labels(series, names) if has_labels else ()
            keys.add((series.service if has_service else "", labels, selected if hidden else ()))
        sets: set[LabelSet] = set()
        for service, labels, selected in keys:
            pairs = [*labels, (SERVICE, service)] if service else [*labels]
            if not hidden:
                sets.add(tuple(sorted(pairs)))
            for type_id, _ in selected:
                own = type_id.labels()
                sets.add(tuple(sorted([*pairs, *((name, own[name]) for name in hidden if name in own)])))
        return sorted(sets)

    def _series(self) -> Iterator[tuple[Series, SelectedTypes]]:
        for query in self._queries:
            yield from list_series(self._querier, query)


def _select_labels(series: Series, names: Sequence[str]) -> LabelSet:
    """Return the labels *names* of *series*, or without *names* all that lists show."""
    return tuple(
        (name, value)
        for name, value in series.labels
        if value and name != SERVICE and not is_hidden(name) and (not names or name in names)
    )
