"""The argument parser of a command: argparse, with errors as exceptions and short usage lines."""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

Arguments = argparse.Namespace


class UsageError(Exception):
    """A command line that makes no sense; the program prints the message below the usage and exits with 2."""


class Parser(argparse.ArgumentParser):
    """The parser of one command. Its options belong into the group ``options``."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            usage="%(prog)s [OPTIONS]",
            description=description.strip(),
            formatter_class=_Formatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.options = self.add_argument_group("Options")
        self.takes_command = (
            False  # the first positional argument and all after it are someone else's command line
        )

    def add_positional(self, name: str, *, metavar: str, **settings: Any) -> None:
        """Add a positional argument, shown in the usage line as *metavar* unless that is empty.

        The description explains it.
        """
        self.usage = f"{self.usage} {metavar}".rstrip()
        self.add_argument(name, metavar=metavar, help=argparse.SUPPRESS, **settings)

    def parse(self, arguments: Sequence[str]) -> Arguments:
        """Parse *arguments*, with options and positional arguments in any order; raise ``UsageError``."""
        if self.takes_command:
            return self.parse_args(arguments)
        return self.parse_intermixed_args(_join_negative_values(arguments))

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"max_help_position": 30, **settings})

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, prefix or "Usage: ")

    def _get_help_string(self, action: argparse.Action) -> str:
        return f"{action.help} [required]" if action.required else action.help or ""


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a ``type=`` for whole numbers from *minimum* to *maximum*."""

    def integer(text: str) -> int:  # argparse shows its name
        value = int(text)
        if value < minimum or (maximum is not None and value > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"{value} is out of range; it must be {bounds}")
        return value

    return integer


def _join_negative_values(arguments: Sequence[str]) -> list[str]:
    """Write ``--from -15m`` as ``--from=-15m``: argparse takes what starts with a dash for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and re.match(r"-\d", argument) and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
