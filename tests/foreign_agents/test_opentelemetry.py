"""A profiler that exports OpenTelemetry's profiles, as its package installs it.

PyPI has none by OpenTelemetry itself; this one has OpenTelemetry's messages and settings.
"""

from tests.foreign_agents.clients import KeyedCollector, running_python
from tests.support.go_tool import GoPprof

VERSION = {"key": "service.version", "value": "1.2.3"}


def test_python(keyed: KeyedCollector, go_pprof: GoPprof) -> None:
    """The first export of each profile is answered 503, and the second is stored."""
    service = "otel-py"
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": keyed.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={keyed.secret}",
        "OTEL_SERVICE_NAME": service,
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3",
        "OTEL_PROFILING_ENABLED": "true",
        "OTEL_PROFILING_EXPORT_INTERVAL": "2",
    }
    with running_python(("beacon-profiling==1.2.1",), "opentelemetry_client.py", **environment) as client:
        client.wait_for(lambda: len(keyed.find(service)) >= 4)  # on a busy machine a single one says little
    profiles = keyed.find(service)
    assert {profile["type"] for profile in profiles} == {"wall"}
    assert all(VERSION in profile["labels"] for profile in profiles)
    assert keyed.refusals.retried("beacon-profiling")
    # It samples in step with the loop of the program on an idle machine, which shows 50 of its 70 percent.
    assert 30 < keyed.share_of_hot(go_pprof, service, "wall") < 90
