"""Compaction of all profile types of a service together, because they are stored in the same batches."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from profbucket.errors import Unavailable
from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Action, Compactor
from profbucket.model.ids import block_prefix
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import Task
from profbucket.model.upload import Upload
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import Change, CommitTooLarge, ObjectRange, Selection
from profbucket.storage.sources import range_of_profile
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.api import TRACE
from tests.support.storage.batch_suite import CPU, HEAP, upload
from tests.support.storage.compaction_suite import (
    ALL_TIME,
    HOUR,
    MIDNIGHT,
    UncompactedStorage,
    assert_same_answers,
    copy_uncompacted,
    count_actions,
    run_due,
)
from tests.support.storage.damage_suite import flip_bit, overwrite

WALL = ProfileType.WALL
TYPES = (CPU, HEAP, WALL)
QUERIES = [Query("api", profile_type, *ALL_TIME) for profile_type in TYPES]
DUE = MIDNIGHT + HOUR + 600 * SECOND
ALL_OF_THE_HOUR = Task("api", None, 3600, MIDNIGHT, DUE)


@pytest.fixture(autouse=True)
def start(set_clock: Callable[[int], None]) -> None:
    """Let profiles arrive at first so that they are not late."""
    set_clock(MIDNIGHT)


@pytest.fixture
def storage() -> Storage:
    """A storage whose first daily visit is over."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    assert run_due(storage, MIDNIGHT) == []
    return storage


class Index(MemoryIndex):
    """An index that shares the entries of *index*, and keeps the changes of each commit."""

    def __init__(self, index: Any, *, max_members: int = MemoryIndex.max_members) -> None:
        vars(self).update(vars(index))
        self.max_members = max_members
        self.commits: list[Sequence[Change]] = []

    def commit(self, *changes: Change) -> bool:
        self.commits.append(changes)
        return super().commit(*changes)


class Bucket:
    """A bucket that calls *put* before its own, and keeps the ranges that were read."""

    def __init__(self, bucket: Any, put: Callable[[str], None] = lambda _: None) -> None:
        self._bucket, self._put = bucket, put
        self.ranges: list[ObjectRange] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def put(self, object_key: str, *arguments: Any) -> Any:
        self._put(object_key)
        return self._bucket.put(object_key, *arguments)

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        self.ranges += ranges
        yield from self._bucket.get_many(ranges)


def store_batches(storage: Storage, seconds: Sequence[int], types: Sequence[ProfileType] = TYPES) -> list[Meta]:
    """Store a batch of all *types* at each of the *seconds* since midnight."""
    metas = []
    for second in seconds:
        metas += store(storage, [upload(second, profile_type) for profile_type in types])
    return metas


def store(storage: Storage, uploads: Sequence[Upload]) -> list[Meta]:
    outcomes = Collector(storage).store_batch(uploads)
    return [outcome for outcome in outcomes if isinstance(outcome, Meta)]


def head(storage: Storage) -> list[Meta]:
    return list(storage.index.find(Selection("api", None, *ALL_TIME)))


def count_blocks(storage: Storage) -> dict[ProfileType, int]:
    return dict(Counter(block.type for block in storage.index.blocks("api", None, *ALL_TIME)))


def check(storage: Storage, uncompacted: UncompactedStorage) -> None:
    assert_same_answers(storage, uncompacted, QUERIES)


def test_batches_of_several_types_have_one_task_and_one_commit_an_hour(storage: Storage) -> None:
    store_batches(storage, range(0, 3600, 60))
    uncompacted = copy_uncompacted(storage)
    assert ALL_OF_THE_HOUR in storage.index.due_tasks(DUE, 100)
    assert len(storage.index.due_tasks(LATEST - 1, 100)) == 1
    index = Index(storage.index)
    assert run_due(Storage(storage.bucket, index), DUE - 1) == []
    steps = run_due(Storage(storage.bucket, index), DUE)
    assert count_actions(steps) == {Action.COMPACTED: 3}
    assert [step.with_next for step in steps] == [True, True, False]
    assert [len(changes) for changes in index.commits] == [3]
    assert head(storage) == []
    check(storage, uncompacted)
    merges = storage.index.due_tasks(LATEST - 1, 100)
    assert {(task.type, task.period) for task in merges} == {(profile_type, 86400) for profile_type in TYPES}


@pytest.mark.parametrize("max_bytes", [64 << 20, 10])
def test_a_batch_is_read_once_for_all_types_if_memory_allows(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, max_bytes: int
) -> None:
    monkeypatch.setattr("profbucket.maintenance.chunks._MAX_BYTES", max_bytes)
    store_batches(storage, range(0, 3600, 600))
    store(storage, [upload(60)])
    uncompacted = copy_uncompacted(storage)
    bucket = Bucket(storage.bucket)
    assert count_actions(run_due(Storage(bucket, storage.index), DUE)) == {Action.COMPACTED: 3}
    assert len(bucket.ranges) == (6 if max_bytes > 10 else 18) + 1
    check(storage, uncompacted)


