"""The HTTP API: routes, request parsing, and one map from errors to answers.

It is profefe's (github.com/profefe/profefe), with what is ours beside it; docs/design.md says where they differ.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.routing import PathConverter

from profbucket import __version__
from profbucket.api import page
from profbucket.api.admission import Admission
from profbucket.api.openapi import document
from profbucket.auth import ApiKey, Authenticator, Scope
from profbucket.config import Config
from profbucket.errors import (
    Invalid,
    NotFound,
    NotMergeable,
    ProfbucketError,
    Unavailable,
)
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Action, Compactor
from profbucket.model.ids import ProfileId, check_service, escape_service
from profbucket.model.labels import Labels, Matcher, parse_matchers
from profbucket.model.meta import Query, meta_to_json
from profbucket.model.profile_type import ProfileType
from profbucket.query.flamegraph import flame
from profbucket.query.label_values import choices
from profbucket.query.querier import Merged, Querier, missing
from profbucket.query.timeline import parse_step
from profbucket.telemetry import logs
from profbucket.telemetry.metrics import CONTENT_TYPE, Metrics
from profbucket.telemetry.request import RequestRecord, current, record_requests
from profbucket.times import format_time, parse_time

PROFILES = "/api/0/profiles"

STATUS = {cls: cls.status for cls in ProfbucketError.__subclasses__()}

_PIECE = 1 << 16  # bytes of a body that are read at once

RETRY_AFTER = 5  # seconds; an agent's own back-off begins lower

# Parameters with a meaning; any other is a label. pprof adds "seconds" when it is told -seconds.
OURS = frozenset({"service", "type", "labels", "created_at", "from", "to", "limit", "page", "seconds"})
BASE = frozenset({"base_from", "base_to", "base_labels"})
DELTA = frozenset({"delta"})
FLAME = BASE | {"sample_type", "max_nodes", "focus"}
SERIES = frozenset({"group_by", "step"})

_log = logging.getLogger("profbucket")


def create_app(
    config: Config,
    *,
    collector: Collector | None = None,
    querier: Querier | None = None,
    compactor: Compactor | None = None,
    bare: str | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> Flask:
    """The API over a *collector*, a *querier* or both; routes of the half that is not there do not exist.

    *bare* is the job, ``write`` or ``merge``, that is also answered at ``/``. With a *compactor* a post to ``/``
    compacts. *clock* gives what ``now`` is, in nanoseconds since 1970.
    """
    # No MAX_CONTENT_LENGTH: with one, werkzeug takes a body that breaks off for one that ends.
    app = Flask("profbucket", static_folder=None)
    app.url_map.strict_slashes = app.url_map.merge_slashes = False  # a redirect would lose a POST's body
    app.url_map.converters["path"] = _Path
    metrics = Metrics()

    def report(exchange: RequestRecord) -> None:
        logs.report(exchange)
        metrics.count(exchange)

    # As Flask says to.
    app.wsgi_app = record_requests(_wrapped(app.wsgi_app, config), report)  # type: ignore[method-assign,assignment]
    app.before_request(_note_route)
    gate = Authenticator(config.keys, config.anonymous)
    if collector:
        budget = Admission(config.limits)
        metrics.watch("posts_in_flight", "Posts that are being read, checked and written.", lambda: budget.posts)
        metrics.watch("posts_in_flight_bytes", "Bytes of their bodies.", lambda: budget.held)
        write = _Write(collector, gate, config.limits, budget, clock)
        app.add_url_rule(PROFILES, "write", write.post, methods=["POST"])
        if bare == "write":
            app.add_url_rule("/", "bare_write", write.post, methods=["POST"])
    if querier:
        read = _Read(querier, gate, config.limits, clock)
        app.add_url_rule(PROFILES, "find", read.find)
        app.add_url_rule(f"{PROFILES}/merge", "merge", read.merge)
        app.add_url_rule("/merge", "short_merge", read.merge)
        app.add_url_rule(f"{PROFILES}/<path:ids>", "profile", read.profile)
        app.add_url_rule(f"{PROFILES}/flame", "flame", read.flame)
        app.add_url_rule("/api/0/services", "services", read.services)
        app.add_url_rule("/api/0/labels", "labels", read.labels)
        app.add_url_rule("/api/0/series", "series", read.series)
        if bare is None:
            app.add_url_rule("/", "page", page.index)
            app.add_url_rule("/ui/<path:name>", "page_file", page.file)
        if bare == "merge":
            app.add_url_rule("/", "bare_merge", read.merge)
            # What pprof makes of a URL without a path.
            app.add_url_rule("/debug/pprof/profile", "pprof_merge", read.merge)
        for name in ("symbolz", "symbol"):
            app.add_url_rule(f"/{name}", f"root_{name}", _symbolz, methods=["POST"])
            app.add_url_rule(f"/<path:_>/{name}", name, _symbolz, methods=["POST"])
    if compactor:
        run = _Compact(compactor, gate, config.periods.seconds)
        app.add_url_rule("/", "compact", run.post, methods=["POST"])
    app.add_url_rule("/api/0/version", "version", lambda: _version(config, _admitted(gate)))
    app.add_url_rule("/healthz", "healthz", _health)
    app.add_url_rule("/health", "health", _health)  # Google's front end keeps /healthz on run.app for itself
    app.add_url_rule("/metrics", "metrics", lambda: _metrics(metrics, _admitted(gate, Scope.ADMIN)))
    app.add_url_rule("/api/0/openapi.json", "openapi", lambda: _openapi(app, config))
    app.register_error_handler(Exception, error_response)
    return app


class _Path(PathConverter):
    """A path that may hold line breaks, too: what is asked for under a route is answered by it."""

    regex = r"[^/][\s\S]*?"


class _Write:
    """The routes that take profiles in."""

    def __init__(
        self,
        collector: Collector,
        gate: Authenticator,
        limits: Limits,
        budget: Admission,
        clock: Callable[[], int],
    ) -> None:
        self._collector = collector
        self._gate = gate
        self._limits = limits
        self._budget = budget
        self._clock = clock

    def post(self) -> Response:
        key = _admitted(self._gate, Scope.WRITE)
        parameters = _Parameters(request.args)
        service = parameters.required("service")
        key.require(Scope.WRITE, service)
        created_at = parameters.get("created_at")
        kind = ProfileType.parse(parameters.required("type"))
        _note(service, kind)
        labels = Labels.from_pairs([*Labels.parse(parameters.get("labels")), *parameters.labels()])
        taken_at = parse_time(created_at, self._clock()) if created_at else None
        with self._budget.hold(self._announced()):
            meta = self._collector.collect(service, kind, labels, self._body(), taken_at)
        return _answer(meta_to_json(meta))

    def _announced(self) -> int:
        """How many bytes the body has; as many as it may where the client does not say. Raise ``TooLarge``."""
        size, cap = request.content_length, self._limits.body_bytes
        if size is not None and size > cap:
            raise self._limits.too_large("body_bytes", f"the body has {size} bytes")
        return cap if size is None else size

    def _body(self) -> bytes:
        """The body; raise ``TooLarge``, or ``Invalid`` where it ends before the client said it would."""
        cap, buffer = self._limits.body_bytes, BytesIO()  # whose value is what it holds, not a copy
        try:
            while buffer.tell() <= cap and (piece := request.stream.read(_PIECE)):
                buffer.write(piece)
        except OSError as error:
            raise Invalid(f"the body breaks off after {buffer.tell()} bytes: {type(error).__name__}") from None
        current().received = size = buffer.tell()
        if size > cap:
            raise self._limits.too_large("body_bytes", f"the body has more than {cap} bytes")
        if request.content_length is not None and size < request.content_length:
            raise Invalid(f"the body ends after {size} bytes of {request.content_length}")
        return buffer.getvalue()


class _Compact:
    """What a scheduler calls."""

    def __init__(self, compactor: Compactor, gate: Authenticator, seconds: int) -> None:
        self._compactor = compactor
        self._gate = gate
        self._seconds = seconds

    def post(self) -> Response:
        _admitted(self._gate, Scope.ADMIN)
        counts = dict.fromkeys((*map(str, Action), "profiles"), 0)
        current().counts = counts
        for step in self._compactor.run(self._seconds):
            counts[step.deed] += 1
            counts["profiles"] += step.profiles
        return _answer({**counts, "complete": self._compactor.complete})


class _Read:
    """The routes that give profiles out."""

    def __init__(self, querier: Querier, gate: Authenticator, limits: Limits, clock: Callable[[], int]) -> None:
        self._querier = querier
        self._gate = gate
        self._limits = limits
        self._clock = clock

    def find(self) -> Response:
        key = _admitted(self._gate, Scope.READ)
        parameters = _Parameters(request.args)
        kind = parameters.get("type")
        page = self._querier.find(
            self._query(key, parameters, None if kind in ("", "unknown") else ProfileType.parse(kind))
        )
        current().counts = {"found": len(page.profiles)}
        return _answer([meta_to_json(meta) for meta in page.profiles], next=page.next)

    def merge(self) -> Response:
        key = _admitted(self._gate, Scope.READ)
        parameters = _Parameters(request.args, DELTA)
        query = self._query(key, parameters, self._mergeable(parameters))
        return self._merged(self._querier.delta(query) if parameters.flag("delta") else self._querier.merge(query))

    def profile(self, ids: str) -> Response:
        key = _admitted(self._gate, Scope.READ)
        try:
            asked = [ProfileId.parse(text) for text in ids.split("+")]
        except Invalid as error:
            raise NotFound(str(error)) from None
        for profile_id in asked:
            if not key.may_access(profile_id.service):
                raise missing(profile_id)  # the same as for one that is not there
        profile_id, *others = asked
        _note(profile_id.service, profile_id.type)
        if others or (data := self._querier.stored(profile_id)) is None:
            return self._merged(self._querier.merge_ids(asked))
        ending = profile_id.object_key.removeprefix(str(profile_id))
        filename = f"{escape_service(profile_id.service)}-{profile_id.type}{ending}"
        return _elsewhere(self._querier.link(profile_id, data, filename)) or _download(data, filename)

    def _merged(self, merged: Merged) -> Response:
        current().counts = {"found": merged.found, "merged": merged.merged, "expired": merged.expired}
        elsewhere = _elsewhere(self._querier.offer(merged.data, merged.filename))
        return elsewhere or _download(merged.data, merged.filename)

    def flame(self) -> Response:
        key = _admitted(self._gate, Scope.READ)
        parameters = _Parameters(request.args, FLAME)
        query = self._query(key, parameters, self._mergeable(parameters))
        base = self._base(parameters, query)
        answer = flame(
            self._querier,
            [query, base] if base else [query],
            self._limits,
            sample_type=parameters.get("sample_type"),
            max_nodes=parameters.count("max_nodes"),
            focus=parameters.get("focus") or None,
        )
        current().counts = answer["profiles"][0]
        return page.gzipped(_answer(answer))

    def labels(self) -> Response:
        key = _admitted(self._gate, Scope.READ)
        parameters = _Parameters(request.args)
        service = self._service(key, parameters)
        kind = ProfileType.parse(text) if (text := parameters.get("type")) else None
        _note(service, kind)
        return page.gzipped(_answer(choices(self._querier.series(service), kind).to_json()))

    def series(self) -> Response:
        key = _admitted(self._gate, Scope.READ)
        parameters = _Parameters(request.args, SERIES)
        kind = parameters.get("type")
        query = self._query(key, parameters, None if kind in ("", "unknown") else ProfileType.parse(kind))
        names = tuple(dict.fromkeys(filter(None, parameters.get("group_by").split(","))))
        if len(names) > self._limits.labels:
            raise self._limits.invalid("labels", f"group_by has {len(names)} labels")
        return page.gzipped(_answer(self._querier.timeline(query, names, parse_step(parameters.get("step")))))

    def services(self) -> Response:
        key = _admitted(self._gate, Scope.READ)
        return _answer(self._querier.services(key.may_access))

    def _mergeable(self, parameters: "_Parameters") -> ProfileType | None:
        kind = parameters.get("type")
        if kind and kind not in set(ProfileType):
            raise NotMergeable(f"profiles of type {kind[:80]!r} cannot be merged: there is no such type")
        return ProfileType(kind) if kind else None

    def _service(self, key: ApiKey, parameters: "_Parameters") -> str:
        service = parameters.required("service")
        key.require(Scope.READ, service)
        check_service(service, self._limits)
        return service

    def _base(self, parameters: "_Parameters", query: Query) -> Query | None:
        """What *query* is compared with: itself, but for what is said of the base. ``None`` for nothing."""
        if not any(parameters.given(name) for name in BASE):
            return None
        now = self._clock()
        start, end, matchers = query.start, query.end, query.matchers
        if text := parameters.get("base_from"):
            start = parse_time(text, now)
        if text := parameters.get("base_to"):
            end = parse_time(text, now, end=True)
        if start > end:
            raise Invalid(f"base_from is after base_to: {format_time(start)} is later than {format_time(end)}")
        if parameters.given("base_labels"):
            matchers = parse_matchers(parameters.get("base_labels"))
            if len(matchers) > self._limits.labels:
                raise self._limits.invalid("labels", f"there are {len(matchers)} conditions on labels of the base")
        return replace(query, start=start, end=end, matchers=matchers)

    def _query(self, key: ApiKey, parameters: "_Parameters", kind: ProfileType | None) -> Query:
        service = self._service(key, parameters)
        _note(service, kind)
        matchers = (
            *parse_matchers(parameters.get("labels")),
            *(Matcher(k, "=", v) for k, v in parameters.labels()),
        )
        if len(matchers) > self._limits.labels:
            raise self._limits.invalid("labels", f"there are {len(matchers)} conditions on labels")
        now = self._clock()
        start = parse_time(parameters.required("from"), now)
        end = parse_time(parameters.get("to") or "now", now, end=True)
        if start > end:
            raise Invalid(f"from is after to: {format_time(start)} is later than {format_time(end)}")
        page = parameters.get("page")
        return Query(
            service=service,
            type=kind,
            start=start,
            end=end,
            matchers=matchers,
            after=(ProfileId.parse(page).created_at, page) if page else None,
            limit=parameters.count("limit"),
        )


class _Parameters:
    """The parameters of a request, each at most once; *more* of them have a meaning on its route."""

    def __init__(self, args: "MultiDict[str, str]", more: frozenset[str] = frozenset()) -> None:
        for name, values in args.lists():
            if len(values) > 1:
                raise Invalid(f"parameter {name[:80]!r} is given {len(values)} times")
        self._args = args
        self._ours = OURS | more

    def given(self, name: str) -> bool:
        """Whether *name* is there, with a value or without."""
        return name in self._args

    def get(self, name: str) -> str:
        """The value of *name*, or ``""``."""
        return self._args.get(name, "")

    def required(self, name: str) -> str:
        value = self.get(name)
        if not value:
            raise Invalid(f"{name} is missing: say which with {name}=")
        return value

    def count(self, name: str) -> int | None:
        """A whole number from 1, or ``None`` where there is none."""
        text = self.get(name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
            raise Invalid(f"{name}={text[:80]!r}: it is a whole number from 1")
        return int(text)

    def flag(self, name: str) -> bool:
        """Whether *name* is 1, and not 0 or missing."""
        text = self.get(name)
        if text not in ("", "0", "1"):
            raise Invalid(f"{name}={text[:80]!r}: it is 0 or 1")
        return text == "1"

    def labels(self) -> Iterable[tuple[str, str]]:
        """The labels among the parameters: all that is not ours."""
        return ((name, value) for name, value in self._args.items() if name not in self._ours)


def _admitted(gate: Authenticator, scope: Scope | None = None) -> ApiKey:
    """The key of the request at hand; raise ``Unauthenticated`` or, without *scope*, ``PermissionDenied``."""
    basic = request.authorization
    password = basic.password if basic is not None and basic.type == "basic" else None
    key = gate.authenticate(dict(request.headers), password, request.remote_addr or "", request.host)
    current().key = key.name
    if scope is not None:
        key.require(scope)
    return key


def error_response(error: Exception) -> Response:
    """The answer to a request that failed with *error*."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        status, text = error.code or 500, _sentence(error)
        code = re.sub("[^a-z]+", "_", error.name.lower())
        headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Location")}
    elif isinstance(error, ProfbucketError):
        status, text, code = error.status, str(error), error.code
    else:
        _log.error("%s %s failed", request.method, request.path[:200], exc_info=error)
        status, text, code = 500, "internal error; see the collector's log", ProfbucketError.default_code
    current().error = type(error).__name__
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="profbucket", charset="UTF-8"'
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER)
    if status == 405 and "Allow" not in headers:
        headers["Allow"] = "GET, HEAD, OPTIONS"
    if status >= 500 and isinstance(error, ProfbucketError):
        level = logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
        _log.log(level, "%s %s: %s", request.method, request.path[:200], text)
    # kube-profefe gives our text to a format function.
    response = _answer(None, status, error=text.replace("%", "\N{FULLWIDTH PERCENT SIGN}"), error_code=code)
    if request.method in ("GET", "HEAD"):
        # pprof prints the body of an error only with both of these; to others it stays JSON.
        response.headers["X-Go-Pprof"] = "1"
        response.content_type = 'application/json; profile="text/plain"'
    response.headers.update(headers)
    return response


