"""A bound on what all requests together hold in memory."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from profbucket.errors import Unavailable
from profbucket.limits import Limits


class Admission:
    """Bytes of posts that are being read and checked, at most ``limits.inflight_bytes`` at once.

    ``held`` is how many there are now, of ``posts`` posts. *timer* counts seconds.
    """

    def __init__(self, limits: Limits, timer: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._timer = timer
        self.held = 0
        self.posts = 0
        self._room = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold *size* bytes, once there is room, which a single post always has.

        A post that waits costs a thread but no memory. Raise ``Unavailable`` where there is none within
        ``limits.inflight_seconds``: an agent sends it again, and dying would lose them all.
        """
        cap, seconds = self._limits.inflight_bytes, self._limits.inflight_seconds
        end = self._timer() + seconds
        with self._room:
            while self.held and self.held + size > cap:
                left = end - self._timer()
                if left <= 0:
                    raise Unavailable(
                        f"posts of {self.held} bytes are under way, and there was no room for {size} within "
                        f"{seconds} seconds: try again; the caps are {cap} "
                        f"({self._limits.setting('inflight_bytes')}) and {seconds} "
                        f"({self._limits.setting('inflight_seconds')})"
                    )
                self._room.wait(left)
            self.held += size
            self.posts += 1
        try:
            yield
        finally:
            with self._room:
                self.held -= size
                self.posts -= 1
                self._room.notify_all()
