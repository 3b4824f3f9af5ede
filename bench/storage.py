"""Cloud storage on emulators: what a find reads, how fast the index is rebuilt, and posts through faults.

Emulators share the processor, and Firestore's scans a collection for each query. Rows about it therefore count
requests and documents, or the collector's CPU time; only rows about the local storage show latencies.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.measure import Measure, Row, bench
from bench.profiles import OUTPUT, list_corpus
from profbucket.maintenance.repair import reindex
from profbucket.model.labels import parse_matchers
from profbucket.model.meta import Query
from profbucket.model.profile_type import COMMON_TYPES, ProfileType
from profbucket.pprof import decode, encode
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from tests.support.emulators import firestore_emulator, gcs_emulator
from tests.support.proxies import TrafficCounter, firestore_proxy
from tests.support.storage.bulk_load import MINUTE, load_entries, make_history
from tests.support.storage.examples import ALL_TIME, NOW
from tests.support.storage.faults import find_dangling, post_through_faults
from tests.support.storage.unique_names import new_gcs_bucket, new_name

_FAULTY_POSTS = 5000
_OBJECTS = 10_000
_QUERY_OF_SIX = Query(
    "service-2", ProfileType.CPU, NOW, NOW + 5 * MINUTE, parse_matchers("version=0.0.1,pod=pod-3")
)


@contextmanager
def run_emulators() -> Iterator[tuple[str, str]]:
    """Run emulators of Cloud Storage and Firestore, set the environment to use them, and yield their addresses."""
    OUTPUT.mkdir(exist_ok=True)
    with ExitStack() as stack:
        gcs = stack.enter_context(gcs_emulator(OUTPUT / "gcs.log"))
        firestore = stack.enter_context(firestore_emulator(OUTPUT / "firestore.log"))
        before = dict(os.environ)
        os.environ |= {"STORAGE_EMULATOR_HOST": gcs, "FIRESTORE_EMULATOR_HOST": firestore}
        try:
            yield gcs, firestore
        finally:
            os.environ.clear()
            os.environ.update(before)


def make_profiles(count: int, size: int = 25_000, begin: int = NOW) -> list[bytes]:
    """Return CPU profiles of about *size* bytes with different times, from *begin* on."""
    file = min(list_corpus(), key=lambda file: abs(Path(file).stat().st_size - size))
    message = decode(Path(file).read_bytes()).message
    profiles = []
    for number in range(count):
        message.time_nanos = begin + number
        profiles.append(encode(message))
    return profiles


def measure_cpu_seconds(collector: str) -> float:
    """Return the CPU time of the process that serves *collector* and of its children, from /proc."""
    port = int(collector.rsplit(":", 1)[1])
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == port
    }
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {os.readlink(link) for link in (process / "fd").iterdir()}
            if any(f"socket:[{inode}]" in links for inode in inodes):
                fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


@bench("find")
def find() -> Iterator[Row]:
    """Find the same six matches among more and more profiles of 200 series."""
    sizes = (1_200, 10_000, 100_000)
    metas = make_history(sizes[-1], b"x")
    with tempfile.TemporaryDirectory() as directory:
        storage = open_storage(f"file://{directory}/profiles")
        done, first_measure = 0, None
        for size in sizes:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(storage.index.add, metas[done:size]))
            done = size
            measure = _measure_find(storage, _QUERY_OF_SIX)
            first_measure = first_measure or measure
            yield Row(f"find 6 of {size:,}, local", measure, first_measure, "peer: the first line")
    with run_emulators() as (_, firestore):
        project, counted, done = new_name(), TrafficCounter(), 0
        for size in sizes:
            load_entries(project, metas[done:size])
            done = size
            with firestore_proxy(firestore, counted) as host:
                os.environ["FIRESTORE_EMULATOR_HOST"] = host
                storage = Storage(GcsBucket("none"), FirestoreIndex(project))
                counted.reset()
                begin = time.perf_counter()
                found = list(storage.lookup.find(_QUERY_OF_SIX))
                seconds = time.perf_counter() - begin
                os.environ["FIRESTORE_EMULATOR_HOST"] = firestore
            yield Row(
                f"find {len(found)} of {size:,}, Firestore's emulator",
                Measure(seconds),
                note=f"{counted.documents} documents, {len(counted.requests)} requests",
            )


def _measure_find(storage: Storage, query: Query) -> Measure:
    times = []
    for _ in range(301):
        begin = time.perf_counter()
        assert list(storage.lookup.find(query))
        times.append(time.perf_counter() - begin)
    return Measure(statistics.median(times))


@bench("reindex")
def rebuild() -> Iterator[Row]:
    """Index a bucket with 10,000 objects; the emulator of Cloud Storage gets slower the more objects it has."""
    data = random.Random(0).randbytes(500)
    metas = make_history(_OBJECTS, data)
    with run_emulators() as (gcs, _):
        bucket = GcsBucket(new_gcs_bucket(gcs))
        before = Storage(bucket, FirestoreIndex(new_name()))
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda meta: before.write(meta, data), metas))
        after = Storage(bucket, FirestoreIndex(new_name()))
        begin, cpu = time.perf_counter(), time.process_time()
        count = sum(1 for _ in reindex(after))
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        again = time.perf_counter()
        assert sum(1 for _ in reindex(after)) == count == _OBJECTS
        again = time.perf_counter() - again
        equal = all(
            list(after.lookup.find(query)) == list(before.lookup.find(query))
            for query in (Query(f"service-{n}", kind, *ALL_TIME) for n in range(5) for kind in COMMON_TYPES[:2])
        )
        note = f"{count / seconds:.0f} objects/s, {cpu / count * 1000:.1f} ms CPU each; finds are equal: {equal}"
        yield Row(f"reindex of {count:,}", Measure(seconds), note=note)
        yield Row("reindex once more", Measure(again), note=f"no changes: {count / again:.0f} objects/s")


@bench("faults")
def faults() -> Iterator[Row]:
    """Post 5,000 profiles through proxies that refuse, reset, lose and delay."""
    with run_emulators() as (gcs, firestore), tempfile.TemporaryDirectory() as directory:
        begin = time.perf_counter()
        outcome = post_through_faults(gcs, firestore, Path(directory), _FAULTY_POSTS)
        found = [one.id for one in outcome.found]
        yield Row(
            f"{_FAULTY_POSTS} posts through faults",
            Measure(time.perf_counter() - begin),
            note=f"found {len(set(found))}, twice {len(found) - len(set(found))},"
            f" dangling {len(find_dangling(outcome))}, given up {outcome.given_up},"
            f" answers {dict(outcome.answers)}, other failures {len(outcome.failures)},"
            f" slowest {outcome.slowest:.1f} s, faults {outcome.faults}",
        )
