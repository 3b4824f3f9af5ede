"""Small histories of a storage, and what may happen to it at the same time."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance import repair
from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.findings import State
from profbucket.maintenance.head import compact_head
from profbucket.maintenance.lane import JointCompaction
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import ProfileId, profile_prefix
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from profbucket.periods import CompactionPolicy
from profbucket.pprof import decode
from profbucket.query.querier import Querier
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
    make_cpu_profile,
    post_profiles,
)
from tests.support.storage.interleaving import Actor, Graph, Node, SynchronousExecutor, copy_storage

HEAP = ProfileType.HEAP

_PROFILES = 2  # of each history
# Minutes since midnight: the first is in all histories, the other in none.
_POSTED_AGAIN = (0, 20)
_BATCH = (0, 1)


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


def post_batch(storage: Storage) -> None:
    """Post a batch: a profile again that may have been compacted, and one for the first time that is late."""
    collected = new_storage()
    metas = post_profiles(collected, _BATCH)
    storage.write_batch([(meta, collected.read(ProfileId.parse(meta.id))) for meta in metas])


def post_batch_of_two_types(storage: Storage) -> None:
    """Post a batch of three profiles, of which the last is of another type."""
    uploads = [
        Upload("api", profile_type, Labels.from_pairs([("v", str(minute))]), make_cpu_profile(minute))
        for minute, profile_type in enumerate((CPU, CPU, HEAP))
    ]
    Collector(storage).store_batch(uploads)


def compact_together(storage: Storage) -> None:
    """Compact hours, those of all types together."""
    joint = JointCompaction(storage, "api", Limits(), CompactionPolicy(), lambda: MIDNIGHT + 5 * HOUR)
    deque(compact_head(joint, 0, LATEST), 0)


def compact_and_post_again(storage: Storage) -> None:
    compaction(6)(storage)
    post_again(storage)


def expire(storage: Storage) -> None:
    """Delete the objects of profiles, as the bucket's lifecycle rule does long after they were compacted."""
    for obj in list(list_prefix(storage.bucket, profile_prefix("api"))):
        storage.bucket.delete(obj.key)


def find(storage: Storage) -> None:
    """Find each profile once, whatever changes meanwhile."""
    ids = [meta.id for meta in Querier(storage).find(QUERIES[0]).profiles]
    assert len(ids) == len(set(ids)), f"a profile is found twice: {ids}"
    assert len(ids) >= _PROFILES, f"a profile is not found: {ids}"


def merge(storage: Storage) -> None:
    """Merge each profile once, whatever changes meanwhile."""
    counts = _count_calls(Querier(storage).merge(QUERIES[0]).data)
    numbers = [int(name.removeprefix("own-")) for name in counts if name.startswith("own-")]
    assert len(numbers) >= _PROFILES, f"a profile is not merged: {numbers}"
    wanted = {"all": len(numbers), **{f"own-{number}": number + 1 for number in numbers}}
    assert {name: counts[name] for name in wanted} == wanted, "a profile is merged twice, or in part"


def _count_calls(data: bytes) -> Counter[str]:
    """Return how many samples have each function in their stacks."""
    message = decode(data).message
    names = {function.id: message.string_table[function.name].decode() for function in message.function}
    functions = {location.id: names[location.line[0].function_id] for location in message.location}
    counts: Counter[str] = Counter()
    for sample in message.sample:
        for location in sample.location_id:
            counts[functions[location]] += sample.value[0]
    return counts


ACTORS: dict[str, Actor] = {
    "hours": compaction(5),
    "day": compaction(30),
    "day, clock ahead": compaction(54),
    "reindex": run_reindex,
    "reindex, day": reindex_and_compact,
    "fsck": run_fsck,
    "posts": post_again,
    "hours, posts": compact_and_post_again,
    "hours together": compact_together,
    "batch": post_batch,
    "expiry": expire,
    "find": find,
    "merge": merge,
}
READERS = ("find", "merge")
WRITERS = tuple(name for name in ACTORS if name not in READERS)

HISTORIES: dict[str, Callable[[Storage], None]] = {
    "head": lambda _: None,
    "hours": compaction(5),
    "replaced hours": compact_twice,
    "lost index": lose_index,
    "batch of two types": lambda _: None,
}

_MINUTES = {
    "head": (0, 10),
    "hours": (0, 80),
    "replaced hours": (0, 80),
    "lost index": (0, 80),
    "batch of two types": (),
}  # of the profiles, since midnight

PAIRS = [
    (first, second)
    for first in WRITERS
    for second in WRITERS
    if second != "hours together"
    and ((first in ("hours", "day", "reindex") and second != "fsck") or (first, second) == ("fsck", "day"))
]
_PAIRS_TOGETHER = [
    (first, "hours together")
    for first in ("hours", "hours together", "reindex", "fsck", "posts", "batch", "find", "merge")
]

