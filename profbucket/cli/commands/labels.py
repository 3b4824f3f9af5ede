"""List the labels of a service, one `key=value` per line, as for --label.

A service can be a condition, as for `profbucket find`.
"""

import json

from profbucket.cli.options import add_collector_options, add_type_option, connect
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.terminal import print_error, print_line


def add_arguments(parser: Parser) -> None:
    parser.options.add_argument(
        "--service", metavar="NAME", required=True, help="Service; or ~REGEX for several, !~REGEX for all others."
    )
    add_type_option(parser)
    parser.options.add_argument(
        "--json", action="store_true", help="Print one JSON object, which also has the profile types."
    )
    add_collector_options(parser)


def run(arguments: Arguments) -> None:
    labels = connect(arguments).labels(arguments.service, arguments.profile_type)
    if arguments.json:
        print_line(json.dumps(labels))
        return
    for label in labels["labels"]:
        for value in label["values"]:
            print_line(f"{label['key']}={value}")
    if not labels["complete"]:
        print_error("there are too many labels or values to list")
