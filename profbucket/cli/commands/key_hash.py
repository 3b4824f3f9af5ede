"""Print the SHA-256 of an API key, for PROFBUCKET_KEYS.

Prompts for the key on a terminal, without echo; otherwise reads one line from
standard input.
"""

import sys

from profbucket.auth import hash_secret
from profbucket.cli.parser import Arguments, Parser
from profbucket.errors import Invalid

_MIN_CHARACTERS = 32  # an unsalted hash protects random secrets only


def add_arguments(parser: Parser) -> None:
    pass


def run(_: Arguments) -> None:
    if sys.stdin.isatty():
        from getpass import getpass

        secret = getpass("Key: ", sys.stderr).strip()
    else:
        secret = sys.stdin.readline().strip()
    if len(secret) < _MIN_CHARACTERS:
        raise Invalid(
            f"the key has {len(secret)} characters and could be guessed; use a random one of at least"
            f" {_MIN_CHARACTERS}, such as `profbucket key create` generates"
        )
    print(hash_secret(secret).hex())
