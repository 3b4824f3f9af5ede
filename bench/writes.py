"""Posts over HTTP to `profbucket serve`, and the parts of a write.

``PROFEFE`` names a binary of profefe, which is the peer of posts to a directory. The clients share the processors
with the collector, and so do the emulators: rows about gs: are about CPU time.
"""

import cProfile
import os
import pstats
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from bench.measure import Measure, Row, bench
from bench.profiles import OUTPUT
from bench.storage import make_profiles, measure_cpu_seconds, run_emulators
from profbucket.ingest.collector import Collector
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.storage.open import open_storage
from tests.support.serving import free_port, served
from tests.support.storage.unique_names import new_gcs_bucket, new_name

_POSTS = 1000
_CLIENTS = 8
_SIZES = (25_000, 6_000)
_TARGET = "/api/0/profiles?service=api&type=cpu&labels=version%3D1"
_PARTS = (
    ("pprof/codec.py", "decode_inflated"),
    ("pprof/compression.py", "inflate"),
    ("storage_local/bucket.py", "put"),
    ("storage_local/index.py", "add"),
)


@bench("write")
def write() -> Iterator[Row]:
    """Post to one instance with 8 clients over HTTP, and profile the same without HTTP."""
    for size in _SIZES:
        profiles = make_profiles(_POSTS, size, time.time_ns())
        name = f"of {len(profiles[0]) / 1000:.0f} KB"
        with run_emulators() as (gcs, _), tempfile.TemporaryDirectory() as directory:
            url = f"gs://{new_gcs_bucket(gcs)}?project={new_name()}"
            yield _post_all(f"POST {name} to gs:", url, profiles)
            peer = _post_to_profefe(Path(directory), profiles)
            yield _post_all(f"POST {name} to file:", f"file://{directory}/profiles", profiles, peer)
            yield _post_all(f"POST {name} to memory:", "memory:", profiles)
            yield from _profile_writes(name, f"file://{directory}/parts", profiles)


def _post_all(name: str, url: str, profiles: Sequence[bytes], peer: Measure | None = None) -> Row:
    log = OUTPUT / "collector.log"
    with served(url, log, program="profbucket", PROFBUCKET_ANONYMOUS="1", PROFBUCKET_BLOCK_EVERY="0") as collector:
        return _measure_posts(name, collector, profiles, peer)


def _measure_posts(name: str, collector: str, profiles: Sequence[bytes], peer: Measure | None) -> Row:
    """Post *profiles* to the URL *collector* and return the time and the CPU time of one."""
    address = collector.removeprefix("http://")

    def post_share(number: int) -> list[float]:
        times = []
        connection = HTTPConnection(address, timeout=60)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in profiles[number::_CLIENTS]:
            begin = time.perf_counter()
            connection.request("POST", _TARGET, data)
            response = connection.getresponse()
            response.read()
            times.append(time.perf_counter() - begin)
            assert response.status == 200, response.status
        connection.close()
        return times

    before, begin = measure_cpu_seconds(collector), time.perf_counter()
    with ThreadPoolExecutor(_CLIENTS) as threads:
        times = [seconds for share in threads.map(post_share, range(_CLIENTS)) for seconds in share]
    seconds, cpu = time.perf_counter() - begin, measure_cpu_seconds(collector) - before
    note = (
        f"{_CLIENTS} clients: {len(profiles) / seconds:.0f} posts/s, {cpu / len(profiles) * 1000:.2f} ms CPU, "
        f"median {statistics.median(times) * 1000:.0f} ms"
    )
    return Row(name, Measure(seconds / len(profiles)), peer, note)


def _post_to_profefe(directory: Path, profiles: Sequence[bytes]) -> Measure | None:
    """Return the time of one post to profefe on Badger, if ``PROFEFE`` names its binary."""
    binary = os.environ.get("PROFEFE")
    if not binary:
        return None
    with _run_profefe(binary, directory / "badger") as collector:
        row = _measure_posts("profefe", collector, profiles, None)
    print(row.format())
    return row.measure


@contextmanager
def _run_profefe(binary: str, directory: Path) -> Iterator[str]:
    directory.mkdir()
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [binary, "-addr", address, "-storage-type", "badger", "-badger.dir", str(directory)]
    with (OUTPUT / "profefe.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def _profile_writes(name: str, url: str, profiles: Sequence[bytes]) -> Iterator[Row]:
    """Measure the CPU time of a write without HTTP, and of its parts."""
    half = len(profiles) // 2
    collector = Collector(open_storage(url))
    begin = time.process_time()
    for data in profiles[:half]:
        collector.collect("api", ProfileType.CPU, Labels(), data)
    whole = (time.process_time() - begin) / half
    yield Row(f"collect {name} to file:, CPU", Measure(whole), note="one thread, without HTTP")
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    for data in profiles[half:]:
        collector.collect("api", ProfileType.CPU, Labels(), data)
    profiler.disable()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = max(cumulative for _, _, _, cumulative, _ in stats.values())
    for file, function in _PARTS:
        share = sum(v[3] for k, v in stats.items() if k[0].endswith(file) and k[2] == function) / total
        yield Row(f"- {file} {function}", Measure(whole * share), note=f"{share:.0%}, under cProfile")
