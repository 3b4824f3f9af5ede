"""A request leaves nothing large in reference cycles, which only the garbage collector frees, and late."""

import gc
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import pytest

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.model.form import encode_form
from profbucket.model.labels import Labels
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.agents import push
from tests.support.api import pprof
from tests.support.storage.compaction_suite import CPU, HOUR, MIDNIGHT, compact, post_profiles

RANGE = {"type": "cpu", "from": "2026-11-23T00:00:00", "to": "2026-11-23T23:59:59"}


@pytest.fixture(scope="module", params=["head", "block"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """Profiles of two services; those of ``mixed`` have no sample type in common."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    post_profiles(storage, range(30))
    collector = Collector(storage)
    for number in range(30):
        data = pprof(number + 1, at=MIDNIGHT + number, sample_type="wall" if number % 2 else "cpu")
        collector.collect("mixed", CPU, Labels.from_pairs([("v", str(number % 3))]), data)
    if request.param == "block":
        compact(storage, MIDNIGHT + 2 * HOUR)
    return storage


@pytest.fixture(scope="module", autouse=True)
def _collect_only_what_a_test_adds() -> Iterator[None]:
    """Keep the collector from visiting all objects of this process, which takes half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@contextmanager
def collected_garbage() -> Iterator[list[str]]:
    """Collect into a list what the block leaves in cycles: frames, arrays and objects of this project."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        for item in gc.garbage:
            if isinstance(item, FrameType):
                found.append(f"the frame of {item.f_code.co_qualname}")
            elif isinstance(item, np.ndarray) or type(item).__module__.startswith("profbucket"):
                found.append(type(item).__qualname__)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


INVALID = gzip.compress(b"\xff" * 1000)
VALID = pprof(1, at=MIDNIGHT)
POSTS = {
    "/api/0/profiles?service=api&type=cpu": (INVALID, "application/octet-stream"),
    "/api/0/batch": encode_form([({"service": "api", "type": "cpu"}, data) for data in (VALID, INVALID)]),
    "/push.v1.PusherService/Push": (push("api", "process_cpu", VALID, INVALID), "application/proto"),
}


@pytest.mark.parametrize("path", POSTS)
def test_a_post_leaves_no_cycles(path: str) -> None:
    storage = Storage(MemoryBucket(), MemoryIndex())
    client = create_app(Config("memory:"), Role.WRITE, collector=Collector(storage)).test_client()
    data, content_type = POSTS[path]
    first = client.post(path, data=data, content_type=content_type).status_code  # imports and caches
    with collected_garbage() as found:
        assert client.post(path, data=data, content_type=content_type).status_code == first
    assert found == []


@pytest.mark.parametrize("service", ["api", "mixed"])
@pytest.mark.parametrize("path", ["/merge", "/api/0/profiles/flame", "/api/0/tags", "/api/0/profiles/timeline"])
@pytest.mark.parametrize("parameters", [{}, {"labels": "v=1"}, {"aggregate": "delta"}, {"focus": "("}])
def test_a_read_leaves_no_cycles(storage: Storage, service: str, path: str, parameters: dict[str, str]) -> None:
    client = create_app(Config("memory:"), Role.QUERY, querier=Querier(storage)).test_client()
    query = {"service": service, **RANGE, **parameters}
    first = client.get(path, query_string=query).status_code  # imports and caches
    with collected_garbage() as found:
        assert client.get(path, query_string=query).status_code == first
    assert found == []
