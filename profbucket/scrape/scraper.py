"""Scraping: fetch the profiles of all targets once, and store them."""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.scrape.fetch import TIMED_OUT, ByteBudget, fetch
from profbucket.scrape.targets import PROFILE_TYPES, TIMED_PROFILES, Target

SPREAD_SECONDS = 5.0  # the range of start offsets; a function is billed while it waits

_GRACE_SECONDS = 5.0  # after its timeout, a target that still runs is abandoned

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """The destination of profiles: a ``Collector``, or a client of one."""

    def collect(
        self, service: str, profile_type: ProfileType, labels: Labels, data: bytes, created_at: int | None = None
    ) -> Meta:
        """See :meth:`~profbucket.ingest.collector.Collector.collect`."""
        ...


@dataclass(slots=True)
class Outcome:
    """The result for a target.

    ``stored`` are profile ids, ``empty`` names of profiles without samples, ``failed`` messages by profile name.
    """

    target: Target
    stored: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def scrape(
    targets: Sequence[Target], sink: Sink, limits: Limits = Limits(), *, spread_seconds: float = SPREAD_SECONDS
) -> Iterator[Outcome]:
    """Fetch the profiles of all *targets* once and store them; yield the outcome of each target when it is done.

    Each target has its own thread and timeout. It starts at a fixed offset of its own within *spread_seconds*.
    """
    done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    budget = ByteBudget(limits)
    for target in targets:
        run = _TargetScrape(target, sink, limits, budget, _start_offset(target) * spread_seconds)
        threading.Thread(target=run.run, args=(done.put,), name="scrape", daemon=True).start()
    pending = list(targets)
    longest_seconds = max((target.timeout_seconds for target in targets), default=0.0)
    deadline = time.monotonic() + spread_seconds + longest_seconds + _GRACE_SECONDS
    while pending:
        try:
            outcome = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        pending.remove(outcome.target)
        yield outcome
    for target in pending:  # name resolution, for example, cannot be interrupted
        yield Outcome(target, failed=dict.fromkeys(target.profiles, TIMED_OUT))


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Log *outcomes*, and return them as a JSON object."""
    for outcome in outcomes:
        for name, error in outcome.failed.items():
            target = outcome.target
            _log.warning("%s of %s (%s) is not stored: %s", name, target.url, target.service, error)
    counts = {
        "targets": len(outcomes),
        "stored": sum(len(outcome.stored) for outcome in outcomes),
        "empty": sum(len(outcome.empty) for outcome in outcomes),
        "failed": sum(len(outcome.failed) for outcome in outcomes),
    }
    _log.info("scraped %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    results = [
        {
            "target": outcome.target.url,
            "service": outcome.target.service,
            "stored": outcome.stored,
            "empty": outcome.empty,
            "failed": outcome.failed,
        }
        for outcome in outcomes
    ]
    return {**counts, "results": results}


class _TargetScrape:
    """One scrape of one target."""

    def __init__(
        self, target: Target, sink: Sink, limits: Limits, budget: ByteBudget, offset_seconds: float
    ) -> None:
        self._target = target
        self._sink = sink
        self._limits = limits
        self._budget = budget
        self._offset_seconds = offset_seconds

    def run(self, done: Callable[[Outcome], None]) -> None:
        time.sleep(self._offset_seconds)
        outcome = Outcome(self._target)
        deadline = time.monotonic() + self._target.timeout_seconds
        try:
            for name in self._target.profiles:
                self._scrape_profile(name, deadline, outcome)
        except Exception:  # noqa: BLE001 # the other targets go on
            _log.exception("scraping %s failed", self._target.url)
            outcome.failed |= dict.fromkeys(self._target.profiles, "internal error; see the log")
        done(outcome)

    def _scrape_profile(self, name: str, deadline: float, outcome: Outcome) -> None:
        target = self._target
        started_at = time.time_ns()
        path = f"{name}?seconds={target.seconds}" if name in TIMED_PROFILES else name
        data = b""
        try:
            data = fetch(target, path, deadline=deadline, limits=self._limits, budget=self._budget)
            meta = self._sink.collect(target.service, PROFILE_TYPES[name], target.labels, data, started_at)
            outcome.stored.append(meta.id)
        except ProfbucketError as error:
            if error.code == "empty_profile":
                outcome.empty.append(name)  # nothing has blocked, for example, or recording is off
            else:
                outcome.failed[name] = str(error).replace("%", "\N{FULLWIDTH PERCENT SIGN}")
        finally:
            self._budget.release(len(data))


def _start_offset(target: Target) -> float:
    """Return a number from 0 to 1 that is the same for each scrape of a target and differs between targets."""
    digest = hashlib.sha256(f"{target.url}\0{target.service}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
