"""Threads and locks of the system, also where gevent has put its own in their place.

A greenlet could not look at the greenlet that keeps the thread busy: the agent's threads are real ones.
"""

import _thread
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def _original(name: str) -> Any:
    monkey = sys.modules.get("gevent.monkey")
    return getattr(_thread, name) if monkey is None else monkey.get_original("_thread", name)


get_ident: Callable[[], int] = _original("get_ident")
allocate_lock: Callable[[], Any] = _original("allocate_lock")
_start: Callable[..., int] = _original("start_new_thread")


def spawn(call: Callable[[], None]) -> None:
    """Run *call* in a thread that ends with the program; raise ``RuntimeError`` where no more can be started."""
    _start(call, ())


class Flag:
    """Something that has happened, or has not yet."""

    def __init__(self) -> None:
        self.is_set = False
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        self.is_set = True
        with suppress(RuntimeError):  # someone else was first
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait until it has happened, at most so long; whether it has."""
        if not self.is_set and self._lock.acquire(timeout=max(0.0, seconds)):
            self._lock.release()
        return self.is_set


class Bell:
    """Wakes the one thread that waits for it, or will."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._lock.release()

    def wait(self, seconds: float) -> None:
        self._lock.acquire(timeout=max(0.0, seconds))
