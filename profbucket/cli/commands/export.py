"""Export the samples of stored profiles as tables for SQL engines.

For each day, service and profile type that has profiles in the range there is
one Parquet file, below _/samples/ in the storage or in --output. A file that
has all profiles of its day is left alone; one that lacks late profiles is
replaced. The days of --from and --to are exported whole. The command may be
interrupted and repeated. docs/sql.md describes the columns.
"""

import sys

from profbucket.cli.options import add_range_options, add_storage_option, add_type_option, parse_range, read_config
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.terminal import print_error, print_line
from profbucket.errors import ProfbucketError
from profbucket.times import format_time


def add_arguments(parser: Parser) -> None:
    add_storage_option(parser)
    parser.options.add_argument(
        "--output",
        metavar="URL",
        help="Directory or bucket for the files, as in file:///directory or gs://bucket. [default: the storage]",
    )
    add_lane_options(parser)


def add_lane_options(parser: Parser) -> None:
    """Declare --service, --type, --from and --to of a range of whole days."""
    parser.options.add_argument("--service", metavar="NAME", help="Only this service. [default: all]")
    add_type_option(parser)
    add_range_options(parser, "now-7d")


def run(arguments: Arguments) -> int:
    from profbucket.samples.day import list_days, list_lanes
    from profbucket.samples.export import Exporter, Outcome
    from profbucket.storage.open import open_bucket

    start, end = parse_range(arguments)
    storage = read_config(arguments.storage).open_storage(create=False)
    exporter = Exporter(storage, open_bucket(arguments.output) if arguments.output else None)
    counts = dict.fromkeys(Outcome, 0)
    failed = 0
    for service, profile_type in list_lanes(storage, start, end, arguments.service, arguments.profile_type):
        for begin in list_days(storage, service, profile_type, start, end):
            try:
                export = exporter.export_day(service, profile_type, begin)
            except ProfbucketError as error:
                failed += 1
                print_error(
                    f"cannot export {format_time(begin)[:10]} of service {service}, type {profile_type}: {error}"
                )
                continue
            counts[export.outcome] += 1
            if export.outcome is Outcome.EXPORTED:
                counted = f"{export.profiles} profiles, {export.rows} rows, {export.size} bytes"
                print_line(f"{export.object_key} {counted}")
    print(
        f"{counts[Outcome.EXPORTED]} files exported, {counts[Outcome.UNCHANGED]} unchanged"
        + (f"; {failed} errors, see above" if failed else ""),
        file=sys.stderr,
    )
    return 1 if failed else 0
