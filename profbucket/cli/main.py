"""The program ``profbucket``: find the command, import its module, run it, exit with its code.

A command is a module of ``profbucket.cli.commands`` and an entry of ``COMMANDS``. The module's docstring is the
description in ``--help``, ``add_arguments(parser)`` declares the options, ``run(arguments)`` does the work and may
return an exit code. Only the module of the command that was called is imported, so that commands start quickly.
"""

import atexit
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from profbucket import __version__
from profbucket.cli.parser import Parser, UsageError
from profbucket.cli.terminal import print_error
from profbucket.errors import ProfbucketError, missing_extra
from profbucket.model.printable import to_printable

# Each command, by one or two words, and the first line of its help.
COMMANDS: Mapping[str, str] = {
    "compact": "Merge stored profiles into blocks, so that merges over long ranges are fast.",
    "completion": "Print a script that completes commands, options and services in a shell.",
    "export": "Export the samples of stored profiles as tables for SQL engines.",
    "find": "List profiles, oldest first.",
    "flame": "Write a flame graph, as a page that needs nothing else or as an image.",
    "fsck": "Compare the index with the bucket and list the differences.",
    "get": "Download a profile exactly as it was stored.",
    "key create": "Generate an API key and its entry for PROFBUCKET_KEYS.",
    "key hash": "Print the SHA-256 of an API key, for PROFBUCKET_KEYS.",
    "labels": "List the labels of a service, one `key=value` per line, as for --label.",
    "merge": "Merge profiles into one.",
    "push": "Store profiles and print their ids.",
    "reindex": "Rebuild the index from the bucket.",
    "repair": "Move damaged objects aside, and rebuild the index without them.",
    "run": "Run a Python program under the profiling agent.",
    "scrape": "Fetch profiles from /debug/pprof endpoints once, and store them.",
    "serve": "Run a collector until Ctrl-C.",
    "services": "List the services that have profiles.",
    "sql": "Query the samples of stored profiles with SQL.",
    "tags": "List the labels of samples with their totals, like `go tool pprof -tags`.",
    "top": "Print the functions with the largest values, like `go tool pprof -top`.",
}

_GROUPS = {"key": "Make API keys."}
_DESCRIPTION = "A continuous-profiling collector that lives in a bucket: pprof in, one merged pprof out."
# Errors in the command line that the library or the collector finds.
_USAGE_CODES = frozenset(
    {"invalid_label", "invalid_matcher", "invalid_regex", "invalid_service", "invalid_time", "invalid_time_range"}
)
_SQL_LIBRARIES = ("duckdb", "fsspec", "pyarrow")
_OUR_PACKAGES = ("profbucket", "storage_gcs", "storage_local", "storage_s3")


def main() -> NoReturn:
    """Run the command in ``sys.argv`` and exit: with 2 if the command line is wrong, with 1 on other errors."""
    # Imports allocate many objects and hardly any garbage: the default threshold costs 5% of a small merge.
    gc.set_threshold(50_000)
    try:
        code = _run(sys.argv[1:])
    except SystemExit as exit_:  # argparse, after --help
        code = int(exit_.code or 0)
    except BrokenPipeError:  # `profbucket find | head -1`
        code = 1
    except (ProfbucketError, OSError) as error:
        code = print_error(error)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in _OUR_PACKAGES or library.lstrip("_") in sys.stdlib_module_names:
            raise
        command, _ = split_command(sys.argv[1:])
        extra = "sql" if library in _SQL_LIBRARIES else "server"
        code = print_error(missing_extra(f"the command {command!r}", extra))
    except KeyboardInterrupt:
        os._exit(130)  # at once: threads may still be waiting for a response
    _exit(code)


def _run(arguments: Sequence[str]) -> int:
    command, rest = split_command(arguments)
    if command not in COMMANDS:
        return _run_without_command(arguments)
    module = import_command(command)
    parser = Parser(f"profbucket {command}", module.__doc__ or COMMANDS[command])
    try:
        module.add_arguments(parser)
        parser.options.add_argument("-h", "--help", action="help", help="Print this help and exit.")
        parsed = parser.parse(rest)
        if not parser.takes_command:  # else stdout is the other program's
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        return int(module.run(parsed) or 0)
    except (UsageError, ProfbucketError) as error:
        if isinstance(error, ProfbucketError) and error.code not in _USAGE_CODES:
            raise
        print(
            f"{parser.format_usage()}Try '{parser.prog} --help'.\n\nError: {to_printable(str(error))}",
            file=sys.stderr,
        )
        return 2


def split_command(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the command that *arguments* start with, if it is one, and the arguments after it."""
    two_words = " ".join(arguments[:2])
    words = 2 if two_words in COMMANDS else 1
    return " ".join(arguments[:words]), arguments[words:]


def import_command(command: str) -> ModuleType:
    """Import the module of *command*."""
    return import_module(f"profbucket.cli.commands.{command.replace(' ', '_')}")


def _run_without_command(arguments: Sequence[str]) -> int:
    """Print the help of the program or of a group such as ``key``; return 2 unless it was asked for."""
    group = f"{arguments[0]} " if arguments else ""
    commands = {command: summary for command, summary in COMMANDS.items() if command.startswith(group)}
    if arguments == ["--version"]:
        print(f"profbucket {__version__}")
        return 0
    if not commands:
        commands, group = dict(COMMANDS), ""
    program, rest = f"profbucket {group}".rstrip(), arguments[1:] if group else arguments
    usage = f"Usage: {program} COMMAND [OPTIONS]"
    if not rest or rest[0] in ("-h", "--help"):
        width = max(map(len, commands))
        more = [] if group else ["'profbucket --version' prints the version."]
        lines = [f"  {command:<{width}}  {summary}" for command, summary in commands.items()]
        text = "\n".join(
            [
                usage,
                "",
                _GROUPS.get(group.rstrip(), _DESCRIPTION),
                "",
                "Commands:",
                *lines,
                "",
                f"See '{program} COMMAND --help'.",
                *more,
            ]
        )
        print(text, file=sys.stdout if rest else sys.stderr)
        return 0 if rest else 2
    kind = "option" if rest[0].startswith("-") else "command"
    print(f"{usage}\nTry '{program} --help'.\n\nError: unknown {kind} {rest[0]!r}", file=sys.stderr)
    return 2


def _exit(code: int) -> NoReturn:
    """Run the exit handlers and end the process: tearing down the interpreter takes as long as a small merge."""
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the reader of the pipe exited
        code = code or 1
    os._exit(code)