def _sentence(error: HTTPException) -> str:
    if error.code == 404:
        return f"there is nothing at {request.path[:120]}: profiles are at {PROFILES}"
    if error.code == 405:
        return f"{request.method} is not possible at {request.path[:120]}"
    return error.description or error.name


def _answer(body: Any, status: int = 200, **more: str | None) -> Response:
    """The envelope of every JSON answer, without what is ``None``."""
    envelope = {"code": status, "body": body, **more}
    envelope = {name: value for name, value in envelope.items() if value is not None}
    return Response(json.dumps(envelope) + "\n", status, content_type="application/json")


def _version(config: Config, _: ApiKey) -> Response:
    return _answer({"version": __version__, "commit": config.commit, "build_time": config.build_time})


def _health() -> Response:
    """That this process answers; of the storage it says nothing: where that is away, a restart does not help."""
    return Response("ok\n", content_type="text/plain; charset=utf-8")


def _metrics(metrics: Metrics, _: ApiKey) -> Response:
    return Response(metrics.text(), content_type=CONTENT_TYPE)


def _openapi(app: Flask, config: Config) -> Response:
    routes = {
        (method, re.sub("<(?:path:)?_?([a-z]*)>", lambda match: f"{{{match[1] or 'path'}}}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    return Response(json.dumps(document(config, STATUS, routes)) + "\n", content_type="application/json")


def _note_route() -> None:
    current().route = request.url_rule.rule if request.url_rule else ""


def _note(service: str, kind: ProfileType | None) -> None:
    current().service, current().type = service, kind or ""


def _elsewhere(url: str | None) -> Response | None:
    """A redirect to another host: pprof follows it, and leaves its key behind."""
    if url is None:
        return None
    return Response("see the header Location\n", 302, {"Location": url, "Cache-Control": "no-store"}, "text/plain")


def _download(data: bytes, filename: str) -> Response:
    headers = {
        "Content-Disposition": f'attachment; filename="{filename}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, 200, headers, content_type="application/octet-stream")


def _symbolz(_: str = "") -> Response:
    """No symbols: pprof asks for those of addresses without names, and takes any other answer for a failure."""
    return Response("num_symbols: 0\n", content_type="text/plain; charset=utf-8")


def _wrapped(app: WSGIApplication, config: Config) -> WSGIApplication:
    """*app* behind what platforms and clients do to paths and bodies."""

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").lstrip("/")  # an agent's address often ends in a slash
        first, _, rest = path.partition("/")
        # Whether the platform leaves a function's name there depends on the URL it was called by.
        if first in config.function_names:
            environ["SCRIPT_NAME"] = f"{environ.get('SCRIPT_NAME', '')}/{first}"
            path = rest
        environ["PATH_INFO"] = f"/{path}"
        answer = app(environ, start_response)
        _read_on(environ, 2 * config.limits.body_bytes)
        return answer

    return wrapped


def _read_on(environ: WSGIEnvironment, most: int) -> None:
    """Read what was not read of a body, within bounds: a client that still sends would not see our answer."""
    if environ.get("wsgi.input_terminated"):  # the server says where the body ends, as gunicorn does
        with suppress(OSError):  # the client is gone
            while most > 0 and (piece := environ["wsgi.input"].read(min(most, _PIECE))):
                most -= len(piece)
