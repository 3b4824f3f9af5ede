"""Cross-origin reads (CORS): web pages of some other origins may call the GET routes."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_METHODS = ("GET", "HEAD")
_REQUEST_HEADERS = "Authorization, X-Api-Key, If-None-Match"
_EXPOSED_HEADERS = "Content-Disposition, ETag, Retry-After, X-Profbucket-Damaged"
_PREFLIGHT_SECONDS = 7200  # that browsers keep the response; more is ignored by some


def allow_origins(app: WSGIApplication, origins: frozenset[str]) -> WSGIApplication:
    """Return *app* with responses to GET that pages of *origins* may read, and with responses to preflights.

    Browsers send no cookies and no remembered password: a page must have an API key of its own.
    """
    if not origins:
        return app

    def cors_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN", "")
        is_allowed = origin in origins
        if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            headers = [("Vary", "Origin"), ("Content-Length", "0")]
            if is_allowed:
                headers += [
                    ("Access-Control-Allow-Origin", origin),
                    ("Access-Control-Allow-Methods", ", ".join(_METHODS)),
                    ("Access-Control-Allow-Headers", _REQUEST_HEADERS),
                    ("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS)),
                ]
            start_response("204 No Content", headers)
            return []

        def start_readable_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            vary = ", ".join(value for name, value in headers if name.lower() == "vary")
            headers = [(name, value) for name, value in headers if name.lower() != "vary"]
            headers.append(("Vary", f"{vary}, Origin" if vary else "Origin"))
            if is_allowed:
                headers.append(("Access-Control-Allow-Origin", origin))
                headers.append(("Access-Control-Expose-Headers", _EXPOSED_HEADERS))
            return start_response(status, headers, exc_info)

        is_read = environ["REQUEST_METHOD"] in _METHODS
        return app(environ, start_readable_response if is_read else start_response)

    return cors_app
