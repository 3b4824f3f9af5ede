"""Tell processes apart that share a series, by their counters.

The counters of a process never fall. Where one has fallen, in total or in any stack, the profile is of another
process. Either the previous process has ended, and the other one has counted all that it has since then; or both
run at the same time. The simpler explanation counts:

- One process at a time: each fall is a restart.
- Several processes: each profile is of the process whose last profile is the closest of those that are not higher
  in any stack. A process that begins after another one has ended is a restart.

The second needs fewer processes if profiles of several alternate.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from profbucket.pprof.aggregate.counters import Counters, Space
from profbucket.pprof.columnar.arrays import Ints

_MAX_COMPARED = 32  # processes whose stacks a profile is compared with, those with the closest totals


@dataclass(slots=True)
class _Process:
    """A process, with its first profile and its last; ``begin`` and ``end`` are their numbers in the series."""

    first: Counters
    last: Counters
    totals: list[int]  # of the last profile
    begin: int
    end: int

    def add(self, counters: Counters, totals: list[int], number: int) -> None:
        self.last, self.totals, self.end = counters, totals, number


class Processes:
    """The processes of one series, whose profiles are added in the order of time.

    The increases are added up in the spaces of the counters. *is_counter* decides by the name of a sample type
    whether it is a counter in this series.
    """

    def __init__(self, is_counter: Callable[[str], bool]) -> None:
        self._is_counter = is_counter
        self._columns: dict[int, Ints] = {}
        self._successive: list[_Process] = []
        self._concurrent: list[_Process] = []
        self._profiles = 0

    def add(self, counters: Counters) -> None:
        """Add the next profile."""
        columns = self._find_columns(counters.space)
        if not len(columns):
            return
        self._profiles += 1
        totals, number = counters.totals(columns), self._profiles
        for processes, candidates in (
            (self._successive, iter(self._successive[-1:])),
            (self._concurrent, self._find_candidates(counters, totals)),
        ):
            process = next((one for one in candidates if counters.continues(one.last, columns)), None)
            if process is None:
                processes.append(_Process(counters, counters, totals, number, number))
            else:
                process.add(counters, totals, number)

    def finish(self) -> tuple[int, int]:
        """Add up the increases. Return the number of restarts, and that of all other processes."""
        is_concurrent = len(self._concurrent) < len(self._successive)
        processes = self._concurrent if is_concurrent else self._successive
        ended = sorted(process.end for process in processes)
        restarts = 0
        for process in processes:
            columns = self._find_columns(process.first.space)
            if ended[restarts] < process.begin:  # each process that has ended is restarted once
                restarts += 1
                process.last.add_increase(None, columns)
            elif process.last is not process.first:
                process.last.add_increase(process.first, columns)
        return restarts, len(processes) - restarts

    def _find_candidates(self, counters: Counters, totals: list[int]) -> Iterator[_Process]:
        """Yield the processes that *counters* may continue by their totals, the closest first."""
        candidates = [
            (sum(totals) - sum(process.totals), -process.end, process)
            for process in self._concurrent
            if process.last.space is counters.space and all(map(int.__ge__, totals, process.totals))
        ]
        candidates.sort(key=lambda candidate: candidate[:2])
        return (process for _, _, process in candidates[:_MAX_COMPARED])

    def _find_columns(self, space: Space) -> Ints:
        """Return which counters of *space* are counters in this series."""
        if id(space) not in self._columns:
            names = [space.sample_types[number] for number in space.counters]
            columns = [column for column, name in enumerate(names) if self._is_counter(name)]
            self._columns[id(space)] = np.array(columns, np.int64)
        return self._columns[id(space)]
