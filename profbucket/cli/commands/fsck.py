"""Compare the index with the bucket and list the differences.

Nothing is changed; `profbucket reindex` repairs what this command lists, except
damaged objects: `profbucket repair --quarantine` moves these aside. The exit
code is 1 if there are differences.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from profbucket.cli.options import add_index_options, parse_since, read_config
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.terminal import print_line, show_progress

if TYPE_CHECKING:
    from profbucket.maintenance.findings import Finding, State


def add_arguments(parser: Parser) -> None:
    add_index_options(parser)
    parser.options.add_argument(
        "--deep", action="store_true", help="Read all objects and compare them with their digests."
    )


def run(arguments: Arguments) -> int:
    from profbucket.maintenance.findings import State
    from profbucket.maintenance.repair import fsck

    config = read_config(arguments.storage)
    storage = config.open_storage(create=False)
    findings = fsck(storage, arguments.service, parse_since(arguments.since), deep=arguments.deep)
    counts = print_findings("checking", findings)
    return 1 if sum(counts.values()) > counts[State.OK] + counts[State.UNKNOWN_OBJECT] else 0


def print_findings(label: str, findings: "Iterator[Finding]") -> "Mapping[State, int]":
    """Print *findings* as they come, then a summary; return their number by state."""
    from profbucket.maintenance.findings import State

    counts = dict.fromkeys(State, 0)
    for finding in show_progress(findings, label, describe=lambda finding: finding.object_key):
        counts[finding.state] += 1
        if finding.state is not State.OK:
            batch = f" in {finding.batch}" if finding.batch not in (None, finding.object_key) else ""
            print_line(f"{finding.state} {finding.object_key}{batch}")
    print(
        f"{sum(counts.values())} profiles and blocks: {counts[State.OK]} correct,"
        f" {counts[State.MISSING_ENTRY]} without an entry,"
        f" {counts[State.MISSING_OBJECT]} entries without an object,"
        f" {counts[State.MISMATCH]} entries that differ, {counts[State.DUPLICATE]} also in a block,"
        f" {counts[State.MISSING_SERIES]} blocks without a series, {counts[State.DAMAGED]} damaged,"
        f" {counts[State.UNKNOWN_OBJECT]} not profiles (left alone)",
        file=sys.stderr,
    )
    return counts
