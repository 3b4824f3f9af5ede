"""One request and its answer, as the log and the metrics know it: how long, how large, by which key, for what.

Handlers add what they know to :func:`current`; once the answer is there, it is reported. Queries, labels, keys and
addresses are not kept: they are data of users, or secrets.
"""

import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_CLOUD_TRACE = re.compile(r"([0-9a-f]{32})(?:/(\d{1,20}))?(?:;o=([01]))?", re.ASCII | re.IGNORECASE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a request belongs in a distributed trace: ids in 32 and 16 hex digits, ``""`` where there is none."""

    trace: str = ""
    span: str = ""
    sampled: bool = False

    @classmethod
    def of(cls, cloud: str, parent: str) -> "Trace":
        """From the headers X-Cloud-Trace-Context and traceparent; what is malformed is none."""
        if match := _TRACEPARENT.fullmatch(parent.strip()):
            return cls(match[1], match[2], bool(int(match[3], 16) & 1))
        if match := _CLOUD_TRACE.fullmatch(cloud.strip()):
            span = int(match[2] or 0)
            return cls(match[1].lower(), f"{span:016x}" if 0 < span < 2**64 else "", match[3] == "1")
        return cls()


@dataclass(slots=True)
class RequestRecord:
    """A request and what became of it. ``route`` is its rule, ``""`` where there is none; sizes are bytes.

    ``counts`` says how many profiles were found, and of a merge how many were merged and had expired.
    ``error`` is the name of an error.
    """

    method: str = ""
    path: str = ""
    trace: Trace = Trace()
    route: str = ""
    key: str = ""
    service: str = ""
    type: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    error: str = ""
    status: int = 0
    received: int = 0
    sent: int = 0
    seconds: float = 0.0

    @property
    def known_method(self) -> str:
        """The method, or ``other`` for one that a client made up."""
        return self.method if self.method in _METHODS else "other"


_CURRENT: ContextVar[RequestRecord | None] = ContextVar("exchange", default=None)


def current() -> RequestRecord:
    """The exchange under way, or one that is reported to nobody."""
    return _CURRENT.get() or RequestRecord()


def record_requests(
    app: WSGIApplication, report: Callable[[RequestRecord], None], timer: Callable[[], float] = time.perf_counter
) -> WSGIApplication:
    """*app*, each of whose exchanges is given to *report* once its answer is complete. *timer* counts seconds."""

    def observing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        exchange = RequestRecord(
            method=environ.get("REQUEST_METHOD", ""),
            path=environ.get("PATH_INFO", "").encode("latin-1", "replace").decode(errors="replace"),
            trace=Trace.of(environ.get("HTTP_X_CLOUD_TRACE_CONTEXT", ""), environ.get("HTTP_TRACEPARENT", "")),
            received=int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0,
        )

        def started(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            exchange.status = int(status[:3])
            if exchange.method != "HEAD":
                sizes = [int(value) for name, value in headers if name.lower() == "content-length"]
                exchange.sent = sum(sizes)
            return start_response(status, headers, exc_info)

        token = _CURRENT.set(exchange)
        begin = timer()
        try:
            return app(environ, started)  # no answer of ours is streamed: it is complete here
        finally:
            exchange.seconds = timer() - begin
            exchange.status = exchange.status or 500  # it was not answered: what is around us says so
            report(exchange)
            _CURRENT.reset(token)

    return observing
