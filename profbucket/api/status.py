"""The routes about the collector itself: its version, health, metrics and API description."""

from collections.abc import Callable, Mapping, Sequence

from flask import Response

from profbucket import __version__
from profbucket.api.authentication import authenticate_request
from profbucket.api.openapi import render
from profbucket.api.responses import json_response
from profbucket.api.routes import Route
from profbucket.auth import Authenticator, Scope
from profbucket.config import Config
from profbucket.telemetry.metrics import CONTENT_TYPE, Metrics


class StatusRoutes:
    """The views of a collector with this *config* that answers *routes*."""

    def __init__(
        self, config: Config, routes: Sequence[Route], authenticator: Authenticator, metrics: Metrics
    ) -> None:
        self._config = config
        self._routes = routes
        self._authenticator = authenticator
        self._metrics = metrics

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {
            "getVersion": self.version,
            "getOpenapi": self.openapi,
            "getMetrics": self.metrics,
            "getHealth": self.health,
        }

    def version(self) -> Response:
        """Return the collector's version."""
        authenticate_request(self._authenticator)
        commit, build_time = self._config.commit, self._config.build_time
        return json_response({"version": __version__, "commit": commit, "build_time": build_time})

    def openapi(self) -> Response:
        """Return the OpenAPI document."""
        return Response(render(self._config, self._routes) + "\n", content_type="application/json")

    def metrics(self) -> Response:
        """Return the metrics in the OpenMetrics format."""
        authenticate_request(self._authenticator, Scope.ADMIN)
        return Response(self._metrics.render(), content_type=CONTENT_TYPE)

    def health(self) -> Response:
        """Answer without touching the storage: restarting the process would not help if the storage is down."""
        return Response("ok\n", content_type="text/plain; charset=utf-8")
