"""Group commit: concurrent calls share the syncs of the disk, which take as long for many as for one."""

import os
import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from profbucket.errors import Unavailable

_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class GroupCommit(Generic[_Key, _Item, _Result]):
    """Commits all items together that arrive for a key during another commit for it.

    There is neither a thread nor a delay: a call that meets no other commits its item at once; those that arrive
    meanwhile wait, and the first of them commits for all.
    """

    def __init__(self) -> None:
        self._reset()
        _all_groups.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[_Key, list[_Call[_Item, _Result]]] = {}  # has the keys that are being committed

    def call(
        self, key: _Key, item: _Item, commit: Callable[[_Key, Sequence[_Item]], Sequence[_Result]]
    ) -> _Result:
        """Return the result of *item* once it is committed, or raise its error.

        *commit*, the same for all calls, is called with a key and its items, and returns a result for each. If
        it raises ``Unavailable``, as after a timeout, all items fail. After any other error, each item is
        committed alone, so it must be repeatable.
        """
        call = _Call[_Item, _Result](item)
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is None:
                self._waiting[key] = []
                call.group = [call]
            else:
                waiting.append(call)
        if not call.group:
            call.turn.acquire()
        if call.group:
            self._lead(key, call.group, commit)
        if call.error is not None:
            raise call.error
        return call.results[0]

    def _lead(
        self,
        key: _Key,
        group: "list[_Call[_Item, _Result]]",
        commit: Callable[[_Key, Sequence[_Item]], Sequence[_Result]],
    ) -> None:
        """Commit *group*, wake its calls, and let the first of those that wait lead them."""
        try:
            _commit_group(key, group, commit)
        finally:
            with self._lock:
                waiting = self._waiting.pop(key)
                if waiting:
                    self._waiting[key] = []
                    waiting[0].group = waiting
            for call in [*group[1:], *waiting[:1]]:
                call.turn.release()


class _Call(Generic[_Item, _Result]):
    """A call that waits for its ``turn``: then it is done, or the first of a ``group`` that it must commit."""

    def __init__(self, item: _Item) -> None:
        self.item = item
        self.group: list[_Call[_Item, _Result]] = []
        self.results: list[_Result] = []
        self.error: Exception | None = Unavailable("the write was interrupted")
        self.turn = threading.Lock()
        self.turn.acquire()


def _commit_group(
    key: _Key,
    group: Sequence[_Call[_Item, _Result]],
    commit: Callable[[_Key, Sequence[_Item]], Sequence[_Result]],
) -> None:
    try:
        for call, result in zip(group, commit(key, [call.item for call in group]), strict=True):
            call.results, call.error = [result], None
    except Unavailable as error:  # one timeout for all, not one for each
        for call in group:
            call.error = error
    except Exception as error:  # noqa: BLE001 - raised by the calls
        if len(group) == 1:
            group[0].error = error
            return
        for call in group:
            _commit_group(key, [call], commit)


def _after_fork_in_child() -> None:
    # The threads that were committing exist only in the parent.
    for groups in list(_all_groups):
        groups._reset()


_all_groups: weakref.WeakSet[GroupCommit[Any, Any, Any]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork_in_child)
