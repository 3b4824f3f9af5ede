"""Services with programs of different agents, over a range that has profiles of both, and then a block of them."""

import time
from collections.abc import Iterator

import pytest

from profbucket.config import Config
from profbucket.maintenance.compactor import Compactor
from profbucket.model.profile_type import ProfileType
from profbucket.times import LATEST, SECOND
from tests.foreign_agents.clients import KeyedCollector, running_node, running_python
from tests.foreign_agents.conftest import run_collector
from tests.support.go_tool import GoPprof

_TWO_DAYS = 2 * 86_400 * SECOND


@pytest.fixture
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedCollector]:
    """A collector without keys over a new directory."""
    yield from run_collector(tmp_path_factory.mktemp("mixed").as_uri(), Config("memory:"), "")


def test_pyroscope_and_profbuckets_agent(collector: KeyedCollector, go_pprof: GoPprof) -> None:
    """pyroscope-io sends CPU time alone, and profbucket's agent also samples."""
    service = "shop"
    arguments = (collector.url, service, "")
    with running_python(("pyroscope-io==1.4.0",), "pyroscope_client.py", *arguments) as client:
        client.wait_for(lambda: collector.has_enough(service, "cpu"))
    with running_python((), "profbucket_client.py", *arguments) as client:
        client.wait_for(lambda: "wall" in collector.types(service))
        client.wait_for(lambda: sample_types(collector, service, "cpu") == {("cpu",), ("samples", "cpu")})
    check_the_whole_range(collector, go_pprof, service, "cpu")


def test_node_with_and_without_cpu_time(collector: KeyedCollector, go_pprof: GoPprof) -> None:
    """CPU time is stored as profiles of its own, so that wall time is the same in both."""
    service, packages = "shop", ("@pyroscope/nodejs@0.6.4",)
    for collect_cpu_time, types in (("0", {"wall", "heap"}), ("1", {"wall", "heap", "cpu"})):
        environment = {"COLLECT_CPU_TIME": collect_cpu_time, "FLUSH_INTERVAL_MS": "1500"}
        arguments = (collector.url, service, "")
        with running_node(packages, "pyroscope_client.js", *arguments, **environment) as client:
            client.wait_for(lambda types=types: collector.types(service) == types)  # type: ignore[misc]
            client.wait_for(lambda: collector.has_enough(service, "wall"))
    assert sample_types(collector, service, "wall") == {("samples", "wall")}
    check_the_whole_range(collector, go_pprof, service, "wall")


def sample_types(collector: KeyedCollector, service: str, profile_type: str) -> set[tuple[str, ...]]:
    """Return the sample types of each profile of *service* and *profile_type*."""
    profiles = [profile for profile in collector.find(service) if profile["type"] == profile_type]
    return {tuple(total["type"] for total in profile["totals"]) for profile in profiles}


def check_the_whole_range(collector: KeyedCollector, go_pprof: GoPprof, service: str, profile_type: str) -> None:
    """Check a merge and what the page loads, of the profiles and of the block that compaction makes of them."""
    index, name = collector.storage.index, ProfileType(profile_type)
    query = {"service": service, "type": profile_type, "from": "now-1h"}
    count = len([profile for profile in collector.find(service) if profile["type"] == profile_type])
    assert count >= 2
    totals = []
    for has_block in (False, True):
        assert bool(index.blocks(service, name, 0, LATEST)) == has_block
        assert collector.share_of_hot(go_pprof, service, profile_type) == pytest.approx(70, abs=10)
        [group] = collector.get("/api/0/series", **query)["body"]["groups"]
        assert sum(group["profiles"]) == count
        totals.append(collector.get("/api/0/profiles/flame", **query)["body"]["totals"])
        list(Compactor(collector.storage, clock=lambda: time.time_ns() + _TWO_DAYS).run())
    assert totals[0] == totals[1]
