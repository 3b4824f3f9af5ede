"""Interleave actors on one storage in memory, call by call, and check after each change what a reader finds."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage

Actor = Callable[[Storage], None]

_WRITES = {"put", "delete", "add", "commit", "remove", "add_series", "add_task", "replace_task", "replace_damaged"}
_OF_TASKS = {"add_task", "due_tasks", "replace_task"}


class Call(NamedTuple):
    """A call of an actor to one of the parts of a storage, which change independently."""

    actor: int
    part: str  # "bucket", "index" or "tasks"
    is_write: bool
    keys: frozenset[str] | None  # of the objects that are read or written; None for any

    def commutes(self, other: "Call") -> bool:
        """Return whether no actor and no reader can tell which of both calls came first. Readers need no tasks."""
        if self.part != other.part:
            return not (self.is_write and other.is_write) or "tasks" in (self.part, other.part)
        if not (self.is_write or other.is_write):
            return True
        is_same_object = self.keys is None or other.keys is None or not self.keys.isdisjoint(other.keys)
        return not (self.is_write and other.is_write) and not is_same_object


def _object_keys(name: str, arguments: Sequence[Any]) -> frozenset[str] | None:
    if name in ("put", "delete", "get", "stat"):
        return frozenset([arguments[0]])
    if name == "get_many":
        return frozenset(object_range.key for object_range in arguments[0])
    return None


class SynchronousExecutor:
    """An executor that runs each task at once, so that all calls of an actor come from one thread."""

    def __init__(self, *_: object) -> None: ...

    def submit(self, task: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(task(*args))
        except Exception as error:  # noqa: BLE001 - the future raises it
            future.set_exception(error)
        return future

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> Iterator[Any]:
        return map(function, *arguments)

    def shutdown(self, *, cancel_futures: bool = False) -> None: ...

    def __enter__(self) -> "SynchronousExecutor":
        return self

    def __exit__(self, *_: object) -> None: ...


def copy_storage(storage: Storage) -> Storage:
    """Return a copy of a storage in memory."""
    bucket, index = MemoryBucket(), MemoryIndex()
    for copy, original in ((bucket, storage.bucket), (index, storage.index)):
        for name, value in vars(original).items():
            if name != "_lock":
                setattr(copy, name, value.copy())
    return Storage(bucket, index)


class _Turns:
    """Threads that take turns as *schedule* says: each number is the actor that makes the next call."""

    def __init__(self, count: int, schedule: Sequence[int], after_call: Callable[[int, Call], None]) -> None:
        self._condition = threading.Condition()
        self._running = set(range(count))
        self._schedule = iter(schedule)
        self._after_call = after_call
        self.calls: list[Call] = []
        with self._condition:
            self._pass_on()

    def call(self, call: Call, method: Callable[[], Any]) -> Any:
        """Wait for the turn of the actor, call *method*, and pass the turn on."""
        with self._condition:
            self._condition.wait_for(lambda: self._turn == call.actor)
            try:
                result = method()
                return iter(list(result)) if isinstance(result, Iterator) else result
            finally:
                self.calls.append(call)
                self._after_call(len(self.calls), call)
                self._pass_on()

    def end(self, actor: int) -> None:
        with self._condition:
            self._running.discard(actor)
            if self._turn == actor:
                self._pass_on()

    def _pass_on(self) -> None:
        rest = min(self._running, default=-1)
        self._turn = next((actor for actor in self._schedule if actor in self._running), rest)
        self._condition.notify_all()


class _Port:
    """A port of the storage, whose calls wait for the turn of *actor*."""

    def __init__(self, port: Any, part: str, turns: _Turns, actor: int) -> None:
        self._port, self._part, self._turns, self._actor = port, part, turns, actor

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not callable(method):
            return method
        part = "tasks" if name in _OF_TASKS else self._part

        def call(*arguments: Any, **options: Any) -> Any:
            record = Call(self._actor, part, name in _WRITES, _object_keys(name, arguments))
            return self._turns.call(record, lambda: method(*arguments, **options))

        return call


def interleave(
    storage: Storage, actors: Sequence[Actor], schedule: Sequence[int], after_call: Callable[[int, Call], None]
) -> list[Call]:
    """Run the calls of *actors* in the order of *schedule*, then what is left of each, one after the other.

    Call *after_call* after each call, with the number of calls so far; raise the first error of an actor. Return
    all calls.
    """
    turns = _Turns(len(actors), schedule, after_call)
    errors: list[BaseException] = []

    def act(number: int, actor: Actor) -> None:
        try:
            bucket = _Port(storage.bucket, "bucket", turns, number)
            actor(Storage(bucket, _Port(storage.index, "index", turns, number)))
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)
        finally:
            turns.end(number)

    threads = [threading.Thread(target=act, args=item) for item in enumerate(actors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return turns.calls


def explore(run: Callable[[Sequence[int]], list[Call]]) -> int:
    """Call *run* with schedules of two actors that cover all interleavings; return their number.

    Of interleavings that differ only in the order of calls that commute, one is enough: that in which actor 0 is
    first. So a call of actor 1 is never followed by one of actor 0 that commutes with it.
    """
    number = 0
    schedules: list[tuple[int, ...]] = [()]
    while schedules:
        schedule = schedules.pop()
        calls = run(schedule)
        number += 1
        end = len(schedule)
        is_equivalent = 0 < end < len(calls) and calls[end].actor == 0 and calls[end - 1].commutes(calls[end])
        if calls[-1].actor == 1:  # before the last calls of actor 0, both have calls to make
            schedules += (
                (*(call.actor for call in calls[:position]), 1)
                for position in range(end, end + 1 if is_equivalent else len(calls))
                if calls[position].actor == 0
            )
    return number
