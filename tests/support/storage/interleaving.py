"""Interleave two actors on one storage in memory, call by call, and check after each call what a reader finds."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from profbucket.storage.store import Storage

Actor = Callable[[Storage], None]


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


class _Turns:
    """Threads that take turns: *schedule* yields the number of the thread that makes the next call."""

    def __init__(self, count: int, schedule: Iterator[int], after_call: Callable[[], None]) -> None:
        self._condition = threading.Condition()
        self._running = set(range(count))
        self._schedule = schedule
        self._after_call = after_call
        self._turn = next(schedule)
        self.calls = [0] * count

    def call(self, number: int, method: Callable[..., Any], *args: Any) -> Any:
        """Wait for the turn of actor *number*, call *method*, and pass the turn on."""
        with self._condition:
            self._condition.wait_for(lambda: self._turn == number)
            try:
                result = method(*args)
                return iter(list(result)) if isinstance(result, Iterator) else result
            finally:
                self.calls[number] += 1
                self._after_call()
                self._pass_on()

    def end(self, number: int) -> None:
        with self._condition:
            self._running.discard(number)
            if self._turn == number:
                self._pass_on()

    def _pass_on(self) -> None:
        self._turn = next(self._schedule)
        if self._running and self._turn not in self._running:
            self._turn = min(self._running)
        self._condition.notify_all()


class _Port:
    """A port of the storage, whose calls wait for their turn."""

    def __init__(self, port: Any, turns: _Turns, number: int) -> None:
        self._port, self._turns, self._number = port, turns, number

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not callable(method):
            return method
        return lambda *args, **kwargs: self._turns.call(self._number, lambda: method(*args, **kwargs))


def interleave(
    storage: Storage, actors: list[Actor], first: int, second: int, check: Callable[[], None]
) -> list[int]:
    """Run *first* calls of the first of two *actors*, *second* of the other, then the rest of each.

    Call *check* after each call; raise the first error of an actor. Return how many calls each made.
    """

    def schedule() -> Iterator[int]:
        yield from [0] * first + [1] * second
        while True:
            yield 0

    turns = _Turns(len(actors), schedule(), check)
    errors: list[BaseException] = []

    def act(number: int, actor: Actor) -> None:
        try:
            ports = (_Port(port, turns, number) for port in (storage.bucket, storage.index))
            actor(Storage(*ports))  # type: ignore[arg-type]
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
