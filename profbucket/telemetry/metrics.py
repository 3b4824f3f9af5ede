"""Metrics of a collector for Prometheus, in the OpenMetrics format.

Each process counts for itself from its start: scrape every instance behind a load balancer on its own.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from profbucket.telemetry.request import RequestRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST

# From a response out of memory, over a post to a bucket and a merge of a week, to pprof's timeout.
_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)


class Metrics:
    """The metrics of one collector. They are labelled with routes, not paths, so that their number is bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = self._counter("requests", "Requests answered.", ("method", "route", "status"))
        self._seconds = Histogram(
            "profbucket_request_seconds",
            "Time to handle a request and send its response; on Cloud Functions, also to receive its body.",
            ("method", "route"),
            unit="seconds",
            buckets=_SECONDS_BUCKETS,
            registry=self._registry,
        )
        self._received = self._counter("received_bytes", "Bytes of request bodies.")
        self._sent = self._counter("sent_bytes", "Bytes of response bodies.")
        self._merges = self._counter("merges", "Merges answered.")
        self._profiles = self._counter(
            "merge_profiles", "Profiles in merges: found, merged, or expired before the merge.", ("outcome",)
        )
        for outcome in ("found", "merged", "expired"):
            self._profiles.labels(outcome)  # starts at 0, so that Prometheus sees the first increase

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Add the gauge *name*, whose value is that of *value* at each scrape."""
        Gauge(f"profbucket_{name}", description, registry=self._registry).set_function(value)

    def count(self, record: RequestRecord) -> None:
        """Count a request that has been answered."""
        method, route = record.method_label, record.route or "none"
        self._requests.labels(method, route, str(record.status)).inc()
        self._seconds.labels(method, route).observe(record.seconds)
        self._received.inc(record.received_bytes)
        self._sent.inc(record.sent_bytes)
        if "merged" in record.counts:
            self._merges.inc()
            for outcome, count in record.counts.items():
                self._profiles.labels(outcome).inc(count)

    def render(self) -> bytes:
        """Return all metrics as text."""
        text: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return text

    def _counter(self, name: str, description: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"profbucket_{name}", description, labels, registry=self._registry)
