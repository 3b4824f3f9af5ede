"""Move damaged objects aside, and rebuild the index without them.

Reads all objects, as `profbucket fsck --deep` does. Those that are damaged are
moved below _/quarantine/ in the bucket, under the same keys, and nothing else
is deleted. Profiles of a damaged block that still have an object of their own
are indexed again.
"""

from profbucket.cli.commands.fsck import print_findings
from profbucket.cli.options import add_index_options, parse_since, read_config
from profbucket.cli.parser import Arguments, Parser, UsageError


def add_arguments(parser: Parser) -> None:
    add_index_options(parser)
    parser.options.add_argument("--quarantine", action="store_true", help="Required: move damaged objects aside.")


def run(arguments: Arguments) -> int:
    from profbucket.maintenance.findings import State
    from profbucket.maintenance.quarantine import quarantine

    if not arguments.quarantine:
        raise UsageError("pass --quarantine; to list the damage only, run profbucket fsck --deep")
    config = read_config(arguments.storage)
    storage = config.open_storage(create=False, create_index=True)
    findings = quarantine(storage, arguments.service, parse_since(arguments.since))
    counts = print_findings("repairing", findings)
    return 1 if counts[State.DAMAGED] else 0
