"""Scraping: fetch the profiles of all targets once, and store them."""

import hashlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.model.meta import Meta
from profbucket.model.upload import Upload
from profbucket.scrape.fetch import TIMED_OUT, ByteBudget, fetch
from profbucket.scrape.targets import PROFILE_TYPES, TIMED_PROFILES, Target

SPREAD_SECONDS = 5.0  # the range of start offsets; a function is billed while it waits

_GRACE_SECONDS = 5.0  # after its timeout, a target that still runs is abandoned; so is storing, after as long
_BATCH_BYTES = 4 << 20  # of a service's profiles that wait for others

_INTERNAL_ERROR = "internal error; see the log"

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """The destination of profiles: a ``Collector``, or a client of one."""

    def store_batch(self, uploads: Sequence[Upload]) -> list[Meta | ProfbucketError]:
        """See :meth:`~profbucket.ingest.collector.Collector.store_batch`."""
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

    Each target has its own thread and timeout. It starts at a fixed offset of its own within *spread_seconds*. The
    profiles of a service are stored together, once all of its targets are done.
    """
    done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    budget = ByteBudget(limits)
    counts = Counter(target.service for target in targets)
    batches = {service: _ServiceBatch(sink, limits, budget, count, done.put) for service, count in counts.items()}
    for target in targets:
        offset_seconds = _start_offset(target) * spread_seconds
        run = _TargetScrape(target, batches[target.service], limits, budget, offset_seconds)
        threading.Thread(target=run.run, name="scrape", daemon=True).start()
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
    late = {target.service for target in pending}
    for outcome in _flush_all([batches[service] for service in late], done):
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


def _flush_all(batches: Sequence["_ServiceBatch"], done: "queue.SimpleQueue[Outcome]") -> Iterator[Outcome]:
    """Store what *batches* hold, and yield what is then in *done*."""
    threads = [threading.Thread(target=batch.flush, name="scrape", daemon=True) for batch in batches]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _GRACE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    while not done.empty():
        yield done.get()


@dataclass(frozen=True, slots=True)
class _Fetched:
    """The profile *name* of the target of *outcome*."""

    outcome: Outcome
    name: str
    upload: Upload


class _ServiceBatch:
    """The profiles of a service with *targets* that have been fetched and not stored yet.

    *done* is called with the outcome of each target whose profiles are stored. Threads may share a batch.
    """

    def __init__(
        self, sink: Sink, limits: Limits, budget: ByteBudget, targets: int, done: Callable[[Outcome], None]
    ) -> None:
        self._sink = sink
        self._limits = limits
        self._budget = budget
        self._done = done
        self._unfinished = targets
        self._fetched: list[_Fetched] = []
        self._finished: list[Outcome] = []
        self._lock = threading.Lock()
        self._storing = threading.Lock()

    def add(self, fetched: _Fetched) -> None:
        """Add a profile; store all if they take much memory."""
        with self._lock:
            self._fetched.append(fetched)
            size = sum(len(item.upload.data) for item in self._fetched)
            is_full = size > _BATCH_BYTES or len(self._fetched) == self._limits.profiles
        if is_full or self._budget.is_half_used:
            self.flush()

    def finish(self, outcome: Outcome) -> None:
        """Note that all profiles of a target have been added; store all if it was the last target."""
        with self._lock:
            self._finished.append(outcome)
            self._unfinished -= 1
            is_last = self._unfinished == 0
        if is_last:
            self.flush()

    def flush(self) -> None:
        """Store the profiles, and report the targets that are done."""
        with self._storing:
            with self._lock:
                fetched, self._fetched = self._fetched, []
                finished, self._finished = self._finished, []
            try:
                if fetched:
                    self._store(fetched)
            finally:
                self._budget.release(sum(len(item.upload.data) for item in fetched))
            for outcome in finished:
                self._done(outcome)

    def _store(self, fetched: Sequence[_Fetched]) -> None:
        stored: Sequence[Meta | ProfbucketError]
        try:
            stored = self._sink.store_batch([item.upload for item in fetched])
        except Exception:  # noqa: BLE001 # the other services go on
            _log.exception("storing the profiles of %s failed", fetched[0].upload.service)
            stored = [ProfbucketError(_INTERNAL_ERROR)] * len(fetched)
        for item, result in zip(fetched, stored, strict=True):
            if isinstance(result, Meta):
                item.outcome.stored.append(result.id)
            elif result.code == "empty_profile":
                item.outcome.empty.append(item.name)  # nothing has blocked, for example, or recording is off
            else:
                item.outcome.failed[item.name] = _describe(result)


class _TargetScrape:
    """One scrape of one target."""

    def __init__(
        self, target: Target, batch: _ServiceBatch, limits: Limits, budget: ByteBudget, offset_seconds: float
    ) -> None:
        self._target = target
        self._batch = batch
        self._limits = limits
        self._budget = budget
        self._offset_seconds = offset_seconds

    def run(self) -> None:
        time.sleep(self._offset_seconds)
        outcome = Outcome(self._target)
        deadline = time.monotonic() + self._target.timeout_seconds
        try:
            for name in self._target.profiles:
                self._fetch_profile(name, deadline, outcome)
        except Exception:  # noqa: BLE001 # the other targets go on
            _log.exception("scraping %s failed", self._target.url)
            outcome.failed |= dict.fromkeys(self._target.profiles, _INTERNAL_ERROR)
        self._batch.finish(outcome)

    def _fetch_profile(self, name: str, deadline: float, outcome: Outcome) -> None:
        target = self._target
        started_at = time.time_ns()
        path = f"{name}?seconds={target.seconds}" if name in TIMED_PROFILES else name
        try:
            data = fetch(target, path, deadline=deadline, limits=self._limits, budget=self._budget)
        except ProfbucketError as error:
            outcome.failed[name] = _describe(error)
            return
        upload = Upload(target.service, PROFILE_TYPES[name], target.labels, data, started_at)
        self._batch.add(_Fetched(outcome, name, upload))


def _describe(error: ProfbucketError) -> str:
    return str(error).replace("%", "\N{FULLWIDTH PERCENT SIGN}")


def _start_offset(target: Target) -> float:
    """Return a number from 0 to 1 that is the same for each scrape of a target and differs between targets."""
    digest = hashlib.sha256(f"{target.url}\0{target.service}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
