"""Clients that are opened on first use, once a process."""

import os
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

_T = TypeVar("_T")


class PerProcess(Generic[_T]):
    """A value that *open_client* returns on first use and again after a fork: a child cannot use its parent's."""

    def __init__(self, open_client: Callable[[], _T]) -> None:
        self._open_client = open_client
        self._opened: tuple[int, _T] | None = None  # with the process id
        self._lock = Lock()

    def get(self) -> _T:
        """Return the value of this process. Safe for threads."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            with self._lock:
                opened = self._opened
                if opened is None or opened[0] != os.getpid():
                    opened = self._opened = os.getpid(), self._open_client()
        return opened[1]
