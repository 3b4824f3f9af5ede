"""WSGI middleware for paths and bodies as platforms and clients send them."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

READ_CHUNK_BYTES = 1 << 16


def strip_function_name(app: WSGIApplication, function_names: frozenset[str]) -> WSGIApplication:
    """Return *app* behind :func:`normalize_path`."""

    def stripping_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        normalize_path(environ, function_names)
        return app(environ, start_response)

    return stripping_app


def normalize_path(environ: WSGIEnvironment, function_names: frozenset[str]) -> None:
    """Move a leading function name from PATH_INFO to SCRIPT_NAME, and collapse leading slashes.

    Whether the platform leaves a function's name in the path depends on the URL that the client called.
    """
    path = environ.get("PATH_INFO", "").lstrip("/")  # an agent's collector URL often ends in a slash
    first, _, rest = path.partition("/")
    if first in function_names:
        environ["SCRIPT_NAME"] = f"{environ.get('SCRIPT_NAME', '')}/{first}"
        path = rest
    environ["PATH_INFO"] = f"/{path}"


def drain_body(app: WSGIApplication, max_bytes: int) -> WSGIApplication:
    """Return *app* with up to *max_bytes* that it left unread of a body read and discarded.

    A client that is still sending would not see the response.
    """

    def draining_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response = app(environ, start_response)
        if environ.get("wsgi.input_terminated"):  # the server ends the stream with the body, as gunicorn does
            _discard(environ["wsgi.input"].read, max_bytes)
        return response

    return draining_app


def _discard(read: Callable[[int], bytes], max_bytes: int) -> None:
    with suppress(Exception):  # the client has disconnected or sends malformed chunks: each server has its errors
        while max_bytes > 0 and (chunk := read(min(max_bytes, READ_CHUNK_BYTES))):
            max_bytes -= len(chunk)