def test_batches_of_one_type_and_single_posts_have_a_task_of_their_lane(storage: Storage) -> None:
    store(storage, [upload(second) for second in range(3)])
    store(storage, [upload(0, HEAP)])
    assert {task.type for task in storage.index.due_tasks(LATEST - 1, 100)} == {CPU, HEAP}


def test_single_posts_are_compacted_with_the_batches_of_their_hour(storage: Storage) -> None:
    store_batches(storage, range(0, 3600, 600))
    for second in range(60, 3600, 600):
        for profile_type in (CPU, ProfileType.MUTEX):
            store(storage, [upload(second, profile_type)])
    store(storage, [Upload("api", ProfileType.TRACE, upload(0).labels, TRACE, MIDNIGHT)])
    uncompacted = copy_uncompacted(storage)
    index = Index(storage.index)
    assert count_actions(run_due(Storage(storage.bucket, index), DUE)) == {Action.COMPACTED: 4}
    assert [len(changes) for changes in index.commits] == [4]
    assert [meta.type for meta in head(storage)] == [ProfileType.TRACE]
    assert count_blocks(storage) == dict.fromkeys([*TYPES, ProfileType.MUTEX], 1)
    assert [task for task in storage.index.due_tasks(DUE, 100) if task.type] == []
    check(storage, uncompacted)


@pytest.mark.parametrize("is_too_large", [False, True])
def test_a_refused_commit_is_repeated_for_each_block(storage: Storage, is_too_large: bool) -> None:
    class RefusingIndex(Index):
        def commit(self, *changes: Change) -> bool:
            if len(changes) == 1:
                return super().commit(*changes)
            if is_too_large:
                raise CommitTooLarge("too large")
            return False

    store_batches(storage, range(0, 3600, 600))
    uncompacted = copy_uncompacted(storage)
    index = RefusingIndex(storage.index)
    assert count_actions(run_due(Storage(storage.bucket, index), DUE)) == {Action.COMPACTED: 3}
    assert [len(changes) for changes in index.commits] == [1, 1, 1]
    assert head(storage) == []
    check(storage, uncompacted)


def test_a_commit_whose_answer_was_lost_counts(storage: Storage) -> None:
    class SilentIndex(Index):
        def commit(self, *changes: Change) -> bool:
            return super().commit(*changes) and len(self.commits) > 1

    store_batches(storage, range(0, 3600, 600))
    uncompacted = copy_uncompacted(storage)
    assert count_actions(run_due(Storage(storage.bucket, SilentIndex(storage.index)), DUE)) == {
        Action.COMPACTED: 3
    }
    check(storage, uncompacted)


def test_of_two_runs_each_profile_is_in_the_blocks_of_one(storage: Storage) -> None:
    class OvertakenIndex(Index):
        def commit(self, *changes: Change) -> bool:
            if not self.commits:
                lane_by_lane = Compactor(storage, clock=lambda: DUE + 1).run()
                assert {step.action for step in lane_by_lane} == {Action.COMPACTED}
            return super().commit(*changes)

    store_batches(storage, range(0, 3600, 600))
    uncompacted = copy_uncompacted(storage)
    steps = run_due(Storage(storage.bucket, OvertakenIndex(storage.index)), DUE)
    assert count_actions(steps) == {Action.CONFLICT: 3}
    assert ALL_OF_THE_HOUR in storage.index.due_tasks(DUE, 100)
    assert run_due(storage, DUE) == []
    check(storage, uncompacted)


def test_a_batch_that_reaches_into_the_next_hour_is_compacted_in_both(storage: Storage) -> None:
    store(storage, [upload(second, profile_type) for second in (3570, 3630) for profile_type in TYPES])
    store_batches(storage, [0, 7000])
    uncompacted = copy_uncompacted(storage)
    assert count_actions(run_due(storage, DUE)) == {Action.COMPACTED: 3}
    assert sorted({meta.created_at for meta in head(storage)}) == [MIDNIGHT + n * SECOND for n in (3630, 7000)]
    check(storage, uncompacted)
    assert count_actions(run_due(storage, DUE + HOUR)) == {Action.COMPACTED: 3}
    assert head(storage) == []
    check(storage, uncompacted)


def test_a_type_that_fails_does_not_hold_the_others(storage: Storage) -> None:
    """Nor in the lists that follow: the index returns the entries of the hour in several."""
    store_batches(storage, range(0, 3600, 60))
    uncompacted = copy_uncompacted(storage)
    puts: Counter[ProfileType] = Counter()

    def put(object_key: str) -> None:
        [profile_type] = [name for name in TYPES if object_key.startswith(block_prefix("api", name))]
        puts[profile_type] += 1
        if profile_type == HEAP:
            raise Unavailable("no answer")

    failing = Storage(Bucket(storage.bucket, put), Index(storage.index, max_members=7))
    compactor = Compactor(failing, clock=lambda: DUE)
    steps = list(compactor.run_due())
    assert {step.action for step in steps} == {Action.COMPACTED}
    assert {meta.type for meta in head(storage)} == {HEAP}
    assert len(head(storage)) == 60
    assert puts[HEAP] == 1
    assert (compactor.failed, compactor.oldest_head_seconds) == (1, 4200)
    check(storage, uncompacted)
    assert count_actions(run_due(storage, DUE)) == {Action.COMPACTED: 1}
    assert head(storage) == []
    check(storage, uncompacted)


