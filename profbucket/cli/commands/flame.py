"""Write a flame graph, as a page that needs nothing else or as an image.

Name local FILEs, or the IDs of stored profiles, or select stored profiles with
--service, --type and the other options. Several profiles are merged first.
"""

from profbucket.cli.options import add_output_option, read_config
from profbucket.cli.parser import Arguments, Parser, integer
from profbucket.cli.sources import add_refinement_options, add_source_options, read_refined
from profbucket.cli.terminal import write_file

_DEFAULT_NODES = 5000


def add_arguments(parser: Parser) -> None:
    add_source_options(parser, aggregate="auto")
    add_refinement_options(parser)
    add_output_option(parser)
    parser.options.add_argument(
        "--format",
        choices=["html", "svg"],
        metavar="html|svg",
        help="[default: svg if the name of --output ends with .svg, else html]",
    )
    parser.options.add_argument(
        "--max-nodes",
        metavar="N",
        type=integer(2, 1_000_000),
        default=_DEFAULT_NODES,
        help=f"Combine the smallest frames beyond this number. [default: {_DEFAULT_NODES}]",
    )


def run(arguments: Arguments) -> None:
    from profbucket.model.merge_format import MergeFormat
    from profbucket.pprof.export.convert import convert

    name = arguments.format or ("svg" if arguments.output.lower().endswith(".svg") else "html")
    data = read_refined(arguments)
    result = convert(data, MergeFormat(name), arguments.max_nodes, read_config().limits)
    write_file(arguments.output, result)
