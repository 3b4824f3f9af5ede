"""Merges of a week of one service: from blocks, and from its profiles one by one."""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import urllib3

from bench.http import DELAY_SECONDS, slow_gcs
from bench.measure import Measure, Row, bench, run_process
from bench.profiles import OUTPUT, list_corpus
from bench.storage import run_emulators
from profbucket.maintenance.compactor import Compactor
from profbucket.model import blocks
from profbucket.model.ids import ProfileId, profile_digest
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode, encode
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.ports import Change, SeriesSelection
from profbucket.storage.store import Storage
from profbucket.times import DAY, LATEST, SECOND, format_time
from tests.support.proxies import Faults, TrafficCounter, firestore_proxy
from tests.support.serving import served
from tests.support.storage.unique_names import new_gcs_bucket, new_name

_MINUTES = 7 * 24 * 60
_ROUNDS = 7
_UNCOMPACTED_ROUNDS = 3


@bench("week")
def week() -> Iterator[Row]:
    """Merge 10,080 profiles, one a minute, of 20 series; and ten times as many, of 200 series."""
    # Seven days that ended long enough ago to be compacted completely.
    begin = (time.time_ns() // DAY - 8) * DAY
    contents = [
        message
        for message in (decode(Path(file).read_bytes()).message for file in list_corpus())
        if message.sample
    ]
    profiles = []
    for minute in range(_MINUTES):
        message = contents[minute % len(contents)]
        message.time_nanos = begin + minute * 60 * SECOND
        profiles.append((message.time_nanos, encode(message)))
    with run_emulators() as (gcs, firestore):
        url = f"gs://{new_gcs_bucket(gcs)}?project={new_name()}"
        storage = open_storage(url)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda profile: storage.write(*to_stored("week", *profile)), profiles))
        requests = _list_requests(begin)
        with SlowCollector(url, gcs, firestore) as measure:
            before = {name: measure(request, _UNCOMPACTED_ROUNDS) for name, request in requests.items()}
        merge = [str(Path(sys.executable).with_name("profbucket")), "merge", "-o", os.devnull, "--storage", url]
        merge += ["--service=week", "--type=cpu", "--from=0"]
        one_by_one = run_process(merge, {"PROFBUCKET_MAX_MERGE": "20000", "PROFBUCKET_MAX_MERGE_SECONDS": "600"})
        compacted = run_process([merge[0], "compact", "--storage", url])
        yield Row("compact 10,080 profiles", compacted, note="both emulators run on the same two cores")
        yield _measure_blocks(storage)
        whole = run_process(merge)
        yield Row("profbucket merge of the week", whole, one_by_one, "whole process; peer: one by one")
        tenfold = _make_tenfold(profiles)
        _copy_blocks(tenfold, storage)
        with SlowCollector(url, gcs, firestore) as measure:
            for name, request in requests.items():
                note = f"HTTP, {DELAY_SECONDS * 1000:.0f} ms added to each request; peer: never compacted"
                yield Row(f"{name}, 10,080 profiles", measure(request), before[name], note)
            first = next(iter(requests.values()))
            one_week, ten_weeks = measure(first), measure(first.replace("service=week", "service=tenfold"))
            yield Row("merge of the week, 100,800 profiles", ten_weeks, one_week, "peer: of 10,080")
            for name, request in requests.items():
                yield Row(f"{name}, 100,800 profiles", measure(request.replace("service=week", "service=tenfold")))
        large = run_process([argument.replace("=week", "=tenfold") for argument in merge])
        yield Row("profbucket merge of 100,800 profiles", large, note="whole process")


def _list_requests(begin: int) -> dict[str, str]:
    def at(day: int, hour: int, minute: int) -> str:
        return format_time(begin + ((day * 24 + hour) * 60 + minute) * 60 * SECOND)

    selection = f"service=week&type=cpu&to={at(7, 0, 0)}"
    return {
        "merge of the week": f"profiles/merge?{selection}&from={at(0, 0, 0)}",
        "merge of one version": f"profiles/merge?{selection}&from={at(0, 0, 0)}&version=0.0.1",
        "merge of 3 days, 6 hours, 26 minutes": (
            f"profiles/merge?service=week&type=cpu&from={at(1, 10, 17)}&to={at(4, 16, 43)}"
        ),
        "timeline of the week": f"series?{selection}&from={at(0, 0, 0)}&group_by=version",
    }


