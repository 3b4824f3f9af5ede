"""Tasks of compaction: a run looks only at what is due, misses nothing, and does nothing twice."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from profbucket.errors import Invalid, Unavailable
from profbucket.maintenance.compactor import Action, Compactor
from profbucket.model.ids import ProfileId
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import Task, period_task
from profbucket.periods import CompactionPolicy
from profbucket.storage.memory import MemoryBucket, MemoryIndex, MemoryQueue
from profbucket.storage.ports import Selection
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.storage.compaction_suite import (
    ALL_TIME,
    CPU,
    DAY,
    HOUR,
    MIDNIGHT,
    assert_same_answers,
    compact,
    copy_uncompacted,
    count_actions,
    list_block_keys,
    post_profiles,
    run_due,
)
from tests.support.storage.counting_port import CountingPort, count_calls
from tests.support.storage.examples import make_meta

WAIT = 600 * SECOND
MONTH_LENGTH = 30 * DAY
MONTH = (MIDNIGHT // MONTH_LENGTH - 5) * MONTH_LENGTH


@pytest.fixture(autouse=True)
def start(set_clock: Callable[[int], None]) -> None:
    """Let profiles arrive at first so that they are not late."""
    set_clock(MONTH - MONTH_LENGTH)


@pytest.fixture
def storage() -> Storage:
    """A storage whose first daily visit is over."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    assert run_due(storage, MIDNIGHT) == []
    return storage


def actions(storage: Storage, now: int) -> dict[Action, int]:
    return count_actions(run_due(storage, now))


def test_an_hour_is_compacted_when_it_is_over_and_its_day_one_hour_after_that(storage: Storage) -> None:
    post_profiles(storage, range(0, 1440, 20))
    uncompacted = copy_uncompacted(storage)
    assert actions(storage, MIDNIGHT + HOUR + WAIT - 1) == {}
    assert actions(storage, MIDNIGHT + HOUR + WAIT) == {Action.COMPACTED: 1}
    assert actions(storage, MIDNIGHT + 12 * HOUR + WAIT) == {Action.COMPACTED: 11}
    assert actions(storage, MIDNIGHT + 24 * HOUR + WAIT) == {Action.COMPACTED: 12}
    assert_same_answers(storage, uncompacted)
    assert actions(storage, MIDNIGHT + 25 * HOUR + WAIT) == {Action.MERGED: 1}
    assert_same_answers(storage, uncompacted)
    assert actions(storage, MIDNIGHT + 26 * HOUR + WAIT) == {}
    assert actions(storage, MIDNIGHT + 27 * HOUR) == {Action.DELETED: 24}
    assert len(list_block_keys(storage)) == 1
    assert_same_answers(storage, uncompacted)


def test_a_year_becomes_a_block_for_each_month(storage: Storage, set_clock: Callable[[int], None]) -> None:
    """Months of 30 days, counted from 1970."""
    day = (MONTH - MIDNIGHT) // DAY
    post_profiles(storage, [60 * 24 * (day + n) + 7 for n in range(95)])
    uncompacted = copy_uncompacted(storage)
    run_due(storage, MONTH + 95 * DAY)
    blocks = storage.index.blocks("api", CPU, *ALL_TIME)
    assert [(block.period, block.count) for block in blocks] == [(30 * 86400, 30)] * 3 + [(3600, 1)] * 5
    assert_same_answers(storage, uncompacted)
    run_due(storage, MONTH + 95 * DAY + 2 * HOUR)
    assert list_block_keys(storage) == {block.id for block in blocks}
    set_clock(MONTH + 95 * DAY + 3 * HOUR)
    post_profiles(storage, [60 * 24 * (day + 31) + 9])
    post_profiles(uncompacted, [60 * 24 * (day + 31) + 9])
    assert actions(storage, MONTH + 95 * DAY + 3 * HOUR) == {Action.COMPACTED: 1, Action.MERGED: 1}
    assert [block.count for block in storage.index.blocks("api", CPU, *ALL_TIME)][:3] == [30, 31, 30]
    assert_same_answers(storage, uncompacted)


def test_an_idle_run_over_700_lanes_costs_at_most_20_operations(storage: Storage) -> None:
    for service in range(100):
        for number in range(7):
            meta = make_meta(MIDNIGHT, service=f"s-{service}", type=ProfileType(f"t-{number}"))
            storage.add_entry(meta)
    counted, calls = count_calls(storage)
    run_due(counted, MIDNIGHT + 30 * 60 * SECOND)
    assert sorted(calls) == ["add_task", "due_tasks", "tidy_series"]  # the day has its marker: nothing is written


