"""A limit on the memory that the bodies of concurrent posts take."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from profbucket.errors import Unavailable
from profbucket.limits import Limits


class Admission:
    """Admits the bytes of bodies while all bodies take at most ``limits.inflight_bytes`` together.

    A body reserves memory as it arrives, so that a stalled one holds only what it has sent. The oldest body that
    is still arriving can always finish: the others leave room for the rest of it. Otherwise bodies that fill the
    memory together could wait for each other.

    ``reserved_bytes`` is the size of all reservations and ``posts`` their number. ``on_release`` is called without
    arguments, in any thread, when a waiting reservation may fit. *timer* counts seconds.
    """

    def __init__(self, limits: Limits, timer: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.timer = timer
        self.reserved_bytes = 0
        self.on_release: Callable[[], object] = _do_nothing
        self.changed = threading.Condition()
        self.reservations: dict[Reservation, None] = {}  # the oldest first

    @property
    def posts(self) -> int:
        """The number of reservations."""
        return len(self.reservations)

    def open(self, max_bytes: int) -> "Reservation":
        """Return an empty reservation that may grow to *max_bytes*."""
        reservation = Reservation(self, max_bytes)
        with self.changed:
            self.reservations[reservation] = None
        return reservation


class Reservation:
    """The ``size`` bytes that a body has reserved; they may become ``max_bytes``. Closing it frees them."""

    def __init__(self, admission: Admission, max_bytes: int) -> None:
        self._admission = admission
        self.size = 0
        self.max_bytes = max_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def try_grow(self, size: int) -> bool:
        """Grow to *size* bytes, or return ``False`` if there is no room now."""
        with self._admission.changed:
            if not self._fits(size):
                return False
            self._resize(size)
            return True

    def grow(self, size: int) -> None:
        """Grow to *size* bytes, waiting for room. A waiting post costs a thread but no more memory.

        Raise ``Unavailable`` after ``limits.inflight_seconds``: the agent retries, whereas running out of memory
        would lose all posts.
        """
        admission = self._admission
        deadline = admission.timer() + admission.limits.inflight_seconds
        with admission.changed:
            while not self._fits(size):
                remaining = deadline - admission.timer()
                if remaining <= 0:
                    raise self.no_room()
                admission.changed.wait(remaining)
            self._resize(size)

    def settle(self, size: int) -> None:
        """Note that the body has *size* bytes and grows no more."""
        with self._admission.changed:
            self.max_bytes = size
            self._resize(size)
            self._admission.changed.notify_all()
        self._admission.on_release()

    def close(self) -> None:
        """Free the memory. Closing twice is allowed."""
        with self._admission.changed:
            if self not in self._admission.reservations:
                return
            self._resize(0)
            del self._admission.reservations[self]
            self._admission.changed.notify_all()
        self._admission.on_release()

    def no_room(self) -> Unavailable:
        """Return the error of a body that has waited for too long."""
        admission, limits = self._admission, self._admission.limits
        return Unavailable(
            f"no room for the body within {limits.inflight_seconds} seconds, because posts of "
            f"{admission.reserved_bytes} bytes are in flight; retry later; the limits are {limits.inflight_bytes} "
            f"bytes ({limits.setting('inflight_bytes')}) and {limits.inflight_seconds} seconds "
            f"({limits.setting('inflight_seconds')})",
            code="too_many_posts_in_flight",
        )

    def _fits(self, size: int) -> bool:
        admission = self._admission
        free = admission.limits.inflight_bytes - admission.reserved_bytes
        growth = size - self.size
        if growth <= 0:
            return True
        oldest = next((other for other in admission.reservations if other.size < other.max_bytes), self)
        if oldest is not self:
            return growth + oldest.max_bytes - oldest.size <= free
        # Nothing will be freed while all others are arriving, and so wait for this one.
        return growth <= free or all(
            other.size < other.max_bytes for other in admission.reservations if other is not self
        )

    def _resize(self, size: int) -> None:
        self._admission.reserved_bytes += size - self.size
        self.size = size


def _do_nothing() -> None:
    pass
