"""A profile in pieces, and its strings by number: what protobuf takes apart and numpy takes in."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from sys import byteorder


class Strings(defaultdict[bytes, bytes]):
    """Numbers for strings, from 0 for the empty one, and a new one for each new text.

    ``strings[text]`` is the number as the eight bytes that it has in an array: one look-up in C, and so is a
    table's worth of them.
    """

    def __init__(self) -> None:
        super().__init__(map(partial(int.to_bytes, length=8, byteorder=byteorder), count()).__next__)
        self.numbers((b"",))

    def number(self, text: bytes) -> int:
        """The number of *text*."""
        return int.from_bytes(self[text], byteorder)

    def numbers(self, texts: Iterable[bytes]) -> bytes:
        """The numbers of *texts*, as an array has them."""
        return b"".join(map(self.__getitem__, texts))


@dataclass(slots=True)
class Pending:
    """A profile that waits for its batch."""

    name: str
    raw: bytes
    stream: bytes = b""  # all but strings, samples, locations and functions
    samples: list[bytes] = field(default_factory=list)
    places: bytes = b""  # locations and functions
    strings: bytes = b""  # the numbers of its strings
    checked: bool = False  # by the plain decoder
