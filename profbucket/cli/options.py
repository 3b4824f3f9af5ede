"""What several commands ask for, and what it means: which collector, which profiles, which file."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from profbucket.errors import Invalid
from profbucket.model.profile_type import ProfileType
from profbucket.times import FORMS, format_time, parse_time

# Everything else is imported where it is used: a merge of files needs no HTTP, and --help needs nothing.
if TYPE_CHECKING:
    from profbucket.cli.http_client import HttpClient
    from profbucket.cli.local_client import LocalClient
    from profbucket.config import Config
    from profbucket.model.meta import Query

F = TypeVar("F", bound=Callable[..., Any])

PARALLEL = 8  # profiles that are on their way at once
TYPES = click.Choice([str(kind) for kind in ProfileType])
DEFAULT_URL = "http://localhost:10100"


def connection(command: F) -> F:
    """Options that say which collector, or which storage."""
    for option in (
        click.option(
            "--storage", metavar="URL", help="Open a storage, as in file:///directory, without a collector."
        ),
        click.option(
            "--key",
            metavar="KEY",
            envvar="PROFBUCKET_KEY",
            show_envvar=True,
            help="The key that it asks for, if any.",
        ),
        click.option(
            "--url",
            metavar="URL",
            envvar="PROFBUCKET_URL",
            show_envvar=True,
            default=DEFAULT_URL,
            show_default=True,
            help="The collector.",
        ),
    ):
        command = option(command)
    return command


def repaired(command: F) -> F:
    """Options that say which part of which storage is compared."""
    for option in (
        click.option("--since", metavar="TIME", default="", help=f"Only profiles taken from then on: {FORMS}."),
        click.option("--service", default=None, help="Only this service. [default: all]"),
        click.option(
            "--storage", metavar="URL", envvar="STORAGE_URL", show_envvar=True, required=True, help="The storage."
        ),
    ):
        command = option(command)
    return command


def question(command: F) -> F:
    """Options that say which profiles."""
    for option in (
        click.option(
            "--label",
            "conditions",
            metavar="K=V",
            multiple=True,
            help="Only with this label; also K!=V, K=~REGEX, K!~REGEX. Repeatable.",
        ),
        click.option("--to", metavar="TIME", default="now", show_default=True, help="The end of the range."),
        click.option(
            "--from", "since", metavar="TIME", default="now-1h", show_default=True, help=f"Its beginning: {FORMS}."
        ),
        click.option("--type", "kind", type=TYPES, help="What they measure."),
        click.option("--service", help="The service that the profiles are of."),
    ):
        command = option(command)
    return command


def sources(command: F) -> F:
    """Options that say what to make one profile of."""
    limit = click.option("--limit", type=click.IntRange(1), help="Merge so many, evenly spread over the range.")
    delta = click.option(
        "--delta",
        is_flag=True,
        help="Of counters, as in Go's heap, block and mutex, the increase over the range: latest minus earliest.",
    )
    command = question(limit(delta(connection(command))))
    return click.argument("sources", metavar="[FILE_OR_ID]...", nargs=-1)(command)


def pair(label: str) -> tuple[str, str]:
    """Key and value of what ``--label`` was given; raise ``Invalid`` where it is no such pair."""
    key, equals, value = label.partition("=")
    if not equals:
        raise Invalid(f"a label without '=': {label!r}; write --label key=value")
    return key, value


def output(command: F) -> F:
    """The option that says where a profile goes."""

    def checked(_: click.Context, __: click.Parameter, file: str) -> str:
        if file == "-" and sys.stdout.isatty():
            raise click.UsageError("A profile is not for a terminal: say with -o FILE where to write it.")
        return file

    return click.option(
        "-o",
        "--output",
        metavar="FILE",
        default="-",
        callback=checked,
        help="Where to write it. [default: stdout]",
    )(command)


def connect(url: str, key: str | None, storage: str | None) -> "HttpClient | LocalClient":
    """What the options of :func:`connection` mean."""
    if storage:
        if click.get_current_context().get_parameter_source("url") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--url and --storage exclude each other.")
        from profbucket.cli.local_client import LocalClient

        return LocalClient(settings(storage))
    from profbucket.cli.http_client import HttpClient

    return HttpClient(url, key or "", PARALLEL)


def settings(storage: str = "memory:") -> "Config":
    """The settings; without *storage* for what happens in this process alone."""
    from profbucket.config import Config, copy_environment, limit_numpy_threads

    limit_numpy_threads()
    return Config.from_env(copy_environment(STORAGE_URL=storage, K_SERVICE=""))


def query_of(service: str | None, kind: str | None, since: str, to: str, conditions: Sequence[str]) -> "Query":
    """What the options of :func:`question` mean. Raise ``UsageError`` or ``Invalid`` where they mean nothing."""
    from profbucket.model.labels import Matcher
    from profbucket.model.meta import Query

    if not service:
        raise click.UsageError("Missing option '--service'.")
    now = time.time_ns()
    start, end = parse_time(since, now), parse_time(to, now, end=True)
    if start > end:
        raise Invalid(f"--from is after --to: {format_time(start)} is later than {format_time(end)}")
    matchers = tuple(Matcher.parse(condition) for condition in conditions)
    return Query(service, ProfileType(kind) if kind else None, start, end, matchers)


def merged(
    sources: Sequence[str],
    *,
    limit: int | None,
    delta: bool,
    url: str,
    key: str | None,
    storage: str | None,
    **asked: Any,
) -> bytes:
    """One pprof of what the options of :func:`sources` select. *asked* is what :func:`query_of` takes."""
    if not sources:
        query, client = replace(query_of(**asked), limit=limit), connect(url, key, storage)
        return client.delta(query) if delta else client.merge(query)
    if delta:
        raise click.UsageError("--delta is of what --service and --type select, not of FILEs or IDs.")
    if asked["service"]:
        raise click.UsageError("FILEs or IDs and --service exclude each other.")
    if any(_is_id(source) for source in sources):
        from profbucket.model.ids import ProfileId

        ids = [ProfileId.parse(source) for source in sources]
        client = connect(url, key, storage)
        return client.merge_ids(ids) if len(ids) > 1 else client.read(ids[0])
    limits = settings().limits
    from profbucket.pprof.two_process_merge import merge_files

    if data := merge_files(sources, limits):
        return data
    from profbucket.pprof.merge import Merger

    merger = Merger(limits)
    for source in sources:
        with click.open_file(source, "rb") as stream:
            merger.add(stream.read(), source)
    return merger.result()


def _is_id(source: str) -> bool:
    """Whether it is the id of a stored profile; a file of that name comes first."""
    if source.count("/") != 2 or os.path.exists(source):
        return False
    from profbucket.model.ids import ProfileId

    try:
        ProfileId.parse(source)
    except Invalid:
        return False
    return True
