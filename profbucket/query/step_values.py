"""Averages, latest values and increases per step of a timeline, which are not just added up."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from fractions import Fraction

from profbucket.errors import TooMany
from profbucket.limits import Limits
from profbucket.model.sample_kinds import Aggregate
from profbucket.query.increases import find_increases

_Cell = tuple[int, int]  # the number of a sample type, and a step


class StepValues:
    """The values of some sample types in one group. Sample types have numbers, and steps count since 1970."""

    def __init__(self) -> None:
        self._averages: defaultdict[_Cell, dict[Hashable, tuple[int, int]]] = defaultdict(dict)  # sum and count
        self._latest: defaultdict[_Cell, dict[Hashable, tuple[int, int]]] = defaultdict(dict)  # time and value
        self._counters: defaultdict[tuple[Hashable, tuple[int, ...]], list[tuple[int, tuple[int, ...]]]]
        self._counters = defaultdict(list)  # times and values, by series and sample types
        self.kept = 0  # values in memory

    def add(
        self,
        series: Hashable,
        time: int,
        step: int,
        actions: Sequence[tuple[int, Aggregate]],
        values: Sequence[int],
    ) -> None:
        """Add a profile; *actions* are the number of each of its sample types, and how that is aggregated."""
        counters: list[tuple[int, int]] = []
        for (number, action), value in zip(actions, values, strict=True):
            if action is Aggregate.AVERAGE:
                averages = self._averages[number, step]
                self.kept += series not in averages
                total, count = averages.get(series, (0, 0))
                averages[series] = total + value, count + 1
            elif action is Aggregate.LATEST:
                latest = self._latest[number, step]
                self.kept += series not in latest
                latest[series] = max(latest.get(series, (time, value)), (time, value))
            elif action is Aggregate.DELTA:
                counters.append((number, value))
        if counters:
            self.kept += len(counters)
            numbers = tuple(number for number, _ in counters)
            self._counters[series, numbers].append((time, tuple(value for _, value in counters)))

    def finish(self, sums: defaultdict[int, Counter[int]], step_nanos: int) -> None:
        """Add the values to *sums*, by sample type and step. An average is rounded half to even."""
        for (number, step), by_series in self._averages.items():
            by_count: Counter[int] = Counter()
            for total, count in by_series.values():
                by_count[count] += total
            sums[number][step] += round(sum(Fraction(total, count) for count, total in by_count.items()))
        for (number, step), latest in self._latest.items():
            sums[number][step] += sum(value for _, value in latest.values())
        for (_, numbers), profiles in self._counters.items():
            profiles.sort()
            increases = find_increases([values for _, values in profiles])
            for (time, _), increase in zip(profiles, increases, strict=True):
                for number, value in zip(numbers, increase, strict=True):
                    sums[number][time // step_nanos] += value


def too_many_values(limits: Limits, kept: int) -> TooMany:
    """Return the error for averages and counters of which *kept* values would be in memory."""
    return limits.too_many(
        "timeline_values",
        f"the graph keeps {kept} values of averages and counters; choose a shorter range, or fewer series",
    )
