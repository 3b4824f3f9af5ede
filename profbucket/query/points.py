"""Points in time of what profiles measure, for graphs that choose their own steps.

A point at the time t is about the profiles after t - length, up to t. Steps without profiles have no point. No
profile is opened: the numbers are the totals in the index and in blocks.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import NamedTuple

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.sample_kinds import Kind
from profbucket.pprof.units import find_factor
from profbucket.storage.lookup import Totals
from profbucket.times import SECOND

_MIN_LENGTH = 10**6  # ns
_MAX_SECONDS = 10**9

Group = tuple[tuple[str, str], ...]  # the labels of a group that its series have
Points = Mapping[int, float]  # the value of each step, by its number


@dataclass(frozen=True, slots=True)
class Steps:
    """``count`` points in time, ``length`` apart, from ``start`` on, in nanoseconds."""

    start: int
    length: int
    count: int

    @classmethod
    def parse(cls, start: int, end: int, seconds: float) -> "Steps":
        """Return the steps of *seconds* from *start* to *end*; raise ``Invalid`` for less than a millisecond."""
        length = round(seconds * SECOND) if isfinite(seconds) and seconds <= _MAX_SECONDS else 0
        if length < _MIN_LENGTH:
            raise Invalid(
                f"step={seconds} is not a number of seconds from 0.001 to {_MAX_SECONDS}", code="invalid_step"
            )
        return cls(start, length, (end - start) // length + 1)

    @property
    def first(self) -> int:
        """The earliest time that belongs to a step."""
        return self.start - self.length + 1

    @property
    def last(self) -> int:
        """The latest time that belongs to a step."""
        return self.time(self.count - 1)

    def time(self, number: int) -> int:
        """Return the time of the point *number*."""
        return self.start + number * self.length

    def find(self, time: int) -> int:
        """Return the number of the step that profiles of *time* belong to."""
        return -((self.start - time) // self.length)


class Measure(NamedTuple):
    """A sample type, the unit to show it in, and what its values mean."""

    sample_type: str
    unit: str
    kind: Kind


@dataclass(slots=True)
class _SeriesValues:
    """The values of the profiles of one series, with their times, in any order."""

    times: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)


class PointsBuilder:
    """A builder of points from totals, for each group of series whose labels *group_by* are equal.

    The service is the label *service_label*.
    """

    def __init__(
        self, steps: Steps, group_by: Sequence[str], service_label: str = "service", limits: Limits = Limits()
    ) -> None:
        self._steps = steps
        self._service_label = service_label
        self._group_by = sorted(set(group_by))
        self._limits = limits
        self._groups: defaultdict[Group, list[tuple[Kind, _SeriesValues]]] = defaultdict(list)

    def add(self, totals: Iterable[Totals], measure: Measure, shared_labels: Mapping[str, str]) -> None:
        """Add profiles; *shared_labels* are labels that all of their series have in addition."""
        by_series: defaultdict[tuple[str, Labels], _SeriesValues] = defaultdict(_SeriesValues)
        for part in totals:
            columns = [_find_column(measure, sample_types) for sample_types in part.types]
            targets = [by_series[part.service, labels] for labels in part.labels]
            for time, series, measured, row in zip(
                part.created_at, part.series, part.measured, part.values, strict=True
            ):
                if found := columns[measured]:
                    column, factor = found
                    target = targets[series]
                    target.times.append(time)
                    target.values.append(row[column] if factor == 1 else round(row[column] * factor))
        for (service, labels), series_values in by_series.items():
            if series_values.times:
                fixed = {self._service_label: service, **shared_labels}
                pairs = [(name, fixed.get(name) or labels.get(name)) for name in self._group_by]
                group = tuple((name, value) for name, value in pairs if value)
                self._groups[group].append((measure.kind, series_values))

    def build(self, *, average: bool = False) -> dict[Group, Points]:
        """Return the points of each group, sorted: sums over its series, or with *average* the mean of profiles.

        Raise ``TooMany`` for too many points.
        """
        result = {}
        count = 0
        for group in sorted(self._groups):
            points = self._average(self._groups[group]) if average else self._add_up(self._groups[group])
            count += len(points)
            if count > self._limits.timeline_numbers:
                raise self._limits.too_many(
                    "timeline_numbers", f"the graph has {count} points; choose a longer step, or fewer groups"
                )
            if points:
                result[group] = points
        return result

    def _average(self, group: Iterable[tuple[Kind, _SeriesValues]]) -> Points:
        sums: Counter[int] = Counter()
        counts: Counter[int] = Counter()
        for _, series in group:
            for time, value in zip(series.times, series.values, strict=True):
                step = self._steps.find(time)
                sums[step] += value
                counts[step] += 1
        return {step: sums[step] / counts[step] for step in sorted(counts)}

    def _add_up(self, group: Iterable[tuple[Kind, _SeriesValues]]) -> Points:
        sums: Counter[int] = Counter()
        for kind, series in group:
            if kind is Kind.CUMULATIVE:
                sums.update(self._increase(series))
            elif kind is Kind.INSTANT:
                sums.update(self._average([(kind, series)]))
            else:
                for time, value in zip(series.times, series.values, strict=True):
                    sums[self._steps.find(time)] += value
        return {step: float(sums[step]) for step in sorted(sums)}

    def _increase(self, series: _SeriesValues) -> Counter[int]:
        """Return the increases of a counter, which is lower than before after a restart."""
        increases: Counter[int] = Counter()
        rows = sorted(zip(series.times, series.values, strict=True))
        for (_, earlier), (time, later) in pairwise(rows):
            increases[self._steps.find(time)] += later - earlier if later >= earlier else later
        return increases


def _find_column(measure: Measure, sample_types: Sequence[tuple[str, str]]) -> tuple[int, float] | None:
    """Return the number of the sample type in *sample_types*, and its factor to the unit; ``None`` without it."""
    for column, (sample_type, unit) in enumerate(sample_types):
        if sample_type == measure.sample_type and (factor := find_factor(unit, measure.unit)):
            return column, factor
    return None