def test_a_run_looks_only_at_lanes_with_something_to_do(storage: Storage) -> None:
    for service in ("a", "b", "c"):
        post_profiles(storage, range(0, 60, 20), service=service)
    run_due(storage, MIDNIGHT + 2 * HOUR)
    post_profiles(storage, [125], service="b")
    counted, calls = count_calls(storage)
    assert actions(counted, MIDNIGHT + 4 * HOUR) == {Action.COMPACTED: 1}
    assert calls.count("find") == 1
    assert calls.count("blocks") == 1
    assert "list" not in calls
    assert "services" not in calls


def test_a_post_adds_a_task_once(storage: Storage, set_clock: Callable[[int], None]) -> None:
    """While that is not due. A late post adds one each time: the last may have been claimed already."""
    counted, calls = count_calls(storage)
    set_clock(MIDNIGHT + 30 * 60 * SECOND)
    post_profiles(counted, range(10))
    assert calls.count("add_task") <= 4  # of concurrent posts
    calls.clear()
    post_profiles(counted, range(10, 20))
    assert "add_task" not in calls
    set_clock(MIDNIGHT + 2 * HOUR)
    post_profiles(counted, range(20, 30))
    assert calls.count("add_task") == 10


def test_a_late_batch_adds_each_task_once(storage: Storage, set_clock: Callable[[int], None]) -> None:
    elsewhere = Storage(MemoryBucket(), MemoryIndex())
    metas = post_profiles(elsewhere, (59, 60, 61))
    counted, calls = count_calls(storage)
    set_clock(MIDNIGHT + 5 * HOUR)
    counted.write_batch([(meta, elsewhere.read(ProfileId.parse(meta.id))) for meta in metas])
    assert len(keys := list(storage.bucket.list("", "~"))) == 1, keys
    assert calls.count("add_task") == 2  # of two hours


def test_traces_are_not_compacted_and_have_no_task(storage: Storage) -> None:
    storage.add_entry(make_meta(MIDNIGHT, type=ProfileType.TRACE))
    assert storage.index.due_tasks(LATEST - 1, 10) == []


def test_a_profile_that_arrives_while_its_hour_is_compacted_is_compacted_next(
    storage: Storage, set_clock: Callable[[int], None]
) -> None:
    post_profiles(storage, range(0, 60, 10))
    set_clock(MIDNIGHT + 2 * HOUR)
    compactor = Compactor(storage, clock=lambda: MIDNIGHT + 2 * HOUR)
    steps = compactor.run_due()
    assert next(steps).profiles == 6
    post_profiles(storage, [5])
    assert [step.profiles for step in steps] == [1]
    assert list(storage.index.find(Selection("api", CPU, *ALL_TIME))) == []


def test_concurrent_runs_do_each_task_once(storage: Storage) -> None:
    for service in range(8):
        post_profiles(storage, range(0, 60, 20), service=f"s{service}")
    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(lambda _: actions(storage, MIDNIGHT + 2 * HOUR), range(4)))
    assert sum(run.get(Action.COMPACTED, 0) for run in runs) == 8
    assert all(Action.CONFLICT not in run for run in runs)


class Killed(BaseException):
    """The end of a process, which nothing handles."""


def test_a_run_that_ends_without_a_trace_is_repeated_after_a_while(storage: Storage) -> None:
    post_profiles(storage, range(0, 60, 20))

    class KillingIndex(CountingPort):
        def commit(self, *_: Any) -> bool:
            raise Killed

    killed = Storage(storage.bucket, KillingIndex(storage.index, []))
    with pytest.raises(Killed):
        run_due(killed, MIDNIGHT + 2 * HOUR)
    assert actions(storage, MIDNIGHT + 2 * HOUR + 60 * SECOND) == {}
    assert actions(storage, MIDNIGHT + 3 * HOUR) == {Action.COMPACTED: 1}


def post_late(storage: Storage, set_clock: Callable[[int], None]) -> int:
    """Post a profile after its day was merged, and return the time."""
    post_profiles(storage, range(0, 1440, 60))
    for hours in (26, 28):
        run_due(storage, MIDNIGHT + hours * HOUR)
    set_clock(now := MIDNIGHT + 30 * HOUR)
    post_profiles(storage, [7])
    assert storage.index.blocks("api", CPU, *ALL_TIME)[0].count == 24
    return now


