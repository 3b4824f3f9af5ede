"""Posts, compactions, reindex and fsck interleaved: each profile counts once at every step.

``python -m tests.maintenance.test_interleaving`` tries all interleavings with two switches between the actors;
the tests try a sample.
"""

import sys
from collections import deque
from collections.abc import Callable
from random import Random
from unittest import mock

import pytest

from profbucket.maintenance import repair
from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.repair import State, fsck, reindex
from profbucket.model.ids import ProfileId
from profbucket.storage.lookup import BlockReplaced
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.storage.compaction_suite import (
    CPU,
    HOUR,
    MIDNIGHT,
    QUERIES,
    list_block_keys,
    list_data_points,
    post_profiles,
)
from tests.support.storage.interleaving import Actor, SynchronousExecutor, interleave

NUMBERS = range(0, 240, 40)  # minutes since midnight
_SAMPLE = 12  # interleavings of each pair in a test


def new_storage() -> Storage:
    return Storage(MemoryBucket(), MemoryIndex())


def compaction(hours: int) -> Actor:
    """Return a compaction by a clock at that many *hours* since midnight."""

    def compact(storage: Storage) -> None:
        deque(Compactor(storage, clock=lambda: MIDNIGHT + hours * HOUR).run(service="api"), 0)

    return compact


def compact_twice(storage: Storage) -> None:
    """Compact hours, then merge them into the block of a day."""
    compaction(5)(storage)
    compaction(30)(storage)


def run_reindex(storage: Storage) -> None:
    deque(reindex(storage), 0)


def run_fsck(storage: Storage) -> None:
    deque(fsck(storage), 0)


def post_again(storage: Storage) -> None:
    """Post profiles again that may have been compacted, and one for the first time that is late."""
    collected = new_storage()
    for meta in post_profiles(collected, [0, 80, 20]):
        storage.write(meta, collected.read(ProfileId.parse(meta.id)))


def compact_and_post_again(storage: Storage) -> None:
    compaction(6)(storage)
    post_again(storage)


ACTORS: dict[str, Actor] = {
    "hours": compaction(5),
    "day": compaction(30),
    "day, clock ahead": compaction(54),
    "reindex": run_reindex,
    "fsck": run_fsck,
    "posts": post_again,
    "hours, posts": compact_and_post_again,
}

HISTORIES: dict[str, Callable[[Storage], None]] = {
    "head": lambda _: None,
    "hours": compaction(5),
    "replaced hours": compact_twice,
}

PAIRS = [
    (first, second)
    for first in ACTORS
    for second in ACTORS
    if (first in ("hours", "day", "reindex") and second != "fsck") or (first, second) == ("fsck", "day")
]


def try_interleaving(history: str, pair: tuple[str, str], first: int, second: int) -> list[int]:
    """Run one interleaving, check it, and return how many calls each actor made."""
    storage = new_storage()
    post_profiles(storage, NUMBERS)
    HISTORIES[history](storage)
    wanted = {point[0] for point in list_data_points(storage, QUERIES[0])}

    def check() -> None:
        try:
            times = [point[0] for point in list_data_points(storage, QUERIES[0])]
        except BlockReplaced:
            pytest.fail("a block of the index has no object")
        where = f"{history}, {pair}, {first}, {second}"
        assert len(times) == len(set(times)), f"a profile counts twice: {where}"
        assert wanted <= set(times), f"a profile is lost: {where}"
        for block in storage.index.blocks("api", CPU, 0, 2**63 - 1):
            assert block.id in list_block_keys(storage), f"a block has no object: {where}"

    calls = interleave(storage, [ACTORS[name] for name in pair], first, second, check)
    run_reindex(storage)
    check()
    assert {finding.state for finding in fsck(storage)} == {State.OK}, (history, pair, first, second)
    compaction(60)(storage)
    check()
    return calls


def list_switches(history: str, pair: tuple[str, str]) -> list[tuple[int, int]]:
    """Return all numbers of calls after which the actors are switched."""
    first, second = try_interleaving(history, pair, 10**6, 0)
    return [(i, j) for i in range(first + 1) for j in range(1, second + 1)]


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_each_profile_counts_once_in_a_sample_of_interleavings(history: str, pair: tuple[str, str]) -> None:
    with mock.patch.object(repair, "ThreadPoolExecutor", SynchronousExecutor):
        switches = list_switches(history, pair)
        for first, second in Random(0).sample(switches, min(_SAMPLE, len(switches))):
            try_interleaving(history, pair, first, second)


def main() -> int:
    total = wrong = 0
    with mock.patch.object(repair, "ThreadPoolExecutor", SynchronousExecutor):
        for history in HISTORIES:
            for pair in PAIRS:
                switches = list_switches(history, pair)
                total += len(switches)
                for first, second in switches:
                    try:
                        try_interleaving(history, pair, first, second)
                    except Exception as error:  # noqa: BLE001 - listed
                        wrong += 1
                        print(f"{history}, {pair}, {first}, {second}: {error!r}"[:300], flush=True)
                print(f"{history}, {pair}: {len(switches)}", flush=True)
    print(f"{total} interleavings, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
