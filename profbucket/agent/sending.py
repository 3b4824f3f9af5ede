"""The queue of profiles to send; the program never waits for it."""

import logging
import random
from collections import deque
from dataclasses import dataclass

from profbucket.agent.native import AutoResetEvent, Event, allocate_lock, monotonic, sleep
from profbucket.agent.settings import Settings
from profbucket.model.numbers import parse_count
from profbucket.model.printable import to_printable
from profbucket.timed_http import REQUEST_ERRORS, request

MAX_QUEUE_BYTES = 4 << 20  # profiles of about an hour

_TIMEOUT_SECONDS = 15.0  # of one attempt
_FIRST_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 1.0, 60.0
_MAX_RETRY_AFTER_SECONDS = 300
_MAX_ATTEMPTS = 10  # per profile, for 5xx responses other than 503
_TOO_SLOW_STATUS = 408  # the network may be better next time
_BUSY_STATUSES = (429, 503)  # Google's front end answers 429 when all instances are busy

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Profile:
    profile_type: str
    data: bytes
    failures: int = 0


class Outbox:
    """A bounded queue of profiles, which :meth:`run` sends from one thread.

    A profile is retried until it is accepted or rejected, with the same bytes each time, so that the collector
    stores it once. When the queue is full, the oldest profile is dropped. The backoff starts at
    *first_backoff_seconds* and doubles with each failure.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        max_bytes: int = MAX_QUEUE_BYTES,
        first_backoff_seconds: float = _FIRST_BACKOFF_SECONDS,
    ) -> None:
        self._settings = settings
        self._max_bytes = max_bytes
        self._first_backoff_seconds = first_backoff_seconds
        self._queue: deque[_Profile] = deque()
        self._bytes = 0
        self._dropped = 0  # since the last accepted profile
        self._random = random.Random()  # noqa: S311 # not a secret; the program may have seeded the global generator
        self._lock = allocate_lock()
        self._wake = AutoResetEvent()
        self._closing = Event()
        self._deadline = float("inf")
        self.done = Event()

    def put(self, profile_type: str, data: bytes) -> None:
        """Append a profile of *profile_type* to the queue."""
        with self._lock:
            self._queue.append(_Profile(profile_type, data))
            self._bytes += len(data)
            dropped = 0
            while self._bytes > self._max_bytes:
                self._bytes -= len(self._queue.popleft().data)
                dropped += 1
            first = dropped > 0 and self._dropped == 0
            self._dropped += dropped
        if first:
            _log.warning(
                "dropping the oldest profiles: more than %d bytes are queued because %s does not accept them",
                self._max_bytes,
                self._settings.url,
            )
        self._wake.set()

    def close(self, deadline: float) -> None:
        """Send the rest of the queue until *deadline* (of ``time.monotonic``), then stop."""
        self._deadline = deadline
        self._closing.set()
        self._wake.set()

    def run(self) -> None:
        """Send profiles until the outbox is closed."""
        try:
            failures = 0
            while (profile := self._next_profile()) is not None:
                was_closing = self._closing.is_set
                backoff_seconds = self._send(profile, failures)
                failures = failures + 1 if backoff_seconds else 0
                if not was_closing:
                    self._closing.wait(backoff_seconds)
                elif monotonic() + backoff_seconds > self._deadline:
                    break
                else:
                    sleep(backoff_seconds)
            if self._queue:
                _log.warning("%d profiles are lost because the program ended", len(self._queue))
        finally:
            self.done.set()

    def _next_profile(self) -> _Profile | None:
        """Wait for the oldest profile; return ``None`` if closed and empty, or past the deadline."""
        while True:
            with self._lock:
                if self._queue:
                    return self._queue[0] if monotonic() < self._deadline else None
            if self._closing.is_set:
                return None
            self._wake.wait(3600)

    def _send(self, profile: _Profile, failures: int) -> float:
        """Try to send *profile* once; return the seconds to wait before the next attempt, or 0 without one."""
        settings, retry_after, reason = self._settings, 0.0, ""
        try:
            with request(
                "POST",
                settings.upload_url(profile.profile_type),
                seconds=min(_TIMEOUT_SECONDS, max(0.1, self._deadline - monotonic())),
                body=profile.data,
                headers={**settings.headers, "Content-Type": "application/octet-stream"},
            ) as response:
                status = response.status
                if status >= 300:
                    retry_after = _parse_retry_after(response.headers.get("Retry-After", ""))
                    reason = f"HTTP status {status}"
        except REQUEST_ERRORS as error:
            status, reason = 0, to_printable(str(error)) or type(error).__name__
        except Exception as error:  # noqa: BLE001 # neither the program nor the next profile must fail
            status, reason = 599, f"{type(error).__name__}: {to_printable(str(error))}"
        if 200 <= status < 300:
            self._remove(profile, accepted=True)
            return 0.0
        profile.failures += status not in (0, *_BUSY_STATUSES)
        rejected = 0 < status < 500 and status not in (_TOO_SLOW_STATUS, *_BUSY_STATUSES)
        if rejected or profile.failures >= _MAX_ATTEMPTS:
            self._remove(profile)
            _log.warning("%s rejected a %s profile: %s", settings.url, profile.profile_type, reason)
            return 0.0
        if failures == 0:
            _log.info("cannot reach %s, will retry: %s", settings.url, reason)
        backoff = min(_MAX_BACKOFF_SECONDS, self._first_backoff_seconds * 2.0 ** min(failures, 30))
        return max(backoff, retry_after) * self._random.uniform(0.5 if backoff > retry_after else 1.0, 1.5)

    def _remove(self, profile: _Profile, *, accepted: bool = False) -> None:
        with self._lock:
            if self._queue and self._queue[0] is profile:  # it may have been dropped while it was being sent
                self._queue.popleft()
                self._bytes -= len(profile.data)
            dropped, self._dropped = self._dropped, 0 if accepted else self._dropped
        if accepted and dropped:
            _log.warning("%s accepts profiles again; %d were dropped", self._settings.url, dropped)


def _parse_retry_after(value: str) -> float:
    """Return the seconds of a Retry-After header, or 0 for a date: clocks differ."""
    return min(parse_count(value.strip(), most=10**20) or 0, _MAX_RETRY_AFTER_SECONDS)
