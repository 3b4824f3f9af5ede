"""The HTTP API as a WSGI application: the views of a role's routes, and the response to each error.

The API is that of profefe (github.com/profefe/profefe), with additions; docs/api.md describes it.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import PathConverter

from profbucket.api import page
from profbucket.api.admission import Admission
from profbucket.api.batch import BatchRoutes
from profbucket.api.body import BodyReader
from profbucket.api.cloud_profiler import CloudProfilerListRoutes, CloudProfilerRoutes
from profbucket.api.compact import CompactRoutes, OpenQueue
from profbucket.api.content_encoding import ACCEPTED
from profbucket.api.cors import allow_origins
from profbucket.api.datadog import DatadogRoutes
from profbucket.api.direct import answer_posts
from profbucket.api.error_bodies import DetailedError, render_error, replace_percent_signs
from profbucket.api.grafana import GrafanaRoutes
from profbucket.api.middleware import drain_body, strip_function_name
from profbucket.api.otlp import OtlpRoutes
from profbucket.api.pyroscope import PyroscopeRoutes
from profbucket.api.read import ReadRoutes
from profbucket.api.routes import FREQUENT, ROUTES, Role, Route
from profbucket.api.server_hooks import set_hooks
from profbucket.api.status import StatusRoutes
from profbucket.api.uploads import UploadStore
from profbucket.api.write import WriteRoutes
from profbucket.auth import Authenticator
from profbucket.config import Config
from profbucket.errors import ProfbucketError, TooMany, Unavailable, detach
from profbucket.ingest.cloud_schedule import Schedule
from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Compactor
from profbucket.model.form import PROFILES_PATH
from profbucket.query.querier import Querier
from profbucket.telemetry.logs import log_request
from profbucket.telemetry.metrics import Metrics
from profbucket.telemetry.request import RequestRecord, current_record, record_requests
from profbucket.times import read_clock

RETRY_AFTER_SECONDS = 5  # an agent's own back-off starts lower

_HTTP_ERROR_CODES = {404: "unknown_route", 405: "method_not_allowed"}  # of errors that Flask raises

_SHOWN_CHARACTERS = 200  # of a path in an error message or a log line

_Part = TypeVar("_Part")

_log = logging.getLogger(__name__)


def create_app(
    config: Config,
    role: Role = Role.COLLECTOR,
    *,
    collector: Collector | None = None,
    querier: Querier | None = None,
    compactor: Compactor | None = None,
    open_queue: OpenQueue | None = None,
    clock: Callable[[], int] = read_clock,
) -> Flask:
    """Return the application that answers the routes of *role*.

    The routes that write need *collector*, those that read *querier*, and compaction *compactor*; with
    *open_queue* it hands its tasks to a queue. Parts that the role does not need are ignored. *clock* returns the
    time in nanoseconds since 1970.
    """
    # MAX_CONTENT_LENGTH is not set: with it, werkzeug reads a body that is cut off as one that is complete.
    app = Flask("profbucket", static_folder=None)
    app.url_map.strict_slashes = app.url_map.merge_slashes = False  # a redirect would lose a POST's body
    app.url_map.converters["path"] = _AnyPath
    metrics, routes = Metrics(), ROUTES[role]
    app.before_request(_record_route)
    app.register_error_handler(Exception, error_response)
    if config.max_response_bytes is not None:
        app.after_request(partial(_check_size, config.max_response_bytes))

    authenticator = Authenticator(config.keys, config.anonymous)
    operations = {route.operation for route in routes}
    views: dict[str, Callable[..., Response]] = {"getPage": page.index, "getPageFile": page.file}
    views |= StatusRoutes(config, routes, authenticator, metrics).views()
    admission = Admission(config.limits)
    if "postProfile" in operations:
        bodies = BodyReader(config.limits, admission)
        metrics.watch("posts_in_flight", "Posts being read, checked and written.", lambda: admission.posts)
        metrics.watch("posts_in_flight_bytes", "Bytes of their bodies.", lambda: admission.reserved_bytes)
        write_routes = WriteRoutes(_required(collector, role), authenticator, bodies, clock)
        uploads = UploadStore(_required(collector, role), authenticator, bodies, config.limits)
        batch_routes = BatchRoutes(uploads, config.limits, clock)
        views |= {**write_routes.views(), **batch_routes.views()}
        posts = {"postProfile": write_routes.post, "postBatch": batch_routes.post}
        direct = {route.path: posts[route.operation] for route in routes if route.operation in posts}
        app.wsgi_app = answer_posts(app, direct, error_response)  # type: ignore[method-assign,assignment]
        views |= PyroscopeRoutes(uploads, config.limits, clock).views()
        schedule = Schedule(config.cloud_profiler_seconds)
        views |= CloudProfilerRoutes(uploads, config.limits, schedule, clock).views()
        views |= DatadogRoutes(uploads, config.limits).views()
        views |= OtlpRoutes(uploads, config.limits).views()
    if "findProfiles" in operations:
        views |= ReadRoutes(_required(querier, role), authenticator, config, clock).views()
    if "callQuerier" in operations:
        views |= GrafanaRoutes(_required(querier, role), authenticator, config.limits, admission, clock).views()
    if "listCloudProfiles" in operations:
        views |= CloudProfilerListRoutes(_required(querier, role), authenticator).views()
    if "compact" in operations:
        seconds = config.periods.seconds
        views |= CompactRoutes(_required(compactor, role), authenticator, seconds, open_queue, metrics).views()
    for route in routes:
        app.add_url_rule(route.path, route.operation, views[route.operation], methods=[route.method])
    _wrap(app, config, metrics, routes)
    set_hooks(app, admission, config.function_names)
    return app


def error_response(error: Exception) -> Response:
    """Return the response to a request that failed with *error*, and log it if the request is not to blame."""
    headers: dict[str, str] = {}
    body: Any = None
    if isinstance(error, DetailedError):
        body, error = error.body, error.error
    if isinstance(error, ProfbucketError):
        status, code, message = error.status, error.code, str(error)
        if status >= 500:
            level = logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
            _log.log(level, "%s %s: %s", request.method, request.path[:_SHOWN_CHARACTERS], message)
    elif isinstance(error, HTTPException):
        status = error.code or 500
        code = _HTTP_ERROR_CODES.get(status, "bad_request" if status < 500 else "internal")
        message = _http_error_message(error)
        headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    else:
        _log.error("%s %s failed", request.method, request.path[:_SHOWN_CHARACTERS], exc_info=error)
        status, code, message = 500, ProfbucketError.default_code, "internal error; see the collector's log"
    current_record().error = type(error).__name__
    detach(error)
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="profbucket", charset="UTF-8"'
    if status == 405:
        headers.setdefault("Allow", "GET, HEAD, OPTIONS")
    if status == 415:
        headers["Accept-Encoding"] = ACCEPTED
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response = render_error(request.path, status, code, replace_percent_signs(message), body)
    if request.method in ("GET", "HEAD"):
        # pprof prints the body of an error only with both of these; the body stays JSON for other clients.
        response.headers["X-Go-Pprof"] = "1"
        response.content_type = 'application/json; profile="text/plain"'
    response.headers.update(headers)
    return response


class _AnyPath(PathConverter):
    """A path that may contain line breaks, so that every path below a route is answered by that route."""

    regex = r"[^/][\s\S]*?"


def _wrap(app: Flask, config: Config, metrics: Metrics, routes: Sequence[Route]) -> None:
    """Wrap *app*, which answers *routes*, in the WSGI middleware."""
    frequent = {(route.method, route.path) for route in routes if route.operation in FREQUENT}

    def report(record: RequestRecord) -> None:
        method = "GET" if record.method == "HEAD" else record.method
        log_request(record, is_frequent=(method, record.route) in frequent)
        metrics.count(record)

    wsgi_app = drain_body(app.wsgi_app, 2 * config.limits.body_bytes)
    wsgi_app = allow_origins(wsgi_app, config.cors_origins)
    wsgi_app = strip_function_name(wsgi_app, config.function_names)
    app.wsgi_app = record_requests(wsgi_app, report)  # type: ignore[method-assign,assignment]


def _check_size(max_bytes: int, response: Response) -> Response:
    """Return *response*, or an error in its place if the platform would not transmit it."""
    size = response.content_length or 0
    if size <= max_bytes:
        return response
    error = TooMany(
        f"the response has {size} bytes, and the platform transmits {max_bytes}; narrow the request. Larger"
        " results are links if the collector may store them in the bucket and sign URLs: see docs/operations.md",
        code="response_too_large",
    )
    return error_response(error)


def _record_route() -> None:
    current_record().route = request.url_rule.rule if request.url_rule else ""


def _required(part: _Part | None, role: Role) -> _Part:
    if part is None:
        raise TypeError(f"create_app: the role {role} needs a collector, querier or compactor that is missing")
    return part


def _http_error_message(error: HTTPException) -> str:
    path = request.path[:_SHOWN_CHARACTERS]
    if error.code == 404:
        return f"unknown path {path}; profiles are at {PROFILES_PATH}"
    if error.code == 405:
        return f"method {request.method} is not allowed for {path}"
    return error.description or error.name
