"""A process beside the tests': ``python -m tests.support.storage.worker JOB URL …``, steered line by line.

It prints a line when it is ready and begins when it gets one.
"""

import gc
import os
import signal
import sys
from collections.abc import Collection
from types import FrameType

from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import ProfileId, profile_digest
from profbucket.model.meta import Query
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, compact, post_profiles
from tests.support.storage.examples import ALL_TIME, make_numbered_profile

# What a write does to files: where a crash may cut it off.
STEPS = {"open", "mkdir", "flock", "write", "flush", "fsync", "close", "rename", "link", "unlink"} | {
    "connect",
    "execute",
    "executescript",
    "rollback",
    "commit",
}


def print_line(line: object) -> None:
    print(line, flush=True)


def write(url: str, first: str, last: str, step: str = "1") -> None:
    """Write profiles; print a 1 for each that is new and a 0 for others."""
    profiles = [make_numbered_profile(number) for number in range(int(first), int(last), int(step))]
    print_line("ready")
    sys.stdin.readline()
    storage = open_storage(url)
    for one in profiles:
        print_line(int(storage.write(*one)))


def read(url: str, expected: str) -> None:
    """Find all and read what is new until *expected* profiles are there; print how many were found, each time."""
    print_line("ready")
    sys.stdin.readline()
    storage = open_storage(url)
    before: set[str] = set()
    while len(before) < int(expected):
        found = find_whole(storage, known=before)
        assert found >= before, f"found once and not again: {before - found}"
        before = found
        print_line(len(found))


def find_whole(
    storage: Storage, start: int = ALL_TIME[0], end: int = ALL_TIME[1], known: Collection[str] = frozenset()
) -> set[str]:
    """The ids of what is found from *start* to *end*, once each, in order. Objects not yet *known* are read."""
    ids: set[str] = set()
    for service in storage.index.services():
        found = list(storage.lookup.find(Query(service, None, start, end)))
        assert [one.position for one in found] == sorted({one.position for one in found})
        ids |= {one.id for one in found}
        found = [one for one in found if one.id not in known]
        for one, data in zip(found, storage.read_many(ProfileId.parse(one.id) for one in found), strict=True):
            assert data is not None, f"an entry without an object: {one.id}"
            assert len(data) == one.size
            expected = profile_digest(one.service, one.type, one.labels, one.created_at, data)
            assert one.id.endswith(f"-{expected}"), f"another object than was written: {one.id}"
    return ids


def crash() -> None:
    """For each line ``URL NUMBER STEP``: write the profile in a child that is killed before that step.

    Prints "killed", or "written" where there are fewer steps.
    """
    print_line("ready")
    for line in sys.stdin:
        url, number, step = line.split()
        child = os.fork()
        if not child:
            one, data = make_numbered_profile(int(number))
            gc.disable()
            sys.setprofile(Countdown(int(step)))
            open_storage(url).write(one, data)
            sys.setprofile(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        print_line("killed" if status else "written")


def crash_compacting() -> None:
    """For each line ``URL NOW STEP``: compact in a child that is killed before that step.

    Prints "killed", or "done" where there are fewer steps.
    """
    storage = open_storage("memory:")  # the first one imports: here, and not in each child
    post_profiles(storage, range(0, 180, 15))
    compact(storage, MIDNIGHT + 30 * HOUR)
    print_line("ready")
    for line in sys.stdin:
        url, now, step = line.split()
        child = os.fork()
        if not child:
            compactor = Compactor(open_storage(url), clock=lambda now=int(now): now)  # type: ignore[misc]
            gc.disable()
            sys.setprofile(Countdown(int(step)))
            list(compactor.run())
            sys.setprofile(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        print_line("killed" if status else "done")


class Countdown:
    """For ``sys.setprofile``: kill the process before a step, which is a call of what STEPS names."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" and getattr(argument, "__name__", "") in STEPS:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