class SlowCollector:
    """A collector whose storage answers late. Call it with a request to measure the median time of the answer."""

    def __init__(self, url: str, gcs: str, firestore: str) -> None:
        self._url, self._gcs, self._firestore = url, gcs, firestore

    def __enter__(self) -> "SlowCollector":
        self._stack = ExitStack()
        bucket = self._stack.enter_context(slow_gcs(self._gcs))
        index = self._stack.enter_context(
            firestore_proxy(self._firestore, TrafficCounter(), Faults(late=1.0, delay=DELAY_SECONDS))
        )
        self._url_served = self._stack.enter_context(
            served(
                self._url,
                OUTPUT / "collector.log",
                PROFBUCKET_ANONYMOUS="1",
                PROFBUCKET_BENCH=str(os.getpid()),
                PROFBUCKET_MAX_MERGE="20000",
                PROFBUCKET_MAX_MERGE_SECONDS="600",
                STORAGE_EMULATOR_HOST=bucket,
                FIRESTORE_EMULATOR_HOST=index,
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, request: str, rounds: int = _ROUNDS) -> Measure:
        times = []
        for turn in range(rounds + 1):
            begin = time.perf_counter()
            answer = urllib3.request("GET", f"{self._url_served}/api/0/{request}", timeout=120, retries=False)
            assert answer.status == 200, answer.data
            if turn:
                times.append(time.perf_counter() - begin)
        return Measure(statistics.median(times))


def to_stored(service: str, created_at: int, data: bytes) -> tuple[Meta, bytes]:
    """Return meta and bytes of a profile of one of 20 series."""
    number = created_at // (60 * SECOND)
    labels = Labels.from_pairs([("version", f"0.0.{number % 2}"), ("pod", f"pod-{number // 2 % 10}")])
    name = ProfileId(
        service, ProfileType.CPU, created_at, profile_digest(service, ProfileType.CPU, labels, created_at, data)
    )
    totals = decode(data).totals
    return Meta(str(name), service, ProfileType.CPU, labels, created_at, len(data), totals), data


def _make_tenfold(profiles: list[tuple[int, bytes]]) -> Storage:
    """Return a storage in memory with ten times as many profiles, compacted; emulators would take hours."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    for created_at, data in profiles:
        meta, _ = to_stored("tenfold", created_at, data)
        for pod in range(10):
            labels = Labels.from_pairs(
                [("version", meta.labels.get("version") or ""), ("pod", f"{meta.labels.get('pod')}{pod}")]
            )
            moved_at = created_at + pod
            name = ProfileId(
                "tenfold",
                ProfileType.CPU,
                moved_at,
                profile_digest("tenfold", ProfileType.CPU, labels, moved_at, data),
            )
            storage.write(replace(meta, id=str(name), labels=labels, created_at=moved_at), data)
    list(Compactor(storage).run())
    return storage


def _copy_blocks(source: Storage, target: Storage) -> None:
    for block in source.index.blocks("tenfold", ProfileType.CPU, 0, LATEST):
        target.bucket.put(block.id, source.bucket.get(block.id), blocks.to_metadata(block))
        assert target.index.commit(Change(block, (), ()))
    for series in source.index.series(SeriesSelection("tenfold", ProfileType.CPU)):
        target.index.add_series(series)


def _measure_blocks(storage: Storage) -> Row:
    all_blocks = storage.index.blocks("week", ProfileType.CPU, 0, LATEST)
    count, raw = sum(block.count for block in all_blocks), sum(block.size for block in all_blocks)
    part_sizes = zip(*(_measure_parts(block.ends) for block in all_blocks), strict=True)
    merged, members, series, profiles = (sum(sizes) / count for sizes in part_sizes)
    note = (
        f"{merged + members + series + profiles:.0f} B a profile in {len(all_blocks)} blocks: "
        f"merged {merged:.0f}, members {members:.0f}, series {series:.0f}, profiles {profiles:.0f}; "
        f"{raw / count:.0f} B as posted; "
        f"{len(all_blocks) / count * 1e6:.0f} documents a million profiles"
    )
    return Row("size of the blocks", Measure(0), note=note)


def _measure_parts(ends: tuple[int, ...]) -> list[int]:
    merged, metas, series = ends[:3]
    return [merged, metas - merged, series - metas, ends[-1] - series]
