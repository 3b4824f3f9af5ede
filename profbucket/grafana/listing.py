"""Lists of what is stored: profile types, label names, label values and sets of labels. No profile is opened."""

from collections.abc import Iterable, Iterator, Sequence

from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.grafana.selection import SeriesQuery, list_series
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
        return sorted({type_id for _, type_id in self._series()})

    def label_names(self) -> list[str]:
        """Return the names of labels, sorted, without Pyroscope's own."""
        names = {name for series, _ in self._series() for name, _ in _visible_labels(series)}
        return sorted(names)

    def label_values(self, name: str) -> list[str]:
        """Return the values of the label *name*, sorted."""
        return sorted({value for series, type_id in self._series() if (value := _value(series, type_id, name))})

    def label_sets(self, names: Sequence[str]) -> list[LabelSet]:
        """Return the distinct sets of the labels *names*, sorted; without *names* of all but Pyroscope's own."""
        if not names:
            return sorted({tuple(sorted(_visible_labels(series))) for series, _ in self._series()})
        wanted = sorted(set(names))
        return sorted(
            {
                tuple((name, value) for name in wanted if (value := _value(series, type_id, name)))
                for series, type_id in self._series()
            }
        )

    def _series(self) -> Iterator[tuple[Series, ProfileTypeId]]:
        for query in self._queries:
            for series, type_id, _ in list_series(self._querier, query):
                yield series, type_id


def _value(series: Series, type_id: ProfileTypeId, name: str) -> str:
    """Return the value of a label of *series*, or ``""``."""
    if name == SERVICE:
        return series.service
    return type_id.labels().get(name, "") if is_hidden(name) else series.labels.get(name)


def _visible_labels(series: Series) -> Iterable[tuple[str, str]]:
    yield SERVICE, series.service
    for name, value in series.labels:
        if name != SERVICE and not is_hidden(name) and value:
            yield name, value
