"""Input and output of the commands: files, standard streams, error messages, progress."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from profbucket.model.printable import to_printable

T = TypeVar("T")

_PROGRESS_SECONDS = 0.1  # between two updates


def print_error(error: Exception | str) -> int:
    """Print one line about *error* on stderr; return the exit code 1."""
    print(f"profbucket: {to_printable(describe_error(error))}", file=sys.stderr)
    return 1


def describe_error(error: Exception | str) -> str:
    """Return the message of *error*: for an ``OSError`` the file and what the system says."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror or str(error)


def print_line(text: str) -> None:
    """Print *text* on stdout, which may be a terminal: names from profiles and collectors are untrusted input."""
    print(to_printable(text))


def read_file(path: str) -> bytes:
    """Return the content of *path*, or standard input for ``-``."""
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as stream:
        return stream.read()


def write_file(path: str, data: bytes) -> None:
    """Write *data* to *path*, or to standard output for ``-``."""
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with open(path, "wb") as stream:
        stream.write(data)


def show_progress(
    items: Iterable[T], label: str, total: int | None = None, describe: Callable[[T], str] = lambda _: ""
) -> Iterator[T]:
    """Yield *items*; if stderr is a terminal, print there how many have been yielded, and describe the last."""
    if not sys.stderr.isatty():
        yield from items
        return
    updated = 0.0
    for count, item in enumerate(items, 1):
        if count == total or time.monotonic() - updated > _PROGRESS_SECONDS:
            updated = time.monotonic()
            share = f"{count}/{total}  {100 * count // total}%" if total else f"{count}  {describe(item)}"
            print(f"\r{label}  {to_printable(share)}\x1b[K", end="", file=sys.stderr, flush=True)
        yield item
    print(f"\r{label}  done\x1b[K" if total is None else "", file=sys.stderr)
