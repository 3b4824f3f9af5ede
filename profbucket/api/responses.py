"""Responses: the JSON envelope, files to download, redirects."""

import json
from typing import Any

from flask import Response, request
from isal import igzip

from profbucket.model.merge_format import MergeFormat

# A sandbox has an origin of its own: an exported file cannot act for who looks at it. The page's script is allowed
# by the page's own policy, which knows its digest.
_POLICIES = {
    MergeFormat.SVG: "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    MergeFormat.HTML: "sandbox allow-scripts",
}


def json_response(body: Any, status: int = 200, **fields: Any) -> Response:
    """Return the JSON envelope of *body*, with more *fields*; those that are ``None`` are left out."""
    envelope = {"code": status, "body": body, **fields}
    envelope = {name: value for name, value in envelope.items() if value is not None}
    return Response(json.dumps(envelope) + "\n", status, content_type="application/json")


def download(data: bytes, filename: str) -> Response:
    """Return *data* as a file called *filename*."""
    headers = {
        "Content-Disposition": f'attachment; filename="{filename}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, 200, headers, content_type="application/octet-stream")


def export(data: bytes, filename: str, merge_format: MergeFormat) -> Response:
    """Return a merge in *merge_format* as a file called *filename*, which browsers show if it is a graph.

    Nothing in it may run or load anything, whatever the names in the profiles are, except the script of the page.
    """
    response = download(data, filename)
    if merge_format is MergeFormat.PPROF:
        return response
    response.content_type = merge_format.media_type
    if merge_format in _POLICIES:
        response.headers["Content-Disposition"] = f'inline; filename="{filename}"'
        response.headers["Content-Security-Policy"] = _POLICIES[merge_format]
    return compress(response)


def redirect(url: str) -> Response:
    """Return a redirect to a signed *url* in the bucket. pprof follows it without sending its API key."""
    return Response("see the header Location\n", 302, {"Location": url, "Cache-Control": "no-store"}, "text/plain")


def compress(response: Response) -> Response:
    """Compress *response* if the client accepts gzip."""
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"] > 0:
        response.set_data(gzip(response.get_data()))
        response.headers["Content-Encoding"] = "gzip"
    return response


def gzip(data: bytes) -> bytes:
    """Return *data* compressed, without a timestamp, so that the same input gives the same bytes."""
    return igzip.compress(data, compresslevel=3, mtime=0)
