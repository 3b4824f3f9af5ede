"""Entry points of the Cloud Functions, one per role of the collector, and one that scrapes.

Nothing is opened before the first request, so that cold starts stay short and a response can name a wrong setting.
"""

import gc
import os
from functools import cache, partial

import functions_framework
from flask import Flask, Request
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Response

from profbucket.api.app import create_app, error_response
from profbucket.api.responses import json_response
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.errors import Misconfigured, NotFound
from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Compactor
from profbucket.query.querier import Querier
from profbucket.storage.open import open_queue
from profbucket.storage.ports import TaskQueue
from profbucket.storage.store import Storage
from profbucket.telemetry import logs

_LAST_STEP_SECONDS = 60  # how long a compaction takes to end


@functions_framework.http
def write(request: Request) -> Response:
    """Store profiles."""
    return _serve(request, Role.WRITE)


@functions_framework.http
def query(request: Request) -> Response:
    """Find, fetch and merge profiles, and serve the web page."""
    return _serve(request, Role.QUERY)


@functions_framework.http
def merge(request: Request) -> Response:
    """Merge profiles; the URL for `go tool pprof`."""
    return _serve(request, Role.MERGE)


@functions_framework.http
def collector(request: Request) -> Response:
    """Do what write and query do, as `profbucket serve` does."""
    return _serve(request, Role.COLLECTOR)


@functions_framework.http
def compact(request: Request) -> Response:
    """Compact the storage. A scheduler calls this; the platform rejects other callers."""
    return _serve(request, Role.COMPACT)


@functions_framework.http
def scrape(request: Request) -> Response:
    """Scrape all targets once. A scheduler calls this; the platform rejects other callers."""
    try:
        return _scrape(request)
    except Exception as error:  # noqa: BLE001 - error_response logs an unexpected one
        return error_response(error)


def _serve(request: Request, role: Role) -> Response:
    try:
        app = _app(role)
    except Exception as error:  # noqa: BLE001 - error_response logs an unexpected one
        return error_response(error)
    # Not buffered: after a buffered response, functions-framework reads the rest of the body into memory.
    return Response.from_app(app, request.environ)


@cache
def _app(role: Role) -> Flask:
    config, storage = _open()
    return create_app(
        config,
        role,
        collector=Collector(storage, config.limits),
        querier=Querier(storage, config.limits),
        compactor=Compactor(storage, config.limits, config.periods, export_samples=config.export_samples),
        open_queue=partial(_open_queue, config) if config.compact_queue else None,
    )


def _open_queue(config: Config, url: str) -> TaskQueue:
    deadline_seconds = config.periods.seconds + _LAST_STEP_SECONDS
    return open_queue(config.compact_queue, config.compact_url or url, config.compact_invoker, deadline_seconds)


def _scrape(request: Request) -> Response:
    from profbucket.scrape import scraper
    from profbucket.scrape.targets import TARGETS_KEY, parse_targets

    if request.method != "POST":
        raise MethodNotAllowed(["POST"])
    config, storage = _open()
    try:
        targets = parse_targets(storage.bucket.get(TARGETS_KEY), config.limits)
    except NotFound:
        raise Misconfigured(
            f"no targets to scrape; store their list in the bucket as {TARGETS_KEY}", code="missing_targets"
        ) from None
    outcomes = list(scraper.scrape(targets, Collector(storage, config.limits), config.limits))
    return json_response(scraper.report(outcomes))


@cache
def _open() -> tuple[Config, Storage]:
    gc.set_threshold(50_000)  # long lists of members are hardly garbage; the default doubles the time to read them
    logs.configure()  # with the defaults, in case the settings cannot be read
    config = Config.from_env(os.environ)
    logs.configure(config.log_level, config.project)
    return config, config.open_storage()
