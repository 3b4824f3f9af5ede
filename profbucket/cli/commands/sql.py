"""Query the samples of stored profiles with SQL.

DuckDB runs QUERY on the tables that are exported, and on all other profiles
of the range, which are exported to temporary files. The views are samples,
functions (self and cumulative values) and services; docs/sql.md describes
their columns. For example:

  profbucket sql "SELECT function, sum(self) AS ns FROM functions
    WHERE sample_type = 'cpu' GROUP BY 1 ORDER BY 2 DESC LIMIT 10"

The range has whole days. Conditions on date, service and type decide which
tables are downloaded from a bucket, and which are made.
"""

import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

from profbucket.cli.commands.export import add_lane_options
from profbucket.cli.options import add_storage_option, parse_range, read_config
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.terminal import print_line
from profbucket.errors import Invalid
from profbucket.model.printable import to_printable


def add_arguments(parser: Parser) -> None:
    parser.add_positional("query", metavar="QUERY")
    add_storage_option(parser)
    add_lane_options(parser)
    parser.options.add_argument(
        "--format",
        choices=["table", "csv", "json"],
        metavar="table|csv|json",
        default="table",
        help="Print an aligned table, CSV with a header, or one JSON object per line. [default: table]",
    )


def run(arguments: Arguments) -> None:
    from profbucket.samples.database import Database
    from profbucket.samples.table_files import TableFiles, find_tables

    start, end = parse_range(arguments)
    storage = read_config(arguments.storage).open_storage(create=False)
    with TemporaryDirectory(prefix="profbucket-sql-") as directory:
        path = Path(directory)
        tables = find_tables(storage, start, end, time.time_ns(), arguments.service, arguments.profile_type)
        with Database(TableFiles(tables, path), path / "spilled") as database:
            columns, rows = database.query(arguments.query)
            PRINTERS[arguments.format](columns, rows)


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns, those of numbers to the right."""
    lines: list[Sequence[str]] = [columns]
    is_number = [True] * len(columns)
    for row in rows:
        is_number = [
            so_far and isinstance(value, int | float) for so_far, value in zip(is_number, row, strict=True)
        ]
        lines.append(list(map(_format, row)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, is_number, strict=True)
        texts = (text.rjust(width) if right else text.ljust(width) for text, width, right in cells)
        print_line("  ".join(texts).rstrip())


def _print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    clean = to_printable if sys.stdout.isatty() else str  # a file gets texts as they are
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(clean, columns))
    for row in rows:
        writer.writerow(["" if value is None else clean(_format(value)) for value in row])


def _print_json(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    for name, count in Counter(columns).items():
        if count > 1:
            raise Invalid(
                f"{count} columns are called {name!r}, and a JSON object can have one; rename them with AS"
            )
    for row in rows:
        print_line(json.dumps(_to_json(dict(zip(columns, row, strict=True)))))


PRINTERS = {"table": _print_table, "csv": _print_csv, "json": _print_json}


def _format(value: object) -> str:
    """Return *value* as text: lists and maps as JSON, times in RFC 3339."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(_to_json(value), ensure_ascii=False)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return "NULL" if value is None else str(value)


def _to_json(value: object) -> object:
    """Return *value* as JSON has it: keys and values of other types as texts, NaN and infinity as null."""
    if isinstance(value, dict):
        return {_format(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_to_json, value))
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else _format(value)
