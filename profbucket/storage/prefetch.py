"""Reading ahead: many objects, or parts of them, at once, in the order that was asked for, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Condition
from typing import TypeVar

_Asked = TypeVar("_Asked")

Admit = Callable[[int], None]
Fetch = Callable[[_Asked, Admit], bytes | None]


class ReaderClosed(Exception):
    """The reader has gone: what is still being fetched is of no use."""


def prefetch(
    fetch: Fetch[_Asked], parts: Sequence[_Asked], *, workers: int = 48, held: int = 64 << 20
) -> Iterator[bytes | None]:
    """Yield what *fetch* returns for each of *parts*, in their order. The first error is raised and ends it.

    *workers* fetch at once: an answer takes 20 ms and more, our part of it a fraction of one. Before it holds so
    many bytes ``fetch(part, admit)`` calls ``admit(size)``, and waits there while there is no room: what is read
    ahead stays below *held* bytes, or is one object.
    """
    room = _Room(held)
    threads = ThreadPoolExecutor(min(workers, max(len(parts), 1)), "read-ahead")
    pending: deque[Future[bytes | None]] = deque()
    upcoming = iter(enumerate(parts))

    def submit() -> None:
        for number, part in upcoming:
            pending.append(threads.submit(fetch, part, partial(room.admit, number)))
            return

    try:
        for _ in range(2 * workers):
            submit()
        while pending:
            yield pending.popleft().result()
            room.advance()
            submit()
    finally:
        room.close()
        threads.shutdown(wait=False, cancel_futures=True)


class _Room:
    """Bytes held on behalf of a reader that takes them by number."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._sizes: dict[int, int] = {}
        self._next = 0
        self._closed = False
        self._changed = Condition()

    def admit(self, number: int, size: int) -> None:
        """Wait until there is room for *size* bytes, or until the reader waits for just these."""
        with self._changed:
            self._sizes.pop(number, None)  # fetched once more, after an error
            self._changed.wait_for(lambda: self._fits(number, size))
            if self._closed:
                raise ReaderClosed
            self._sizes[number] = size

    def advance(self) -> None:
        """The reader is done with one more."""
        with self._changed:
            self._sizes.pop(self._next, None)
            self._next += 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, number: int, size: int) -> bool:
        return self._closed or number == self._next or sum(self._sizes.values()) + size <= self._bound