def test_a_damaged_member_stays_in_the_head(storage: Storage) -> None:
    metas = store_batches(storage, range(0, 3600, 600))
    damaged = next(meta for meta in head(storage) if meta.type == HEAP)
    key, begin, _ = range_of_profile(damaged)
    data = storage.bucket.get(key)
    overwrite(
        storage, key, data[:begin] + flip_bit(data[begin : begin + damaged.size]) + data[begin + damaged.size :]
    )
    compactor = Compactor(storage, clock=lambda: DUE)
    assert count_actions(list(compactor.run_due())) == {Action.COMPACTED: 3}
    assert compactor.failed == 1
    assert head(storage) == [damaged]
    assert {block.type: block.count for block in storage.index.blocks("api", None, *ALL_TIME)} == {
        CPU: 6,
        HEAP: 5,
        WALL: 6,
    }
    assert len(metas) == 18


def test_a_commit_has_whole_batches_and_as_many_as_the_index_removes_at_once(storage: Storage) -> None:
    """So that the index need not write a batch again."""
    store_batches(storage, range(0, 3600, 60))
    uncompacted = copy_uncompacted(storage)
    batch_of = {meta.id: meta.part.name for meta in head(storage) if meta.part}
    sizes = Counter(batch_of.values())
    index = Index(storage.index, max_members=12)
    run_due(Storage(storage.bucket, index), DUE)
    assert head(storage) == []
    assert [change.block.count for changes in index.commits for change in changes if change.block] == [10] * 18
    for changes in index.commits:
        batches = Counter(batch_of[profile_id] for change in changes for profile_id in change.members)
        assert all(sizes[name] == count for name, count in batches.items())
    check(storage, uncompacted)


def test_blocks_that_hold_few_profiles_are_committed_together_until_all_are_in_one(storage: Storage) -> None:
    store_batches(storage, range(0, 3600, 60))
    uncompacted = copy_uncompacted(storage)
    limits = storage.limits.__class__(block_members=16)
    index = Index(storage.index)
    run_due(Storage(storage.bucket, index), DUE, limits=limits)
    assert head(storage) == []
    assert all(change.block.count <= 16 for changes in index.commits for change in changes if change.block)
    check(storage, uncompacted)


def test_a_run_that_is_out_of_time_reports_what_it_has_committed(storage: Storage) -> None:
    store_batches(storage, range(0, 3600, 60))
    uncompacted = copy_uncompacted(storage)
    limited = Storage(storage.bucket, Index(storage.index, max_members=12))
    seconds = 0
    compactor = Compactor(limited, clock=lambda: DUE, timer=lambda: seconds)
    for step in compactor.run_due(60):
        assert step.action is Action.COMPACTED
        seconds = 60
    assert count_blocks(storage) == dict.fromkeys(TYPES, 1)
    assert (compactor.complete, compactor.oldest_head_seconds) == (False, 4200)
    check(storage, uncompacted)
    assert len(run_due(limited, DUE)) == 15
    assert head(storage) == []
    check(storage, uncompacted)


class Killed(BaseException):
    """The end of a process, which nothing handles."""


def test_blocks_are_merged_though_their_run_was_killed_after_the_commit(storage: Storage) -> None:
    class KillingIndex(Index):
        def commit(self, *changes: Change) -> bool:
            assert super().commit(*changes)
            raise Killed

    store_batches(storage, range(0, 3600, 600))
    with pytest.raises(Killed):
        run_due(Storage(storage.bucket, KillingIndex(storage.index)), DUE)
    assert head(storage) == []
    assert run_due(storage, DUE + HOUR) == []
    merges = [task for task in storage.index.due_tasks(LATEST - 1, 100) if task.period == 86400]
    assert {task.type for task in merges} == set(TYPES)


def test_profiles_that_are_posted_again_count_once(storage: Storage, set_clock: Callable[[int], None]) -> None:
    store_batches(storage, range(0, 3600, 600))
    uncompacted = copy_uncompacted(storage)
    assert count_actions(run_due(storage, DUE)) == {Action.COMPACTED: 3}
    set_clock(DUE)
    store_batches(storage, [0, 600, 1200], (CPU, HEAP))
    store_batches(storage, [60])
    store_batches(uncompacted, [60])
    steps = run_due(storage, DUE + HOUR)
    assert count_actions(steps) == {Action.DEDUPLICATED: 2, Action.COMPACTED: 3}
    assert head(storage) == []
    check(storage, uncompacted)
    set_clock(DUE + HOUR)
    store_batches(storage, [0, 60])
    assert count_actions(run_due(storage, DUE + 2 * HOUR)) == {Action.DEDUPLICATED: 3}
    assert head(storage) == []
    check(storage, uncompacted)
