"""List profiles, oldest first."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from profbucket.cli.options import add_collector_options, add_query_options, build_query, connect
from profbucket.cli.parser import Arguments, Parser, integer
from profbucket.cli.terminal import print_error, print_line
from profbucket.model.meta import Meta, meta_to_json
from profbucket.times import format_time


def add_arguments(parser: Parser) -> None:
    add_query_options(parser, required=True)
    parser.options.add_argument(
        "--limit", metavar="N", type=integer(1), default=1000, help="List at most N profiles. [default: 1000]"
    )
    parser.options.add_argument("--json", action="store_true", help="Print one JSON object per line.")
    add_collector_options(parser)


def run(arguments: Arguments) -> int:
    query = build_query(arguments)
    client = connect(arguments)
    remaining = arguments.limit
    damaged: set[str] = set()
    while True:
        page = client.find(replace(query, limit=remaining))
        if arguments.json:
            lines: Iterator[str] = (json.dumps(meta_to_json(meta)) for meta in page.profiles)
        else:
            lines = _format_table(page.profiles, header=query.after is None)
        for line in lines:
            print_line(line)
        damaged.update(page.damaged)
        remaining -= len(page.profiles)
        if page.next is None or remaining <= 0:
            break
        query = replace(query, after=page.profiles[-1].position)
    if page.next is not None:
        print(f"profbucket: listed the first {arguments.limit}; raise --limit to list more", file=sys.stderr)
    for object_id in sorted(damaged):
        print_error(f"{object_id} is damaged; its profiles are not listed")
    return 1 if damaged else 0


def _format_table(profiles: Sequence[Meta], *, header: bool) -> Iterator[str]:
    rows = [("CREATED", "TYPE", "BYTES", "LABELS", "ID")] if header else []
    for meta in profiles:
        labels = ",".join(f"{key}={value}" for key, value in meta.labels) or "-"
        rows.append((format_time(meta.created_at), str(meta.type), str(meta.size), labels, meta.id))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for created, profile_type, size, labels, profile_id in rows:
        left = f"{created:<{widths[0]}}  {profile_type:<{widths[1]}}  {size:>{widths[2]}}"
        yield f"{left}  {labels:<{widths[3]}}  {profile_id}"
