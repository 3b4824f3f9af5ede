"""Posts to a collector whose connections to its storage have faults."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3

from profbucket.model.form import BATCH_PATH, PROFILES_PATH, encode_form
from profbucket.model.meta import Meta, Query
from profbucket.pprof import decode, encode
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from tests.support.paths import ROOT
from tests.support.proxies import Faults, TrafficCounter, firestore_proxy, gcs_proxy, resetting_proxy
from tests.support.serving import served
from tests.support.storage.examples import ALL_TIME, NOW, read_each
from tests.support.storage.unique_names import new_gcs_bucket, new_name

ATTEMPTS = 11  # one and ten retries, as of profefe's agent
CLIENTS = 16
REQUEST_TIMEOUT_SECONDS = 60.0  # that of a Cloud Function


@dataclass
class Outcome:
    """The results of the posts. ``slowest`` is the seconds of the slowest request."""

    found: list[Meta]
    storage: Storage
    accepted: list[str] = field(default_factory=list)  # ids
    given_up: int = 0
    failures: list[str] = field(default_factory=list)  # answers that break the contract
    answers: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)


def post_through_faults(
    gcs: str, firestore: str, directory: Path, posts: int, delay: float = 10.0, *, batch: int = 1
) -> Outcome:
    """Post that many different profiles, with an agent's retries, while proxies inject faults.

    Several make up a *batch*; the first of each fifth batch is posted alone, too.
    Of the requests to the storage, 5 % are answered with 503, 1 % are reset, 1 % lose their answer and 0.5 % are
    delayed by *delay* seconds. Connections to Firestore are reset, too.
    """
    bucket, project = new_gcs_bucket(gcs), new_name()
    url = f"gs://{bucket}?project={project}"
    outcome = Outcome([], open_storage(url))
    faults = Faults(refused=0.05, reset=0.01, lost=0.01, late=0.005, delay=delay)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        tcp = stack.enter_context(resetting_proxy(firestore, Faults(reset=0.002, seed=1)))
        proxied = stack.enter_context(firestore_proxy(tcp, TrafficCounter(), faults))
        environment.setenv("FIRESTORE_EMULATOR_HOST", proxied)
        environment.setenv("STORAGE_EMULATOR_HOST", stack.enter_context(gcs_proxy(gcs, TrafficCounter(), faults)))
        collector = stack.enter_context(
            served(url, directory / "log", PROFBUCKET_ANONYMOUS="1", THREADS=str(CLIENTS))
        )
        lock = threading.Lock()
        pool = urllib3.PoolManager(maxsize=CLIENTS, retries=False, timeout=REQUEST_TIMEOUT_SECONDS)

        def post(numbers: range) -> None:
            first = numbers[0]
            fields = {"service": f"api-{first % 3}", "type": "threadcreate", "labels": f"pod={first % 7}"}
            body, path, headers = make_pprof(first), f"{PROFILES_PATH}?{urlencode(fields)}", {}
            if len(numbers) > 1:
                form, content_type = encode_form([(fields, make_pprof(number)) for number in numbers])
                body, path, headers = form, BATCH_PATH, {"Content-Type": content_type}
            for attempt in range(ATTEMPTS):
                started = time.monotonic()
                answer = pool.request("POST", f"{collector}{path}", body=body, headers=headers)
                with lock:
                    outcome.slowest = max(outcome.slowest, time.monotonic() - started)
                    outcome.answers[answer.status] += 1
                    if answer.status == 200:
                        content = answer.json()
                        items = [content] if len(numbers) == 1 else content["body"]
                        outcome.accepted += [item["body"]["id"] for item in items]
                        return
                    if answer.status != 503 or not answer.headers.get("Retry-After"):
                        outcome.failures.append(f"{answer.status} {answer.data!r}")
                time.sleep(random.uniform(0.5, 1) * min(0.05 * 2**attempt, 1))
            with lock:
                outcome.given_up += 1

        with ThreadPoolExecutor(CLIENTS) as threads:
            batches = [range(begin, begin + batch) for begin in range(0, posts, batch)]
            alone = [numbers[:1] for numbers in batches[::5]] if batch > 1 else []
            list(threads.map(post, [*batches, *alone]))
        outcome.faults = faults.injected
    outcome.storage = open_storage(url)  # without proxies
    for service in outcome.storage.index.services():
        outcome.found += outcome.storage.lookup.find(Query(service, None, *ALL_TIME))
    return outcome


def make_pprof(number: int) -> bytes:
    """Return a small pprof whose time is *number* nanoseconds after ``NOW``."""
    message = decode((ROOT / "tests/data/shop-0.0.1/threadcreate-1.pb.gz").read_bytes()).message
    message.time_nanos = NOW + number
    return encode(message)


def find_dangling(outcome: Outcome) -> list[str]:
    """Return the ids of entries without object."""
    ids = [meta.id for meta in outcome.found]
    return [
        profile_id for profile_id, data in zip(ids, read_each(outcome.storage, ids), strict=True) if data is None
    ]
