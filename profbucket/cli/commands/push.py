"""Store profiles and print their ids.

FILE is a pprof profile, gzipped or not, or a Go execution trace; - is standard
input. Several files are pushed in parallel, with retries. A file that is
pushed again is stored once.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from profbucket.cli.options import (
    add_collector_options,
    add_label_option,
    add_type_option,
    connect,
    parse_labels,
)
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.terminal import describe_error, print_error, print_line, read_file, show_progress
from profbucket.errors import ProfbucketError
from profbucket.times import FORMS, parse_time

_PARALLEL = 8  # files that are pushed at once


def add_arguments(parser: Parser) -> None:
    parser.add_positional("files", metavar="FILE...", nargs="+")
    parser.options.add_argument("--service", metavar="NAME", required=True, help="Service of the profiles.")
    add_type_option(parser, required=True)
    add_label_option(parser, "Label of all the profiles. Repeatable.")
    parser.options.add_argument(
        "--created-at",
        metavar="TIME",
        help=f"When profiles that contain no time were taken: {FORMS}. [default: the file's modification time]",
    )
    add_collector_options(parser)


def run(arguments: Arguments) -> int:
    files = arguments.files
    created_at = parse_time(arguments.created_at, time.time_ns()) if arguments.created_at else None
    labels = parse_labels(arguments.labels)
    client = connect(arguments, create=True)

    def store(file: str) -> str:
        data = read_file(file)
        # A time in every request, even if the profile contains one: a retry must store the same profile.
        taken_at = created_at or (time.time_ns() if file == "-" else os.stat(file).st_mtime_ns)
        return client.collect(arguments.service, arguments.profile_type, labels, data, taken_at).id

    failed = 0
    for file, outcome in _map_files(store, files):
        if isinstance(outcome, str):
            print_line(outcome)
        else:
            failed += 1
            message = outcome.strerror if isinstance(outcome, OSError) else None
            print_error(f"{file}: {message or describe_error(outcome)}")
    if failed and len(files) > 1:
        print_error(f"{failed} of {len(files)} files were not stored")
    return 1 if failed else 0


def _map_files(
    call: Callable[[str], str], files: Sequence[str]
) -> Iterator[tuple[str, str | ProfbucketError | OSError]]:
    """Call *call* with each of *files*, several at once; yield results and errors in the order of *files*."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    pool = ThreadPoolExecutor(_PARALLEL)
    try:
        futures = [pool.submit(call, file) for file in files]
        if len(files) > 1 and sys.stderr.isatty():
            for _ in show_progress(as_completed(futures), "pushing", len(files)):
                pass
        for file, future in zip(files, futures, strict=True):
            try:
                yield file, future.result()
            except (ProfbucketError, OSError) as error:
                yield file, error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
