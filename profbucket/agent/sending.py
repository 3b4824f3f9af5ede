"""Profiles on their way to the collector: the program neither waits for them nor notices that they cannot go."""

import logging
import random
import time
from collections import deque
from dataclasses import dataclass

from profbucket.agent.native import Bell, Flag, allocate_lock
from profbucket.agent.settings import Settings
from profbucket.timed_http import REQUEST_ERRORS, request

MOST_BYTES = 4 << 20  # that wait at once: an hour of usual profiles

_SECONDS = 15.0  # for one attempt
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_LONGEST_TOLD = 300.0  # whatever Retry-After says
_TRIES = 10  # of a profile that the collector fails over, unless it says that it is busy
_BUSY = (429, 503)  # 429 is Google's front end, when all instances are

_log = logging.getLogger("profbucket.agent")


@dataclass(slots=True)
class _Profile:
    profile_type: str
    data: bytes
    failures: int = 0


class Outbox:
    """Profiles that wait to be sent; one thread is in :meth:`run`.

    A profile is sent until it is taken or refused, in the same bytes each time, so that the collector has it once.
    What waits is bounded: the oldest goes first. *first_wait* is what seconds are doubled from failure to failure.
    """

    def __init__(
        self, settings: Settings, *, most_bytes: int = MOST_BYTES, first_wait: float = _FIRST_WAIT
    ) -> None:
        self._settings = settings
        self._most_bytes = most_bytes
        self._first_wait = first_wait
        self._waiting: deque[_Profile] = deque()
        self._bytes = 0
        self._dropped = 0  # since the last that was taken
        self._chance = random.Random()  # noqa: S311 # no secret, and not the program's own
        self._lock = allocate_lock()
        self._bell = Bell()
        self._closing = Flag()
        self._ends = float("inf")
        self.done = Flag()

    def put(self, profile_type: str, data: bytes) -> None:
        """Send *data*, a profile of *profile_type*, when it is possible."""
        with self._lock:
            self._waiting.append(_Profile(profile_type, data))
            self._bytes += len(data)
            dropped = 0
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._waiting.popleft().data)
                dropped += 1
            first = dropped > 0 and self._dropped == 0
            self._dropped += dropped
        if first:
            _log.warning(
                "profiles are dropped, the oldest first, because %s does not take them: more than %d bytes wait",
                self._settings.url,
                self._most_bytes,
            )
        self._bell.ring()

    def close(self, ends: float) -> None:
        """Send what is left until *ends*, by ``time.monotonic``, and then no more."""
        self._ends = ends
        self._closing.set()
        self._bell.ring()

    def run(self) -> None:
        """Send, until it is closed."""
        try:
            failures = 0
            while (profile := self._next()) is not None:
                wait = self._send(profile, failures)
                failures = failures + 1 if wait else 0
                if wait and self._closing.wait(wait) and time.monotonic() + wait > self._ends:
                    break
            if self._waiting:
                _log.warning("%d profiles are lost: the program ended first", len(self._waiting))
        finally:
            self.done.set()

    def _next(self) -> _Profile | None:
        """The oldest profile, once there is one; ``None`` where it is over."""
        while True:
            with self._lock:
                if self._waiting:
                    return self._waiting[0] if time.monotonic() < self._ends else None
            if self._closing.is_set:
                return None
            self._bell.wait(3600)

    def _send(self, profile: _Profile, failures: int) -> float:
        """Try once; return how many seconds to wait before the next try, or 0 where it is over with this one."""
        settings, told, why = self._settings, 0.0, ""
        try:
            with request(
                "POST",
                settings.address(profile.profile_type),
                seconds=min(_SECONDS, max(0.1, self._ends - time.monotonic())),
                body=profile.data,
                headers={**settings.headers, "Content-Type": "application/octet-stream"},
            ) as answer:
                status = answer.status
                if status >= 300:
                    told, why = _seconds(answer.headers.get("Retry-After", "")), f"it answers {status}"
        except REQUEST_ERRORS as error:
            status, why = 0, str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001 # whatever it is, the program and the next profile are not to blame
            status, why = 599, f"{type(error).__name__}: {error}"
        if 200 <= status < 300:
            self._over(profile, taken=True)
            return 0.0
        profile.failures += status not in (0, *_BUSY)
        final = 0 < status < 500 and status not in _BUSY
        if final or profile.failures >= _TRIES:
            self._over(profile)
            _log.warning("a %s profile is not taken by %s: %s", profile.profile_type, settings.url, why)
            return 0.0
        if failures == 0:
            _log.info("a profile waits, because %s cannot be reached: %s", settings.url, why)
        wait = min(_LONGEST_WAIT, self._first_wait * 2.0 ** min(failures, 30))
        return max(wait, told) * self._chance.uniform(0.5 if wait > told else 1.0, 1.5)

    def _over(self, profile: _Profile, *, taken: bool = False) -> None:
        with self._lock:
            if self._waiting and self._waiting[0] is profile:  # else it was dropped while it was on its way
                self._waiting.popleft()
                self._bytes -= len(profile.data)
            dropped, self._dropped = self._dropped, 0 if taken else self._dropped
        if taken and dropped:
            _log.warning("%s takes profiles again; %d were dropped", self._settings.url, dropped)


def _seconds(retry_after: str) -> float:
    """What a Retry-After in seconds says; a date is as good as none, for clocks differ."""
    text = retry_after.strip()
    return min(float(text), _LONGEST_TOLD) if text.isascii() and text.isdigit() else 0.0
