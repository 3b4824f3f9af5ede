"""Merges over HTTP, from emulators of Cloud Storage and Firestore that answer 20 ms late."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import urllib3

from bench.measure import Measure, Row, alternate, bench
from bench.profiles import OUTPUT, list_corpus
from bench.storage import run_emulators
from profbucket.ingest.collector import Collector
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode
from profbucket.storage.open import open_storage
from tests.support.proxies import Faults, TrafficCounter, firestore_proxy
from tests.support.serving import served
from tests.support.storage.examples import NOW
from tests.support.storage.unique_names import new_gcs_bucket, new_name

DELAY_SECONDS = 0.02


@bench("http")
def http() -> Iterator[Row]:
    """Merge 100, 500 and 2,000 objects of the corpus."""
    contents = [data for data in map(_read, list_corpus()) if decode(data).message.sample]
    with run_emulators() as (gcs, firestore):
        bucket, project = new_gcs_bucket(gcs), new_name()
        url = f"gs://{bucket}?project={project}"
        collector = Collector(open_storage(url))
        clock = iter(range(NOW, NOW + 10**12, 10**6))
        for count in (100, 500, 2000):

            def post(number: int, service: str = f"of-{count}") -> None:
                data = contents[number % len(contents)]
                collector.collect(
                    service, ProfileType.CPU, Labels.from_pairs([("n", str(number))]), data, next(clock)
                )

            with ThreadPoolExecutor(8) as threads:
                list(threads.map(post, range(count)))
        with (
            slow_gcs(gcs) as slow_bucket,
            firestore_proxy(firestore, TrafficCounter(), Faults(late=1.0, delay=DELAY_SECONDS)) as slow_index,
            served(
                url,
                OUTPUT / "collector.log",
                PROFBUCKET_ANONYMOUS="1",
                STORAGE_EMULATOR_HOST=slow_bucket,
                FIRESTORE_EMULATOR_HOST=slow_index,
            ) as served_at,
        ):
            for count in (100, 500, 2000):
                merge_url = f"{served_at}/api/0/profiles/merge?service=of-{count}&type=cpu&from=0"

                def request_merge(url: str = merge_url) -> Measure:
                    begin = time.perf_counter()
                    answer = urllib3.request("GET", url, timeout=120, retries=False)
                    assert answer.status == 200, answer.data
                    return Measure(time.perf_counter() - begin)

                [measure] = alternate(request_merge)
                note = (
                    f"Firestore and Cloud Storage emulators, {DELAY_SECONDS * 1000:.0f} ms added to each request"
                )
                yield Row(f"merge of {count} objects over HTTP", measure, note=note)


def _read(file: str | Path) -> bytes:
    return Path(file).read_bytes()


@contextmanager
def slow_gcs(target: str, delay: float = DELAY_SECONDS) -> Iterator[str]:
    """Serve the downloads of the emulator at *target*, *delay* seconds late, and yield the URL.

    Responses are cached, so that the emulator does not compete for the processor with what is measured.
    """
    loop = asyncio.new_event_loop()
    cache: dict[tuple[str, str], bytes] = {}  # by path and range
    pool = urllib3.PoolManager(maxsize=64)

    def fetch(path: str, byte_range: str) -> bytes:
        headers = {"Accept-Encoding": "identity"} | ({"Range": byte_range} if byte_range else {})
        response = pool.request("GET", f"{target}{path}", headers=headers)
        head = f"HTTP/1.1 {response.status} OK\r\nContent-Length: {len(response.data)}\r\n"
        for name in ("X-Goog-Hash", "Content-Range"):
            if value := response.headers.get(name):
                head += f"{name}: {value}\r\n"
        cache[path, byte_range] = f"{head}\r\n".encode() + response.data
        return cache[path, byte_range]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                match = re.search(rb"(?i)\r\nrange: *([^\r]*)", head)
                byte_range = match[1].decode() if match else ""
                data = cache.get((path, byte_range))
                if data is None:
                    data = await asyncio.to_thread(fetch, path, byte_range)
                await asyncio.sleep(delay)
                writer.write(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256)

    async def stop() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        pool.clear()
