"""Prefetch objects: fetch many at once, yield them in order, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Condition
from typing import TypeVar

_Item = TypeVar("_Item")

Reserve = Callable[[int], None]
Fetch = Callable[[_Item, Reserve], bytes | None]


class ReaderClosed(Exception):
    """The consumer stopped; discard pending fetches."""


def prefetch(
    fetch: Fetch[_Item], items: Sequence[_Item], *, workers: int = 48, max_bytes: int = 64 << 20
) -> Iterator[bytes | None]:
    """Yield ``fetch(item, reserve)`` for each of *items*, in order. The first error is raised and ends it.

    Up to *workers* fetches run at once: a request takes 20 ms and more, of which the CPU is busy for a fraction of
    one. ``fetch`` calls ``reserve(size)`` before it reads that many bytes, which blocks until they fit into
    *max_bytes*. A single larger object is admitted alone.
    """
    budget = _ByteBudget(max_bytes)
    threads = ThreadPoolExecutor(min(workers, max(len(items), 1)), "prefetch")
    pending: deque[Future[bytes | None]] = deque()
    upcoming = iter(enumerate(items))

    def submit_next() -> None:
        for number, item in upcoming:
            pending.append(threads.submit(fetch, item, partial(budget.reserve, number)))
            return

    try:
        for _ in range(2 * workers):
            submit_next()
        while pending:
            yield pending.popleft().result()
            budget.release_next()
            submit_next()
    finally:
        budget.close()
        threads.shutdown(wait=False, cancel_futures=True)


class _ByteBudget:
    """The bytes of fetched items that the consumer has not taken yet. Items are numbered in its order."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sizes: dict[int, int] = {}
        self._next = 0
        self._closed = False
        self._changed = Condition()

    def reserve(self, number: int, size: int) -> None:
        """Reserve *size* bytes for an item, waiting for room. The item that the consumer waits for is admitted."""
        with self._changed:
            self._sizes.pop(number, None)  # a retry of the same fetch
            self._changed.wait_for(lambda: self._fits(number, size))
            if self._closed:
                raise ReaderClosed
            self._sizes[number] = size

    def release_next(self) -> None:
        """Release the bytes of the item that the consumer has taken."""
        with self._changed:
            self._sizes.pop(self._next, None)
            self._next += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Make all pending and later reservations raise ``ReaderClosed``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, number: int, size: int) -> bool:
        reserved = sum(self._sizes.values())
        return self._closed or number == self._next or reserved + size <= self._max_bytes
