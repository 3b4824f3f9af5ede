"""Reindex interleaved with compaction: each profile counts once, whichever step of which comes first."""

from collections import deque
from collections.abc import Callable
from itertools import count
from threading import Lock
from typing import Any

import pytest

from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.repair import State, fsck, reindex
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, QUERIES, list_data_points, post_profiles


class InterruptedCalls:
    """A storage's ports, which run *interrupt* before the call with this *number*, counted over both from 0."""

    def __init__(self, number: int, interrupt: Callable[[], None]) -> None:
        self._number, self._interrupt = number, interrupt
        self._lock = Lock()
        self.calls = 0

    def wrap(self, port: Any) -> Any:
        outer = self

        class Wrapped:
            def __getattr__(self, name: str) -> Any:
                method = getattr(port, name)

                def call(*args: Any, **kwargs: Any) -> Any:
                    outer._count()
                    return method(*args, **kwargs)

                return call

        return Wrapped()

    def _count(self) -> None:
        with self._lock:
            number, self.calls = self.calls, self.calls + 1
        if number == self._number:
            self._interrupt()


def run_compaction(storage: Storage, hours: int) -> None:
    deque(Compactor(storage, clock=lambda: MIDNIGHT + hours * HOUR).run(), 0)


def run_reindex(storage: Storage) -> None:
    deque(reindex(storage), 0)


@pytest.mark.parametrize("interrupted", ["reindex", "compaction"])
@pytest.mark.parametrize("compacted_hours", [0, 4], ids=["from the head", "from blocks of hours"])
def test_each_profile_counts_once_wherever_one_interrupts_the_other(
    interrupted: str, compacted_hours: int
) -> None:
    """One of compaction and reindex runs as a whole before the first call of the other, the second, and so on."""
    for number in count():
        storage = Storage(MemoryBucket(), MemoryIndex())
        post_profiles(storage, range(0, 180, 30))
        points = list_data_points(storage, QUERIES[0])
        run_compaction(storage, compacted_hours)
        if interrupted == "reindex":
            ports = InterruptedCalls(number, lambda storage=storage: run_compaction(storage, 50))  # type: ignore[misc]
            run_reindex(Storage(ports.wrap(storage.bucket), ports.wrap(storage.index)))
        else:
            ports = InterruptedCalls(number, lambda storage=storage: run_reindex(storage))  # type: ignore[misc]
            run_compaction(Storage(ports.wrap(storage.bucket), ports.wrap(storage.index)), 50)
        assert list_data_points(storage, QUERIES[0]) == points, f"before call {number}"
        run_reindex(storage)
        assert list_data_points(storage, QUERIES[0]) == points
        assert {finding.state for finding in fsck(storage)} == {State.OK}
        if ports.calls <= number:
            break
    assert number > 10
