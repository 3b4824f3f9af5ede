"""The record of one request and its response, for the log and the metrics.

Views add what they know to :func:`current_record`; once the response is complete, the record is reported. It holds
no query strings, labels, keys or client addresses: those are users' data or secrets.
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
    """The distributed trace that a request belongs to: ids of 32 and 16 hex digits, or ``""``."""

    trace_id: str = ""
    span_id: str = ""
    sampled: bool = False

    @classmethod
    def from_headers(cls, cloud_trace_context: str, traceparent: str) -> "Trace":
        """Read the headers X-Cloud-Trace-Context and traceparent; malformed ones are ignored."""
        if match := _TRACEPARENT.fullmatch(traceparent.strip()):
            return cls(match[1], match[2], bool(int(match[3], 16) & 1))
        if match := _CLOUD_TRACE.fullmatch(cloud_trace_context.strip()):
            span = int(match[2] or 0)
            return cls(match[1].lower(), f"{span:016x}" if 0 < span < 2**64 else "", match[3] == "1")
        return cls()


@dataclass(slots=True)
class RequestRecord:
    """A request and its outcome.

    ``route`` is the path rule, or ``""`` if no route matches. ``api_key`` is the name of the key, ``error`` the
    class of the error. ``counts`` holds the number of profiles found and, for a merge, merged and expired.
    """

    method: str = ""
    path: str = ""
    trace: Trace = Trace()
    route: str = ""
    api_key: str = ""
    service: str = ""
    profile_type: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    error: str = ""
    status: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    seconds: float = 0.0

    def set_subject(self, service: str, profile_type: str | None) -> None:
        """Note the service and the profile type that the request is about."""
        self.service, self.profile_type = service, profile_type or ""

    @property
    def method_label(self) -> str:
        """The method, or ``other`` for a non-standard one, so that clients cannot create new metric series."""
        return self.method if self.method in _METHODS else "other"


_CURRENT: ContextVar[RequestRecord | None] = ContextVar("request_record", default=None)


def current_record() -> RequestRecord:
    """Return the record of the current request, or outside a request one that is not reported."""
    return _CURRENT.get() or RequestRecord()


def record_requests(
    app: WSGIApplication, report: Callable[[RequestRecord], None], timer: Callable[[], float] = time.perf_counter
) -> WSGIApplication:
    """Return *app* with *report* called on the record of each complete response. *timer* counts seconds."""

    def recording_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        record = RequestRecord(
            method=environ.get("REQUEST_METHOD", ""),
            path=environ.get("PATH_INFO", "").encode("latin-1", "replace").decode(errors="replace"),
            trace=Trace.from_headers(
                environ.get("HTTP_X_CLOUD_TRACE_CONTEXT", ""), environ.get("HTTP_TRACEPARENT", "")
            ),
            received_bytes=int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0,
        )

        def record_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            record.status = int(status[:3])
            if record.method != "HEAD":
                record.sent_bytes = sum(int(value) for name, value in headers if name.lower() == "content-length")
            return start_response(status, headers, exc_info)

        token = _CURRENT.set(record)
        started_at = timer()
        try:
            return app(environ, record_response)  # no view streams: the response is complete on return
        finally:
            record.seconds = timer() - started_at
            record.status = record.status or 500  # the server's response to an exception
            report(record)
            _CURRENT.reset(token)

    return recording_app
