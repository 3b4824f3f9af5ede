"""The increases of counters from profile to profile of one series, by their totals.

Processes that share a series are separated as in ``pprof/aggregate/processes.py``, which does so by stack.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from operator import le

_Values = Sequence[int]  # of all counters of one profile

_MAX_PROCESSES = 64  # that a profile is compared with: those with the latest profiles


@dataclass(slots=True)
class _Process:
    begin: int  # the numbers of its first and its last profile
    end: int


def find_increases(profiles: Sequence[_Values]) -> list[_Values]:
    """Return for each of *profiles*, ordered by time, by how much each counter has increased since the one before.

    This is the previous profile of the same process. All that a restarted process has counted is increase; the
    first profile of any other process has none.
    """
    successive = _follow(profiles, 1)
    concurrent = _follow(profiles, _MAX_PROCESSES)
    previous, processes = concurrent if len(concurrent[1]) < len(successive[1]) else successive
    ended = sorted(process.end for process in processes)
    restarted = set[int]()
    for process in processes:
        if ended[len(restarted)] < process.begin:
            restarted.add(process.begin)
    increases: list[_Values] = []
    for i, (values, number) in enumerate(zip(profiles, previous, strict=True)):
        none = [0] * len(values)
        start = profiles[number] if number is not None else none if i in restarted else values
        increases.append([value - before for value, before in zip(values, start, strict=True)])
    return increases


def _follow(profiles: Sequence[_Values], max_processes: int) -> tuple[list[int | None], list[_Process]]:
    """Return the previous profile of each one's process, by its number, and all processes.

    A profile is compared with the last ones of at most *max_processes*.
    """
    previous: list[int | None] = []
    processes: list[_Process] = []
    # By the sum and the number of the last profile: that of the process which a profile continues has, of all that
    # it may continue, the largest sum, which is not above its own.
    recent: list[tuple[int, int, _Process]] = []
    for number, values in enumerate(profiles):
        total = sum(values)
        at = bisect_right(recent, (total, number)) - 1
        while at >= 0 and not all(map(le, profiles[recent[at][1]], values)):
            at -= 1
        if at >= 0:
            _, end, process = recent.pop(at)
            previous.append(end)
        else:
            process = _Process(number, number)
            processes.append(process)
            previous.append(None)
            if len(recent) == max_processes:
                recent.remove(min(recent, key=lambda item: item[1]))
        process.end = number
        insort(recent, (total, number, process))
    return previous, processes
