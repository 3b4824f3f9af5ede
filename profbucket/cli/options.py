"""Options that several commands share, and what they mean."""

import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterable
from typing import TYPE_CHECKING

from profbucket.cli.parser import Arguments, Parser, UsageError
from profbucket.errors import Invalid
from profbucket.model.profile_type import COMMON_TYPES, ProfileType
from profbucket.times import FORMS, format_time, parse_time

# Everything else is imported on use: --help needs nothing, and a merge of files needs no HTTP.
if TYPE_CHECKING:
    from profbucket.cli.client import ProfileClient
    from profbucket.config import Config
    from profbucket.model.labels import Labels
    from profbucket.model.meta import Query

DEFAULT_URL = "http://localhost:10100"


def environment_default(variable: str, default: str | None = None) -> str | None:
    """Return the environment variable, or *default* if it is unset or empty."""
    from profbucket.config import copy_environment

    return copy_environment().get(variable) or default


def add_collector_options(parser: Parser) -> None:
    """Declare --url, --key and --storage; :func:`connect` reads them."""
    parser.options.add_argument(
        "--url", metavar="URL", help=f"URL of the collector. [env: PROFBUCKET_URL] [default: {DEFAULT_URL}]"
    )
    add_key_option(parser)
    parser.options.add_argument(
        "--storage",
        metavar="URL",
        help="Use this storage instead of a collector, as in file:///directory. Needs the extra 'server'.",
    )


def add_key_option(parser: Parser) -> None:
    """Declare --key."""
    parser.options.add_argument(
        "--key",
        metavar="KEY",
        default=environment_default("PROFBUCKET_KEY", ""),
        help="API key, if the collector requires one. Other users can see command lines: prefer the environment. "
        "[env: PROFBUCKET_KEY]",
    )


def connect(arguments: Arguments, *, create: bool = False) -> "ProfileClient":
    """Return a client of the collector or the storage that the options of :func:`add_collector_options` name.

    With *create*, a storage directory that does not exist is created.
    """
    if arguments.storage:
        if arguments.url:
            raise UsageError("--url and --storage exclude each other")
        from profbucket.cli.local_client import LocalClient

        return LocalClient(read_config(arguments.storage), create=create)
    from profbucket.cli.http_client import HttpClient

    return HttpClient(arguments.url or environment_default("PROFBUCKET_URL", DEFAULT_URL) or "", arguments.key)


def read_config(storage_url: str = "memory:") -> "Config":
    """Return the settings from the environment, with *storage_url*."""
    from profbucket.config import Config, copy_environment, limit_numpy_threads

    limit_numpy_threads()
    return Config.from_env(copy_environment(STORAGE_URL=storage_url, K_SERVICE=""))


def add_type_option(parser: Parser, *, required: bool = False) -> None:
    """Declare --type."""
    parser.options.add_argument(
        "--type",
        dest="profile_type",
        metavar="TYPE",
        type=_profile_type,
        required=required,
        help=f"Profile type: {', '.join(COMMON_TYPES)}, or another name.",
    )


def _profile_type(text: str) -> ProfileType:
    try:
        return ProfileType.parse(text)
    except Invalid as error:
        raise ArgumentTypeError(str(error)) from None


def add_query_options(parser: Parser, *, required: bool = False) -> None:
    """Declare --service, --type, --from, --to and --label; :func:`build_query` reads them."""
    options = parser.options
    options.add_argument(
        "--service",
        metavar="NAME",
        required=required,
        help="Service of the profiles; or ~REGEX for several, !~REGEX for all others.",
    )
    add_type_option(parser)
    add_range_options(parser, "now-1h")
    options.add_argument(
        "--label",
        dest="conditions",
        metavar="K=V",
        action="append",
        default=[],
        help="Only profiles with this label; also K!=V, K=~REGEX, K!~REGEX. Repeatable.",
    )


def build_query(arguments: Arguments) -> "Query":
    """Return the query of :func:`add_query_options`; raise ``UsageError`` or ``Invalid`` if it makes no sense."""
    from profbucket.model.labels import Matcher
    from profbucket.model.meta import Query

    if not arguments.service:
        raise UsageError("the option --service is required")
    start, end = parse_range(arguments)
    matchers = tuple(Matcher.parse(condition) for condition in arguments.conditions)
    return Query(arguments.service, arguments.profile_type, start, end, matchers)


def add_range_options(parser: Parser, default: str) -> None:
    """Declare --from, by default *default*, and --to; :func:`parse_range` reads them."""
    parser.options.add_argument(
        "--from",
        dest="start",
        metavar="TIME",
        default=default,
        help=f"Start of the time range: {FORMS}. [default: {default}]",
    )
    parser.options.add_argument(
        "--to", dest="end", metavar="TIME", default="now", help="End of the time range, inclusive. [default: now]"
    )


def parse_range(arguments: Arguments) -> tuple[int, int]:
    """Return the times of --from and --to in nanoseconds; raise ``UsageError`` or ``Invalid``."""
    now = time.time_ns()
    start, end = parse_time(arguments.start, now), parse_time(arguments.end, now, end=True)
    if start > end:
        raise UsageError(f"--from is after --to: {format_time(start)} is later than {format_time(end)}")
    return start, end


def add_label_option(parser: Parser, help_: str) -> None:
    """Declare a --label that sets labels; :func:`parse_labels` reads its values."""
    parser.options.add_argument("--label", dest="labels", metavar="K=V", action="append", default=[], help=help_)


def parse_labels(texts: Iterable[str]) -> "Labels":
    """Return the labels in *texts*, each ``key=value``; raise ``Invalid`` for anything else."""
    from profbucket.model.labels import Labels

    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Invalid(f"label without '=': {text!r}; write --label key=value", code="invalid_label")
        pairs.append((key, value))
    return Labels.from_pairs(pairs)


def add_storage_option(parser: Parser) -> None:
    """Declare a --storage that is required, unless ``STORAGE_URL`` is set."""
    storage_url = environment_default("STORAGE_URL")
    parser.options.add_argument(
        "--storage",
        metavar="URL",
        default=storage_url,
        required=storage_url is None,
        help="Storage with the profiles, as in file:///directory. [env: STORAGE_URL]",
    )


def add_index_options(parser: Parser) -> None:
    """Declare --storage, --service and --since, which say what to compare."""
    add_storage_option(parser)
    parser.options.add_argument("--service", metavar="NAME", help="Only this service. [default: all]")
    parser.options.add_argument(
        "--since", metavar="TIME", default="", help=f"Only profiles taken at or after this time: {FORMS}."
    )


def parse_since(text: str) -> int:
    """Return the value of ``--since`` in nanoseconds; 0 if it is empty."""
    return parse_time(text, time.time_ns()) if text else 0


def add_output_option(parser: Parser) -> None:
    """Declare --output; :func:`check_output` refuses a terminal."""
    parser.options.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="File to write. [default: standard output]"
    )


def check_output(output: str) -> None:
    """Raise ``UsageError`` if a profile would be written to a terminal."""
    if output == "-" and sys.stdout.isatty():
        raise UsageError("a profile is binary data and stdout is a terminal; write it to a file with -o FILE")
