"""Store profiles and print their ids.

FILE is a pprof profile, gzipped or not, or a Go execution trace; - is standard
input. Several files are pushed together, with retries. A file that is pushed
again is stored once.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

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
from profbucket.model.form import split_by_size
from profbucket.model.meta import Meta
from profbucket.model.upload import Upload
from profbucket.times import FORMS, parse_time

# Of the files that are pushed with one request.
_BATCH_FILES = 100
_BATCH_BYTES = 4 << 20
_PARALLEL = 8  # requests at once

Outcome: TypeAlias = Meta | ProfbucketError | OSError


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

    def read(file: str) -> Upload | OSError:
        # A time in every request, even if the profile contains one: a retry must store the same profile.
        try:
            data = read_file(file)
            taken_at = created_at or (time.time_ns() if file == "-" else os.stat(file).st_mtime_ns)
        except OSError as error:
            return error
        return Upload(arguments.service, arguments.profile_type, labels, data, taken_at)

    def store(batch: Sequence[str]) -> list[Outcome]:
        uploads = list(map(read, batch))
        outcomes = iter(client.store_batch([upload for upload in uploads if isinstance(upload, Upload)]))
        return [next(outcomes) if isinstance(upload, Upload) else upload for upload in uploads]

    failed = 0
    for file, outcome in _map_files(store, files):
        if isinstance(outcome, Meta):
            print_line(outcome.id)
        else:
            failed += 1
            message = outcome.strerror if isinstance(outcome, OSError) else None
            print_error(f"{file}: {message or describe_error(outcome)}")
    if failed and len(files) > 1:
        print_error(f"{failed} of {len(files)} files were not stored")
    return 1 if failed else 0


def _map_files(
    call: Callable[[Sequence[str]], Sequence[Outcome]], files: Sequence[str]
) -> Iterator[tuple[str, Outcome]]:
    """Call *call* with batches of *files*, several at once; yield each of *files* with its outcome, in order."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    pool = ThreadPoolExecutor(_PARALLEL)
    try:
        batches = list(split_by_size(files, _size, max_items=_BATCH_FILES, max_bytes=_BATCH_BYTES))
        futures = {pool.submit(call, batch): batch for batch in batches}
        if len(files) > 1 and sys.stderr.isatty():
            done = (file for future in as_completed(futures) for file in futures[future])
            for _ in show_progress(done, "pushing", len(files)):
                pass
        for future, batch in futures.items():
            yield from zip(batch, future.result(), strict=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError:  # reading it tells why
        return 0