def test_a_late_block_is_merged_though_its_run_was_killed_after_the_commit(
    storage: Storage, set_clock: Callable[[int], None]
) -> None:
    now = post_late(storage, set_clock)

    class KillingIndex(CountingPort):
        def commit(self, *arguments: Any) -> bool:
            assert self._port.commit(*arguments)
            raise Killed

    with pytest.raises(Killed):
        run_due(Storage(storage.bucket, KillingIndex(storage.index, [])), now)
    assert len(storage.index.blocks("api", CPU, *ALL_TIME)) == 2
    assert actions(storage, now + HOUR) == {Action.MERGED: 1}


def test_a_late_block_is_merged_though_its_run_was_out_of_time_after_the_commit(
    storage: Storage, set_clock: Callable[[int], None]
) -> None:
    now = post_late(storage, set_clock)
    seconds = 0
    compactor = Compactor(storage, clock=lambda: now, timer=lambda: seconds)
    for step in compactor.run_due(60):
        assert step.action is Action.COMPACTED
        seconds = 60
    assert not compactor.complete
    assert actions(storage, now) == {Action.MERGED: 1}


def test_a_failure_that_may_pass_is_tried_again_and_reported(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    post_profiles(storage, range(0, 60, 20))
    post_profiles(storage, range(0, 60, 20), service="web")

    class FailingIndex(CountingPort):
        def find(self, selection: Selection) -> Any:
            if selection.service == "api":
                raise Unavailable("no answer")
            return self._port.find(selection)

    compactor = Compactor(
        Storage(storage.bucket, FailingIndex(storage.index, [])), clock=lambda: MIDNIGHT + 2 * HOUR
    )
    with caplog.at_level(logging.INFO):
        assert count_actions(list(compactor.run_due())) == {Action.COMPACTED: 1}
    assert (compactor.failed, compactor.complete, compactor.oldest_head_seconds) == (1, True, 7200)
    fields = {record.getMessage(): record.__dict__.get("fields") for record in caplog.records}
    assert fields["compaction of a lane failed"] == {"service": "api", "type": "cpu", "code": "unavailable"}
    assert fields["compaction done"] == {"oldest_head_seconds": 7200, "failed": 1}
    compactor = Compactor(storage, clock=lambda: MIDNIGHT + 2 * HOUR)
    assert count_actions(list(compactor.run_due())) == {Action.COMPACTED: 1}
    assert (compactor.failed, compactor.oldest_head_seconds) == (0, 0)


def test_a_run_that_is_out_of_time_is_continued(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    for service in range(5):
        post_profiles(storage, range(0, 60, 20), service=f"s{service}")
    seconds = iter(range(10**6))
    compactor = Compactor(storage, clock=lambda: MIDNIGHT + 2 * HOUR, timer=lambda: next(seconds))
    counts: list[int] = []
    while not counts or not compactor.complete:
        counts.append(len(list(compactor.run_due(4))))
        assert ("compaction incomplete" in caplog.text) is (len(counts) > 1 or not compactor.complete)
        assert bool(compactor.oldest_head_seconds) is not compactor.complete
    assert len(counts) > 1
    assert sum(counts) == 5
    assert actions(storage, MIDNIGHT + 2 * HOUR) == {}


def test_everything_is_looked_at_once_a_day_in_case_a_task_was_lost(storage: Storage) -> None:
    post_profiles(storage, range(0, 1440, 60))
    post_profiles(storage, range(0, 60, 20), service="web")
    for task in storage.index.due_tasks(MIDNIGHT + 30 * HOUR, 1000):
        storage.index.replace_task(task)
    assert actions(storage, MIDNIGHT + 11 * HOUR) == {}
    assert actions(storage, MIDNIGHT + 26 * HOUR) == {Action.COMPACTED: 25, Action.MERGED: 1}
    assert len(storage.index.due_tasks(LATEST, 1000)) < 8  # no day leaves its marker


def test_visits_that_cannot_be_added_are_added_by_the_next_run() -> None:
    storage = Storage(MemoryBucket(), MemoryIndex())

    class FailingIndex(CountingPort):
        def services(self) -> list[str]:
            raise Unavailable("no answer")

    storage.index.add(post_elsewhere(storage))
    with pytest.raises(Unavailable):
        run_due(Storage(storage.bucket, FailingIndex(storage.index, [])), MIDNIGHT + 2 * HOUR)
    assert actions(storage, MIDNIGHT + 2 * HOUR) == {Action.COMPACTED: 1}


def post_elsewhere(storage: Storage) -> Any:
    """Put the object of a profile, and return its meta: an entry without a task, as of an earlier version."""
    other = Storage(storage.bucket, MemoryIndex())
    [meta] = post_profiles(other, [1])
    return meta


def test_a_profile_that_cannot_be_compacted_is_reported_each_day(storage: Storage) -> None:
    metas = post_profiles(storage, range(0, 60, 20))
    object_key = ProfileId.parse(metas[0].id).object_key
    metadata = storage.bucket.stat(object_key).metadata or {}
    storage.bucket.delete(object_key)
    storage.bucket.put(object_key, b"damaged", metadata)
    now = MIDNIGHT + 2 * HOUR
    compactor = Compactor(storage, clock=lambda: now)
    reports = []
    for hours in (2, 3, 26):
        now = MIDNIGHT + hours * HOUR
        list(compactor.run_due())
        reports.append((compactor.failed, compactor.oldest_head_seconds))
    assert reports == [(1, 0), (0, 0), (1, 26 * 3600)]


def test_a_writer_may_have_shorter_periods_than_the_compactor(storage: Storage) -> None:
    post_profiles(storage, range(0, 240, 20))
    policy = CompactionPolicy(short=4 * 3600)
    compactor = Compactor(storage, policy=policy, clock=lambda: MIDNIGHT + 3 * HOUR)
    assert list(compactor.run_due()) == []
    compactor = Compactor(storage, policy=policy, clock=lambda: MIDNIGHT + 4 * HOUR + WAIT)
    assert sum(step.profiles for step in compactor.run_due()) == 12


def test_a_queue_gets_every_due_task_and_each_can_be_done_elsewhere(storage: Storage) -> None:
    for service in ("a", "b"):
        post_profiles(storage, range(0, 120, 20), service=service)
    uncompacted = copy_uncompacted(storage)
    now = MIDNIGHT + 2 * HOUR + WAIT
    queue = MemoryQueue()
    dispatcher = Compactor(storage, clock=lambda: now)
    assert dispatcher.enqueue_due(queue) == 4
    assert dispatcher.oldest_head_seconds == 0  # all are due since this hour
    assert dispatcher.enqueue_due(queue) == 0  # they are in the queue already
    steps = [step for task in take_all(queue) for step in Compactor(storage, clock=lambda: now).run_task(task)]
    assert count_actions(steps) == {Action.COMPACTED: 4}
    assert_same_answers(storage, uncompacted)
    assert [list(Compactor(storage, clock=lambda: now).run_task(task)) for task in take_all(queue)] == []


def test_a_queue_is_told_of_tasks_that_are_overdue(storage: Storage, set_clock: Callable[[int], None]) -> None:
    def oldest(now: int) -> int:
        dispatcher = Compactor(storage, clock=lambda: now)
        dispatcher.enqueue_due(MemoryQueue())
        return dispatcher.oldest_head_seconds

    late = MIDNIGHT + 10 * DAY
    set_clock(late + 1800 * SECOND)
    post_profiles(storage, [1])
    assert oldest(late + HOUR) == 0
    assert oldest(late + 3 * HOUR) == (late + 3 * HOUR - MIDNIGHT) // SECOND
    task = next(task for task in storage.index.due_tasks(late + HOUR, 10) if task.type)
    for hour in range(1, 4):  # each run is killed
        assert storage.index.replace_task(task, task := task.postpone(late + hour * HOUR + 1000 * SECOND))
        assert oldest(late + (hour + 1) * HOUR) == (late + (hour + 1) * HOUR - MIDNIGHT) // SECOND


def take_all(queue: MemoryQueue) -> Iterator[Task]:
    while task := queue.take():
        yield task


def test_a_task_is_read_as_it_was_written() -> None:
    task = period_task(CompactionPolicy(), "größe", CPU, 86400, MIDNIGHT + 5)
    assert Task.load(task.dump()) == task
    assert (task.begin, task.last) == (MIDNIGHT, MIDNIGHT + DAY - 1)
    assert Task.load(replace(task, type=None).dump()).type is None
    assert task.id != replace(task, due=task.due + 1).id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '["a","cpu",1,2]',
        '["a","CPU",1,2,3]',
        '["a","cpu",1,2,-3]',
        '["a","cpu",1,2,true]',
        '["a","cpu",1,2,1e3]',
        "[" * 3000,
        '["' + "a" * 5000 + '","cpu",1,2,3]',
        '[7,"cpu",1,2,3]',
        '["a","cpu",1,2,9223372036854775808]',
    ],
)
def test_a_malformed_task_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid task"):
        Task.load(text)


def test_all_tasks_of_the_past_are_gone_after_a_run(storage: Storage) -> None:
    post_profiles(storage, range(0, 3000, 30))
    now = MIDNIGHT + 50 * HOUR
    for hours in range(4):
        run_due(storage, now + hours * HOUR + hours)
    assert storage.index.due_tasks(now + 4 * HOUR, 100) == []
    assert compact(storage, now + 4 * HOUR) == []
