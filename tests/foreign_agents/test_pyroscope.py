"""Pyroscope's clients, as their packages install them."""

import pytest

from tests.foreign_agents.clients import KeyedCollector, running_node, running_python
from tests.support.go_tool import GoPprof

VERSION = {"key": "version", "value": "1.2.3"}


@pytest.mark.parametrize(
    ("version", "service"), [("1.4.0", "pyroscope-py-1"), ("0.8.16", "pyroscope-py-0")], ids=["1.x", "0.8"]
)
def test_python(keyed: KeyedCollector, go_pprof: GoPprof, version: str, service: str) -> None:
    packages = (f"pyroscope-io=={version}",)
    with running_python(packages, "pyroscope_client.py", keyed.url, service, keyed.secret) as client:
        client.wait_for(lambda: keyed.has_enough(service, "cpu"))
    assert keyed.types(service) == {"cpu"}
    # 0.8 sends tags as labels of the samples.
    assert all((VERSION in profile["labels"]) == (version[0] == "1") for profile in keyed.find(service))
    assert keyed.share_of_hot(go_pprof, service, "cpu") == pytest.approx(70, abs=10)


@pytest.mark.parametrize(
    ("version", "collect_cpu_time"), [("0.6.4", True), ("0.6.4", False), ("0.4.9", True)], ids=str
)
def test_node(keyed: KeyedCollector, go_pprof: GoPprof, version: str, collect_cpu_time: bool) -> None:
    service = f"pyroscope-node-{version[:3]}-{collect_cpu_time}"
    packages = (f"@pyroscope/nodejs@{version}",)
    environment = {"COLLECT_CPU_TIME": str(int(collect_cpu_time)), "FLUSH_INTERVAL_MS": "1500"}
    times = {"wall", "cpu"} if collect_cpu_time else {"wall"}
    with running_node(packages, "pyroscope_client.js", keyed.url, service, keyed.secret, **environment) as client:
        client.wait_for(lambda: keyed.types(service) == {*times, "heap"} and keyed.has_enough(service, *times))
    assert all(VERSION in profile["labels"] for profile in keyed.find(service))
    for profile_type in times:
        assert keyed.share_of_hot(go_pprof, service, profile_type) == pytest.approx(70, abs=10)
