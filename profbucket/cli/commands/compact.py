"""Merge stored profiles into blocks, so that merges over long ranges are fast.

Profiles of each completed hour become one block, the blocks of each
completed day become one, and those of each 30 days. The command may be
interrupted, repeated, and run twice at the same time. Run it once an hour, for
example from cron: it looks only at what is due, and once a day at everything
of the last 30 to 60 days.

What cannot be compacted stays as it is; the exit code is then 1.
"""

import sys

from profbucket.cli.options import add_storage_option, read_config
from profbucket.cli.parser import Arguments, Parser, integer
from profbucket.cli.terminal import print_line


def add_arguments(parser: Parser) -> None:
    add_storage_option(parser)
    parser.options.add_argument(
        "--service", metavar="NAME", help="Look at everything of this service, and only it."
    )
    parser.options.add_argument("--all", action="store_true", help="Look at everything of all services.")
    parser.options.add_argument(
        "--seconds",
        metavar="N",
        type=integer(1),
        help="Start no step after N seconds; the next run continues. [default: no limit]",
    )


def run(arguments: Arguments) -> int:
    from profbucket.maintenance.compactor import Action, Compactor

    config = read_config(arguments.storage)
    compactor = Compactor(
        config.open_storage(create=False),
        config.limits,
        config.periods,
        export_samples=config.export_samples,
    )
    counts = dict.fromkeys(Action, 0)
    complete = arguments.all or arguments.service
    steps = (
        compactor.run(arguments.seconds, arguments.service) if complete else compactor.run_due(arguments.seconds)
    )
    for step in steps:
        counts[step.action] += 1
        print_line(f"{step.action} {step.profiles or ''} {step.object_key}".replace("  ", " "))
    exported = f", {counts[Action.EXPORTED]} tables of samples exported" if config.export_samples else ""
    incomplete = "" if compactor.complete else "; stopped by --seconds, run it again"
    failed = f"; {compactor.failed} errors, see above" if compactor.failed else ""
    print(
        f"{counts[Action.COMPACTED]} blocks made from profiles, {counts[Action.MERGED]} made from blocks,"
        f" {counts[Action.DELETED]} objects deleted{exported}{incomplete}{failed}",
        file=sys.stderr,
    )
    return 1 if compactor.failed else 0
