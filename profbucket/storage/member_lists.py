"""Member lists of blocks that were decoded before."""

import threading
from collections import OrderedDict

from profbucket.model.blocks import Members

_MAX_MEMBERS = 20_000  # some ten megabytes


class MemberLists:
    """The member lists that were used last, with at most *max_members* members in all.

    A list is kept with the bytes that it was decoded from, and is found only for the same ones: so an object that
    is damaged, replaced or gone is still noticed by reading it, which takes a fraction of the time.
    """

    def __init__(self, max_members: int = _MAX_MEMBERS) -> None:
        self._max_members = max_members
        self._members = 0
        self._lists: OrderedDict[str, tuple[bytes, Members]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, block_id: str, data: bytes) -> Members | None:
        """Return what was decoded from *data*; ``None`` if that is not kept."""
        with self._lock:
            kept, members = self._lists.get(block_id, (None, None))
            if kept != data:
                return None
            self._lists.move_to_end(block_id)
            return members

    def put(self, block_id: str, data: bytes, members: Members) -> None:
        """Keep what was decoded from *data*; drop the lists that have not been used for the longest time."""
        with self._lock:
            _, replaced = self._lists.pop(block_id, (b"", ()))
            self._members += len(members) - len(replaced)
            self._lists[block_id] = data, members
            while self._members > self._max_members:
                _, (_, dropped) = self._lists.popitem(last=False)
                self._members -= len(dropped)
