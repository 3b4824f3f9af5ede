"""A bound on what all requests together hold in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from profbucket.errors import Unavailable
from profbucket.limits import Limits


class Budget:
    """Bytes of posts that are being read and checked, at most ``limits.inflight_bytes`` at once.

    ``held`` is how many there are now, of ``posts`` posts.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0
        self.posts = 0
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold *size* bytes, or raise ``Unavailable``: an agent sends them again, and dying would lose them all.

        A single post always has room.
        """
        cap = self._limits.inflight_bytes
        with self._lock:
            if self.held and self.held + size > cap:
                raise Unavailable(
                    f"posts of {self.held} bytes are under way and this one has {size}: try again; the cap is "
                    f"{cap} ({self._limits.setting('inflight_bytes')})"
                )
            self.held += size
            self.posts += 1
        try:
            yield
        finally:
            with self._lock:
                self.held -= size
                self.posts -= 1
