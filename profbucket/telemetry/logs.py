"""What is logged, and how: one JSON object a line, as Cloud Logging reads it, or plain lines for a terminal.

A request is one line at INFO, one of a probe at DEBUG; an error of ours is one at ERROR with its traceback. No
line holds a query, a label, a key or an Authorization header.
"""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

from profbucket.telemetry.request import RequestRecord, current

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_log = logging.getLogger("profbucket")
_SERVER = logging.getLogger("gunicorn.error")  # says what the server around us could not do

# They should not be in a text at all. Keys that `profbucket key create` makes, the userinfo of a URL, and queries.
_SECRETS = re.compile(r"""pb_[A-Za-z0-9_-]{43}|(?<=//)[^/@\s"']*@|(?<=[A-Za-z0-9_~./-]\?)[^\s"'?]*=[^\s"']*""")


def configure(level: str = "INFO", project: str = "", stream: TextIO | None = None) -> None:
    """Log to *stream*, or stderr, from *level* on. Called again, it replaces what it did before.

    Libraries log from WARNING on. *project* is the Google Cloud project whose traces requests belong to.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Plain() if stream.isatty() else Json(project))
    for logger in (logging.getLogger(), _SERVER):
        logger.handlers[:] = [handler]
    logging.getLogger().setLevel(logging.WARNING)
    _log.setLevel(level)
    logging.captureWarnings(True)


def report(exchange: RequestRecord) -> None:
    """Log a request that was answered."""
    level = logging.DEBUG if exchange.route in PROBES and exchange.status < 400 else logging.INFO
    if _log.isEnabledFor(level):
        text = f"{exchange.method} {exchange.path[:_PATH]} {exchange.status}"
        _log.log(level, "%s", text, extra={"exchange": exchange})


PROBES = frozenset({"/healthz", "/health", "/metrics"})  # asked every few seconds by machines

_PATH = 2000  # characters of a path that are logged


class Json(logging.Formatter):
    """A record as one line of JSON, in the fields that Cloud Logging gives a meaning to."""

    def __init__(self, project: str = "") -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "severity": record.levelname if record.levelname in (*LEVELS, "CRITICAL") else "DEFAULT",
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "message": _clean(record.getMessage()),
        }
        if record.name != _log.name:
            entry["logger"] = record.name
        if record.exc_info:
            entry["stack_trace"] = _clean(self.formatException(record.exc_info))  # Error Reporting looks here
        exchange = getattr(record, "exchange", None)
        if exchange is not None:
            entry |= _fields(exchange)
        trace = (exchange or current()).trace
        if trace.trace:
            prefix = f"projects/{self._project}/traces/" if self._project else ""
            entry["logging.googleapis.com/trace"] = prefix + trace.trace
            entry["logging.googleapis.com/trace_sampled"] = trace.sampled
            if trace.span:
                entry["logging.googleapis.com/spanId"] = trace.span
        return json.dumps(entry, ensure_ascii=False).encode(errors="backslashreplace").decode()


class Plain(logging.Formatter):
    """A record as a line for a person."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} "
        if record.levelno != logging.INFO:
            text += f"{record.levelname} "
        text += _clean(record.getMessage())
        if (exchange := getattr(record, "exchange", None)) is not None:
            fields = _fields(exchange)
            del fields["httpRequest"]
            text += "".join(f" {name}={value}" for name, value in fields.items())
        text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
        return f"{text}\n{_clean(self.formatException(record.exc_info))}" if record.exc_info else text


def _fields(exchange: RequestRecord) -> dict[str, Any]:
    """What is logged of a request, without what is empty."""
    known = {
        "key": exchange.key,
        "service": exchange.service[:200],
        "type": exchange.type,
        **exchange.counts,
        "error": exchange.error,
    }
    return {
        "httpRequest": {
            "requestMethod": exchange.method,
            "requestUrl": _clean(exchange.path[:_PATH]),
            "status": exchange.status,
            "latency": f"{exchange.seconds:.6f}s",
            "requestSize": str(exchange.received),  # 64 bits are texts in JSON of protobuf
            "responseSize": str(exchange.sent),
        },
        **{name: value for name, value in known.items() if value != ""},
        "received": exchange.received,
        "sent": exchange.sent,
        "milliseconds": round(exchange.seconds * 1000, 3),
    }


def _clean(text: str) -> str:
    return _SECRETS.sub("…", text)
