"""List the services that have profiles."""

from profbucket.cli.options import add_collector_options, connect
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.terminal import print_line


def add_arguments(parser: Parser) -> None:
    add_collector_options(parser)


def run(arguments: Arguments) -> None:
    for service in connect(arguments).services():
        print_line(service)
