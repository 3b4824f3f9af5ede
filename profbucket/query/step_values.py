"""Averages, latest values and increases per step of a graph, which are not just added up."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from typing import Generic, TypeVar

from profbucket.errors import TooMany
from profbucket.limits import Limits
from profbucket.model.sample_kinds import Aggregate
from profbucket.query.increases import find_increases

_Column = TypeVar("_Column", bound=Hashable)


class StepValues(Generic[_Column]):
    """The values of series in each column, such as a sample type or a group, and step, which has a number."""

    def __init__(self) -> None:
        self._averages: defaultdict[tuple[_Column, int], dict[Hashable, tuple[int, int]]]
        self._averages = defaultdict(dict)  # sums and counts by series
        self._latest: defaultdict[tuple[_Column, int], dict[Hashable, tuple[int, int]]]
        self._latest = defaultdict(dict)  # times and values by series
        self._counters: defaultdict[tuple[Hashable, tuple[_Column, ...]], list[tuple[int, tuple[int, ...]]]]
        self._counters = defaultdict(list)  # times and values by series and columns
        self.kept = 0  # values in memory

    def add(
        self,
        series: Hashable,
        time: int,
        step: int,
        actions: Sequence[tuple[_Column, Aggregate]],
        values: Sequence[int],
    ) -> None:
        """Add a profile; *actions* are the column of each of its *values*, and how that is aggregated."""
        counters: list[tuple[_Column, int]] = []
        for (column, action), value in zip(actions, values, strict=True):
            if action is Aggregate.AVERAGE:
                averages = self._averages[column, step]
                self.kept += series not in averages
                total, count = averages.get(series, (0, 0))
                averages[series] = total + value, count + 1
            elif action is Aggregate.LATEST:
                latest = self._latest[column, step]
                self.kept += series not in latest
                latest[series] = max(latest.get(series, (time, value)), (time, value))
            elif action is Aggregate.DELTA:
                counters.append((column, value))
        if counters:
            self.kept += len(counters)
            columns = tuple(column for column, _ in counters)
            self._counters[series, columns].append((time, tuple(value for _, value in counters)))

    def finish(self, sums: defaultdict[_Column, Counter[int]], find_step: Callable[[int], int]) -> None:
        """Add the values to *sums*, by column and step; *find_step* returns the step of a time.

        A sum of averages is rounded half to even.
        """
        for (column, step), by_series in self._averages.items():
            by_count: Counter[int] = Counter()
            for total, count in by_series.values():
                by_count[count] += total
            sums[column][step] += round(sum(Fraction(total, count) for count, total in by_count.items()))
        for (column, step), latest in self._latest.items():
            sums[column][step] += sum(value for _, value in latest.values())
        for (_, columns), profiles in self._counters.items():
            profiles.sort()
            increases = find_increases([values for _, values in profiles])
            for (time, _), increase in zip(profiles, increases, strict=True):
                for column, value in zip(columns, increase, strict=True):
                    sums[column][find_step(time)] += value


def too_many_values(limits: Limits, kept: int) -> TooMany:
    """Return the error for averages and counters of which *kept* values would be in memory."""
    return limits.too_many(
        "timeline_values",
        f"the graph keeps {kept} values of averages and counters; choose a shorter range, or fewer series",
    )
