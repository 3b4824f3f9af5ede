"""Lists of what is stored: profile types, label names, label values and sets of labels. No profile is opened."""

from collections.abc import Sequence

from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.grafana.selection import SelectedTypes, SeriesQuery, list_series
from profbucket.grafana.selectors import SERVICE, is_hidden
from profbucket.model.labels import Labels
from profbucket.query.querier import Querier

LabelSet = tuple[tuple[str, str], ...]  # pairs of name and value, sorted


class Listing:
    """The profile types and the labels of the series of *query*."""

    def __init__(self, querier: Querier, query: SeriesQuery) -> None:
        self._querier = querier
        self._query = query

    def profile_types(self) -> list[ProfileTypeId]:
        """Return the ids of profile types, sorted."""
        found = list_series(self._querier, self._query, with_labels=False)
        return sorted({type_id for types in {series.sample_types for series in found} for type_id, _ in types})

    def label_names(self) -> list[str]:
        """Return the names of labels, sorted, without Pyroscope's own."""
        all_labels = {series.labels for series in list_series(self._querier, self._query)}
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
        # Most series differ in nothing that is asked for.
        keys: set[tuple[str, LabelSet, SelectedTypes]] = set()
        for service, _, own_labels, selected in list_series(self._querier, self._query, with_labels=has_labels):
            labels = _select_labels(own_labels, names) if has_labels else ()
            keys.add((service if has_service else "", labels, selected if hidden else ()))
        hidden_labels = {selected: _select_hidden(selected, hidden) for selected in {key[2] for key in keys}}
        sets = {
            tuple(sorted((*labels, *others, (SERVICE, service)) if service else (*labels, *others)))
            for service, labels, selected in keys
            for others in hidden_labels[selected]
        }
        return sorted(sets)


def _select_labels(labels: Labels, names: Sequence[str]) -> LabelSet:
    """Return those of *labels* that are among *names*, or without *names* all that lists show."""
    return tuple(
        (name, value)
        for name, value in labels
        if value and name != SERVICE and not is_hidden(name) and (not names or name in names)
    )


def _select_hidden(selected: SelectedTypes, names: Sequence[str]) -> set[LabelSet]:
    """Return the sets of Pyroscope's own labels *names* of the sample types, or an empty set of labels."""
    all_labels = [type_id.labels() for type_id, _ in selected]
    return {tuple((name, labels[name]) for name in names if name in labels) for labels in all_labels} or {()}
