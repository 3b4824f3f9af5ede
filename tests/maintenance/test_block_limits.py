"""Blocks within limits of their own: what was accepted stays readable, whatever profiles become together."""

from dataclasses import replace

import pytest

from profbucket.errors import TooLarge, TooMany
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Action, Compactor
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Query
from profbucket.pprof.compression import inflate
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.canonical import Canonical, canonicalize
from tests.support.profiles import Sample, encode, profile, stack
from tests.support.storage.compaction_suite import ALL_TIME, CPU, HOUR, MIDNIGHT, count_actions

QUERY = Query("api", CPU, 0, LATEST)
SMALL = Limits(inflated_bytes=8_000, entries=500, sample_types=2, name_bytes=40)


def post(storage: Storage, count: int, step: int = 60 * SECOND) -> None:
    """Store profiles that have no stack in common."""
    collector = Collector(storage, storage.limits)
    for number in range(count):
        samples = [Sample(stack(f"request-{number}-{i}", "main"), (1, 10)) for i in range(40)]
        time_nanos = MIDNIGHT + number * step
        data = encode(profile(*samples, time_nanos=time_nanos, comments=(b"%d" % number,)))
        collector.collect("api", CPU, Labels.from_pairs([("pod", str(number % 3))]), data)


def merge_all(storage: Storage, limits: Limits) -> list[Canonical]:
    """Return the merges of everything, of one pod and of a part of an hour."""
    querier = Querier(storage, limits)
    part = replace(QUERY, start=MIDNIGHT + 90 * SECOND, end=MIDNIGHT + 3000 * SECOND)
    one_pod = replace(QUERY, matchers=parse_matchers("pod=1"))
    return [canonicalize(querier.merge(query).data) for query in (QUERY, one_pod, part)]


def new_storage(limits: Limits) -> Storage:
    return Storage(MemoryBucket(), MemoryIndex(), limits=limits)


def test_profiles_that_exceed_the_limits_of_one_profile_together_are_readable_from_blocks() -> None:
    storage = new_storage(SMALL)
    post(storage, 30, 300 * SECOND)
    expected = merge_all(storage, SMALL)
    compactor = Compactor(storage, limits=SMALL, clock=lambda: MIDNIGHT + 30 * HOUR)
    actions = count_actions(list(compactor.run()))
    assert (actions, compactor.failed) == ({Action.COMPACTED: 3, Action.MERGED: 1}, 0)
    [block] = storage.index.blocks("api", CPU, *ALL_TIME)
    merged = storage.bucket.get(block.id)[: block.ends[0]]
    with pytest.raises(TooLarge):
        inflate(merged, SMALL)
    assert merge_all(storage, SMALL) == expected


def test_blocks_are_readable_with_lower_limits_than_those_they_were_made_with() -> None:
    storage = new_storage(Limits())
    post(storage, 10)
    expected = merge_all(storage, Limits())
    list(Compactor(storage, clock=lambda: MIDNIGHT + 30 * HOUR).run())
    lowered = replace(SMALL, inflated_bytes=100, entries=10, sample_types=1, name_bytes=3)
    assert merge_all(Storage(storage.bucket, storage.index, limits=lowered), lowered) == expected


def test_a_merge_of_a_part_of_blocks_takes_no_more_memory_than_that_of_its_profiles() -> None:
    """The limit suffices for one pod, but not for everything, neither before compaction nor after it."""
    limits = Limits(merge_memory_bytes=250_000)
    storage = new_storage(limits)
    post(storage, 30, 300 * SECOND)
    querier = Querier(storage, limits)
    parts = [
        replace(QUERY, matchers=parse_matchers("pod=1")),
        replace(QUERY, end=MIDNIGHT + 3000 * SECOND),
        replace(QUERY, limit=3),
    ]
    expected = [canonicalize(querier.merge(query).data) for query in parts]
    for now in (MIDNIGHT, MIDNIGHT + 3 * HOUR, MIDNIGHT + 30 * HOUR):
        compactor = Compactor(storage, limits=limits, clock=lambda now=now: now)  # type: ignore[misc]
        list(compactor.run())
        assert compactor.failed == 0
        assert [canonicalize(querier.merge(query).data) for query in parts] == expected
        with pytest.raises(TooMany, match="PROFBUCKET_MAX_MERGE_MEMORY_BYTES"):
            querier.merge(QUERY)
    assert len(storage.index.blocks("api", CPU, *ALL_TIME)) == 1


def test_a_block_that_takes_too_much_memory_is_closed() -> None:
    limits = Limits(block_memory_bytes=40_000)
    storage = new_storage(limits)
    post(storage, 12)
    expected = merge_all(storage, limits)
    compactor = Compactor(storage, limits=limits, clock=lambda: MIDNIGHT + 2 * HOUR)
    assert count_actions(list(compactor.run()))[Action.COMPACTED] > 1
    assert compactor.failed == 0
    assert merge_all(storage, limits) == expected


def test_blocks_that_take_too_much_memory_together_stay_apart_and_are_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = Limits(block_memory_bytes=200_000)
    storage = new_storage(limits)
    post(storage, 40, 900 * SECOND)
    expected = merge_all(storage, limits)

    def run(now: int) -> dict[Action, int]:
        compactor = Compactor(storage, limits=limits, clock=lambda: now)
        actions = count_actions(list(compactor.run()))
        assert compactor.failed == 0
        return actions

    assert set(run(MIDNIGHT + 12 * HOUR)) == {Action.COMPACTED}
    assert run(MIDNIGHT + 30 * HOUR)[Action.MERGED] > 1
    assert len(storage.index.blocks("api", CPU, *ALL_TIME)) > 1
    assert merge_all(storage, limits) == expected
    with monkeypatch.context() as patch:
        patch.setattr(MemoryBucket, "get_many", None)  # reading a block again raises an error
        assert run(MIDNIGHT + 30 * HOUR) == {}
