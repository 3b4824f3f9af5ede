"""Batches of uploads: the valid profiles are stored as if each were posted alone."""

import gc
import gzip
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from profbucket.errors import ProfbucketError, Unavailable
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind
from profbucket.model.upload import Upload
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import LATEST
from tests.support.api import NOW, TRACE, pprof
from tests.support.storage.examples import ALL_TIME

CPU, HEAP = ProfileType.CPU, ProfileType.HEAP
POD = Labels.parse("pod=1")
UPLOADS = [
    Upload("api", CPU, POD, pprof(1, at=NOW)),
    Upload("api", CPU, POD, b"not a profile"),
    Upload("web", HEAP, POD, pprof(2), created_at=NOW + 1),
    Upload("", CPU, POD, pprof(3)),
    Upload("api", HEAP, POD, pprof(4, at=NOW + 2), kinds={"cpu": Kind.SUM}),
    Upload("api", ProfileType.TRACE, POD, TRACE),
    Upload("api", CPU, POD, pprof(1, at=NOW)),  # again
]


class FailingStorage(Storage):
    """Fails to store the profiles of one service."""

    def write_batch(self, profiles: Sequence[tuple[Meta, bytes]]) -> None:
        if profiles[0][0].service == "api":
            raise Unavailable("no network")
        super().write_batch(profiles)


def new_storage() -> Storage:
    return Storage(MemoryBucket(), MemoryIndex())


def describe(outcomes: Sequence[Meta | ProfbucketError]) -> list[str]:
    """Return the id or the error code of each outcome."""
    return [outcome.id if isinstance(outcome, Meta) else outcome.code for outcome in outcomes]


def test_each_profile_has_the_outcome_that_it_has_alone() -> None:
    storage = new_storage()
    outcomes = Collector(storage, clock=lambda: NOW).store_batch(UPLOADS)
    alone: list[Meta | ProfbucketError] = []
    collector = Collector(new_storage(), clock=lambda: NOW)
    for item in UPLOADS:
        try:
            alone.append(
                collector.collect(
                    item.service, item.type, item.labels, item.data, item.created_at, kinds=item.kinds
                )
            )
        except ProfbucketError as error:
            alone.append(error)
    assert describe(outcomes) == describe(alone)
    assert describe(outcomes)[1] != describe(outcomes)[3] == "missing_parameter"
    for service in ("api", "web"):
        metas = {meta.id: meta for meta in outcomes if isinstance(meta, Meta) and meta.service == service}
        found = list(storage.lookup.find(Query(service, None, *ALL_TIME)))
        assert found == sorted(metas.values(), key=lambda meta: meta.position)
    for item, outcome in zip(UPLOADS, outcomes, strict=True):
        if isinstance(outcome, Meta):
            assert storage.read(ProfileId.parse(outcome.id)) == item.data


def test_an_error_of_the_storage_is_that_of_all_profiles_of_the_service() -> None:
    outcomes = Collector(FailingStorage(MemoryBucket(), MemoryIndex()), clock=lambda: NOW).store_batch(UPLOADS)
    codes = ["unavailable", describe(outcomes)[1], "missing_parameter", "unavailable"]
    assert [outcome.code for outcome in outcomes if isinstance(outcome, ProfbucketError)] == [
        *codes,
        *codes[:1] * 2,
    ]
    assert [outcome.service for outcome in outcomes if isinstance(outcome, Meta)] == ["web"]


