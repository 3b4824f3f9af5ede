"""Fetch profiles from /debug/pprof endpoints once, and store them.

Prints the ids of the stored profiles. The exit code is 1 if a profile could
not be fetched or stored; profiles without samples are skipped. Run it once a
minute, for example from cron.
"""

import argparse
from pathlib import Path

from profbucket.cli.options import add_collector_options, connect, read_config
from profbucket.cli.parser import Arguments, Parser
from profbucket.cli.terminal import print_error, print_line
from profbucket.errors import Misconfigured

_MAX_SPREAD_SECONDS = 3600


def add_arguments(parser: Parser) -> None:
    parser.options.add_argument(
        "--targets",
        metavar="FILE",
        required=True,
        type=Path,
        help="JSON list of targets; docs/operations.md describes its fields.",
    )
    parser.options.add_argument(
        "--spread",
        metavar="SECONDS",
        type=_spread_seconds,
        default=5.0,
        help="Start the targets spread over this time, each at the same offset in every run."
        " [default: %(default)g]",
    )
    add_collector_options(parser)


def run(arguments: Arguments) -> int:
    from profbucket.scrape.scraper import scrape
    from profbucket.scrape.targets import parse_targets

    limits = read_config().limits
    try:
        targets = parse_targets(arguments.targets.read_bytes(), limits)
    except Misconfigured as error:
        raise Misconfigured(f"{arguments.targets}: {error}", code=error.code) from None
    failed = 0
    for outcome in scrape(targets, connect(arguments, create=True), limits, spread_seconds=arguments.spread):
        for profile_id in outcome.stored:
            print_line(profile_id)
        for name, reason in outcome.failed.items():
            failed += 1
            print_error(f"{name} of {outcome.target.url}: {reason}")
    return 1 if failed else 0


def _spread_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _MAX_SPREAD_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is out of range; it must be from 0 to {_MAX_SPREAD_SECONDS}")
    return seconds
