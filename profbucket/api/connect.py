"""The Connect protocol of unary calls: a message in the body of a POST, and one in the response.

Errors are those of :mod:`profbucket.api.error_bodies`.
"""

from collections.abc import Callable

from flask import Response, request

from profbucket.api.body import BodyReader
from profbucket.api.responses import compress
from profbucket.errors import Invalid, UnsupportedMedia

_PROTOBUF = ("application/proto", "application/protobuf", "application/x-protobuf")
_JSON = "application/json"
_VERSION_HEADER, _VERSION = "Connect-Protocol-Version", "1"


def check_call() -> bool:
    """Return whether the messages of the current call are JSON, or else protobuf.

    Raise ``UnsupportedMedia`` for another encoding, ``Invalid`` for another version of the protocol.
    """
    content_type = request.mimetype
    if content_type not in (*_PROTOBUF, _JSON):
        raise UnsupportedMedia(
            f"unsupported Content-Type {content_type[:80]!r}; use {_PROTOBUF[0]} or {_JSON}",
            code="unsupported_content_type",
        )
    if (version := request.headers.get(_VERSION_HEADER, _VERSION)) != _VERSION:
        raise Invalid(f"unsupported {_VERSION_HEADER} {version[:80]!r}; use {_VERSION}", code="invalid_parameter")
    return content_type == _JSON


def answer_call(bodies: BodyReader, answer: Callable[[bytes], bytes]) -> Response:
    """Return the response of *answer* to the message in the body of the current call."""
    with bodies.open(request) as data:
        return compress(Response(answer(data), content_type=request.mimetype))
