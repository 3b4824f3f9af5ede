"""A lock between test processes: a test marked ``alone`` has the machine to itself."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.cache import CACHE


@contextmanager
def machine_lock(exclusive: bool) -> Iterator[None]:
    """Wait until the test may run; keep tests that must not run at the same time waiting until the block ends."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "door.lock").open("w") as door, (CACHE / "room.lock").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)  # an exclusive test holds it while it waits, so that no other test starts
        fcntl.flock(room, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # explicitly, as a forked child of the test may hold the file open
