"""A limit on the memory that the bodies of concurrent posts take."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from profbucket.errors import Unavailable
from profbucket.limits import Limits


class Admission:
    """Admits posts while their bodies take at most ``limits.inflight_bytes`` together.

    ``reserved_bytes`` is the size of all admitted bodies and ``posts`` their number. *timer* counts seconds.
    """

    def __init__(self, limits: Limits, timer: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._timer = timer
        self.reserved_bytes = 0
        self.posts = 0
        self._released = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Reserve *size* bytes until the block ends, waiting for room. A lone post is always admitted.

        A waiting post costs a thread but no memory. Raise ``Unavailable`` after ``limits.inflight_seconds``: the
        agent retries, whereas running out of memory would lose all posts.
        """
        max_bytes, max_seconds = self._limits.inflight_bytes, self._limits.inflight_seconds
        deadline = self._timer() + max_seconds
        with self._released:
            while self.reserved_bytes and self.reserved_bytes + size > max_bytes:
                remaining = deadline - self._timer()
                if remaining <= 0:
                    raise Unavailable(
                        f"no room for a body of {size} bytes within {max_seconds} seconds, because posts of "
                        f"{self.reserved_bytes} bytes are in flight; retry later; the limits are {max_bytes} "
                        f"bytes ({self._limits.setting('inflight_bytes')}) and {max_seconds} seconds "
                        f"({self._limits.setting('inflight_seconds')})",
                        code="too_many_posts_in_flight",
                    )
                self._released.wait(remaining)
            self.reserved_bytes += size
            self.posts += 1
        try:
            yield
        finally:
            with self._released:
                self.reserved_bytes -= size
                self.posts -= 1
                self._released.notify_all()
