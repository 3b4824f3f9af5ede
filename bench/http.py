"""Merges over HTTP, from the deployed storage with 20 ms added to each of its answers."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import urllib3

from bench.profiles import OUT, corpus
from bench.rows import Measure, Row, bench, in_turns
from bench.storage import _emulators
from profbucket.ingest.collector import Collector
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode
from profbucket.storage.open import open_storage
from tests.support.proxies import Faults, TrafficCounter, firestore_proxy
from tests.support.serving import served
from tests.support.storage.examples import NOW
from tests.support.storage.unique_names import new_gcs_bucket, new_name

DELAY = 0.02  # seconds


@bench("http")
def http() -> Iterator[Row]:
    """100, 500 and 2,000 objects of the corpus."""
    contents = [data for data in map(_read, corpus()) if decode(data).message.sample]
    with _emulators() as (gcs, firestore):
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
            firestore_proxy(firestore, TrafficCounter(), Faults(late=1.0, delay=DELAY)) as slow_index,
            served(
                url,
                OUT / "collector.log",
                PROFBUCKET_ANONYMOUS="1",
                STORAGE_EMULATOR_HOST=slow_bucket,
                FIRESTORE_EMULATOR_HOST=slow_index,
            ) as served_at,
        ):
            for count in (100, 500, 2000):
                question = f"{served_at}/api/0/profiles/merge?service=of-{count}&type=cpu&from=0"

                def ask(question: str = question) -> Measure:
                    begin = time.perf_counter()
                    answer = urllib3.request("GET", question, timeout=120, retries=False)
                    assert answer.status == 200, answer.data
                    return Measure(time.perf_counter() - begin)

                [ours] = in_turns(ask)
                note = f"Firestore and Cloud Storage emulators, {DELAY * 1000:.0f} ms added to each request"
                yield Row(f"merge of {count} objects over HTTP", ours, note=note)


def _read(file: str | Path) -> bytes:
    return Path(file).read_bytes()


@contextmanager
def slow_gcs(target: str, delay: float = DELAY) -> Iterator[str]:
    """A Cloud Storage that answers downloads *delay* seconds late, with what the emulator at *target* holds.

    What was asked for once is remembered, so that the emulator takes no part of the processor from those measured.
    """
    loop = asyncio.new_event_loop()
    known: dict[tuple[str, str], bytes] = {}  # by path and range
    pool = urllib3.PoolManager(maxsize=64)

    def answer(path: str, part: str) -> bytes:
        headers = {"Accept-Encoding": "identity"} | ({"Range": part} if part else {})
        response = pool.request("GET", f"{target}{path}", headers=headers)
        hashes = response.headers.get("x-goog-hash", "")
        head = f"HTTP/1.1 {response.status} OK\r\nContent-Length: {len(response.data)}\r\n"
        head += f"X-Goog-Hash: {hashes}\r\n\r\n" if hashes else "\r\n"
        known[path, part] = head.encode() + response.data
        return known[path, part]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                ranged = re.search(rb"(?i)\r\nrange: *([^\r]*)", head)
                part = ranged[1].decode() if ranged else ""
                late = asyncio.sleep(delay)
                data = known.get((path, part)) or await asyncio.to_thread(answer, path, part)
                await late
                writer.write(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256)

    async def end() -> None:
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
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        pool.clear()
