"""OS threads, locks and clocks, even if gevent or a test library has replaced those of the standard library.

The agent's threads must be OS threads: a greenlet runs only when the profiled greenlet yields. Its clocks must
run: freezegun, for example, stops ``time.monotonic`` and all references to it in loaded modules.
"""

import _thread
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any


def _original(name: str) -> Any:
    monkey = sys.modules.get("gevent.monkey")
    return getattr(_thread, name) if monkey is None else monkey.get_original("_thread", name)


get_ident: Callable[[], int] = _original("get_ident")
allocate_lock: Callable[[], Any] = _original("allocate_lock")
_start_new_thread: Callable[..., int] = _original("start_new_thread")

# Partial objects of another function: freezegun and mocks of the time module do not find them.
monotonic: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
monotonic_ns: Callable[[], int] = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
time_ns: Callable[[], int] = partial(time.clock_gettime_ns, time.CLOCK_REALTIME)
thread_time_ns: Callable[[], int] = partial(time.clock_gettime_ns, time.CLOCK_THREAD_CPUTIME_ID)


def sleep(seconds: float) -> None:
    """Block the calling thread for *seconds*."""
    lock = allocate_lock()
    lock.acquire()
    lock.acquire(timeout=max(0.0, seconds))


def start_thread(call: Callable[[], None]) -> None:
    """Run *call* in a daemon thread; raise ``RuntimeError`` if no thread can be started."""
    _start_new_thread(call, ())


class Event:
    """A flag that threads can wait for, as ``threading.Event``; it cannot be cleared."""

    def __init__(self) -> None:
        self.is_set = False
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        self.is_set = True
        with suppress(RuntimeError):  # already set
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait until the flag is set, for at most *seconds*; return whether it is."""
        if not self.is_set and self._lock.acquire(timeout=max(0.0, seconds)):
            self._lock.release()
        return self.is_set


class AutoResetEvent:
    """An event for one waiting thread; :meth:`wait` clears it."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        with suppress(RuntimeError):  # already set
            self._lock.release()

    def wait(self, seconds: float) -> None:
        self._lock.acquire(timeout=max(0.0, seconds))
