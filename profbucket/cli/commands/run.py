"""Run a Python program under the profiling agent.

COMMAND is executed in place of this process and needs no changes. Python
programs that it starts are profiled, too, unless they ignore PYTHONPATH
(python -I, -E or -S).
"""

import argparse
import json
import os
from pathlib import Path
from shutil import which
from typing import NoReturn

from profbucket.cli.options import add_key_option, add_label_option, environment_default, parse_labels
from profbucket.cli.parser import Arguments, Parser, UsageError

_SITE_DIRECTORY = Path(__file__).parents[2] / "agent" / "site"  # its sitecustomize.py starts the agent


def add_arguments(parser: Parser) -> None:
    parser.takes_command = True
    parser.add_positional("command", metavar="-- COMMAND...", nargs=argparse.REMAINDER)
    parser.options.add_argument("--service", metavar="NAME", required=True, help="Service of the profiles.")
    add_label_option(parser, "Label of the program's profiles. Repeatable.")
    url = environment_default("PROFBUCKET_URL")
    parser.options.add_argument(
        "--url",
        metavar="URL",
        default=url,
        required=url is None,
        help="URL of the collector. [env: PROFBUCKET_URL]",
    )
    add_key_option(parser)
    parser.options.add_argument(
        "--every", metavar="SECONDS", type=float, default=60.0, help="Interval between profiles. [default: 60]"
    )
    parser.options.add_argument(
        "--seconds", metavar="SECONDS", type=float, default=10.0, help="Length of each profile. [default: 10]"
    )


def run(arguments: Arguments) -> NoReturn:
    from profbucket.agent.settings import KEY_VARIABLE, SETTINGS_VARIABLE, Settings
    from profbucket.config import copy_environment

    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageError("the following arguments are required: COMMAND")
    settings = {
        "url": arguments.url,
        "service": arguments.service,
        "labels": dict(parse_labels(arguments.labels)),
        "every": arguments.every,
        "seconds": arguments.seconds,
    }
    Settings.create(**settings, key=arguments.key)  # report errors here, before the program runs
    environment = copy_environment(**{SETTINGS_VARIABLE: json.dumps(settings)})
    if arguments.key:
        environment[KEY_VARIABLE] = arguments.key
    search_path = (str(_SITE_DIRECTORY), environment.get("PYTHONPATH"))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, search_path))
    if which(command[0], path=environment.get("PATH")) is None:
        raise UsageError(f"command not found: {command[0]!r}; write the program and its arguments after --")
    os.execvpe(command[0], command, environment)  # noqa: S606 # the user's command
