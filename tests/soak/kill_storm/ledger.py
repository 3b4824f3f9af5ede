"""Numbered profiles: what was posted, what was acknowledged, and which of them a merge selects."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from random import Random

from tests.soak.numbered import DAY_BEGIN, numbered_profile

SERVICES = ("storm-a", "storm-b")
_TYPES = ("cpu", "wall")
_BATCH_NANOSECONDS = 100 * 10**9  # from the first profile to the last: some batches reach into another hour
_VALUES = 3  # of the label v
_HOUR = 3600 * 10**9
_HOURS = (0, 1, 2, 23, 24, 25, 47, 48)  # since DAY_BEGIN, in which profiles are created


@dataclass(frozen=True, slots=True)
class Posted:
    """A profile that was sent, acknowledged or not."""

    number: int
    service: str
    type: str
    value: int
    created_at: int

    @property
    def body(self) -> bytes:
        return numbered_profile(self.number, self.created_at)

    @property
    def parameters(self) -> Mapping[str, str]:
        return {"service": self.service, "type": self.type, "v": str(self.value)}


@dataclass
class Ledger:
    """All that was posted, and the ids of what was acknowledged. Used by several threads."""

    posted: dict[int, Posted] = field(default_factory=dict)
    acknowledged: dict[int, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, random: Random, count: int) -> list[Posted]:
        """Return *count* profiles that are new, of one time; most are of one service."""
        begin = DAY_BEGIN + random.choice(_HOURS) * _HOUR + random.randrange(_HOUR)
        service = random.choice(SERVICES)
        with self.lock:
            numbers = range(len(self.posted), len(self.posted) + count)
            added = [
                Posted(
                    number,
                    service if random.random() < 0.9 else random.choice(SERVICES),
                    random.choice(_TYPES),
                    random.randrange(_VALUES),
                    begin + random.randrange(_BATCH_NANOSECONDS),
                )
                for number in numbers
            ]
            self.posted.update(zip(numbers, added, strict=True))
        return added

    def acknowledge(self, one: Posted, profile_id: str) -> None:
        with self.lock:
            self.acknowledged[one.number] = profile_id

    def numbers(self, wanted: Callable[[Posted], bool], *, acknowledged: bool) -> set[int]:
        """Return the numbers of those that are *wanted*, of all or of those that were acknowledged."""
        with self.lock:
            numbers = self.acknowledged if acknowledged else self.posted
            return {number for number in numbers if wanted(self.posted[number])}


@dataclass(frozen=True, slots=True)
class Selection:
    """Parameters of a merge, and which profiles it is of."""

    service: str
    type: str
    conditions: Mapping[str, object]
    matches: Callable[[Posted], bool] = lambda _: True

    @property
    def parameters(self) -> Mapping[str, object]:
        return {"service": self.service, "type": self.type, **self.conditions}

    def wanted(self, one: Posted) -> bool:
        return one.service == self.service and one.type == self.type and self.matches(one)


def selections() -> Iterator[Selection]:
    """Yield the merges that are checked: of everything, by label, by time, and by both."""
    # The last nanosecond of its second: a range that ends at a time in whole seconds includes all of that second.
    middle = DAY_BEGIN + 24 * _HOUR + _HOUR // 2 + 10**9 - 1
    until = {"from": 0, "to": _timestamp(middle)}
    for lane in product(SERVICES, _TYPES):
        yield Selection(*lane, {"from": 0})
        for value in range(_VALUES):
            yield Selection(*lane, {"from": 0, "v": value}, lambda one, v=value: one.value == v)  # type: ignore[misc]
        yield Selection(*lane, until, lambda one: one.created_at <= middle)
        yield Selection(
            *lane, {**until, "labels": "v!=0"}, lambda one: one.created_at <= middle and one.value != 0
        )


def _timestamp(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // 10**9))
