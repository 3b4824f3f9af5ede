"""Series, and what an index knows about their profiles."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, SampleType
from profbucket.model.profile_type import ProfileType
from profbucket.times import LATEST

# Of one series, so that its record stays small whatever is posted. A profile has at most 64 sample types by
# default, and their names 4,096 bytes together.
MAX_SAMPLE_TYPES = 256
MAX_NAME_CHARACTERS = 16 << 10  # names and units together


class Series(NamedTuple):
    """All profiles of one service, profile type and label set. ``id`` equals :attr:`Meta.series` of each.

    ``sample_types`` are those that any of the profiles has, in any order; empty if none were recorded. If there
    are too many of them, some are missing, and ``has_more_types`` is true. All profiles were created from
    ``first_seen`` to ``last_seen``, in nanoseconds since 1970. An index rounds these outward, by less than a day
    each, so that few posts change them.
    """

    id: str
    service: str
    type: ProfileType
    labels: Labels
    sample_types: tuple[SampleType, ...] = ()
    first_seen: int = 0
    last_seen: int = LATEST
    has_more_types: bool = False

    @classmethod
    def of(cls, meta: Meta) -> "Series":
        """Return the series of *meta* as far as this one profile tells."""
        sample_types, has_more = limit_sample_types(meta.sample_types)
        created_at = meta.created_at
        return cls(
            meta.series, meta.service, meta.type, meta.labels, sample_types, created_at, created_at, has_more
        )

    def may_have_sample_types(self, names: Iterable[tuple[str, str]]) -> bool:
        """Return whether the series has a sample type of each of these types and units, as far as is known."""
        return self.has_more_types or {(item.type, item.unit) for item in self.sample_types}.issuperset(names)

    def union(self, other: "Series") -> "Series":
        """Return the series with the sample types and times of *other*, which is the same series, too."""
        sample_types, has_more = limit_sample_types((*self.sample_types, *other.sample_types))
        return self._replace(
            sample_types=sample_types,
            first_seen=min(self.first_seen, other.first_seen),
            last_seen=max(self.last_seen, other.last_seen),
            has_more_types=has_more or self.has_more_types or other.has_more_types,
        )


class SeriesGroup(NamedTuple):
    """Series of one service and profile type that have the same sample types; the fields are those of a series.

    Hundreds of series are one group. A lane has several if its profiles do not all measure the same.
    """

    service: str
    type: ProfileType
    sample_types: tuple[SampleType, ...]
    first_seen: int
    last_seen: int
    has_more_types: bool = False


def group_series(all_series: Iterable[Series]) -> list[SeriesGroup]:
    """Return the groups of *all_series*."""
    times: dict[tuple[str, ProfileType, tuple[SampleType, ...], bool], tuple[int, int]] = {}
    for series in all_series:
        key = series.service, series.type, series.sample_types, series.has_more_types
        first, last = times.get(key, (series.first_seen, series.last_seen))
        times[key] = min(first, series.first_seen), max(last, series.last_seen)
    return [
        SeriesGroup(service, profile_type, sample_types, first, last, has_more)
        for (service, profile_type, sample_types, has_more), (first, last) in times.items()
    ]


def list_series(parts: Iterable[Series]) -> list[Series]:
    """Return each series once, with all that its *parts* tell."""
    series_by_id: dict[str, Series] = {}
    for part in parts:
        known = series_by_id.get(part.id)
        series_by_id[part.id] = known.union(part) if known else part
    return list(series_by_id.values())


def list_label_values(all_series: Iterable[Series], limit: int) -> dict[ProfileType, dict[str, list[str]]]:
    """Return the labels of *all_series* by profile type, each with its first *limit* values, sorted."""
    values: dict[ProfileType, dict[str, set[str]]] = {}
    for series in all_series:
        of_type = values.setdefault(series.type, {})
        for key, value in series.labels:
            of_type.setdefault(key, set()).add(value)
    return {
        profile_type: {key: sorted(of_label)[:limit] for key, of_label in of_type.items()}
        for profile_type, of_type in values.items()
    }


def limit_sample_types(sample_types: Iterable[SampleType]) -> tuple[tuple[SampleType, ...], bool]:
    """Return the distinct ones of *sample_types* that a series may have, and whether there are more."""
    kept: dict[SampleType, None] = {}
    characters = 0
    for item in dict.fromkeys(sample_types):
        characters += len(item.type) + len(item.unit)
        if len(kept) == MAX_SAMPLE_TYPES or characters > MAX_NAME_CHARACTERS:
            return tuple(kept), True
        kept[item] = None
    return tuple(kept), False


def sample_types_to_json(series: Series) -> list[SampleType | None]:
    """Return the sample types of *series* as JSON; the last item is ``None`` if there are more."""
    return [*series.sample_types, None] if series.has_more_types else list(series.sample_types)


def sample_types_from_json(items: Sequence[Any]) -> tuple[tuple[SampleType, ...], bool]:
    """Return the sample types that :func:`sample_types_to_json` returned, and whether there are more.

    An earlier version had no limit: those beyond it are left out.
    """
    sample_types, has_more = limit_sample_types(SampleType(*item) for item in items if item is not None)
    return sample_types, has_more or None in items