Case = tuple[str, tuple[str, ...]]  # a history and actors


def is_possible(history: str, actors: Sequence[str]) -> bool:
    """Return whether no profile is gone when *actors* begin: one that expires in the head is, and a lost index."""
    impossible = {"head": ["expiry"], "batch of two types": ["expiry"], "lost index": READERS}.get(history, ())
    return not set(impossible) & set(actors)


CASES: list[Case] = [
    (history, actors)
    for history in HISTORIES
    for actors in (
        _PAIRS_TOGETHER
        if history == "batch of two types"
        else (*PAIRS, *((reader, writer) for reader in READERS for writer in WRITERS))
    )
    if is_possible(history, actors)
]


@contextmanager
def replayable() -> Iterator[None]:
    """Let actors make the same calls each time: from their own threads, and at one time after all compactions."""
    with (
        mock.patch("time.time_ns", return_value=MIDNIGHT + 60 * HOUR),
        mock.patch.object(repair, "ThreadPoolExecutor", SynchronousExecutor),
        mock.patch("profbucket.maintenance.compactor.random.shuffle"),  # of lanes
    ):
        yield


class Count(NamedTuple):
    """The number of interleavings, and that of the states that they lead to."""

    states: int
    interleavings: int


class Trial:
    """The interleavings of *actors* in a storage with a *history*. Each state of the storage is checked once."""

    def __init__(self, history: str, actors: Sequence[str]) -> None:
        self._name = f"{history}, {actors}"
        initial = new_storage()
        post_profiles(initial, _MINUTES[history])
        if history == "batch of two types":
            post_batch_of_two_types(initial)
        self._wanted = set(_list_times(initial))
        HISTORIES[history](initial)
        self._graph = Graph(initial, [ACTORS[name] for name in actors])
        self._is_index_lost = history == "lost index"
        self._may_be_late = any("posts" in name for name in actors) + ("batch" in actors)
        self._restores_index = any("reindex" in name for name in actors)
        self._checked: set[object] = set()

    def explore(self, max_states: int | None = None) -> Count | None:
        """Check the states of all interleavings; return their numbers, or ``None`` if there are more states."""
        states = interleavings = 0
        for node in self._graph.explore():
            self._check_node(node)
            states += 1
            if states == max_states:
                return None
            interleavings += node.interleavings if node.is_final else 0
        return Count(states, interleavings)

    def run(self, schedule: Sequence[int]) -> None:
        """Check the states of an interleaving that starts in the order of *schedule*."""
        for node in self._graph.walk(schedule):
            self._check_node(node)

    def _check_node(self, node: Node) -> None:
        content = _describe(node.snapshot.storage), node.is_final
        errors = [process.error for process in node.processes if process.error]
        if content in self._checked and not errors:
            return
        where = f"{self._name}, {node.schedule}"
        if errors:
            raise AssertionError(f"an error: {where}") from errors[0]
        self._check(node.snapshot.storage, where, is_final=node.is_final and self._restores_index)
        if node.is_final:
            self._check_final(copy_storage(node.snapshot.storage), where)
        self._checked.add(content)

    def _check(self, storage: Storage, where: str, *, is_final: bool = False) -> None:
        try:
            times = _list_times(storage)
        except BlockReplaced:
            raise AssertionError(f"a block of the index has no object: {where}") from None
        assert len(times) == len(set(times)), f"a profile counts twice: {where}"
        if is_final or not self._is_index_lost:
            assert self._wanted <= set(times), f"a profile is lost: {where}"
        assert len(times) <= len(self._wanted) + self._may_be_late, f"a profile was never posted: {where}"
        stored = list_block_keys(storage)
        blocks = storage.index.blocks("api", None, 0, LATEST)
        assert {block.id for block in blocks} <= set(stored), f"a block has no object: {where}"

    def _check_final(self, storage: Storage, where: str) -> None:
        run_reindex(storage)
        self._check(storage, f"{where}, reindex", is_final=True)
        assert {finding.state for finding in fsck(storage)} == {State.OK}, where
        compaction(60)(storage)
        self._check(storage, f"{where}, compaction", is_final=True)


def _list_times(storage: Storage) -> list[int]:
    """Return the time of each profile, which no two share."""
    queries = (QUERIES[0], replace(QUERIES[0], type=HEAP))
    return [point[0] for query in queries for point in list_data_points(storage, query)]


def _describe(storage: Storage) -> object:
    """Return what the storage holds, apart from tasks, which no answer depends on."""
    assert isinstance(storage.bucket, MemoryBucket)
    assert isinstance(storage.index, MemoryIndex)
    return frozenset(storage.bucket._objects), frozenset(storage.index._entries), frozenset(storage.index._blocks)
