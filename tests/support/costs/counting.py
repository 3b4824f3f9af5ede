"""Calls of a collector over the emulators, and the billed operations that each of them makes."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import pytest

from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Compactor
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from profbucket.query.querier import Querier
from profbucket.scrape.targets import TARGETS_KEY
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from storage_gcs import FirestoreIndex, GcsBucket
from tests.support.api import Api, body, pprof
from tests.support.costs.bill import SCRAPED, Counts, Load
from tests.support.costs.operations import Operations
from tests.support.proxies import TrafficCounter, firestore_proxy, gcs_proxy
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT
from tests.support.storage.unique_names import new_gcs_bucket, new_name

_MINUTE = 60 * SECOND
_COMPACTION_DELAY = 11 * _MINUTE  # after the end of a period

_TYPES = ("cpu", "heap", "wall", "mutex", "goroutine")
_DAY_MINUTES = 24 * 60
_SERIES_MINUTES = 10  # a process writes a series again after as long


class Plan(NamedTuple):
    """Counts for a bill: of posts in *minutes*, and of the compaction of two days that differ in minutes."""

    posted: Load
    minutes: int
    compacted: Load
    days: tuple[Sequence[int], Sequence[int]]


POSTS, BATCHES, SCRAPER = "posts", "batches", "scraper"
_THREE_OR_SIX_AN_HOUR = (range(0, _DAY_MINUTES, 20), range(0, _DAY_MINUTES, 10))
_ONE_OR_TWO_AN_HOUR = (range(0, _DAY_MINUTES, 60), range(0, _DAY_MINUTES, 30))
PLANS: Mapping[str, Plan] = {
    POSTS: Plan(Load(4), 50, Load(1, types=1), _THREE_OR_SIX_AN_HOUR),
    BATCHES: Plan(Load(4, batch=5), 50, Load(1, batch=5), _ONE_OR_TWO_AN_HOUR),
    # In one hour only: per profile, the fixed operations of each hour are next to nothing.
    SCRAPER: Plan(SCRAPED, 10, SCRAPED, ((0, 30), (0, 15, 30, 45))),
}


@dataclass
class CountedStorage:
    """A storage on the emulators, behind proxies that count requests."""

    storage: Storage
    traffic: TrafficCounter

    def count(self, call: Callable[[], object]) -> Operations:
        """Return the operations of *call*."""
        self.traffic.reset()
        call()
        return Operations.from_traffic(self.traffic)


@contextmanager
def counted_storage(gcs: str, firestore: str) -> Iterator[CountedStorage]:
    """Yield an empty storage on the emulators at *gcs* and *firestore*."""
    traffic = TrafficCounter()
    with (
        pytest.MonkeyPatch.context() as environment,
        gcs_proxy(gcs, traffic) as gcs_host,
        firestore_proxy(firestore, traffic) as firestore_host,
    ):
        environment.setenv("STORAGE_EMULATOR_HOST", gcs_host)
        environment.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
        # A slow machine must not cause retries, which would be counted.
        environment.setattr("storage_gcs.firestore.QUERY_TIMEOUT_SECONDS", 300.0)
        environment.setattr("storage_gcs.firestore.WRITE_TIMEOUT_SECONDS", 300.0)
        environment.setattr("storage_gcs.http.READ_TIMEOUT_SECONDS", 300.0)
        yield CountedStorage(Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name())), traffic)


def count_calls(counted: CountedStorage) -> Mapping[str, Operations]:
    """Return the operations of each call, by its description.

    There is one service, with 60 CPU profiles of this hour, of four series.
    """
    storage, count = counted.storage, counted.count
    # The current hour: its task is not due yet, so that each process adds it once.
    hour = time.time_ns() // HOUR * HOUR
    after = hour + HOUR + _COMPACTION_DELAY
    api = Api(storage, collector=Collector(storage), querier=Querier(storage), clock=lambda: hour + HOUR - 1)

    def post(number: int) -> None:
        data = pprof(number + 1, at=hour + number * _MINUTE)
        api.posted(data, version=f"{number // 2 % 2}", pod=f"{number % 2}")

    def compact() -> None:
        list(Compactor(storage, clock=lambda: after).run_due())

    compact()  # the first run of a day adds tasks
    calls = {"post: the first of a process, for its series and hour": count(lambda: post(0))}
    for number in range(1, 4):
        post(number)
    calls["post: any other"] = count(lambda: post(4))
    calls["post again"] = count(lambda: post(4))
    for number in range(5, 60):
        post(number)

    storage.index.tidy_series(all_services=False)  # how many records an hour adds depends on the time of day

    hour_range = {"from": str(hour // SECOND), "to": str((hour + HOUR) // SECOND - 1)}

    def get(path: str, **parameters: str) -> None:
        response = api.get(path, **parameters)
        assert response.status_code == 200, response.text

    def find(**labels: str) -> None:
        assert len(body(api.find(type="cpu", **hour_range, **labels))) == (15 if labels else 60)

    def merge(**labels: str) -> None:
        assert api.merge(**hour_range, **labels).status_code == 200

    def load_page() -> None:
        get("/")
        get("/api/0/services")
        get("/api/0/labels", service="api")
        get("/api/0/series", service="api", type="cpu", **hour_range)
        get("/api/0/profiles/flame", service="api", type="cpu", **hour_range)

    labels = {"version": "0", "pod": "1"}
    ids = [profile["id"] for profile in body(api.find(type="cpu", **hour_range))]
    reads: Mapping[str, Callable[[], None]] = {
        "find": find,
        "find by labels, 15 profiles": lambda: find(**labels),
        "merge": merge,
        "merge by labels, 15 profiles": lambda: merge(**labels),
        "timeline": lambda: get("/api/0/series", service="api", type="cpu", **hour_range),
        "load of the page": load_page,
    }
    calls |= {f"{name}, of an hour": count(read) for name, read in reads.items()}
    calls["fetch a profile by its id"] = count(lambda: get(f"/api/0/profiles/{ids[0]}"))
    calls["services, one of them"] = count(lambda: get("/api/0/services"))
    calls["labels of a service, four series"] = count(lambda: get("/api/0/labels", service="api"))
    calls["compaction of an hour"] = count(compact)
    calls["compaction with nothing to do"] = count(compact)
    calls |= {f"{name}, of an hour in a block": count(read) for name, read in reads.items()}
    storage.bucket.put(TARGETS_KEY, b"[]", {})
    calls["scrape of a target, two profiles"] = count(lambda: _scrape(storage, hour))
    return calls


def _scrape(storage: Storage, hour: int) -> None:
    """Do to the storage what the function scrape does."""
    storage.bucket.get(TARGETS_KEY)
    profiles = (pprof(number + 1, at=hour + number) for number in range(2))
    _store(Collector(storage), [Upload("scraped", ProfileType.CPU, Labels(), data) for data in profiles])


def count_day(counted: CountedStorage, load: Load, minutes: Sequence[int]) -> Operations:
    """Return the operations of all runs of compaction on a day, with the profiles of *load* in *minutes* of it."""
    storage, total = counted.storage, Operations()
    with mock.patch("profbucket.storage.store.time.time_ns", return_value=MIDNIGHT):  # no profile is late
        for minute in minutes:
            for batch in make_batches(load, minute):
                _store(Collector(storage), batch)
    for number in range(1, 27):
        now = MIDNIGHT + number * HOUR + _COMPACTION_DELAY
        total += counted.count(lambda now=now: list(Compactor(storage, clock=lambda: now).run_due()))  # type: ignore[misc]
    return total


def make_batches(load: Load, minute: int) -> list[list[Upload]]:
    """Return the profiles of a minute, as the calls that store them."""
    uploads = [
        Upload(
            "shop",
            ProfileType(name),
            Labels.from_pairs([("pod", str(instance))]),
            pprof(instance + 1, at=MIDNIGHT + minute * _MINUTE),
        )
        for instance in range(load.instances)
        for name in _TYPES[: load.types]
    ]
    return [uploads[begin : begin + load.batch] for begin in range(0, len(uploads), load.batch)]


def _store(collector: Collector, batch: Sequence[Upload]) -> None:
    assert all(isinstance(outcome, Meta) for outcome in collector.store_batch(batch))


def count_posts(counted: CountedStorage, load: Load, minutes: int) -> Operations:
    """Return the operations of storing a profile, on average over all of *load* in *minutes* from midnight.

    One process stores them, which writes each series every ten minutes, and a task for each type.
    """
    collector, minute = Collector(counted.storage), 0

    def post_all() -> None:
        nonlocal minute
        with ThreadPoolExecutor(len(_TYPES)) as threads:
            while minute < minutes:
                # Two threads at once would both write a series or a task that the process does not know yet.
                run = map if minute % _SERIES_MINUTES == 0 else threads.map
                list(run(partial(_store, collector), make_batches(load, minute)))
                minute += 1

    index_clock = SimpleNamespace(time=time.time, monotonic=lambda: 60.0 * minute)
    task_clock = SimpleNamespace(time_ns=lambda: MIDNIGHT + minute * _MINUTE)
    with (
        mock.patch("storage_gcs.records.time", index_clock),
        mock.patch("profbucket.storage.store.time", task_clock),
    ):
        return counted.count(post_all) * (1 / (minutes * load.instances * load.types))


def count_load(gcs: str, firestore: str, plan: Plan) -> Counts:
    """Return the operations from which the bill of *plan* is made."""
    with counted_storage(gcs, firestore) as counted:
        posts = count_posts(counted, plan.posted, plan.minutes)
    days, profiles = [], []
    for minutes in plan.days:
        with counted_storage(gcs, firestore) as counted:
            days.append(count_day(counted, plan.compacted, minutes))
        profiles.append(len(minutes) * plan.compacted.instances * plan.compacted.types)
    per_profile = (days[1] - days[0]) * (1 / (profiles[1] - profiles[0]))
    return Counts(posts, (days[0] - per_profile * profiles[0]) * (1 / plan.compacted.types), per_profile)


def count_all(gcs: str, firestore: str) -> tuple[Mapping[str, Operations], Mapping[str, Counts]]:
    """Return the operations of each call, and those from which the bills of :data:`PLANS` are made."""
    with counted_storage(gcs, firestore) as counted:
        calls = count_calls(counted)
    return calls, {name: count_load(gcs, firestore, plan) for name, plan in PLANS.items()}
