"""Requests as parsed, their WSGI environments, and responses as sent."""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

import httptools

from profbucket.errors import Invalid, ProfbucketError

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_BODYLESS_STATUSES = ("204", "304")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Request:
    """A request whose head has arrived.

    ``pending`` holds the bytes of the body that have not been processed. ``error`` says why no more will arrive.
    """

    method: str
    version: str
    path: bytes
    query: bytes
    headers: dict[str, str]  # by their names in a WSGI environment
    keeps_alive: bool
    pending: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    is_discarded: bool = False
    discarded_bytes: int = 0
    error: ProfbucketError | None = None

    @property
    def content_length(self) -> int | None:
        """The Content-Length, or ``None`` for a body in chunks."""
        text = self.headers.get("CONTENT_LENGTH")
        return None if text is None else int(text)

    @property
    def expects_continue(self) -> bool:
        """True if the client waits for a 100 before it sends the body."""
        return self.headers.get("HTTP_EXPECT", "").lower() == "100-continue"


class Response(NamedTuple):
    """A complete response."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


def parse_head(
    method: str, version: str, target: bytes, headers: list[tuple[bytes, bytes]], keeps_alive: bool
) -> Request:
    """Return the request with this head, which the parser has accepted.

    Raise ``Invalid`` if it is ambiguous, or not HTTP/1.0 or 1.1.
    """
    if version not in ("1.0", "1.1"):
        raise _bad_request(f"unsupported version HTTP/{version}; use HTTP/1.1")
    fields: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        if "_" in name:  # X_Api_Key would arrive as X-Api-Key
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        value = raw_value.decode("latin-1").strip(" \t")
        if key in fields:
            if key in ("HTTP_HOST", "CONTENT_TYPE"):
                raise _bad_request(f"the header {name} is given twice")
            value = f"{fields[key]}{';' if key == 'HTTP_COOKIE' else ','}{value}"
        fields[key] = value
    coding = fields.get("HTTP_TRANSFER_ENCODING")
    if coding is not None and (coding.lower() != "chunked" or version == "1.0"):
        raise _bad_request(
            f"unsupported Transfer-Encoding {coding[:80]!r} with HTTP/{version}; use chunked with 1.1"
        )
    url = httptools.parse_url(target)
    if method == "CONNECT" or not (url.path or b"").startswith(b"/"):
        raise _bad_request("the target of the request must be a path")
    if url.host:  # overrides the header, as HTTP requires
        fields["HTTP_HOST"] = (url.host + (b":%d" % url.port if url.port else b"")).decode("latin-1")
    if version == "1.1" and not fields.get("HTTP_HOST"):
        raise _bad_request("the header Host is missing")
    return Request(method, version, url.path, url.query or b"", fields, keeps_alive)


def make_environ(request: Request, server: tuple[Any, ...], client: tuple[Any, ...]) -> WSGIEnvironment:
    """Return the WSGI environment of *request*, without its body, between two socket addresses."""
    return {
        **request.headers,
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": str(client[0]),
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def call(app: WSGIApplication, environ: WSGIEnvironment) -> Response:
    """Return the complete response of *app*, or 500 if it raises an exception, which is logged."""
    status, headers = "", list[tuple[str, str]]()

    def start_response(
        new_status: str, new_headers: list[tuple[str, str]], _: Any = None
    ) -> Callable[[bytes], object]:
        nonlocal status, headers
        status, headers = new_status, new_headers
        return _refuse_write

    try:
        chunks = app(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
    except Exception:  # noqa: BLE001 - the client gets a response
        _log.exception("%s failed", environ["REQUEST_METHOD"])
        return Response("500 Internal Server Error", [], b"")
    return Response(status, headers, body)


def make_error_response(error: ProfbucketError) -> Response:
    """Return the response to what was not a request."""
    envelope = {"code": error.status, "error": str(error), "error_code": error.code}
    status = f"{error.status} {HTTPStatus(error.status).phrase}"
    return Response(status, [("Content-Type", "application/json")], json.dumps(envelope).encode() + b"\n")


def encode_head(response: Response, request: Request | None, stays_open: bool) -> bytes:
    """Return the head of *response* to *request*, which is ``None`` if it was not even a request."""
    lines = [f"HTTP/1.1 {response.status}", f"Date: {formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    has_length = any(name.lower() == "content-length" for name, _ in response.headers)
    if not has_length and response.status[:3] not in _BODYLESS_STATUSES:
        lines.append(f"Content-Length: {len(response.body)}")
    if not stays_open:
        lines.append("Connection: close")
    elif request is not None and request.version == "1.0":
        lines.append("Connection: keep-alive")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def has_body(response: Response, request: Request | None) -> bool:
    """Return whether *response* to *request* is sent with a body."""
    is_head = request is not None and request.method == "HEAD"
    return not is_head and response.status[:3] not in _BODYLESS_STATUSES


def _bad_request(message: str) -> Invalid:
    return Invalid(message, code="bad_request")


def _refuse_write(_: bytes) -> object:
    raise NotImplementedError("the application returns its whole response")
