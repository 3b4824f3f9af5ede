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
        client.wait_for(lambda: "wall" in keyed.types(service) and keyed.has_enough(service, "cpu"))
    assert all(VERSION in profile["labels"] for profile in keyed.find(service))
    assert keyed.share_of_hot(go_pprof, service, "cpu") == pytest.approx(70, abs=10)


@pytest.mark.parametrize(
    ("version", "packages"),
    [("5.132.0", ("dd-trace@5.132.0",)), ("6.21.0", ("dd-trace@6.21.0", "node@22.23.3"))],
    ids=["5.x", "6.x"],
)
def test_node(open_collector: KeyedCollector, go_pprof: GoPprof, version: str, packages: tuple[str, ...]) -> None:
    """The first upload of each profile is answered 503, and the second is stored.

    The profiler drops user, password and path of the URL: it can send no key.
    """
    service = f"datadog-node-{version[0]}"
    environment = {**ENVIRONMENT, "DD_TRACE_AGENT_URL": open_collector.url, "DD_SERVICE": service}
    with running_node(packages, "datadog_client.js", **environment) as client:
        client.wait_for(
            lambda: {"wall", "heap"} <= open_collector.types(service) and open_collector.has_enough(service, "cpu")
        )
    profiles = open_collector.find(service)
    assert all(VERSION in profile["labels"] for profile in profiles)
    uploads = [profile for profile in profiles if profile["type"] == "cpu"]
    assert len(uploads) <= open_collector.refusals.retried(f"dd-trace {version}")
    assert open_collector.share_of_hot(go_pprof, service, "cpu") == pytest.approx(70, abs=10)
