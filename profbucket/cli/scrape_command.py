"""``profbucket scrape``: what the function of that name does, for cron."""

from pathlib import Path

import click

from profbucket.cli.options import connect, connection, settings


@click.command()
@click.option(
    "--targets",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Their list, in JSON; the README says what is in it.",
)
@click.option(
    "--spread",
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Begin with them spread over so much time. Each begins at the same moment of it every time.",
)
@connection
def scrape(*, file: Path, spread: float, url: str, key: str | None, storage: str | None) -> int:
    """Fetch profiles of targets once, store them and print their ids.

    Exits with 1 where a profile could not be fetched or stored; what has no samples is skipped.
    """
    from profbucket.scrape.scraper import scrape as scraped
    from profbucket.scrape.targets import parse_targets

    limits = settings().limits
    targets = parse_targets(file.read_bytes(), limits)
    failed = 0
    for outcome in scraped(targets, connect(url, key, storage), limits, spread_seconds=spread):
        for profile_id in outcome.stored:
            click.echo(profile_id)
        for name, why in outcome.failed.items():
            failed += 1
            click.echo(f"profbucket: {name} of {outcome.target.url}: {why}", err=True)
    return 1 if failed else 0
