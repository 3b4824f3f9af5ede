"""The queue of profiles to send; the program never waits for it."""

import json
import logging
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from profbucket.agent.native import AutoResetEvent, Event, allocate_lock, monotonic, sleep
from profbucket.agent.settings import Settings
from profbucket.model.form import BATCH_PATH, NO_ROUTE_STATUSES, PROFILES_PATH, encode_form
from profbucket.model.numbers import parse_count
from profbucket.model.printable import to_printable
from profbucket.timed_http import REQUEST_ERRORS, request

MAX_QUEUE_BYTES = 4 << 20  # profiles of about an hour

_TIMEOUT_SECONDS = 15.0  # of one attempt
_FIRST_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 1.0, 60.0
_MAX_RETRY_AFTER_SECONDS = 300
_MAX_ATTEMPTS = 10  # per profile, for 5xx responses other than 503
_MAX_ANSWER_BYTES = 1 << 20  # of the response to a batch
_PARTLY_STORED_STATUS = 207
_PPROF = "application/octet-stream"
_BUSY_STATUSES = (429, 503)  # Google's front end answers 429 when all instances are busy
_TOO_SLOW_STATUS = 408  # the network may be better next time
_FAILED_STATUS = 599  # stands for an error of the agent, or a response that it cannot read

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Profile:
    profile_type: str
    data: bytes
    failures: int = 0


@dataclass(slots=True)
class _Batch:
    """Profiles that were taken together. With ``is_split``, each of them is sent alone."""

    profiles: list[_Profile]
    is_split: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """The response to a request: the HTTP status, or 0 without a response, and that of each profile."""

    status: int
    statuses: Sequence[int]
    reason: str = ""
    retry_after: float = 0.0


