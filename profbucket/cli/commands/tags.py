"""List the labels of samples with their totals, like `go tool pprof -tags`.

Name local FILEs, or the IDs of stored profiles, or select stored profiles with
--service, --type and the other options. Several profiles are merged first.
"""

import json

from profbucket.cli.options import read_config
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.sources import add_refinement_options, add_source_options, read_refined
from profbucket.cli.terminal import print_line


def add_arguments(parser: Parser) -> None:
    add_source_options(parser, aggregate="auto")
    add_refinement_options(parser)
    parser.options.add_argument(
        "--sample-type",
        metavar="NAME",
        default="",
        help="Sample type of the totals, such as alloc_space. [default: the profile's]",
    )
    parser.options.add_argument(
        "--json", action="store_true", help="Print one JSON object, as GET /api/0/tags returns it."
    )


def run(arguments: Arguments) -> None:
    from profbucket.pprof.report.tags import build_tags
    from profbucket.pprof.report.units import format_percentage, format_value

    tags = build_tags(read_refined(arguments), arguments.sample_type, read_config().limits)
    if arguments.json:
        print_line(json.dumps(tags))
        return
    unit = tags["sample_type"]["unit"]
    for tag in tags["tags"]:
        print_line(f"{tag['key']}: total {format_value(tag['total'], unit)}")
        for value in tag["values"]:
            share = format_percentage(value["total"], tag["total"])
            print_line(f"{format_value(value['total'], unit):>12} {share}  {value['value']}")
        if tag["others"]:
            print_line(f"{tag['others']:>12} more values")
    if tags["others"]:
        print_line(f"{tags['others']} more labels")
