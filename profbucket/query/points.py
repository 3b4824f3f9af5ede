"""Points in time of what profiles measure, for graphs that choose their own steps.

A point at the time t is about the profiles after t - length, up to t. Steps without profiles have no point. No
profile is opened: the numbers are the totals in the index and in blocks.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.sample_kinds import Aggregate, Kind, choose_aggregate
from profbucket.pprof.numbers import wrap_int64
from profbucket.pprof.units import find_factor
from profbucket.query.step_values import StepValues, too_many_values
from profbucket.storage.totals import Totals
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


class PointsBuilder:
    """A builder of points from totals, for each group of series whose labels *group_by* are equal.

    A point is the sum over the series of a group: of their values, the averages of instants, or the increases
    of counters; it wraps at 64 bits, as in merges. With *average* it is the mean of all values. The service is the
    label *service_label*.
    """

    def __init__(
        self,
        steps: Steps,
        group_by: Sequence[str],
        service_label: str = "service",
        limits: Limits = Limits(),
        *,
        average: bool = False,
    ) -> None:
        self._steps = steps
        self._group_by = sorted(set(group_by))
        self._service_label = service_label
        self._limits = limits
        self._average = average
        self._sums: defaultdict[Group, Counter[int]] = defaultdict(Counter)
        self._counts: defaultdict[Group, Counter[int]] = defaultdict(Counter)
        # Of the service and the measure that are being added: what is not just added up.
        self._source: tuple[str, Measure] | None = None
        self._step_values = StepValues[Group]()

    def add(self, part: Totals, measure: Measure, shared_labels: Mapping[str, str]) -> None:
        """Add profiles of one service; *shared_labels* are labels that their series have in addition.

        Those of a service and *measure* come one after the other. Raise ``TooMany`` for too many points, or for
        too many values that are kept until the last one of a service is known.
        """
        if (part.service, measure) != self._source:
            self._finish_source()
            self._source = part.service, measure
        fixed = {self._service_label: part.service, **shared_labels}
        groups = [self._find_group(fixed, labels) for labels in part.labels]
        rows = _select_rows(part, measure)
        if self._average or measure.kind is Kind.SUM:
            targets = [(self._sums[group], self._counts[group]) for group in groups]
            for time, series, value in rows:
                sums, counts = targets[series]
                step = self._steps.find(time)
                sums[step] += value
                counts[step] += 1
        else:
            action = choose_aggregate(Aggregate.AUTO, measure.kind)
            columns = [((group, action),) for group in groups]
            for time, series, value in rows:
                self._step_values.add(part.labels[series], time, self._steps.find(time), columns[series], (value,))
        self._check_size()

    def build(self) -> dict[Group, Points]:
        """Return the points of each group that has any, sorted; raise ``TooMany`` for too many points."""
        self._finish_source()
        self._check_size()
        return {group: self._to_points(group) for group in sorted(self._sums) if self._sums[group]}

    def _find_group(self, fixed: Mapping[str, str], labels: Labels) -> Group:
        pairs = ((name, fixed.get(name) or labels.get(name)) for name in self._group_by)
        return tuple((name, value) for name, value in pairs if value)

    def _finish_source(self) -> None:
        """Add what was kept of the last source, and forget it."""
        self._step_values.finish(self._sums, self._steps.find)
        self._step_values = StepValues()

    def _check_size(self) -> None:
        points = sum(map(len, self._sums.values()))
        if points > self._limits.timeline_numbers:
            raise self._limits.too_many(
                "timeline_numbers", f"the graph has {points} points; choose a longer step, or fewer groups"
            )
        if self._step_values.kept > self._limits.timeline_values:
            raise too_many_values(self._limits, self._step_values.kept)

    def _to_points(self, group: Group) -> Points:
        sums, counts = self._sums[group], self._counts[group]
        if self._average:
            return {step: sums[step] / counts[step] for step in sorted(sums)}
        return {step: float(wrap_int64(sums[step])) for step in sorted(sums)}


def _select_rows(part: Totals, measure: Measure) -> Iterator[tuple[int, int, int]]:
    """Yield the time, the number of the series and the value of the profiles that have the sample type."""
    columns = [_find_column(measure, sample_types) for sample_types in part.types]
    for time, series, measured, values in zip(
        part.created_at, part.series, part.measured, part.values, strict=True
    ):
        if found := columns[measured]:
            column, factor = found
            value = values[column]
            yield time, series, value if factor == 1 else round(value * factor)


def _find_column(measure: Measure, sample_types: Sequence[tuple[str, str]]) -> tuple[int, float] | None:
    """Return the number of the sample type in *sample_types*, and its factor to the unit; ``None`` without it."""
    for column, (sample_type, unit) in enumerate(sample_types):
        if sample_type == measure.sample_type and (factor := find_factor(unit, measure.unit)):
            return column, factor
    return None
