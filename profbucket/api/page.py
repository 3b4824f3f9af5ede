"""The web page's files, built by web/ into profbucket/ui/ and served unchanged.

They contain no stored data and need no API key; the requests that the page makes do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from flask import Response, request
from werkzeug.exceptions import NotFound

from profbucket.api.responses import gzip

ROOT = Path(__file__).parents[1] / "ui"

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Only shipped code runs and nothing is sent to other hosts, whatever a profile contains.
_CONTENT_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
# speedscope generates styles, compiles a WebAssembly parser, and gets profiles as blob URLs of this page.
_SPEEDSCOPE_POLICY = {
    **_CONTENT_POLICY,
    "script-src": "'self' 'wasm-unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "connect-src": "'self' blob:",
}

_CACHE_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page; ``digest`` changes with its content."""

    data: bytes
    gzipped: bytes
    media_type: str
    digest: str


def index() -> Response:
    """Return the page, or a redirect that adds a slash to a function's name: the page's links are relative."""
    uri = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or "/")
    path, mark, query = uri.partition("?")
    if not path.endswith("/"):
        return Response(status=308, headers={"Location": f"./{path.rpartition('/')[2]}/{mark}{query}"})
    return _send(files()["index.html"], _CONTENT_POLICY)


def file(name: str) -> Response:
    """Return the page's file *name*; raise werkzeug's ``NotFound`` if there is no such file."""
    if name not in files():
        raise NotFound
    return _send(files()[name], _SPEEDSCOPE_POLICY if name.startswith("speedscope/") else _CONTENT_POLICY)


@cache
def files() -> Mapping[str, PageFile]:
    """Return all files by their path below ``profbucket/ui``, such as ``speedscope/index.html``."""
    page_files = {}
    for path in sorted(ROOT.rglob("*")):
        if path.suffix in _MEDIA_TYPES:
            data = path.read_bytes()
            name = path.relative_to(ROOT).as_posix()
            digest = sha256(data).hexdigest()[:16]
            page_files[name] = PageFile(data, gzip(data), _MEDIA_TYPES[path.suffix], digest)
    return page_files


def _send(page_file: PageFile, policy: Mapping[str, str]) -> Response:
    compressed = request.accept_encodings["gzip"] > 0
    response = Response(page_file.gzipped if compressed else page_file.data, content_type=page_file.media_type)
    response.vary.add("Accept-Encoding")
    if compressed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers.update(
        {
            # The page links to its files with their digest; anything else is revalidated by its ETag.
            "Cache-Control": _CACHE_FOREVER if request.args.get("v") == page_file.digest else "no-cache",
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
    )
    response.set_etag(page_file.digest + ("-gzip" if compressed else ""))
    response.make_conditional(request)
    return response
