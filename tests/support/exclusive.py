"""Tests run beside each other in several processes; one that is marked ``alone`` has the machine to itself."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.cache import CACHE


@contextmanager
def turn(alone: bool) -> Iterator[None]:
    """Wait until a test may run, and hold back those that may not run beside it until the block ends."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "door.lock").open("w") as door, (CACHE / "room.lock").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)  # kept by one that waits to be alone: nobody else begins meanwhile
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # also where a child that a test has forked still has the file
