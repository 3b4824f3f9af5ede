"""The string table of a merge. Without numpy: the process that splits profiles does not import it."""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from itertools import count
from sys import byteorder


class StringTable(defaultdict[bytes, bytes]):
    """Interned strings. The empty string has index 0; each new string gets the next index.

    ``table[text]`` is the index as the eight bytes of an int64 array: a lookup in C, also for many strings at
    once.
    """

    def __init__(self) -> None:
        super().__init__(map(partial(int.to_bytes, length=8, byteorder=byteorder), count()).__next__)
        self._texts: list[bytes] = []
        self.intern_all((b"",))

    def intern(self, text: bytes) -> int:
        """Return the index of *text*."""
        return int.from_bytes(self[text], byteorder)

    def intern_all(self, texts: Iterable[bytes]) -> bytes:
        """Return the indexes of *texts* as the bytes of an int64 array."""
        return b"".join(map(self.__getitem__, texts))

    def find_text(self, index: int) -> bytes:
        """Return the string with this *index*."""
        if len(self._texts) < len(self):
            self._texts = list(self)
        return self._texts[index]
