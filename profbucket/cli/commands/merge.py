"""Merge profiles into one.

Name local FILEs, as for `go tool pprof -proto`, or the IDs of stored profiles,
or select stored profiles with --service, --type and the other options.
"""

from profbucket.cli.options import add_output_option, check_output
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.sources import add_refinement_options, add_source_options, read_refined
from profbucket.cli.terminal import write_file


def add_arguments(parser: Parser) -> None:
    add_source_options(parser)
    add_refinement_options(parser)
    add_output_option(parser)


def run(arguments: Arguments) -> None:
    check_output(arguments.output)
    write_file(arguments.output, read_refined(arguments))