@pytest.mark.parametrize(
    ("seconds", "stored"), [(0, []), (2, []), (5, ["a"]), (6, ["a", "b"]), (8, ["a", "b", "c"])]
)
def test_what_is_not_stored_in_time_can_be_sent_again(seconds: int, stored: Sequence[str]) -> None:
    """The timer is read at the start, before each of four checks, and before each of three writes."""
    storage, services = new_storage(), ["a", "b", "c"]
    uploads = [Upload(service, CPU, POD, pprof(1, at=NOW)) for service in services]
    uploads.insert(1, UPLOADS[1])  # is not valid
    collector = Collector(storage, Limits(batch_seconds=seconds), timer=count(1).__next__)
    outcomes = collector.store_batch(uploads, has_deadline=True)
    assert storage.index.services() == stored
    assert [outcome.service for outcome in outcomes if isinstance(outcome, Meta)] == stored
    timeouts = [outcome.code for outcome in outcomes if isinstance(outcome, Unavailable)]
    assert set(timeouts) <= {"max_batch_seconds_exceeded"}
    Collector(storage).store_batch(uploads)
    assert storage.index.services() == services
    for service in services:
        assert len(list(storage.lookup.find(_all_of(service)))) == 1


class FailingCalls:
    """Passes calls on to *target* and fails instead, or behind it, with the call *failing* of those that write."""

    _WRITES = ("put", "add", "add_batch", "add_task", "add_series")

    def __init__(self, target: object, calls: Iterator[int], failing: int, *, is_lost: bool) -> None:
        self._target, self._calls, self._failing, self._is_lost = target, calls, failing, is_lost

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._target, name)
        if name not in self._WRITES:
            return call

        def fail(*arguments: Any) -> Any:
            is_failing = next(self._calls) == self._failing
            result = None if is_failing and not self._is_lost else call(*arguments)
            if is_failing:
                raise Unavailable("no disk")
            return result

        return fail


@pytest.mark.parametrize("is_lost", [False, True])
def test_whichever_write_fails_a_retry_stores_each_profile_once(is_lost: bool) -> None:
    """*is_lost* is whether the write happens and its answer is lost."""
    uploads = [
        Upload(service, profile_type, Labels.parse(f"pod={pod}"), pprof(pod + 1, at=NOW + pod))
        for service in ("api", "web", "db")
        for profile_type in (CPU, HEAP)
        for pod in range(2 if service != "db" else 1)
    ]
    expected = describe(Collector(new_storage()).store_batch(uploads))
    calls_without_failure = 0
    for failing in count():
        bucket, index, calls = MemoryBucket(), MemoryIndex(), count()
        flaky: list[Any] = [FailingCalls(target, calls, failing, is_lost=is_lost) for target in (bucket, index)]
        collector = Collector(Storage(*flaky))
        outcomes = describe(collector.store_batch(uploads))
        storage = Storage(bucket, index)
        for profile_id, outcome in zip(expected, outcomes, strict=True):
            if outcome != "unavailable":
                assert outcome == profile_id
                assert storage.read(ProfileId.parse(profile_id))
        if "unavailable" not in outcomes:
            calls_without_failure = next(calls)
            break
        assert describe(collector.store_batch(uploads)) == expected
        found = [meta.id for service in index.services() for meta in storage.lookup.find(_all_of(service))]
        assert sorted(found) == sorted(expected)
        assert {finding.state for finding in fsck(storage, deep=True)} == {State.OK}
        tasks = {(task.service, task.type) for task in index.due_tasks(LATEST, 100)}
        assert tasks == {("api", None), ("web", None), ("db", None)}  # each of all types
    assert calls_without_failure == 3 * 3  # of each service an object, the entries and a task


def _all_of(service: str) -> Query:
    return Query(service, None, *ALL_TIME)


def test_an_empty_batch_stores_nothing() -> None:
    storage = new_storage()
    assert Collector(storage).store_batch([]) == []
    assert storage.index.services() == []


@pytest.mark.parametrize("end", [None, -10])
def test_errors_hold_nothing_of_their_profiles(end: int | None) -> None:
    # Each has a KB that becomes a MB; the second time, its stream is truncated.
    bodies = [gzip.compress(b"\xff" * (1 << 20) + bytes([number]))[:end] for number in range(10)]
    uploads = [Upload("api", CPU, POD, body) for body in bodies]
    collector = Collector(new_storage())
    collector.store_batch(uploads[:1])  # imports
    gc.disable()
    tracemalloc.start()
    try:
        outcomes = collector.store_batch(uploads)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert len(set(describe(outcomes))) == 1
    assert held < 1 << 20
