"""Look-ups among thousands of series: labels, finds and timelines, by CPU time."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

from bench.measure import ROUNDS, Measure, Row, bench
from profbucket.model.blocks import Members, make_block
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Meta, Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.pprof.block.container import encode_members
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.storage.ports import Change, SeriesSelection
from profbucket.storage.store import Storage
from profbucket.times import DAY, LATEST, SECOND
from tests.support.storage.bulk_load import fill_directory
from tests.support.storage.examples import make_meta

_END = 1_795_300_000 * SECOND
_SERVICES = 1000
_TYPES = tuple(map(ProfileType, ("cpu", "heap", "goroutine", "mutex", "block")))


@bench("lookups")
def lookups() -> Iterator[Row]:
    """Look up one of 10,000 series of a service, and one of 10; then all series of 1,000 services."""
    with TemporaryDirectory() as folder:
        few = _open(f"{folder}/few", _make_metas("shop", 10, 50))
        many = _open(f"{folder}/many", _make_metas("shop", 10_000, 50_000))
        fleet = _open(
            f"{folder}/fleet",
            (meta for number in range(_SERVICES) for meta in _make_metas(f"service-{number}", 10, 10, _TYPES)),
        )
        query = Query("shop", ProfileType.CPU, 0, LATEST)
        requests: dict[str, Callable[[Storage], object]] = {
            "find one pod": lambda storage: Querier(storage).find(_with(query, "pod=pod-7")),
            "find a version": lambda storage: Querier(storage).find(_with(query, "version=1.1")),
            "find all versions but one": lambda storage: Querier(storage).find(_with(query, "version!=1.1")),
            "find limit=100": lambda storage: Querier(storage).find(_with(query, "", limit=100)),
            "labels": lambda storage: Querier(storage).label_values(["shop"], None).to_json(),
            "timeline": lambda storage: Querier(storage).timeline(query),
            "timeline by version": lambda storage: Querier(storage).timeline(query, ["version"]),
        }
        for name, request in requests.items():
            note = "CPU time; peer: 10 series and 50 profiles"
            yield Row(f"{name}, 10,000 series, 50,000 profiles", *_measure(request, many, few), note)
        compacted = _compact(f"{folder}/compacted", _make_metas("shop", 10_000, 10_000))
        request = requests["find limit=100"]
        yield Row("find limit=100 after compaction", *_measure(request, compacted, many), "CPU time; peer: before")
        day = SeriesSelection(start=_END - DAY, end=_END)
        measure, _ = _measure(lambda storage: storage.index.series(day), fleet)
        yield Row("all series of a day, 1,000 services with 5 types and 10 series each", measure, note="CPU time")


def _with(query: Query, matchers: str, limit: int | None = None) -> Query:
    return Query(query.service, query.type, query.start, query.end, parse_matchers(matchers), limit=limit)


def _make_metas(
    service: str, series: int, count: int, profile_types: tuple[ProfileType, ...] = (ProfileType.CPU,)
) -> Iterator[Meta]:
    """Yield *count* profiles of each type, of *series* pods in turn, from the day before ``_END``."""
    random = Random(service)
    for number in range(count):
        pod = number % series
        labels = Labels((("pod", f"pod-{pod}"), ("region", f"region-{pod % 3}"), ("version", f"1.{pod % 10}")))
        totals = [
            Total("samples", "count", random.getrandbits(10)),
            Total("cpu", "nanoseconds", random.getrandbits(34)),
        ]
        for profile_type in profile_types:
            created_at = _END - DAY + number * DAY // count
            yield make_meta(
                created_at, service=service, type=profile_type, labels=labels, data=b"%d" % number, totals=totals
            )


def _open(folder: str, metas: Iterator[Meta]) -> Storage:
    storage = open_storage(f"file://{folder}")
    fill_directory(Path(folder), metas)
    return storage


def _compact(folder: str, metas: Iterator[Meta]) -> Storage:
    """Return a storage with a block of *metas*. Of its parts it has only the member list, which finds read."""
    storage, members = open_storage(f"file://{folder}"), Members.from_metas(list(metas))
    part = encode_members(members)
    ends = [1, 1 + len(part), 2 + len(part), 3 + len(part)]
    block = make_block(members, 86_400, ends, "", 0)
    storage.bucket.put(block.id, b"x" + part + b"xx", {})
    assert storage.index.commit(Change(block, (), ()))
    return storage


def _measure(request: Callable[[Storage], object], *storages: Storage) -> tuple[Measure, Measure | None]:
    """Return the CPU time of *request* for each of one or two storages, measured in turn."""
    times: list[list[float]] = [[] for _ in storages]
    for _ in range(ROUNDS):
        for seconds, storage in zip(times, storages, strict=True):
            begin = time.process_time()
            request(storage)
            seconds.append(time.process_time() - begin)
    first, *rest = [Measure(median(seconds)) for seconds in times]
    return first, rest[0] if rest else None
