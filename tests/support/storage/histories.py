"""Small histories of a storage, and what may happen to it at the same time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from profbucket.maintenance import repair
from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.repair import State, fsck, reindex
from profbucket.model.ids import ProfileId, profile_prefix
from profbucket.storage.listing import list_prefix
from profbucket.storage.lookup import BlockReplaced
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import LATEST
from tests.support.storage.compaction_suite import (
    CPU,
    HOUR,
    MIDNIGHT,
    QUERIES,
    list_block_keys,
    list_data_points,
    post_profiles,
)
from tests.support.storage.interleaving import Actor, Call, SynchronousExecutor, copy_storage, interleave

_POSTED_AGAIN = (0, 20)  # minutes since midnight: the first is in all histories, the other in none


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


def lose_index(storage: Storage) -> None:
    """Compact hours, then lose the index."""
    compaction(5)(storage)
    storage.index.remove([block.id for block in storage.index.blocks("api", CPU, 0, LATEST)])


def run_reindex(storage: Storage) -> None:
    deque(reindex(storage), 0)


def reindex_and_compact(storage: Storage) -> None:
    run_reindex(storage)
    compaction(30)(storage)


def run_fsck(storage: Storage) -> None:
    deque(fsck(storage), 0)


def post_again(storage: Storage) -> None:
    """Post a profile again that may have been compacted, and one for the first time that is late."""
    collected = new_storage()
    for meta in post_profiles(collected, _POSTED_AGAIN):
        storage.write(meta, collected.read(ProfileId.parse(meta.id)))


def compact_and_post_again(storage: Storage) -> None:
    compaction(6)(storage)
    post_again(storage)


def expire(storage: Storage) -> None:
    """Delete the objects of profiles, as the bucket's lifecycle rule does long after they were compacted."""
    for obj in list(list_prefix(storage.bucket, profile_prefix("api", CPU))):
        storage.bucket.delete(obj.key)


ACTORS: dict[str, Actor] = {
    "hours": compaction(5),
    "day": compaction(30),
    "day, clock ahead": compaction(54),
    "reindex": run_reindex,
    "reindex, day": reindex_and_compact,
    "fsck": run_fsck,
    "posts": post_again,
    "hours, posts": compact_and_post_again,
    "expiry": expire,
}

HISTORIES: dict[str, Callable[[Storage], None]] = {
    "head": lambda _: None,
    "hours": compaction(5),
    "replaced hours": compact_twice,
    "lost index": lose_index,
}

_MINUTES = {
    "head": (0, 10),
    "hours": (0, 80),
    "replaced hours": (0, 80),
    "lost index": (0, 80),
}  # of the profiles, since midnight

PAIRS = [
    (first, second)
    for first in ACTORS
    for second in ACTORS
    if (first in ("hours", "day", "reindex") and second != "fsck") or (first, second) == ("fsck", "day")
]

Case = tuple[str, tuple[str, ...]]  # a history and actors

# A profile that expires in the head is gone.
CASES: list[Case] = [
    (history, pair) for history in HISTORIES for pair in PAIRS if history != "head" or "expiry" not in pair
]


@contextmanager
def in_one_thread_each() -> Iterator[None]:
    """Let all calls of an actor come from its own thread."""
    with mock.patch.object(repair, "ThreadPoolExecutor", SynchronousExecutor):
        yield


class Trial:
    """The interleavings of *actors* in a storage with a *history*."""

    def __init__(self, history: str, actors: Sequence[str]) -> None:
        self._name = f"{history}, {actors}"
        self._actors = [ACTORS[name] for name in actors]
        self._initial = new_storage()
        post_profiles(self._initial, _MINUTES[history])
        self._wanted = {point[0] for point in list_data_points(self._initial, QUERIES[0])}
        HISTORIES[history](self._initial)
        self._is_index_lost = history == "lost index"
        self._restores_index = any("reindex" in name for name in actors)
        self._may_be_late = any("posts" in name for name in actors)
        self._final_states: set[object] = set()

    def run(self, schedule: Sequence[int]) -> list[Call]:
        """Run the actors in the order of *schedule*; check each state after it, and the repaired last state."""
        storage = copy_storage(self._initial)
        where = f"{self._name}, {list(schedule)}"

        def check(number: int, call: Call) -> None:
            if number >= len(schedule) and call.is_write:
                self._check(storage, f"{where}, call {number}")

        calls = interleave(storage, self._actors, schedule, check)
        self._check(storage, where, is_final=self._restores_index)
        state = _describe(storage)
        if state not in self._final_states:
            self._final_states.add(state)
            self._check_final(storage, where)
        return calls

    def _check(self, storage: Storage, where: str, *, is_final: bool = False) -> None:
        try:
            times = [point[0] for point in list_data_points(storage, QUERIES[0])]
        except BlockReplaced:
            raise AssertionError(f"a block of the index has no object: {where}") from None
        assert len(times) == len(set(times)), f"a profile counts twice: {where}"
        if is_final or not self._is_index_lost:
            assert self._wanted <= set(times), f"a profile is lost: {where}"
        assert len(times) <= len(self._wanted) + self._may_be_late, f"a profile was never posted: {where}"
        stored = list_block_keys(storage)
        blocks = storage.index.blocks("api", CPU, 0, LATEST)
        assert {block.id for block in blocks} <= set(stored), f"a block has no object: {where}"

    def _check_final(self, storage: Storage, where: str) -> None:
        run_reindex(storage)
        self._check(storage, f"{where}, reindex", is_final=True)
        assert {finding.state for finding in fsck(storage)} == {State.OK}, where
        compaction(60)(storage)
        self._check(storage, f"{where}, compaction", is_final=True)


def _describe(storage: Storage) -> object:
    """Return what the storage holds, apart from tasks, which no answer depends on."""
    assert isinstance(storage.bucket, MemoryBucket)
    assert isinstance(storage.index, MemoryIndex)
    return frozenset(storage.bucket._objects), frozenset(storage.index._entries), frozenset(storage.index._blocks)
