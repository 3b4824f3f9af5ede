"""Generate an API key and its entry for PROFBUCKET_KEYS.

The key is printed once, for its users. The entry contains only the key's
SHA-256; add it to the list in PROFBUCKET_KEYS.
"""

import json
import sys

from profbucket.auth import ApiKeys, Scope, generate_secret, hash_secret
from profbucket.cli.parser import Arguments, Parser


def add_arguments(parser: Parser) -> None:
    parser.add_positional("name", metavar="NAME")
    parser.options.add_argument(
        "--scope",
        dest="scopes",
        metavar="SCOPE",
        choices=list(map(str, Scope)),
        action="append",
        required=True,
        help=f"What the key permits: {', '.join(Scope)}. Repeatable.",
    )
    parser.options.add_argument(
        "--service",
        dest="services",
        metavar="PATTERN",
        action="append",
        default=[],
        help="Restrict the key to matching services, as in 'shop-*'. Repeatable. [default: all]",
    )


def run(arguments: Arguments) -> None:
    secret = generate_secret()
    entry: dict[str, object] = {
        "name": arguments.name,
        "sha256": hash_secret(secret).hex(),
        "scopes": [scope for scope in Scope if scope in arguments.scopes],
    }
    if arguments.services:
        entry["services"] = arguments.services
    line = json.dumps(entry, ensure_ascii=False)
    ApiKeys.parse(f"[{line}]")  # raises what a collector would raise
    print("The key, which is not shown again, and its entry for PROFBUCKET_KEYS:", file=sys.stderr)
    print(secret)
    print(line)
