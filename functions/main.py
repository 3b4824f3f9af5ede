"""Entry points of the Cloud Functions: each serves the routes of its job.

``write`` takes profiles in, ``query`` finds and fetches them, ``merge`` makes one of many; ``collector`` does all
three. ``compact`` makes blocks and ``scrape`` fetches profiles, when a scheduler says so. Nothing is opened before
the first request.
"""

import json
import os
from functools import cache

import functions_framework
from flask import Flask, Request
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Response

from profbucket.api.app import create_app, error_response
from profbucket.config import Config
from profbucket.errors import Misconfigured, NotFound, ProfbucketError
from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Compactor
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from profbucket.telemetry import logs


@functions_framework.http
def write(request: Request) -> Response:
    """Post profiles."""
    return _serve(request, writes=True, bare="write")


@functions_framework.http
def query(request: Request) -> Response:
    """List services, find and fetch profiles."""
    return _serve(request, reads=True)


@functions_framework.http
def merge(request: Request) -> Response:
    """What `go tool pprof` is pointed at."""
    return _serve(request, reads=True, bare="merge")


@functions_framework.http
def collector(request: Request) -> Response:
    """All routes, as on a laptop."""
    return _serve(request, writes=True, reads=True)


@functions_framework.http
def compact(request: Request) -> Response:
    """Make blocks of profiles; called by a scheduler, which the platform lets through and nobody else."""
    return _serve(request, compacts=True)


@functions_framework.http
def scrape(request: Request) -> Response:
    """Fetch profiles of all targets once. Who may say so is the platform's to know."""
    from profbucket.scrape.scraper import report
    from profbucket.scrape.scraper import scrape as scraped
    from profbucket.scrape.targets import TARGETS_KEY, parse_targets

    try:
        if request.method != "POST":
            raise MethodNotAllowed(["POST"])
        config, storage = _opened()
        try:
            targets = parse_targets(storage.bucket.get(TARGETS_KEY), config.limits)
        except NotFound:
            raise Misconfigured(f"there are no targets: put their list into the bucket as {TARGETS_KEY}") from None
        found = report(list(scraped(targets, Collector(storage, config.limits), config.limits)))
        return Response(json.dumps({"code": 200, "body": found}) + "\n", content_type="application/json")
    except (ProfbucketError, MethodNotAllowed) as error:
        return error_response(error)


def _serve(
    request: Request,
    *,
    writes: bool = False,
    reads: bool = False,
    compacts: bool = False,
    bare: str | None = None,
) -> Response:
    try:
        app = _app(writes, reads, compacts, bare)
    except ProfbucketError as error:
        return error_response(error)
    # Not buffered: of a request with a buffered answer the framework reads, and holds, all that is left to read.
    return Response.from_app(app, request.environ)


@cache
def _opened() -> tuple[Config, Storage]:
    logs.configure()  # the settings that say how may be those that are wrong
    config = Config.from_env(os.environ)
    logs.configure(config.log_level, config.project)
    return config, open_storage(config.storage_url)


@cache
def _app(writes: bool, reads: bool, compacts: bool, bare: str | None) -> Flask:
    config, storage = _opened()
    return create_app(
        config,
        collector=Collector(storage, config.limits) if writes else None,
        querier=Querier(storage, config.limits) if reads else None,
        compactor=Compactor(storage, config.limits, config.periods) if compacts else None,
        bare=bare,
    )
