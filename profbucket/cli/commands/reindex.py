"""Rebuild the index from the bucket.

Adds entries for profiles that have none, removes entries whose profile is
gone, and replaces entries that differ. Correct entries are only read, so that
an interrupted run can be repeated. Collectors may keep writing meanwhile.
Damaged objects are listed and left alone; the exit code is then 1.
"""

from profbucket.cli.commands.fsck import print_findings
from profbucket.cli.options import add_index_options, parse_since, read_config
from profbucket.cli.parser import Arguments, Parser


def add_arguments(parser: Parser) -> None:
    add_index_options(parser)


def run(arguments: Arguments) -> int:
    from profbucket.maintenance.findings import State
    from profbucket.maintenance.repair import reindex

    config = read_config(arguments.storage)
    storage = config.open_storage(create=False, create_index=True)
    findings = reindex(storage, arguments.service, parse_since(arguments.since))
    counts = print_findings("reindexing", findings)
    return 1 if counts[State.DAMAGED] else 0
