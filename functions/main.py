"""Entry points of the Cloud Functions: each serves the routes of its job.

``write`` takes profiles in, ``query`` finds and fetches them, ``merge`` makes one of many; ``collector`` does all
three. ``compact`` makes blocks when a scheduler calls it. Nothing is opened before the first request.
"""

import os
from functools import cache

import functions_framework
from flask import Flask, Request
from werkzeug.wrappers import Response

from profbucket import logs
from profbucket.api import create_app, error_response
from profbucket.compact import Compactor
from profbucket.config import Config
from profbucket.errors import ProfbucketError
from profbucket.ingest import Collector
from profbucket.query import Querier
from profbucket.storage import open_storage


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
def _app(writes: bool, reads: bool, compacts: bool, bare: str | None) -> Flask:
    logs.configure()  # the settings that say how may be those that are wrong
    config = Config.from_env(os.environ)
    logs.configure(config.log_level, config.project)
    storage = open_storage(config.storage_url)
    return create_app(
        config,
        collector=Collector(storage, config.limits) if writes else None,
        querier=Querier(storage, config.limits) if reads else None,
        compactor=Compactor(storage, config.limits, config.periods) if compacts else None,
        bare=bare,
    )
