"""Profiles of applications that push none: fetched from each target's ``/debug/pprof``, and stored."""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from profbucket.errors import ProfbucketError
from profbucket.ingest.collector import EMPTY
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.scrape.fetch import Held, fetch
from profbucket.scrape.targets import PROFILE_TYPES, TIMED_PROFILES, Target

SPREAD_SECONDS = 30.0  # over which the targets' begins are spread; with their time-out it is less than a minute

_GRACE = 5.0  # seconds beyond its time-out after which a target is given up, whatever it is doing

_log = logging.getLogger("profbucket")


class Sink(Protocol):
    """Where profiles go: a Collector, or a client of one."""

    def collect(
        self, service: str, profile_type: ProfileType, labels: Labels, data: bytes, created_at: int | None = None
    ) -> Meta:
        """See :meth:`~profbucket.ingest.collector.Collector.collect`."""
        ...


@dataclass(slots=True)
class Outcome:
    """A target's profiles: the ids of those ``stored``, the names of those ``empty``, and why some ``failed``."""

    target: Target
    stored: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def scrape(
    targets: Sequence[Target], sink: Sink, limits: Limits = Limits(), *, spread_seconds: float = SPREAD_SECONDS
) -> Iterator[Outcome]:
    """Fetch all profiles of all *targets* once and store them; yield each target's outcome when it is over.

    A target has a thread and a time-out of its own, so that none waits for another. It begins within
    *spread_seconds*, always at the same moment after the call.
    """
    done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    held = Held(limits)
    for target in targets:
        one = _Scrape(target, sink, limits, held, _offset(target) * spread_seconds)
        threading.Thread(target=one.run, args=(done.put,), name="scrape", daemon=True).start()
    waiting = list(targets)
    ends = time.monotonic() + spread_seconds + max((t.timeout_seconds for t in targets), default=0.0) + _GRACE
    while waiting:
        try:
            outcome = done.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        waiting.remove(outcome.target)
        yield outcome
    for target in waiting:  # such as those whose name is still being looked up
        yield Outcome(target, failed=dict.fromkeys(target.profiles, "the time was up"))


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What became of all, in JSON; it is logged as well."""
    for one in outcomes:
        for name, why in one.failed.items():
            _log.warning("%s of %s (%s) is not stored: %s", name, one.target.url, one.target.service, why)
    counts = {
        "targets": len(outcomes),
        "stored": sum(len(one.stored) for one in outcomes),
        "empty": sum(len(one.empty) for one in outcomes),
        "failed": sum(len(one.failed) for one in outcomes),
    }
    _log.info("scraped %s", ", ".join(f"{number} {what}" for what, number in counts.items()))
    results = [
        {
            "target": one.target.url,
            "service": one.target.service,
            "stored": one.stored,
            "empty": one.empty,
            "failed": one.failed,
        }
        for one in outcomes
    ]
    return {**counts, "results": results}


class _Scrape:
    """One target, once."""

    def __init__(self, target: Target, sink: Sink, limits: Limits, held: Held, offset: float) -> None:
        self._target = target
        self._sink = sink
        self._limits = limits
        self._held = held
        self._offset = offset

    def run(self, done: Callable[[Outcome], None]) -> None:
        time.sleep(self._offset)
        outcome = Outcome(self._target)
        ends = time.monotonic() + self._target.timeout_seconds
        try:
            for name in self._target.profiles:
                self._one(name, ends, outcome)
        except Exception:  # noqa: BLE001 # of one target, and of no other
            _log.exception("scraping %s failed", self._target.url)
            outcome.failed |= dict.fromkeys(self._target.profiles, "an error of ours: the log says more")
        done(outcome)

    def _one(self, name: str, ends: float, outcome: Outcome) -> None:
        target = self._target
        taken_at = time.time_ns()
        path = f"{name}?seconds={target.seconds}" if name in TIMED_PROFILES else name
        data = b""
        try:
            data = fetch(target, path, ends=ends, limits=self._limits, held=self._held)
            outcome.stored.append(
                self._sink.collect(target.service, PROFILE_TYPES[name], target.labels, data, taken_at).id
            )
        except ProfbucketError as error:
            if str(error) == EMPTY:
                outcome.empty.append(name)  # nothing has blocked, or it is not recorded
            else:
                outcome.failed[name] = str(error).replace("%", "\N{FULLWIDTH PERCENT SIGN}")
        finally:
            self._held.give(len(data))


def _offset(target: Target) -> float:
    """Which part of the time a target begins after: the same each time, and no two targets' at once."""
    digest = hashlib.sha256(f"{target.url}\0{target.service}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
