"""What several processes do to one storage at once, and what one leaves that is killed."""

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
from profbucket.model.ids import ProfileId
from profbucket.model.profile_type import ProfileType
from profbucket.storage.listing import list_prefix
from profbucket.storage.metadata import from_metadata
from profbucket.storage.open import open_storage
from profbucket.storage.ports import Selection
from profbucket.storage.store import Storage
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
from tests.support.storage.examples import ALL_TIME, NOW, make_numbered_profile
from tests.support.storage.worker import find_whole

_MEMORY = Path("/dev/shm")


@dataclass
class Worker:
    """A process that runs tests/support/storage/worker.py."""

    process: "subprocess.Popen[str]"

    def tell(self, line: str = "") -> None:
        assert self.process.stdin
        print(line, file=self.process.stdin, flush=True)

    def hear(self) -> str:
        """The next line, or an error with what the process wrote to stderr if there is none."""
        assert self.process.stdout
        assert self.process.stderr
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return line.strip()

    def rest(self) -> list[str]:
        """All lines to its end, which must be a success."""
        out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        return out.split()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Worker]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a worker with these arguments, ready to begin; whatever is left of it at the end is killed."""
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
    """A directory that is on no disk, where the system has such: a kill loses nothing that waits for the disk."""
    with TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as directory:
        yield Path(directory)


def check(storage: Storage, numbers: range) -> set[int]:
    """Which of the profiles are found, whole. The object of each is as it was written, if there is one."""
    for number in numbers:
        one, data = make_numbered_profile(number)
        key = ProfileId.parse(one.id).object_key
        for there in storage.bucket.list(key, f"{key}~"):
            assert storage.bucket.get(key) == data
            assert from_metadata(key, there.size, storage.bucket.stat(key).metadata or {}) == one
    found = find_whole(storage, NOW + numbers[0], NOW + numbers[-1])
    ids = {make_numbered_profile(number)[0].id: number for number in numbers}
    return {ids[one] for one in found}


def test_four_processes_write_two_thousand_profiles_while_a_fifth_reads(start: Start, tmp_path: Path) -> None:
    """All are found, none twice, without an error. Every tenth is posted by two, as if it was sent again."""
    url = f"file://{tmp_path}/storage"  # which is not there yet: they race to make it, too
    reader = start("read", url, 2000)
    writers = [start("write", url, first, first + 500) for first in range(0, 2000, 500)]
    again = start("write", url, 0, 2000, 10)
    workers = [reader, *writers, again]
    for worker in workers:
        assert worker.hear() == "ready"
    for worker in workers:
        worker.tell()
    written = [worker.rest() for worker in [*writers, again]]
    assert [len(one) for one in written] == [500] * 4 + [200]
    assert sum(one.count("1") for one in written) == 2000
    assert reader.rest()[-1] == "2000"
    assert find_whole(open_storage(url)) == {make_numbered_profile(number)[0].id for number in range(2000)}


def test_what_a_writer_has_acknowledged_outlives_its_kill(start: Start, memory: Path) -> None:
    """A writer is killed at five moments that chance chooses, in the middle of whatever it does then."""
    url = f"file://{memory}/storage"
    chance = Random(0)
    for begin in range(0, 250, 50):
        writer = start("write", url, begin, begin + 50)
        assert writer.hear() == "ready"
        writer.tell()
        acknowledged = chance.randrange(1, 40)
        for _ in range(acknowledged):
            assert writer.hear() == "1"
        writer.kill()
        storage = open_storage(url)
        found = check(storage, range(begin, begin + 50))
        assert found >= set(range(begin, begin + acknowledged))
        for number in range(begin, begin + 50):  # the repeated posts
            assert storage.write(*make_numbered_profile(number)) is (number not in found)
    assert check(open_storage(url), range(250)) == set(range(250))


@pytest.mark.parametrize("existing", [True, False], ids=["in a storage", "in a storage that is not there yet"])
def test_a_writer_may_be_killed_at_every_step(start: Start, memory: Path, existing: bool) -> None:
    """Whether the entry is there or not, it is never there without its object, and the next write completes it."""
    worker = start("crash")
    assert worker.hear() == "ready"
    cut_off = 0
    storage = open_storage(f"file://{memory}/storage")
    for number in range(300):
        url = f"file://{memory}/{'storage' if existing else number}"
        worker.tell(f"{url} {number} {number}")
        if worker.hear() == "written":
            break
        storage = storage if existing else open_storage(url)
        one, data = make_numbered_profile(number)
        found = check(storage, range(number, number + 1))
        key = ProfileId.parse(one.id).object_key
        cut_off += not found and any(storage.bucket.list(key, f"{key}~"))
        assert storage.write(one, data) is not bool(found)
        assert check(storage, range(number, number + 1)) == {number}
    else:
        pytest.fail("no write has so many steps")
    assert number > 20  # the steps were seen
    assert cut_off > 3  # and among them those between object and entry
    if existing:
        assert check(storage, range(number)) == set(range(number))


def test_a_compaction_may_be_killed_at_every_step(start: Start, memory: Path) -> None:
    """Whatever has been done until then, all profiles are found and merged once, and the next run cleans up."""
    worker = start("crash_compacting")
    assert worker.hear() == "ready"
    url = f"file://{memory}/storage"
    storage = open_storage(url)
    post_profiles(storage, range(0, 180, 15))
    whole = copy_uncompacted(storage)
    now = MIDNIGHT + 30 * HOUR
    seen = Counter[tuple[int, int, int]]()
    saved = memory / "saved"
    shutil.copytree(memory / "storage", saved)
    for step in range(2000):
        worker.tell(f"{url} {now} {step}")
        outcome = worker.hear()
        assert_same_answers(open_storage(url), whole, QUERIES[::5])
        blocks, head = open_storage(url).index.snapshot(Selection("api", ProfileType.CPU, *ALL_TIME))
        objects = len(list(list_prefix(storage.bucket, "_/")))
        seen[len(list(head)), len(blocks), objects] += 1
        if outcome == "done":
            break
        if step % 7 == 0:  # what a crash leaves is mended by the next run
            assert Action.DELETED not in count_actions(compact(open_storage(url), now))
            compact(open_storage(url), now + 2 * HOUR)
            assert_same_answers(open_storage(url), whole, QUERIES[::5])
            [block] = open_storage(url).index.blocks("api", ProfileType.CPU, *ALL_TIME)
            assert [there.key for there in list_prefix(storage.bucket, "_/")] == [block.id]
        shutil.rmtree(memory / "storage")
        shutil.copytree(saved, memory / "storage")
    else:
        pytest.fail("no compaction has so many steps")
    assert seen[12, 0, 0]  # before the first object
    assert seen[12, 0, 1]  # between it and its commit
    assert seen[8, 1, 1]  # behind it
    assert seen[0, 3, 4]  # between the day's object and its commit
    assert seen[0, 1, 4]  # behind it
