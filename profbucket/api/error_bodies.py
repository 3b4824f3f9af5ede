"""The bodies of errors, in the form that the clients of each route read."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Response

from profbucket.api.otlp import render_status
from profbucket.api.responses import json_response
from profbucket.errors import ProfbucketError

# Connect's codes by HTTP status; all others are "internal", or for requests "invalid_argument".
_CONNECT_CODES = {
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    405: "unimplemented",
    409: "aborted",
    413: "resource_exhausted",
    429: "resource_exhausted",
    503: "unavailable",
}

# Those of google.rpc.Status; all others are "INTERNAL", or for requests "INVALID_ARGUMENT".
_GOOGLE_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
_RPC = "type.googleapis.com/google.rpc."


class DetailedError(Exception):
    """An *error* whose response has a *body*, which says more."""

    def __init__(self, error: ProfbucketError, body: Any) -> None:
        super().__init__(str(error))
        self.error = error
        self.body = body


def render_error(path: str, status: int, code: str, message: str, body: Any = None) -> Response:
    """Return the response to a request for *path* that failed; *code* is that of the error.

    *body* is only in responses of profbucket's own routes.
    """
    for prefix, render in _RENDERERS.items():
        if path.startswith(prefix):
            return render(status, code, message)
    return json_response(body, status, error=message, error_code=code)


def replace_percent_signs(message: str) -> str:
    """Return an error message as responses have it: kube-profefe passes it to a format function."""
    return message.replace("%", "\N{FULLWIDTH PERCENT SIGN}")


def _render_for_connect(status: int, code: str, message: str) -> Response:
    """Return an error of the Connect protocol, which Pyroscope's routes use; clients print it."""
    if code == "unknown_route":
        connect_code = "unimplemented"
    else:
        connect_code = _CONNECT_CODES.get(status, "internal" if status >= 500 else "invalid_argument")
    body = {"code": connect_code, "message": message, "error_code": code}
    return Response(json.dumps(body) + "\n", status, content_type="application/json")


def google_error(status: int, code: str, message: str, *, retry_delay: int | None = None) -> Response:
    """Return an error of Google's APIs. Agents of Cloud Profiler ask again after *retry_delay* nanoseconds."""
    details: list[dict[str, object]] = [
        {"@type": f"{_RPC}ErrorInfo", "reason": code.upper(), "domain": "profbucket", "metadata": {}}
    ]
    if retry_delay is not None:
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{retry_delay / 1e9:.3f}s"})
    name = _GOOGLE_STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    error = {"code": status, "status": name, "message": message, "details": details}
    return Response(json.dumps({"error": error}) + "\n", status, content_type="application/json")


_RENDERERS: Mapping[str, Callable[[int, str, str], Response]] = {
    "/ingest": _render_for_connect,
    "/pyroscope/ingest": _render_for_connect,
    "/pyroscope/render": _render_for_connect,
    "/push.v1.": _render_for_connect,
    "/querier.v1.": _render_for_connect,
    "/settings.v1.": _render_for_connect,
    "/vcs.v1.": _render_for_connect,  # Profiles Drilldown calls it, to link functions to their sources
    "/adhocprofiles.v1.": _render_for_connect,
    "/v2/": google_error,
    "/v1development/": render_status,
}
