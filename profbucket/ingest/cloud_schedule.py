"""The times at which agents of Cloud Profiler take profiles.

An agent asks for work, does it, and asks again at once. The answer is a profile to take, or a time to wait. It
depends on the clock and the deployment only: there is no state, and any instance of a collector can answer.

A deployment's turn begins once in each period. In its window, at the beginning, all agents get work. It is shorter
than a profile, so that an agent that has finished finds the window closed.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from typing import Any, NamedTuple

from profbucket.times import SECOND

# Types that take no time: an agent asks again within the same window. Half of its requests are refused, so that it
# takes one profile a turn on average.
_INSTANT_TYPES = frozenset({"HEAP", "HEAP_ALLOC", "PEAK_HEAP", "THREADS"})
_MAX_DURATION_NANOS = 10 * SECOND

# Servers and proxies close idle connections, after 75 seconds or so, which is an error to the agent for Python.
_MAX_DELAY_NANOS = 65 * SECOND


class Work(NamedTuple):
    """A profile to take; ``duration`` is in nanoseconds, or 0 for a profile that takes no time."""

    profile_type: str
    duration: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule with a turn every *period* seconds. *draw* returns a random number from 0 to 1."""

    period: int = 60
    draw: Callable[[], float] = random.random

    def next(self, deployment: Mapping[str, Any], profile_types: Sequence[str], now: int) -> Work | int:
        """Return the work of an agent that asks at *now*, or the nanoseconds after which it shall ask again."""
        period = self.period * SECOND
        duration = min(_MAX_DURATION_NANOS, period // 2)
        window = duration * 4 // 5
        key = int.from_bytes(sha256(dumps(deployment, sort_keys=True).encode()).digest()[:8])
        turn, elapsed = divmod(now - key % period, period)
        if elapsed < window:
            name = profile_types[(turn + key) % len(profile_types)]
            if name not in _INSTANT_TYPES:
                return Work(name, duration)
            if self.draw() < 0.5:
                return Work(name, 0)
        # All agents of a deployment wait for the same turn: spread them over half of its window.
        return min(period - elapsed + int(self.draw() * window / 2), _MAX_DELAY_NANOS)
