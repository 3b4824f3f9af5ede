"""The routes of Pyroscope's clients."""

from collections.abc import Callable, Mapping

from flask import Response, request

from profbucket.api.uploads import UploadStore
from profbucket.errors import UnsupportedMedia
from profbucket.limits import Limits

_PROTOBUF = ("application/proto", "application/protobuf", "application/x-protobuf")
_JSON = "application/json"


class PyroscopeRoutes:
    """The views that pass the profiles of Pyroscope's clients to *uploads*."""

    def __init__(self, uploads: UploadStore, limits: Limits, clock: Callable[[], int]) -> None:
        self._uploads = uploads
        self._limits = limits
        self._clock = clock

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"ingestPyroscope": self.ingest, "pushPyroscope": self.push}

    def ingest(self) -> Response:
        """Store the profile in the body of ``/ingest``."""
        from profbucket.ingest.pyroscope_ingest import parse_parameters, read_ingest

        api_key = self._uploads.authenticate()
        parameters = parse_parameters(request.args, request.headers.get("Content-Type", ""), self._clock())
        with self._uploads.body() as data:
            self._uploads.store(api_key, read_ingest(parameters, data, self._limits))
        return Response(status=200)

    def push(self) -> Response:
        """Store the profiles of a PushRequest."""
        from profbucket.ingest.pyroscope_push import read_push

        api_key = self._uploads.authenticate()
        content_type = request.mimetype
        if content_type not in (*_PROTOBUF, _JSON):
            raise UnsupportedMedia(
                f"unsupported Content-Type {content_type[:80]!r}; use {_PROTOBUF[0]} or {_JSON}",
                code="unsupported_content_type",
            )
        is_json = content_type == _JSON
        with self._uploads.body() as data:
            self._uploads.store(api_key, read_push(data, is_json=is_json, limits=self._limits))
        return Response("{}" if is_json else b"", content_type=content_type)
