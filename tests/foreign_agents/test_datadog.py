"""Datadog's profilers, as their packages install them."""

import pytest

from tests.foreign_agents.clients import KeyedCollector, running_node, running_python
from tests.support.go_tool import GoPprof

VERSION = {"key": "version", "value": "1.2.3"}
ENVIRONMENT = {
    "DD_ENV": "staging",
    "DD_VERSION": "1.2.3",
    "DD_PROFILING_ENABLED": "true",
    "DD_PROFILING_UPLOAD_INTERVAL": "3",
    "DD_PROFILING_UPLOAD_PERIOD": "3",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}


def test_python(keyed: KeyedCollector, go_pprof: GoPprof) -> None:
    service = "datadog-py"
    url = keyed.url.replace("://", f"://x:{keyed.secret}@")
    environment = {**ENVIRONMENT, "DD_TRACE_AGENT_URL": url, "DD_SERVICE": service}
    with running_python(("ddtrace==4.16.0",), "datadog_client.py", **environment) as client:
        client.wait_for(lambda: {"cpu", "wall"} <= keyed.types(service))
    assert all(VERSION in profile["labels"] for profile in keyed.find(service))
    assert keyed.share_of_hot(go_pprof, service, "cpu") == pytest.approx(70, abs=10)


@pytest.mark.parametrize("version", ["5.132.0"])
def test_node(open_collector: KeyedCollector, go_pprof: GoPprof, version: str) -> None:
    """The profiler for Node.js drops user, password and path of the URL: it can send no key."""
    service = "datadog-node"
    environment = {**ENVIRONMENT, "DD_TRACE_AGENT_URL": open_collector.url, "DD_SERVICE": service}
    with running_node(f"dd-trace@{version}", "datadog_client.js", **environment) as client:
        client.wait_for(lambda: {"wall", "cpu", "heap"} <= open_collector.types(service))
    assert all(VERSION in profile["labels"] for profile in open_collector.find(service))
    assert open_collector.share_of_hot(go_pprof, service, "cpu") == pytest.approx(70, abs=10)
