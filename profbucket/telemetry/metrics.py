"""What the collector counts, for Prometheus, in the OpenMetrics format.

Each process counts for itself and from its start: with several behind one address, each is scraped on its own.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from profbucket.telemetry.request import RequestRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds: an answer from memory, a post to a bucket, a merge of a week, pprof's patience.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)


class Metrics:
    """Counters of one collector. Routes are rules and not paths, so that their number is bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

        def counter(name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"profbucket_{name}", what, labels, registry=self._registry)

        self._requests = counter("requests", "Requests answered.", ("method", "route", "status"))
        self._seconds = Histogram(
            "profbucket_request_seconds",
            "Time from a request's headers to its complete answer.",
            ("method", "route"),
            unit="seconds",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._received = counter("received_bytes", "Bytes of bodies that were sent to us.")
        self._sent = counter("sent_bytes", "Bytes of bodies that were sent by us.")
        self._merges = counter("merges", "Merges that were answered.")
        self._profiles = counter(
            "merge_profiles", "Profiles of merges: found, merged, or expired meanwhile.", ("outcome",)
        )
        for outcome in ("found", "merged", "expired"):
            self._profiles.labels(outcome)  # a counter that is there from the start shows its first increase

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show what *value* returns, when asked for, as the gauge *name*."""
        Gauge(f"profbucket_{name}", what, registry=self._registry).set_function(value)

    def count(self, exchange: RequestRecord) -> None:
        """Count a request that was answered."""
        method, route = exchange.known_method, exchange.route or "none"
        self._requests.labels(method, route, str(exchange.status)).inc()
        self._seconds.labels(method, route).observe(exchange.seconds)
        self._received.inc(exchange.received)
        self._sent.inc(exchange.sent)
        if "merged" in exchange.counts:
            self._merges.inc()
            for outcome, number in exchange.counts.items():
                self._profiles.labels(outcome).inc(number)

    def text(self) -> bytes:
        """All of it, as it is now."""
        text: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call] # it says nothing of its types
        return text
