"""Profiles and blocks that cannot be compacted stay, are logged, and do not stop the compaction of others."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.errors import TooLarge
from profbucket.limits import Limits
from profbucket.maintenance import head, merging
from profbucket.maintenance.compactor import Action, Compactor, Step
from profbucket.maintenance.findings import State
from profbucket.maintenance.read_back import read_back
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.blocks import Block, Members
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.pprof.block.content import BlockContent
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import Selection
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.storage.compaction_suite import (
    ALL_TIME,
    CPU,
    HOUR,
    MIDNIGHT,
    QUERIES,
    assert_same_answers,
    compact,
    copy_uncompacted,
    count_actions,
    merge_canonically,
    post_profiles,
)
from tests.support.storage.interleaving import copy_storage

TOMORROW = MIDNIGHT + 30 * HOUR


@pytest.fixture
def storage() -> Storage:
    return Storage(MemoryBucket(), MemoryIndex())


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Members], bool]], None]:
    """Let readers refuse the blocks whose members satisfy a condition."""

    def refuse_if(condition: Callable[[Members], bool]) -> None:
        def read_back_or_refuse(block: Block, data: bytes, limits: Limits) -> None:
            read_back(block, data, limits)
            if condition(BlockContent(block, data, limits).read_members()):
                raise TooLarge("the block is too large")

        for module in (head, merging):
            monkeypatch.setattr(module, "read_back", read_back_or_refuse)

    return refuse_if


def run(storage: Storage, now: int = TOMORROW) -> tuple[list[Step], int]:
    """Compact; return the steps and the number of errors."""
    compactor = Compactor(storage, clock=lambda: now)
    return list(compactor.run()), compactor.failed


def test_an_hour_that_is_too_large_for_its_readers_becomes_several_blocks(
    storage: Storage, refuse: Callable[[Callable[[Members], bool]], None]
) -> None:
    post_profiles(storage, range(0, 60, 6))
    uncompacted = copy_uncompacted(storage)
    refuse(lambda members: len(members) > 4)
    steps, failed = run(storage, MIDNIGHT + 2 * HOUR)
    assert failed == 0
    assert [step.profiles for step in steps] == [2, 3, 2, 3]
    assert_same_answers(storage, uncompacted)


def test_hours_that_are_too_large_together_stay_apart_and_are_not_tried_again(
    storage: Storage, refuse: Callable[[Callable[[Members], bool]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    post_profiles(storage, range(0, 300, 30))
    uncompacted = copy_uncompacted(storage)
    refuse(lambda members: len(members) > 4)
    run(storage, MIDNIGHT + 20 * HOUR)
    steps, failed = run(storage)
    assert failed == 0
    assert [step.profiles for step in steps] == [4, 4]
    assert_same_answers(storage, uncompacted)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryBucket, "get_many", None)  # reading a block again raises an error
        assert run(storage) == ([], 0)
    post_profiles(storage, [1])
    uncompacted = copy_uncompacted(storage)
    steps, failed = run(storage, TOMORROW + HOUR)
    assert (count_actions(steps), failed) == ({Action.COMPACTED: 1}, 0)
    assert_same_answers(storage, uncompacted)


def test_a_profile_that_no_reader_could_read_from_a_block_stays_in_the_head(
    storage: Storage,
    refuse: Callable[[Callable[[Members], bool]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    metas = post_profiles(storage, range(0, 60, 6))
    uncompacted = copy_uncompacted(storage)
    refuse(lambda members: metas[4].id in {meta.id for meta in members.metas()})
    steps, failed = run(storage)
    assert failed == 1
    assert sum(step.profiles for step in steps if step.action is Action.COMPACTED) == 9
    assert list(storage.index.find(Selection("api", CPU, *ALL_TIME))) == [metas[4]]
    error, summary = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert all(text in error.getMessage() for text in ("service api", "type cpu", metas[4].id))
    assert summary.getMessage() == "compaction of a lane failed"
    assert summary.__dict__["fields"] == {"service": "api", "type": "cpu", "code": "too_large"}
    assert_same_answers(storage, uncompacted)


def test_an_entry_that_does_not_match_its_id_is_not_compacted(storage: Storage) -> None:
    """Only the index is damaged; the bucket must not be changed by what it says."""
    metas = post_profiles(storage, range(0, 60, 10))
    storage.index.remove([metas[2].id, metas[3].id])
    storage.index.add(replace(metas[2], created_at=metas[2].created_at + SECOND))
    storage.index.add(replace(metas[3], labels=Labels.from_pairs([("v", "9")])))
    _, failed = run(storage)
    assert failed == 2
    assert {meta.id for meta in storage.index.find(Selection("api", CPU, *ALL_TIME))} == {metas[2].id, metas[3].id}


def test_an_object_that_is_damaged_is_not_compacted(storage: Storage) -> None:
    metas = post_profiles(storage, range(0, 60, 10))
    keys = [ProfileId.parse(meta.id).object_key for meta in metas]
    contents = [storage.bucket.get(key) for key in keys[:3]]
    for key, data in ((keys[0], contents[1]), (keys[1], contents[0]), (keys[2], contents[2][:-9])):
        metadata = storage.bucket.stat(key).metadata or {}
        storage.bucket.delete(key)
        storage.bucket.put(key, data, metadata)
    steps, failed = run(storage)
    assert failed == 3
    assert [step.profiles for step in steps] == [3]


@pytest.mark.parametrize("damage", ["member list", "merged", "cut", "metadata"])
def test_a_damaged_block_keeps_only_itself_from_being_merged(
    storage: Storage, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    post_profiles(storage, range(0, 300, 10))
    post_profiles(storage, range(0, 300, 10), service="web")
    compact(storage, MIDNIGHT + 20 * HOUR)
    damaged = storage.index.blocks("api", CPU, *ALL_TIME)[2]
    data, metadata = storage.bucket.get(damaged.id), dict(storage.bucket.stat(damaged.id).metadata or {})
    if damage == "member list":
        data = data[: damaged.ends[0]] + bytes(damaged.ends[1] - damaged.ends[0]) + data[damaged.ends[1] :]
    elif damage == "merged":
        data = bytes(damaged.ends[0]) + data[damaged.ends[0] :]
    elif damage == "cut":
        data = data[: damaged.ends[-1] // 2]
    else:
        metadata = {}
    storage.bucket.delete(damaged.id)
    storage.bucket.put(damaged.id, data, metadata)
    post_profiles(storage, [7, 77], service="other")
    _, failed = run(storage)
    assert bool(failed) == (damage != "metadata")
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert all(damaged.id in error for error in errors if error != "compaction of a lane failed")
    counts = [block.count for block in storage.index.blocks("api", CPU, *ALL_TIME)]
    assert sorted(counts) == ([30] if damage == "metadata" else [6, 24])
    assert [block.count for block in storage.index.blocks("web", CPU, *ALL_TIME)] == [30]
    assert [block.count for block in storage.index.blocks("other", CPU, *ALL_TIME)] == [2]


def test_a_failure_of_one_service_is_reported_after_all_others_were_compacted(
    storage: Storage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profbucket.storage.store.time.time_ns", lambda: MIDNIGHT)  # no profile is late
    list(Compactor(storage, clock=lambda: MIDNIGHT).run_due())  # the visit of the day
    for service in ("api", "bad", "web"):
        post_profiles(storage, range(0, 60, 10), service=service)

    class FailingIndex:
        def __getattr__(self, name: str) -> Any:
            return getattr(storage.index, name)

        def find(self, selection: Any) -> Any:
            if selection.service == "bad":
                raise TypeError("cannot unpack a damaged row")
            return storage.index.find(selection)

    failing = Storage(storage.bucket, FailingIndex())
    compactor = Compactor(failing, clock=lambda: MIDNIGHT + 2 * HOUR)
    app = create_app(Config("memory:"), Role.COMPACT, compactor=compactor)
    response = app.test_client().post("/")
    assert response.status_code == 500
    answer = response.get_json()
    assert (answer["error_code"], answer["body"]["compacted"], answer["body"]["failed"]) == (
        "compaction_failed",
        2,
        1,
    )
    error, summary = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "service bad" in error.getMessage()
    assert summary.__dict__["fields"] == {"service": "bad", "type": "cpu", "code": "internal"}
    healthy = create_app(Config("memory:"), Role.COMPACT, compactor=Compactor(storage, clock=lambda: MIDNIGHT))
    answer = healthy.test_client().post("/").get_json()
    assert (answer["code"], answer["body"]["failed"]) == (200, 0)
    assert_same_answers(storage, copy_uncompacted(storage), QUERIES[:2])


def expire_profiles(storage: Storage) -> None:
    for obj in list(storage.bucket.list("api/", "api0")):
        storage.bucket.delete(obj.key)


def test_blocks_survive_a_compaction_after_the_index_was_lost(storage: Storage) -> None:
    """A collector goes on with an empty index, and compacts before reindex runs."""
    post_profiles(storage, range(0, 180, 30))
    uncompacted = copy_uncompacted(storage)
    compact(storage, MIDNIGHT + 4 * HOUR)
    expire_profiles(storage)
    lost = Storage(storage.bucket, MemoryIndex())
    post_profiles(lost, [400])
    post_profiles(uncompacted, [400])
    assert count_actions(compact(lost, MIDNIGHT + 9 * HOUR)) == {Action.COMPACTED: 1}
    list(reindex(lost))
    assert_same_answers(lost, uncompacted)


def test_a_profile_posted_and_compacted_again_does_not_hide_the_block_that_it_was_in(storage: Storage) -> None:
    post_profiles(storage, range(0, 60, 10))
    uncompacted = copy_uncompacted(storage)
    compact(storage, MIDNIGHT + 2 * HOUR)
    expire_profiles(storage)
    lost = Storage(storage.bucket, MemoryIndex())
    post_profiles(lost, [10])
    compact(lost, MIDNIGHT + 3 * HOUR)
    expire_profiles(storage)
    compact(lost, MIDNIGHT + 9 * HOUR)
    list(reindex(lost))
    assert_same_answers(lost, uncompacted)
    assert [block.count for block in lost.index.blocks("api", CPU, *ALL_TIME)] == [6]


def test_an_entry_without_object_does_not_hide_the_block_that_has_the_profile(storage: Storage) -> None:
    """The index was lost, and a profile was posted again and expired, before reindex runs."""
    post_profiles(storage, range(0, 60, 30))
    uncompacted = copy_uncompacted(storage)
    compact(storage, MIDNIGHT + 2 * HOUR)
    lost = Storage(storage.bucket, MemoryIndex())
    post_profiles(lost, range(0, 60, 30))
    expire_profiles(storage)
    list(reindex(lost))
    assert_same_answers(lost, uncompacted)
    assert {finding.state for finding in fsck(lost)} == {State.OK}


def test_a_block_that_was_not_committed_stays_out_of_the_index_while_its_members_are_in_a_batch(
    storage: Storage,
) -> None:
    collected = Storage(MemoryBucket(), MemoryIndex())
    metas = post_profiles(collected, (0, 1))
    storage.write_batch([(meta, collected.read(ProfileId.parse(meta.id))) for meta in metas])
    elsewhere = Storage(storage.bucket, copy_storage(storage).index)
    compact(elsewhere, MIDNIGHT + 2 * HOUR)
    list(reindex(storage))
    assert storage.index.blocks("api", CPU, *ALL_TIME) == []
    assert_same_answers(storage, copy_uncompacted(collected))


class InterruptedIndex:
    """An index that calls *interrupt* once, before the first commit."""

    def __init__(self, index: Any, interrupt: Callable[[], None]) -> None:
        self._index, self._interrupts = index, [interrupt]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def commit(self, *args: Any) -> Any:
        while self._interrupts:
            self._interrupts.pop()()
        return self._index.commit(*args)


def test_a_compaction_whose_clock_is_ahead_leaves_the_uncommitted_block_of_another(storage: Storage) -> None:
    post_profiles(storage, range(0, 60, 10))
    uncompacted = copy_uncompacted(storage)

    def sweep() -> None:
        entries = list(storage.index.find(Selection("api", CPU, *ALL_TIME)))
        storage.index.remove([meta.id for meta in entries])  # so that there is nothing else to do
        assert list(Compactor(storage, clock=lambda: MIDNIGHT + 99 * HOUR).run(service="api")) == []
        for meta in entries:
            storage.index.add(meta)

    interrupted = Storage(storage.bucket, InterruptedIndex(storage.index, sweep))
    compact(interrupted, MIDNIGHT + 2 * HOUR)
    assert_same_answers(storage, uncompacted)


def test_profiles_that_another_run_compacted_and_that_were_posted_again_count_once(storage: Storage) -> None:
    post_profiles(storage, range(0, 60, 10))
    uncompacted = copy_uncompacted(storage)

    def compact_and_post_again() -> None:
        compact(storage, MIDNIGHT + 3 * HOUR)
        post_profiles(storage, range(0, 60, 10))

    compact(Storage(storage.bucket, InterruptedIndex(storage.index, compact_and_post_again)), MIDNIGHT + 2 * HOUR)
    assert_same_answers(storage, uncompacted)


def test_a_block_whose_members_are_unknown_is_not_joined_by_those_it_was_made_of(storage: Storage) -> None:
    """The objects of the blocks that it replaced still exist; its merged part can be read, and counts."""
    post_profiles(storage, range(0, 180, 30))
    compact(storage, MIDNIGHT + 20 * HOUR)
    compact(storage, TOMORROW)
    expire_profiles(storage)
    expected = merge_canonically(storage, QUERIES[0])
    [day] = storage.index.blocks("api", CPU, *ALL_TIME)
    data, metadata = storage.bucket.get(day.id), dict(storage.bucket.stat(day.id).metadata or {})
    storage.bucket.delete(day.id)
    damaged = data[: day.ends[0]] + bytes(day.ends[1] - day.ends[0]) + data[day.ends[1] :]
    storage.bucket.put(day.id, damaged, metadata)
    for _ in range(2):
        list(reindex(storage))
        assert storage.index.blocks("api", CPU, *ALL_TIME) == [day]
        assert merge_canonically(storage, QUERIES[0]) == expected
        run(storage, TOMORROW)
