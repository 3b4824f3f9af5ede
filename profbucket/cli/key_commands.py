"""``profbucket key create | hash``: a key is made here, kept by who uses it, known to collectors by its hash."""

import json
import sys
from collections.abc import Sequence

import click

from profbucket.auth import ApiKeys, Scope, generate_secret, hash_secret
from profbucket.errors import Invalid

SCOPES = click.Choice([str(scope) for scope in Scope])
SHORTEST = 32  # characters: a plain hash keeps what is random, not what people think up


@click.group()
def key() -> None:
    """Make keys for a collector."""


@key.command()
@click.argument("name")
@click.option("--scope", "scopes", type=SCOPES, multiple=True, required=True, help="What it is for. Repeatable.")
@click.option(
    "--service",
    "services",
    metavar="PATTERN",
    multiple=True,
    help="Only for such services, as in 'shop-*'. Repeatable. [default: all]",
)
def create(name: str, scopes: Sequence[str], services: Sequence[str]) -> None:
    """Make a new key called NAME.

    It is printed once, and below it the entry for the list in PROFBUCKET_KEYS, which does not hold it.
    """
    secret = generate_secret()
    entry: dict[str, object] = {
        "name": name,
        "sha256": hash_secret(secret).hex(),
        "scopes": [scope for scope in Scope if scope in scopes],
    }
    if services:
        entry["services"] = list(services)
    line = json.dumps(entry, ensure_ascii=False)
    ApiKeys.parse(f"[{line}]")  # as a collector will
    click.echo("The key, which nothing shows again, and its entry for the list in PROFBUCKET_KEYS:", err=True)
    click.echo(secret)
    click.echo(line)


@key.command("hash")
def hash_() -> None:
    """Print the sha256 of a key that is asked for, or read from standard input."""
    asked = sys.stdin.isatty()
    secret = str(click.prompt("Key", hide_input=True, err=True) if asked else sys.stdin.readline()).strip()
    if len(secret) < SHORTEST:
        raise Invalid(
            f"a key of {len(secret)} characters can be guessed: it is random and has at least {SHORTEST}; "
            "`profbucket key create` makes one"
        )
    click.echo(hash_secret(secret).hex())
