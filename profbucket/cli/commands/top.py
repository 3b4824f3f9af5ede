"""Print the functions with the largest values, like `go tool pprof -top`.

Name local FILEs, or the IDs of stored profiles, or select stored profiles with
--service, --type and the other options. Several profiles are merged first: by
default, memory in use is averaged, and counters are shown by their increase.

--base and the options that begin with it subtract other profiles.
"""

import json

from profbucket.cli.options import read_config
from profbucket.cli.parser import Arguments, Parser, integer
from profbucket.cli.sources import (
    add_base_options,
    add_refinement_options,
    add_source_options,
    read_base,
    read_merged,
    read_refinement,
)
from profbucket.cli.terminal import print_line

_MIN_FRACTION = 0.005  # of the total: pprof's default for what it shows


def add_arguments(parser: Parser) -> None:
    add_source_options(parser, aggregate="auto")
    add_refinement_options(parser)
    add_base_options(parser)
    parser.options.add_argument(
        "-n", "--count", metavar="N", type=integer(0), default=0, help="Print at most N functions. [default: all]"
    )
    parser.options.add_argument(
        "--sort",
        choices=["flat", "cum"],
        metavar="flat|cum",
        default="flat",
        help="Sort by what a function spent itself (flat) or with its callees (cum). [default: flat]",
    )
    parser.options.add_argument(
        "--sample-type",
        metavar="NAME",
        default="",
        help="Sample type to show, such as alloc_space. [default: the profile's]",
    )
    parser.options.add_argument(
        "--json", action="store_true", help="Print one JSON object, with values in the profile's unit."
    )
    parser.options.add_argument(
        "--all", action="store_true", help="Include functions with less than 0.5%% of the total."
    )


def run(arguments: Arguments) -> None:
    from profbucket.pprof import decode
    from profbucket.pprof.report.refiner import Refiner
    from profbucket.pprof.report.top import build_top_report

    refinement = read_refinement(arguments)
    refiner = Refiner(refinement) if refinement else None
    limits = read_config().limits
    data, base = read_merged(arguments), read_base(arguments)
    if base is not None:
        from profbucket.pprof.difference import subtract

        data = subtract(data, base, limits)
    report = build_top_report(
        decode(data, limits),
        arguments.sample_type,
        by_cum=arguments.sort == "cum",
        count=arguments.count,
        fraction=0.0 if arguments.all else _MIN_FRACTION,
        refiner=refiner,
        limits=limits,
    )
    if arguments.json:
        print_line(json.dumps(report.to_json()))
        return
    for line in report.lines():
        print_line(line)
