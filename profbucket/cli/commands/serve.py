"""Run a collector until Ctrl-C.

It accepts, finds, merges and displays profiles on http://localhost:10100, and
compacts its storage once an hour. Its settings are
environment variables; docs/configuration.md lists them.
"""

from pathlib import Path

from profbucket.cli.options import environment_default
from profbucket.cli.parser import Arguments, Parser, integer


def add_arguments(parser: Parser) -> None:
    parser.options.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="Address to listen on. [default: 127.0.0.1]"
    )
    parser.options.add_argument(
        "--port",
        metavar="PORT",
        type=integer(0, 65535),
        default=10100,
        help="Port to listen on; 0 chooses a free one. [default: 10100]",
    )
    parser.options.add_argument(
        "--storage",
        metavar="URL",
        default=environment_default("STORAGE_URL") or Path("profbucket-data").absolute().as_uri(),
        help="Storage for the profiles: file:, gs:, s3: or memory:. [env: STORAGE_URL] "
        "[default: the directory profbucket-data]",
    )


def run(arguments: Arguments) -> int:
    from profbucket.cli.server import Server

    return Server(arguments.host, arguments.port, arguments.storage).run(print)
