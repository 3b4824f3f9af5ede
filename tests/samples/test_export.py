"""Tables of samples are whole, whatever is interrupted; late profiles appear with the next export."""

import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow.parquet as pq
import pytest

from profbucket.errors import Damaged, NotFound, TooMany, Unavailable
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Action, Compactor, Step
from profbucket.model.ids import ProfileId, samples_key
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from profbucket.samples.day import list_days
from profbucket.samples.export import Exporter, Outcome
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import Selection
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.api import pprof
from tests.support.profiles import Sample, encode, profile, stack
from tests.support.storage import compaction_suite
from tests.support.storage.compaction_suite import MIDNIGHT, post_profiles

CPU = ProfileType.CPU
HOUR = 3600 * SECOND
DAY = 24 * HOUR
KEY = samples_key("api", CPU, MIDNIGHT)
NUMBERS = range(0, 20 * 60, 100)  # minutes of a day

run_due = partial(compaction_suite.run_due, export_samples=True)


@pytest.fixture(autouse=True)
def set_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all profiles arrive at midnight, so that none is late."""
    monkeypatch.setattr("profbucket.storage.store.time.time_ns", lambda: MIDNIGHT)


def read_sums(storage: Storage, key: str = KEY) -> Counter[str]:
    """Return the sums over a table by function, in nanoseconds; none if there is no table."""
    try:
        data = storage.bucket.get(key)
    except NotFound:
        return Counter()
    table = pq.read_table(io.BytesIO(data), columns=["function", "sample_type", "value"])
    sums = Counter[str]()
    for row in table.to_pylist():
        if row["sample_type"] == "cpu":
            sums[row["function"]] += row["value"]
    return sums


def expect_sums(numbers: Iterator[int] | range) -> Counter[str]:
    """Return the sums over the profiles that ``post_profiles`` stores."""
    sums = Counter[str]()
    for number in numbers:
        sums["leaf"] += 110_000_000
        sums[f"own-{number}"] += (number + 1) * 10_000_000
    return sums


@pytest.fixture
def storage() -> Storage:
    storage = Storage(MemoryBucket(), MemoryIndex())
    assert run_due(storage, MIDNIGHT - HOUR) == []  # the daily visit
    post_profiles(storage, NUMBERS)
    return storage


def test_a_finished_day_is_exported_once(storage: Storage) -> None:
    assert all(step.action is not Action.EXPORTED for step in run_due(storage, MIDNIGHT + 23 * HOUR))
    steps = run_due(storage, MIDNIGHT + 26 * HOUR)
    assert [step for step in steps if step.action is Action.EXPORTED] == [Step(Action.EXPORTED, KEY, len(NUMBERS))]
    assert read_sums(storage) == expect_sums(NUMBERS)
    assert all(step.action is not Action.EXPORTED for step in run_due(storage, MIDNIGHT + 2 * DAY))
    assert Exporter(storage).export_day("api", CPU, MIDNIGHT).outcome is Outcome.UNCHANGED


def test_nothing_is_exported_by_default(storage: Storage) -> None:
    steps = list(Compactor(storage, clock=lambda: MIDNIGHT + 26 * HOUR).run_due())
    assert Action.MERGED in {step.action for step in steps}
    assert read_sums(storage) == Counter()


def test_a_late_profile_appears_after_the_next_run(storage: Storage) -> None:
    run_due(storage, MIDNIGHT + 26 * HOUR)
    post_profiles(storage, [7])
    steps = run_due(storage, MIDNIGHT + 28 * HOUR)
    assert Step(Action.EXPORTED, KEY, len(NUMBERS) + 1) in steps
    assert read_sums(storage) == expect_sums(NUMBERS) + expect_sums(range(7, 8))


def test_a_block_of_several_days_is_exported_by_day(storage: Storage) -> None:
    post_profiles(storage, [1440, 1500])
    list(Compactor(storage, clock=lambda: MIDNIGHT + 70 * DAY).run())
    [block] = storage.index.blocks("api", CPU, 0, MIDNIGHT + 70 * DAY)
    assert block.last - block.first > DAY
    exporter = Exporter(storage)
    assert list(list_days(storage, "api", CPU, MIDNIGHT, MIDNIGHT + 70 * DAY)) == [MIDNIGHT, MIDNIGHT + DAY]
    assert [exporter.export_day("api", CPU, MIDNIGHT + day * DAY).profiles for day in range(3)] == [
        len(NUMBERS),
        2,
        0,
    ]
    assert read_sums(storage) == expect_sums(NUMBERS)
    assert read_sums(storage, samples_key("api", CPU, MIDNIGHT + DAY)) == expect_sums(iter([1440, 1500]))


class CompactedIndex:
    """An index that is compacted after its first call of *method*."""

    def __init__(self, storage: Storage, method: str) -> None:
        self._storage = storage
        self._method = method

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage.index, name)
        if name != self._method:
            return method

        def call(*args: object) -> object:
            self._method = ""
            result = method(*args)
            list(Compactor(self._storage, clock=lambda: MIDNIGHT + 26 * HOUR).run())
            return result

        return call


@pytest.mark.parametrize("method", ["blocks", "find"])
def test_days_are_found_while_their_profiles_are_compacted(storage: Storage, method: str) -> None:
    index: Any = CompactedIndex(storage, method)
    days = list_days(Storage(storage.bucket, index), "api", CPU, MIDNIGHT - DAY, MIDNIGHT + 2 * DAY)
    assert list(days) == [MIDNIGHT]


def test_merging_blocks_changes_no_table(storage: Storage) -> None:
    exporter = Exporter(storage)
    assert exporter.export_day("api", CPU, MIDNIGHT).outcome is Outcome.EXPORTED
    list(Compactor(storage, clock=lambda: MIDNIGHT + 70 * DAY).run())
    assert exporter.export_day("api", CPU, MIDNIGHT).outcome is Outcome.UNCHANGED


def test_expired_profiles_remain_in_the_table(storage: Storage) -> None:
    exporter = Exporter(storage)
    exporter.export_day("api", CPU, MIDNIGHT)
    list(Compactor(storage, clock=lambda: MIDNIGHT + 2 * HOUR).run())
    [block, *_] = storage.index.blocks("api", CPU, MIDNIGHT, MIDNIGHT + DAY)
    storage.bucket.delete(block.id)
    assert exporter.export_day("api", CPU, MIDNIGHT).outcome is Outcome.UNCHANGED
    assert read_sums(storage) == expect_sums(NUMBERS)


def test_sums_of_different_sample_types_are_rows_of_one_table(storage: Storage) -> None:
    goroutines = profile(
        Sample(stack("leaf"), (3,)), sample_types=((b"goroutine", b"count"),), time_nanos=MIDNIGHT
    )
    Collector(storage).collect("api", CPU, Labels(), encode(goroutines))
    Exporter(storage).export_day("api", CPU, MIDNIGHT)
    rows = pq.read_table(io.BytesIO(storage.bucket.get(KEY))).to_pylist()
    assert [(row["value"], row["profiles"]) for row in rows if row["sample_type"] == "goroutine"] == [(3, 1)]
    assert read_sums(storage) == expect_sums(NUMBERS)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_damaged_block_is_left_out_until_it_is_repaired(
    storage: Storage, part: int, caplog: pytest.LogCaptureFixture
) -> None:
    list(Compactor(storage, clock=lambda: MIDNIGHT + 2 * HOUR).run())
    [block, *_] = storage.index.blocks("api", CPU, MIDNIGHT, MIDNIGHT + DAY)
    intact = storage.bucket.get(block.id)
    begin = (0, *block.ends)[part] + 20
    replace_object(storage, block.id, intact[:begin] + bytes(20) + intact[begin + 20 :])
    exporter = Exporter(storage)
    assert exporter.export_day("api", CPU, MIDNIGHT).profiles == len(NUMBERS) - block.count
    assert f"left out {block.id}, which is damaged" in caplog.text
    assert read_sums(storage) == expect_sums(NUMBERS[block.count :])
    replace_object(storage, block.id, intact)
    assert Exporter(Storage(storage.bucket, storage.index)).export_day("api", CPU, MIDNIGHT).profiles == len(
        NUMBERS
    )
    assert read_sums(storage) == expect_sums(NUMBERS)


def test_a_damaged_profile_is_left_out(storage: Storage) -> None:
    [first, *_] = storage.index.find(Selection("api", CPU, MIDNIGHT, MIDNIGHT + DAY))
    replace_object(storage, ProfileId.parse(first.id).object_key, b"damage")
    assert Exporter(storage).export_day("api", CPU, MIDNIGHT).profiles == len(NUMBERS) - 1
    assert read_sums(storage) == expect_sums(NUMBERS[1:])


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("damage", ["member", "table", "emptied"])
def test_damage_to_a_batch_is_left_out(damage: str, is_compacted: bool) -> None:
    storage = Storage(MemoryBucket(), MemoryIndex())
    names = [f"f{number}" for number in range(3)]
    uploads = [
        Upload("api", CPU, Labels(), pprof(at=MIDNIGHT + number, name=name)) for number, name in enumerate(names)
    ]
    Collector(storage).store_batch(uploads)
    [batch] = storage.bucket.list("api/batch/", "api/batch0")
    data = storage.bucket.get(batch.key)
    if is_compacted:
        list(Compactor(storage, clock=lambda: MIDNIGHT + 2 * HOUR).run())
    size = len(uploads[0].data)
    damaged = {"member": bytes(size) + data[size:], "table": data[:-1], "emptied": b""}[damage]
    replace_object(storage, batch.key, damaged)
    lost = 0 if is_compacted or damage == "table" else 1 if damage == "member" else 3
    if lost == 3:
        with pytest.raises(Damaged):
            Exporter(storage).export_day("api", CPU, MIDNIGHT)
    else:
        assert Exporter(storage).export_day("api", CPU, MIDNIGHT).profiles == 3 - lost
        assert sorted(read_sums(storage)) == names[lost:]


def test_damage_only_is_an_error(storage: Storage) -> None:
    for meta in storage.index.find(Selection("api", CPU, MIDNIGHT, MIDNIGHT + DAY)):
        replace_object(storage, ProfileId.parse(meta.id).object_key, b"damage")
    with pytest.raises(Damaged):
        Exporter(storage).export_day("api", CPU, MIDNIGHT)
    assert read_sums(storage) == Counter()


def replace_object(storage: Storage, object_key: str, data: bytes) -> None:
    """Give an object other content, as damage does, and keep its metadata."""
    metadata = storage.bucket.stat(object_key).metadata or {}
    storage.bucket.replace(object_key, data, metadata)


def test_a_table_has_a_limited_number_of_frames(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """A few locations with thousands of inlined functions could expand to a table that takes hours."""
    Exporter(storage).export_day("api", CPU, MIDNIGHT)
    table = pq.read_table(io.BytesIO(storage.bucket.get(KEY)), columns=["stack"])
    frames = sum(map(len, table["stack"].to_pylist()))
    storage.bucket.delete(KEY)
    limited = Storage(storage.bucket, storage.index, Limits(table_frames=frames - 1))
    with pytest.raises(TooMany, match=f"{frames} frames or more.*PROFBUCKET_MAX_TABLE_FRAMES") as raised:
        Exporter(limited).export_day("api", CPU, MIDNIGHT)
    assert raised.value.code == "max_table_frames_exceeded"
    assert Action.MERGED in {step.action for step in run_due(limited, MIDNIGHT + 26 * HOUR)}
    assert "PROFBUCKET_MAX_TABLE_FRAMES" in caplog.text
    assert read_sums(storage) == Counter()
    limited = Storage(storage.bucket, storage.index, Limits(table_frames=frames))
    assert Exporter(limited).export_day("api", CPU, MIDNIGHT).outcome is Outcome.EXPORTED


class Killed(BaseException):
    """The process ends here."""


class KillingPort:
    """A port that counts changes, and kills the process before or after one of them."""

    CHANGES = ("put", "replace", "delete", "commit", "add_task", "replace_task")

    def __init__(self, port: Any, is_killed: Callable[[], bool]) -> None:
        self._port = port
        self._is_killed = is_killed

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name not in self.CHANGES:
            return method

        def call(*args: object) -> object:
            if self._is_killed():
                raise Killed
            result = method(*args)
            if self._is_killed():
                raise Killed
            return result

        return call


@pytest.mark.parametrize("is_late", [False, True])
def test_a_run_killed_at_any_step_leaves_the_table_before_or_after_it(*, is_late: bool) -> None:
    """A day's first run may leave no table; one after a late profile leaves one with or without it."""
    before = expect_sums(NUMBERS[:2]) if is_late else Counter[str]()
    after = expect_sums(NUMBERS[:2]) + expect_sums(range(7, 8))
    left = set[bool]()
    for step in itertools.count():
        storage = Storage(MemoryBucket(), MemoryIndex())
        run_due(storage, MIDNIGHT - HOUR)
        post_profiles(storage, NUMBERS[:2])
        if is_late:
            run_due(storage, MIDNIGHT + 26 * HOUR)
        post_profiles(storage, [7])
        counts = iter(range(10**6))
        is_killed = lambda: next(counts) == step  # noqa: B023, E731
        broken = Storage(KillingPort(storage.bucket, is_killed), KillingPort(storage.index, is_killed))
        try:
            run_due(broken, MIDNIGHT + 28 * HOUR)
        except Killed:
            sums = read_sums(storage)
            assert sums in (before, after), step
            left.add(sums == after)
        else:
            break
        run_due(storage, MIDNIGHT + 29 * HOUR)  # after the claim
        run_due(storage, MIDNIGHT + 37 * HOUR)  # the daily visit
        assert read_sums(storage) == after, step
    assert step > 10
    assert left == {False, True}


class FullBucket:
    """A bucket that refuses tables, which are the only objects that are replaced."""

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def replace(self, object_key: str, *_: Any) -> None:
        raise Unavailable("no space left")


def test_a_failing_export_does_not_hold_compaction_up(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    broken = Storage(FullBucket(storage.bucket), storage.index)
    compactor = Compactor(broken, clock=lambda: MIDNIGHT + 26 * HOUR, export_samples=True)
    assert Action.MERGED in {step.action for step in compactor.run_due()}
    assert compactor.failed > 0
    assert compactor.oldest_head_seconds == 0
    assert "cannot export 2026-11-23 of service api, type cpu: no space left" in caplog.text
    steps = run_due(broken, MIDNIGHT + 28 * HOUR)
    assert Action.DELETED in {step.action for step in steps}  # what the blocks replaced
    assert Step(Action.EXPORTED, KEY, len(NUMBERS)) in run_due(storage, MIDNIGHT + 30 * HOUR)
    assert read_sums(storage) == expect_sums(NUMBERS)
