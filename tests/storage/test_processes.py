"""Concurrent processes on one storage, and processes that are killed."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from profbucket.maintenance.compactor import Action
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import ProfileId, batch_prefix
from profbucket.model.profile_type import ProfileType
from profbucket.storage.batches import is_batch_key
from profbucket.storage.listing import list_prefix
from profbucket.storage.metadata import from_metadata
from profbucket.storage.open import open_storage
from profbucket.storage.ports import Selection
from profbucket.storage.store import Storage
from profbucket.times import format_stamp
from tests.support.paths import ROOT
from tests.support.storage.compaction_suite import (
    HOUR,
    MIDNIGHT,
    QUERIES,
    assert_same_answers,
    compact,
    copy_uncompacted,
    count_actions,
    post_profiles,
)
from tests.support.storage.examples import ALL_TIME, NOW, make_numbered_batch, make_numbered_profile
from tests.support.storage.worker import find_whole

pytestmark = pytest.mark.long

_MEMORY_FILE_SYSTEM = Path("/dev/shm")


@dataclass
class Worker:
    """A process that runs tests/support/storage/worker.py."""

    process: "subprocess.Popen[str]"

    def send(self, line: str = "") -> None:
        assert self.process.stdin
        print(line, file=self.process.stdin, flush=True)

    def receive(self) -> str:
        """Return the next line; if the process has exited, fail with its stderr."""
        assert self.process.stdout
        assert self.process.stderr
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return line.strip()

    def finish(self) -> list[str]:
        """Wait for the process to succeed and return its remaining output, as words."""
        out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        return out.split()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Worker]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a worker with these arguments. Workers are killed at the end of the test."""
    with ExitStack() as stack:

        def start(*args: object) -> Worker:
            worker = Worker(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.support.storage.worker", *map(str, args)],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(worker.kill)
            return worker

        yield start


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, if the system has such a file system: faster, and a kill cannot lose writes there."""
    with TemporaryDirectory(
        dir=_MEMORY_FILE_SYSTEM if os.access(_MEMORY_FILE_SYSTEM, os.W_OK) else None
    ) as directory:
        yield Path(directory)


def find_numbers(storage: Storage, numbers: range) -> set[int]:
    """Return which of the profiles are found; check that all existing objects are as written."""
    for number in numbers:
        meta, data = make_numbered_profile(number)
        key = ProfileId.parse(meta.id).object_key
        for obj in storage.bucket.list(key, f"{key}~"):
            assert storage.bucket.get(key) == data
            assert from_metadata(key, obj.size, storage.bucket.stat(key).metadata or {}) == meta
    ids = find_whole(storage, NOW + numbers[0], NOW + numbers[-1])
    numbers_by_id = {make_numbered_profile(number)[0].id: number for number in numbers}
    return {numbers_by_id[profile_id] for profile_id in ids}


def test_four_processes_write_two_thousand_profiles_while_a_fifth_reads(start: Start, tmp_path: Path) -> None:
    """All are found once, without errors. Two processes write every tenth, as if it was posted again."""
    url = f"file://{tmp_path}/storage"  # does not exist yet: they race to create it
    reader = start("read", url, 2000)
    writers = [start("write", url, first, first + 500) for first in range(0, 2000, 500)]
    repeating_writer = start("write", url, 0, 2000, 10)
    workers = [reader, *writers, repeating_writer]
    for worker in workers:
        assert worker.receive() == "ready"
    for worker in workers:
        worker.send()
    written = [worker.finish() for worker in [*writers, repeating_writer]]
    assert [len(lines) for lines in written] == [500] * 4 + [200]
    assert sum(lines.count("1") for lines in written) == 2000
    assert reader.finish()[-1] == "2000"
    assert find_whole(open_storage(url)) == {make_numbered_profile(number)[0].id for number in range(2000)}


def test_acknowledged_writes_survive_a_kill_of_the_writer(start: Start, memory: Path) -> None:
    """Writers are killed at five random moments."""
    url = f"file://{memory}/storage"
    generator = Random(0)
    for begin in range(0, 250, 50):
        writer = start("write", url, begin, begin + 50)
        assert writer.receive() == "ready"
        writer.send()
        acknowledged = generator.randrange(1, 40)
        for _ in range(acknowledged):
            assert writer.receive() == "1"
        writer.kill()
        storage = open_storage(url)
        numbers_found = find_numbers(storage, range(begin, begin + 50))
        assert numbers_found >= set(range(begin, begin + acknowledged))
        for number in range(begin, begin + 50):  # the agents post again
            assert storage.write(*make_numbered_profile(number)) is (number not in numbers_found)
    assert find_numbers(open_storage(url), range(250)) == set(range(250))


@pytest.mark.parametrize("is_gzip", [True, False], ids=["gzip", "raw"])
@pytest.mark.parametrize("existing", [True, False], ids=["in an existing storage", "in a new storage"])
def test_a_writer_may_be_killed_at_every_step(start: Start, memory: Path, existing: bool, is_gzip: bool) -> None:
    """There is never an entry without object, and the same write completes the profile."""
    worker = start("crash")
    assert worker.receive() == "ready"
    cut_off = 0
    storage = open_storage(f"file://{memory}/storage")
    numbers = range(is_gzip, 600, 2)
    for step, number in enumerate(numbers):
        url = f"file://{memory}/{'storage' if existing else number}"
        worker.send(f"{url} {number} {step}")
        if worker.receive() == "written":
            break
        storage = storage if existing else open_storage(url)
        meta, data = make_numbered_profile(number)
        numbers_found = find_numbers(storage, range(number, number + 1))
        key = ProfileId.parse(meta.id).object_key
        cut_off += not numbers_found and any(storage.bucket.list(key, f"{key}~"))
        assert storage.write(meta, data) is not bool(numbers_found)
        assert find_numbers(storage, range(number, number + 1)) == {number}
    else:
        pytest.fail("the write did not end")
    assert step > 20  # the worker was killed at each of these steps
    assert cut_off > 3  # among them steps between object and entry
    if existing:
        assert find_numbers(storage, range(number)) == set(numbers[:step])


@pytest.mark.parametrize("existing", [True, False], ids=["in an existing storage", "in a new storage"])
def test_a_writer_of_a_batch_may_be_killed_at_every_step(start: Start, memory: Path, existing: bool) -> None:
    """All profiles of the batch are found, or none, and the same batch, or its profiles alone, complete it."""
    worker = start("crash_in_batch")
    assert worker.receive() == "ready"
    cut_off = 0
    for step in range(400):
        first = 8 * step
        url = f"file://{memory}/{'storage' if existing else step}"
        worker.send(f"{url} {first} {step}")
        if worker.receive() == "written":
            break
        storage, batch = open_storage(url), make_numbered_batch(first)
        expected = set(range(first, first + 8, 2))
        numbers_found = find_numbers(storage, range(first, first + 8))
        assert numbers_found in (set(), expected)
        is_stored = any(is_batch_key(obj.key) for obj in storage.bucket.list(*batch_range(first)))
        assert is_stored or not numbers_found
        cut_off += is_stored and not numbers_found
        if step % 3 == 0:
            list(reindex(storage))
            assert find_numbers(storage, range(first, first + 8)) == (expected if is_stored else set())
        if step % 3 == 1:
            storage.write(*batch[2])
        storage.write_batch(batch)
        assert find_numbers(storage, range(first, first + 8)) == expected
        assert {finding.state for finding in fsck(storage, since=NOW + first)} == {State.OK}
    else:
        pytest.fail("the write did not end")
    assert step > 20  # the worker was killed at each of these steps
    assert cut_off > 3  # among them steps between object and entries


def batch_range(first: int) -> tuple[str, str]:
    """Return the range of the keys of a numbered batch."""
    prefix = batch_prefix(f"service-{first % 2}") + format_stamp(NOW + first)
    return prefix, f"{prefix}~"


def test_a_writer_of_several_profiles_may_be_killed_at_every_step(start: Start, memory: Path) -> None:
    """Four concurrent writes share syncs and transactions; all that were answered are found."""
    worker = start("crash_together")
    assert worker.receive() == "ready"
    url = f"file://{memory}/storage"
    storage = open_storage(url)
    partial = 0
    for step in range(400):
        numbers = range(4 * step, 4 * step + 4)
        worker.send(f"{url} {numbers[0]} {step}")
        written = set[int]()
        while (line := worker.receive()) not in ("killed", "written"):
            written.add(int(line))
        numbers_found = find_numbers(storage, numbers)
        assert numbers_found >= written
        partial += 0 < len(numbers_found) < 4
        for number in numbers:
            assert storage.write(*make_numbered_profile(number)) is (number not in numbers_found)
        assert find_numbers(storage, numbers) == set(numbers)
        if line == "written":
            break
    else:
        pytest.fail("the writes did not end")
    assert step > 40  # the worker was killed at each of these steps
    assert partial  # among them steps between transactions
    assert len(list((memory / "storage/.drafts").iterdir())) <= 2  # of this process, and of the last one


def test_a_compaction_may_be_killed_at_every_step(start: Start, memory: Path) -> None:
    """All profiles are found and merged once, and the next run cleans up."""
    worker = start("crash_compacting")
    assert worker.receive() == "ready"
    url = f"file://{memory}/storage"
    storage = open_storage(url)
    post_profiles(storage, range(0, 180, 15))
    uncompacted = copy_uncompacted(storage)
    now = MIDNIGHT + 30 * HOUR
    seen = Counter[tuple[int, int, int]]()
    saved = memory / "saved"
    shutil.copytree(memory / "storage", saved)
    for step in range(2000):
        worker.send(f"{url} {now} {step}")
        outcome = worker.receive()
        assert_same_answers(open_storage(url), uncompacted, QUERIES[::5])
        blocks, head = open_storage(url).index.snapshot(Selection("api", ProfileType.CPU, *ALL_TIME))
        objects = len(list(list_prefix(open_storage(url).bucket, "_/")))
        seen[len(list(head)), len(blocks), objects] += 1
        if outcome == "written":
            break
        if step % 7 == 0:  # the next run completes what was cut off
            assert Action.DELETED not in count_actions(compact(open_storage(url), now))
            compact(open_storage(url), now + 2 * HOUR)
            assert_same_answers(open_storage(url), uncompacted, QUERIES[::5])
            [block] = open_storage(url).index.blocks("api", ProfileType.CPU, *ALL_TIME)
            assert [obj.key for obj in list_prefix(open_storage(url).bucket, "_/")] == [block.id]
        shutil.rmtree(memory / "storage")
        shutil.copytree(saved, memory / "storage")
    else:
        pytest.fail("the compaction did not end")
    assert seen[12, 0, 0]  # before the first object
    assert seen[12, 0, 1]  # between it and its commit
    assert seen[8, 1, 1]  # after it
    assert seen[0, 3, 4]  # between the day's object and its commit
    assert seen[0, 1, 4]  # after it
