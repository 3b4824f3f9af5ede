"""The page, and the files it consists of: built by web/ into profbucket/ui/, served as they are.

It says nothing of what is stored and needs no key; what it asks then does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from flask import Response, request
from isal import igzip
from werkzeug.exceptions import NotFound

ROOT = Path(__file__).parents[1] / "ui"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Nothing but what we ship runs or is shown, and nothing is sent elsewhere, whatever a profile holds.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
# speedscope makes its styles as it runs, compiles a parser, and is given profiles as a blob of this page's.
_SPEEDSCOPE = {
    **_POLICY,
    "script-src": "'self' 'wasm-unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "connect-src": "'self' blob:",
}

_LONG = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class File:
    """A file of the page; ``digest`` changes with its content."""

    data: bytes
    gzipped: bytes
    media_type: str
    digest: str


def index() -> Response:
    """The page itself."""
    asked = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or "/")
    path, mark, query = asked.partition("?")
    if not path.endswith("/"):  # below a function's name: what the page refers to would be looked for beside it
        return Response(status=308, headers={"Location": f"./{path.rpartition('/')[2]}/{mark}{query}"})
    return _sent(files()["index.html"], _POLICY)


def file(name: str) -> Response:
    """The file *name* of the page; raise ``NotFound`` where there is none."""
    if name not in files():
        raise NotFound
    return _sent(files()[name], _SPEEDSCOPE if name.startswith("speedscope/") else _POLICY)


@cache
def files() -> Mapping[str, File]:
    """All files by name, as in ``speedscope/index.html``."""
    found = {}
    for path in sorted(ROOT.rglob("*")):
        if path.suffix in _TYPES:
            data = path.read_bytes()
            name = path.relative_to(ROOT).as_posix()
            found[name] = File(data, _gzip(data), _TYPES[path.suffix], sha256(data).hexdigest()[:16])
    return found


def gzipped(response: Response) -> Response:
    """*response*, compressed where the client can read that."""
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"] > 0:
        response.set_data(_gzip(response.get_data()))
        response.headers["Content-Encoding"] = "gzip"
    return response


def _sent(asked: File, policy: Mapping[str, str]) -> Response:
    small = request.accept_encodings["gzip"] > 0
    response = Response(asked.gzipped if small else asked.data, content_type=asked.media_type)
    response.vary.add("Accept-Encoding")
    if small:
        response.headers["Content-Encoding"] = "gzip"
    response.headers.update(
        {
            # The page names its files with their digests; all else is asked for again, and then rarely sent.
            "Cache-Control": _LONG if request.args.get("v") == asked.digest else "no-cache",
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
    )
    response.set_etag(asked.digest + ("-gzip" if small else ""))
    response.make_conditional(request)
    return response


def _gzip(data: bytes) -> bytes:
    return igzip.compress(data, compresslevel=3, mtime=0)
