"""The routes of Datadog's profilers."""

from collections.abc import Callable, Mapping

from flask import Response, request

from profbucket.api.responses import json_response
from profbucket.api.uploads import UploadStore
from profbucket.limits import Limits

_INPUT = "/profiling/v1/input"
_AGENT_VERSION = "7.60.0"  # of the agent whose answer to /info this is


class DatadogRoutes:
    """The views that pass the profiles of Datadog's profilers to *uploads*."""

    def __init__(self, uploads: UploadStore, limits: Limits) -> None:
        self._uploads = uploads
        self._limits = limits

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"inputDatadog": self.input, "getDatadogInfo": self.info}

    def input(self) -> Response:
        """Store the profiles in a form."""
        from profbucket.ingest.datadog import read_input

        api_key = self._uploads.authenticate()
        content_type = request.headers.get("Content-Type", "")
        with self._uploads.body() as data:
            self._uploads.store(api_key, read_input(data, content_type, self._limits))
        return json_response(None)

    def info(self) -> Response:
        """Return what the collector takes. Without it, tracers ask again every second."""
        return Response(
            f'{{"version": "{_AGENT_VERSION}", "endpoints": ["{_INPUT}"]}}\n', content_type="application/json"
        )
