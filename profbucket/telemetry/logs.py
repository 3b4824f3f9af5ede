"""Logging: one JSON object a line in Cloud Logging's format, or plain lines on a terminal.

A request is one line at INFO, an unexpected error one at ERROR with its traceback. Stored posts and health probes
are lines at DEBUG: they come by the million, and log lines are billed. No line contains a query string, a label, a
key or an Authorization header.
"""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

from profbucket.model.printable import to_printable
from profbucket.telemetry.request import RequestRecord, current_record

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_MAX_PATH_CHARACTERS = 2000
_MAX_SERVICE_CHARACTERS = 200

_log = logging.getLogger(__name__)
_PACKAGE = "profbucket"  # the parent of all its modules' loggers
_SERVER = logging.getLogger("gunicorn.error")

# A second line of defence, as no text should contain them: secrets that `profbucket key create` makes, the
# userinfo of URLs, and query strings.
_SECRETS = re.compile(r"""pb_[A-Za-z0-9_-]{43}|(?<=//)[^/@\s"']*@|(?<=[A-Za-z0-9_~./-]\?)[^\s"'?]*=[^\s"']*""")


def configure(level: str = "INFO", project: str = "", stream: TextIO | None = None) -> None:
    """Log to *stream* or stderr, from *level* on for profbucket and from WARNING on for libraries.

    *project* is the Google Cloud project of the requests' traces. Another call replaces the configuration.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter() if stream.isatty() else JsonFormatter(project))
    for logger in (logging.getLogger(), _SERVER):
        logger.handlers[:] = [handler]
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger(_PACKAGE).setLevel(level)
    logging.captureWarnings(True)


def log_request(request_record: RequestRecord, *, is_frequent: bool = False) -> None:
    """Log a request that has been answered; one of a frequent kind only at DEBUG, unless it failed."""
    level = logging.DEBUG if is_frequent and request_record.status < 400 else logging.INFO
    if _log.isEnabledFor(level):
        path = request_record.path[:_MAX_PATH_CHARACTERS]
        message = f"{request_record.method} {path} {request_record.status}"
        _log.log(level, "%s", message, extra={"request_record": request_record})


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON, in the fields that Cloud Logging interprets."""

    def __init__(self, project: str = "") -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "severity": record.levelname if record.levelname in (*LEVELS, "CRITICAL") else "DEFAULT",
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "message": _redact(record.getMessage()),
        }
        if record.name.partition(".")[0] != _PACKAGE:
            entry["logger"] = record.name
        if record.exc_info:
            entry["stack_trace"] = _redact(self.formatException(record.exc_info))  # read by Error Reporting
        entry |= getattr(record, "fields", {})
        request_record: RequestRecord | None = getattr(record, "request_record", None)
        if request_record is not None:
            entry |= _fields(request_record)
        trace = (request_record or current_record()).trace
        if trace.trace_id:
            prefix = f"projects/{self._project}/traces/" if self._project else ""
            entry["logging.googleapis.com/trace"] = prefix + trace.trace_id
            entry["logging.googleapis.com/trace_sampled"] = trace.sampled
            if trace.span_id:
                entry["logging.googleapis.com/spanId"] = trace.span_id
        text = json.dumps(entry, ensure_ascii=False)
        return text if text.isprintable() else _escape_unprintable(text)


class PlainFormatter(logging.Formatter):
    """A log record as a line for a terminal, without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} "
        if record.levelno != logging.INFO:
            text += f"{record.levelname} "
        text += _redact(record.getMessage())
        text += "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        request_record: RequestRecord | None = getattr(record, "request_record", None)
        if request_record is not None:
            fields = _fields(request_record)
            del fields["httpRequest"]
            text += "".join(f" {name}={value}" for name, value in fields.items())
        lines = [text]
        if record.exc_info:
            lines += _redact(self.formatException(record.exc_info)).split("\n")
        return "\n".join(map(to_printable, lines))


def _fields(request_record: RequestRecord) -> dict[str, Any]:
    """Return the fields to log, without those that are empty."""
    optional_fields = {
        "key": request_record.api_key,
        "service": request_record.service[:_MAX_SERVICE_CHARACTERS],
        "type": request_record.profile_type,
        **request_record.counts,
        "error": request_record.error,
    }
    return {
        "httpRequest": {
            "requestMethod": request_record.method,
            "requestUrl": _redact(request_record.path[:_MAX_PATH_CHARACTERS]),
            "status": request_record.status,
            "latency": f"{request_record.seconds:.6f}s",
            "requestSize": str(request_record.received_bytes),  # protobuf's JSON writes int64 as strings
            "responseSize": str(request_record.sent_bytes),
        },
        **{name: value for name, value in optional_fields.items() if value != ""},
        "received": request_record.received_bytes,
        "sent": request_record.sent_bytes,
        "milliseconds": round(request_record.seconds * 1000, 3),
    }


def _escape_unprintable(text: str) -> str:
    """Escape in JSON what a terminal may obey, and surrogates, which are not valid UTF-8."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _redact(text: str) -> str:
    return _SECRETS.sub("…", text)
