"""Download a profile exactly as it was stored."""

from profbucket.cli.options import add_collector_options, add_output_option, check_output, connect
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.terminal import write_file
from profbucket.model.ids import ProfileId


def add_arguments(parser: Parser) -> None:
    parser.add_positional("profile_id", metavar="ID")
    add_output_option(parser)
    add_collector_options(parser)


def run(arguments: Arguments) -> None:
    check_output(arguments.output)
    write_file(arguments.output, connect(arguments).read(ProfileId.parse(arguments.profile_id)))