class Outbox:
    """A bounded queue of profiles, which :meth:`run` sends from one thread.

    Those that were taken together are sent with one request. A profile is retried until it is accepted or
    rejected, with the same bytes each time, so that the collector stores it once. When the queue is full, the
    oldest profiles are dropped. The backoff starts at *first_backoff_seconds* and doubles with each failure.
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
        self._queue: deque[_Batch] = deque()
        self._bytes = 0
        self._dropped = 0  # since the last accepted profile
        self._takes_batches = True  # the collector, as far as is known
        self._random = random.Random()  # noqa: S311 # not a secret; the program may have seeded the global generator
        self._lock = allocate_lock()
        self._wake = AutoResetEvent()
        self._closing = Event()
        self._deadline = float("inf")
        self.done = Event()

    def put(self, profiles: Mapping[str, bytes]) -> None:
        """Append *profiles*, taken together, to the queue; their keys are the profile types."""
        if not profiles:
            return
        with self._lock:
            self._queue.append(_Batch([_Profile(*item) for item in profiles.items()]))
            self._bytes += sum(map(len, profiles.values()))
            dropped = 0
            while self._bytes > self._max_bytes:
                oldest = self._queue.popleft().profiles
                self._bytes -= sum(len(profile.data) for profile in oldest)
                dropped += len(oldest)
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
            while (batch := self._next_batch()) is not None:
                was_closing = self._closing.is_set
                backoff_seconds = self._send(batch, failures)
                failures = failures + 1 if backoff_seconds else 0
                if not was_closing:
                    self._closing.wait(backoff_seconds)
                elif monotonic() + backoff_seconds > self._deadline:
                    break
                else:
                    sleep(backoff_seconds)
            if lost := sum(len(batch.profiles) for batch in self._queue):
                _log.warning("%d profiles are lost because the program ended", lost)
        finally:
            self.done.set()

    def _next_batch(self) -> _Batch | None:
        """Wait for the oldest profiles; return ``None`` if closed and empty, or past the deadline."""
        while True:
            with self._lock:
                if self._queue:
                    return self._queue[0] if monotonic() < self._deadline else None
            if self._closing.is_set:
                return None
            self._wake.wait(3600)

    def _send(self, batch: _Batch, failures: int) -> float:
        """Try to send *batch*, or the first profile of a split one, once.

        Return the seconds to wait before the next attempt, or 0 without one.
        """
        count = len(batch.profiles) if self._takes_batches and not batch.is_split else 1
        profiles = batch.profiles[:count]
        answer = self._post(profiles)
        if count > 1 and not 200 <= answer.status < 300 and answer.status not in _BUSY_STATUSES:
            # Alone, each profile is accepted or rejected by itself, and a slow network transmits it in time.
            self._takes_batches = answer.status not in NO_ROUTE_STATUSES
            batch.is_split = True
            if answer.status not in (0, _TOO_SLOW_STATUS):
                return 0.0
        settled = [
            self._settle(batch, profile, status, answer)
            for profile, status in zip(profiles, answer.statuses, strict=True)
        ]
        if all(settled):
            return 0.0
        if failures == 0:
            _log.info("cannot reach %s, will retry: %s", self._settings.url, answer.reason)
        backoff = min(_MAX_BACKOFF_SECONDS, self._first_backoff_seconds * 2.0 ** min(failures, 30))
        jitter = self._random.uniform(0.5 if backoff > answer.retry_after else 1.0, 1.5)
        return max(backoff, answer.retry_after) * jitter

    def _post(self, profiles: Sequence[_Profile]) -> _Answer:
        """Send one request with *profiles*."""
        settings, count = self._settings, len(profiles)
        parameters = [settings.parameters(profile.profile_type) for profile in profiles]
        if count == 1:
            path, body, content_type = f"{PROFILES_PATH}?{urlencode(parameters[0])}", profiles[0].data, _PPROF
        else:
            bodies = (profile.data for profile in profiles)
            path, (body, content_type) = BATCH_PATH, encode_form(zip(parameters, bodies, strict=True))
        try:
            with request(
                "POST",
                f"{settings.url}{path}",
                seconds=min(_TIMEOUT_SECONDS, max(0.1, self._deadline - monotonic())),
                body=body,
                headers={**settings.headers, "Content-Type": content_type},
            ) as response:
                status = response.status
                statuses = [status] * count
                if status == _PARTLY_STORED_STATUS and count > 1:
                    statuses = _parse_statuses(response.read(_MAX_ANSWER_BYTES), count)
                retry_after = _parse_retry_after(response.headers.get("Retry-After", ""))
                return _Answer(status, statuses, f"HTTP status {status}", retry_after)
        except REQUEST_ERRORS as error:
            return _Answer(0, [0] * count, to_printable(str(error)) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 # neither the program nor the next profile must fail
            reason = f"{type(error).__name__}: {to_printable(str(error))}"
            return _Answer(_FAILED_STATUS, [_FAILED_STATUS] * count, reason)

    def _settle(self, batch: _Batch, profile: _Profile, status: int, answer: _Answer) -> bool:
        """Remove *profile* from *batch* if *status* is final; return whether it is."""
        if 200 <= status < 300:
            self._remove(batch, profile, accepted=True)
            return True
        profile.failures += status not in (0, *_BUSY_STATUSES)
        is_rejected = 0 < status < 500 and status not in (_TOO_SLOW_STATUS, *_BUSY_STATUSES)
        if not is_rejected and profile.failures < _MAX_ATTEMPTS:
            return False
        self._remove(batch, profile)
        reason = answer.reason if status == answer.status else f"HTTP status {status}"
        _log.warning("%s rejected a %s profile: %s", self._settings.url, profile.profile_type, reason)
        return True

    def _remove(self, batch: _Batch, profile: _Profile, *, accepted: bool = False) -> None:
        with self._lock:
            if self._queue and self._queue[0] is batch:  # it may have been dropped while it was being sent
                batch.profiles.remove(profile)
                self._bytes -= len(profile.data)
                if not batch.profiles:
                    self._queue.popleft()
            dropped, self._dropped = self._dropped, 0 if accepted else self._dropped
        if accepted and dropped:
            _log.warning("%s accepts profiles again; %d were dropped", self._settings.url, dropped)


def _parse_retry_after(value: str) -> float:
    """Return the seconds of a Retry-After header, or 0 for a date: clocks differ."""
    return min(parse_count(value.strip(), most=10**20) or 0, _MAX_RETRY_AFTER_SECONDS)


def _parse_statuses(body: bytes, count: int) -> list[int]:
    """Return the status of each of *count* profiles; raise an error if *body* does not have them."""
    statuses = [int(part["code"]) for part in json.loads(body)["body"]]
    if len(statuses) != count:
        raise ValueError(f"a response about {len(statuses)} profiles, not {count}")
    return statuses
