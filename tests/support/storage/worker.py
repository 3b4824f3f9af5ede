"""A worker process of the tests: ``python -m tests.support.storage.worker JOB URL …``.

It prints ``ready`` and begins when it reads a line.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection
from types import FrameType

from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import profile_digest
from profbucket.model.meta import Query
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, compact, post_profiles
from tests.support.storage.examples import ALL_TIME, make_numbered_batch, make_numbered_profile, read_each

# Functions that change files: a crash is simulated before each call.
STEPS = {"open", "mkdir", "flock", "write", "flush", "fsync", "fdatasync", "close", "rename", "unlink"} | {
    "connect",
    "execute",
    "executescript",
    "rollback",
    "commit",
}


def print_line(line: object) -> None:
    print(line, flush=True)


def write(url: str, first: str, last: str, step: str = "1") -> None:
    """Write the profiles with these numbers; print 1 for each that is new and 0 for others."""
    profiles = [make_numbered_profile(number) for number in range(int(first), int(last), int(step))]
    print_line("ready")
    sys.stdin.readline()
    storage = open_storage(url)
    for profile in profiles:
        print_line(int(storage.write(*profile)))


def read(url: str, expected: str) -> None:
    """Find all profiles and read the new ones until there are *expected*; print the number each time."""
    print_line("ready")
    sys.stdin.readline()
    storage = open_storage(url)
    known: set[str] = set()
    while len(known) < int(expected):
        ids = find_whole(storage, known=known)
        assert ids >= known, f"found once and then no more: {known - ids}"
        known = ids
        print_line(len(ids))


def find_whole(
    storage: Storage, start: int = ALL_TIME[0], end: int = ALL_TIME[1], known: Collection[str] = frozenset()
) -> set[str]:
    """Return the ids of the profiles in the range; check their order, and the objects of those not *known*."""
    ids: set[str] = set()
    for service in storage.index.services():
        metas = list(storage.lookup.find(Query(service, None, start, end)))
        assert [meta.position for meta in metas] == sorted({meta.position for meta in metas})
        ids |= {meta.id for meta in metas}
        new_metas = [meta for meta in metas if meta.id not in known]
        contents = read_each(storage, [meta.id for meta in new_metas])
        for meta, data in zip(new_metas, contents, strict=True):
            assert data is not None, f"an entry without object: {meta.id}"
            assert len(data) == meta.size
            expected = profile_digest(meta.service, meta.type, meta.labels, meta.created_at, data)
            assert meta.id.endswith(f"-{expected}"), f"the object is not what was written: {meta.id}"
    return ids


def crash() -> None:
    """For each line ``URL NUMBER STEP``, write a profile in a child process that is killed before that step.

    Prints "killed", or "written" if there are fewer steps.
    """

    def write(url: str, number: int, profiler: KillBeforeStep) -> None:
        meta, data = make_numbered_profile(number)
        sys.setprofile(profiler)
        open_storage(url).write(meta, data)

    _crash_in_children(write)


def crash_in_batch() -> None:
    """Do as :func:`crash` for each line ``URL FIRST STEP``, with a batch."""

    def write(url: str, first: int, profiler: KillBeforeStep) -> None:
        batch = make_numbered_batch(first)
        sys.setprofile(profiler)
        open_storage(url).write_batch(batch)

    _crash_in_children(write)


def crash_together() -> None:
    """Do as :func:`crash` for each line ``URL FIRST STEP``, with four profiles at once.

    Prints also, first, the number of each profile that was written.
    """

    def write(url: str, first: int, profiler: KillBeforeStep) -> None:
        storage = open_storage(url)
        numbers = range(first, first + 4)
        start = threading.Barrier(len(numbers))

        def write_one(number: int) -> None:
            meta, data = make_numbered_profile(number)
            start.wait()
            sys.setprofile(profiler)
            storage.write(meta, data)
            sys.setprofile(None)
            os.write(1, b"%d\n" % number)

        threads = [threading.Thread(target=write_one, args=[number]) for number in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    _crash_in_children(write)


def crash_compacting() -> None:
    """Do as :func:`crash` for each line ``URL NOW STEP``, and compact."""
    storage = open_storage("memory:")  # imports modules here rather than in each child
    post_profiles(storage, range(0, 180, 15))
    compact(storage, MIDNIGHT + 30 * HOUR)

    def run(url: str, now: int, profiler: KillBeforeStep) -> None:
        compactor = Compactor(open_storage(url), clock=lambda: now)
        sys.setprofile(profiler)
        list(compactor.run())

    _crash_in_children(run)


def _crash_in_children(run: "Callable[[str, int, KillBeforeStep], None]") -> None:
    """Call *run* in a child process for each line of a URL, a number and the step before which to kill it."""
    print_line("ready")
    for line in sys.stdin:
        url, number, step = line.split()
        child = os.fork()
        if not child:
            gc.disable()
            run(url, int(number), KillBeforeStep(int(step)))
            sys.setprofile(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        print_line("killed" if status else "written")


class KillBeforeStep:
    """A function for ``sys.setprofile`` that kills the process before a call, counted from 0, of one in STEPS."""

    def __init__(self, step: int) -> None:
        self.remaining = step

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" and getattr(argument, "__name__", "") in STEPS:
            self.remaining -= 1
            if self.remaining < 0:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
