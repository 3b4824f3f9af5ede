"""The route of OpenTelemetry's exporters and collectors."""

from collections.abc import Callable, Mapping

from flask import Response, request

from profbucket.api.uploads import UploadStore, combine_errors
from profbucket.errors import ProfbucketError, UnsupportedMedia
from profbucket.limits import Limits

_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"


class OtlpRoutes:
    """The view that passes the profiles of a request to *uploads*."""

    def __init__(self, uploads: UploadStore, limits: Limits) -> None:
        self._uploads = uploads
        self._limits = limits

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"exportOtlp": self.export}

    def export(self) -> Response:
        """Store the profiles of a request. If some cannot be stored, the response says so."""
        from profbucket.ingest.otlp import read_export
        from profbucket.ingest.otlp_response import encode_response

        api_key = self._uploads.authenticate()
        content_type = request.mimetype
        if content_type not in (_PROTOBUF, _JSON):
            raise UnsupportedMedia(
                f"unsupported Content-Type {content_type[:80]!r}; use {_PROTOBUF} or {_JSON}",
                code="unsupported_content_type",
            )
        is_json = content_type == _JSON
        with self._uploads.body() as data:
            uploads = read_export(data, is_json=is_json, limits=self._limits)
            outcomes = self._uploads.store_converted(api_key, uploads)
        error = combine_errors(outcomes)
        rejected = sum(isinstance(outcome, ProfbucketError) for outcome in outcomes)
        # Clients repeat none of a request that is a partial success.
        if error is not None and (rejected == len(outcomes) or error.status >= 500):
            raise error
        message = "" if error is None else str(error)
        return Response(encode_response(rejected, message, is_json=is_json), content_type=content_type)


def render_status(status: int, code: str, message: str) -> Response:
    """Return an error as ``google.rpc.Status``, in the encoding of the current request."""
    from profbucket.ingest.otlp_response import encode_status

    content_type = _PROTOBUF if request.mimetype == _PROTOBUF else _JSON
    data = encode_status(status, code, message, is_json=content_type == _JSON)
    return Response(data, status, content_type=content_type)
