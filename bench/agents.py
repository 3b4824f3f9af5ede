"""Count the requests that agents of other systems send by default, each to a collector of its own.

``make bench ARGS=agents`` runs all of them for six minutes and prints the table of docs/agents.md;
``ARGS='agents --write'`` also writes it there.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from profbucket.api.app import create_app
from profbucket.auth import ApiKeys, generate_secret, hash_secret
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.foreign_agents.clients import Client, running_node, running_python
from tests.support.paths import ROOT
from tests.support.raw_http import running_server
from tests.support.tables import format_table, replace_tables

_SECONDS = 360
_TOGETHER_SECONDS = 5  # in which a client sends several profiles of one time, or one again
_DOCUMENT = ROOT / "docs" / "agents.md"
_HEAD = "| client | request | a minute |"

# Programs that use a twentieth of a processor, until they are stopped.
_LIGHT_WORK = {"WORK_SECONDS": "3600", "WORK_SHARE": "0.05"}
_DATADOG = {
    "DD_PROFILING_ENABLED": "true",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}

Run = Callable[[str, str], AbstractContextManager[Client]]  # of a URL and a key


def _run_cloud_profiler_node(url: str, key: str) -> AbstractContextManager[Client]:
    environment = {**_LIGHT_WORK, "GCLOUD_PROJECT": "demo", "METADATA_SERVER_DETECTION": "none"}
    return running_node(
        ("@google-cloud/profiler@7.0.0",), "cloud_profiler_client.js", url, "shop", key, **environment
    )


def _run_datadog_python(url: str, key: str) -> AbstractContextManager[Client]:
    environment = {"DD_TRACE_AGENT_URL": url.replace("://", f"://x:{key}@"), "DD_TRACE_ENABLED": "false"}
    return running_python(("ddtrace==4.16.0",), "datadog_client.py", **_LIGHT_WORK, **_DATADOG, **environment)


def _run_opentelemetry(url: str, key: str) -> AbstractContextManager[Client]:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={key}",
        "OTEL_PROFILING_ENABLED": "true",
    }
    return running_python(("beacon-profiling==1.2.1",), "opentelemetry_client.py", **_LIGHT_WORK, **environment)


def _pyroscope_python(version: str) -> Run:
    packages = (f"pyroscope-io=={version}",)
    return lambda url, key: running_python(packages, "pyroscope_client.py", url, "shop", key, **_LIGHT_WORK)


def _pyroscope_node(version: str) -> Run:
    packages = (f"@pyroscope/nodejs@{version}",)
    return lambda url, key: running_node(packages, "pyroscope_client.js", url, "shop", key, **_LIGHT_WORK)


def _datadog_node(*packages: str) -> Run:
    return lambda url, _: running_node(
        packages, "datadog_client.js", **_LIGHT_WORK, **_DATADOG, DD_TRACE_AGENT_URL=url
    )


_CLIENTS: Mapping[str, Run] = {
    "`pyroscope-io` 1.4.0": _pyroscope_python("1.4.0"),
    "`pyroscope-io` 0.8.16": _pyroscope_python("0.8.16"),
    "`@pyroscope/nodejs` 0.6.4": _pyroscope_node("0.6.4"),
    "`@pyroscope/nodejs` 0.4.9": _pyroscope_node("0.4.9"),
    "`google-cloud-profiler` 4.1.0": lambda url, key: running_python(
        ("google-cloud-profiler==4.1.0",), "cloud_profiler_client.py", url, "shop", key, **_LIGHT_WORK
    ),
    "`@google-cloud/profiler` 7.0.0": _run_cloud_profiler_node,
    "`ddtrace` 4.16.0": _run_datadog_python,
    "`dd-trace` 5.132.0": _datadog_node("dd-trace@5.132.0"),
    "`dd-trace` 6.21.0": _datadog_node("dd-trace@6.21.0", "node@22.23.3"),
    "`beacon-profiling` 1.2.1": _run_opentelemetry,
}
_WITHOUT_KEY = "`dd-trace`"


@dataclass
class Arrivals:
    """*app*, with the times of its requests in seconds, by method and path."""

    app: WSGIApplication
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/v2/"):
            path = path.rpartition("/profiles")[0].replace("/demo-project", "/P") + "/profiles"
        if path != "/healthz":
            self.times[f"{environ['REQUEST_METHOD']} {path}"].append(time.monotonic())
        return self.app(environ, start_response)


@contextmanager
def _collector(*, has_key: bool) -> Iterator[tuple[str, str, Arrivals]]:
    """Yield the URL of a collector in memory, its key, and what arrives there."""
    secret = generate_secret()
    keys = [{"name": "agents", "sha256": hash_secret(secret).hex(), "scopes": ["write"]}]
    config = Config("memory:", keys=ApiKeys.parse(json.dumps(keys)) if has_key else None)
    storage = open_storage("memory:")
    app = create_app(config, collector=Collector(storage), querier=Querier(storage))
    arrivals = Arrivals(app.wsgi_app)
    app.wsgi_app = arrivals  # type: ignore[method-assign]
    with running_server(app) as server:
        yield f"http://127.0.0.1:{server.port}", secret, arrivals


def print_requests(*, write: bool) -> None:
    """Print the table; with *write*, also replace that in docs/agents.md."""
    with ExitStack() as stack:
        arrivals = {}
        for name, run in _CLIENTS.items():
            url, key, arrivals[name] = stack.enter_context(_collector(has_key=not name.startswith(_WITHOUT_KEY)))
            stack.enter_context(run(url, key))
        time.sleep(_SECONDS)
    rows = [
        (name if number == 0 else "", f"`{request}`", _format_rate(times))
        for name in _CLIENTS
        for number, (request, times) in enumerate(sorted(arrivals[name].times.items()))
    ]
    table = format_table(_HEAD, rows)
    print("\n".join(table))
    if write:
        _DOCUMENT.write_text(replace_tables(_DOCUMENT.read_text(encoding="utf-8"), [table]), encoding="utf-8")


def _format_rate(times: list[float]) -> str:
    """Return the rate of requests at *times* in seconds, from the first ones, which come together, to the last."""
    later = [time for time in times if time > times[0] + _TOGETHER_SECONDS]
    if not later:
        return f"{len(times)} in all"
    return f"{60 * len(later) / (times[-1] - times[0]):.1f}"
