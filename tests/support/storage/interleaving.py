"""All interleavings of actors on one storage in memory, as a graph of the states that they lead to.

An actor is deterministic: its next call depends only on the results of its calls before. So these results are its
state, and it is continued by running it again with them. Interleavings that lead to the same results and the same
storage meet in one node of the graph, from which each continuation is tried once.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage

Actor = Callable[[Storage], None]

_READS = {
    *("get", "get_many", "stat", "verify", "list", "sign_url"),
    *("find", "snapshot", "snapshot_columns", "blocks", "series", "label_values", "services", "profile_types"),
    "due_tasks",
}  # any other method may write
_CONSTANTS = {"max_members"}


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
    for target, original in ((bucket, storage.bucket), (index, storage.index)):
        for name, value in vars(original).items():
            if name != "_lock":
                setattr(target, name, value.copy())
    return Storage(bucket, index)


class _Items(tuple[Any, ...]):
    """The items of an iterator."""

    __slots__ = ()


def _collect(value: Any) -> Any:
    """Return *value* with its iterators replaced by their items."""
    if isinstance(value, Iterator):
        return _Items(value)
    return tuple(map(_collect, value)) if type(value) is tuple else value


def _iterate(value: Any) -> Any:
    """Return a copy of a collected *value*, with iterators."""
    if isinstance(value, _Items):
        return iter(value)
    if type(value) is tuple:
        return tuple(map(_iterate, value))
    return copy(value)


def _freeze(value: Any) -> Hashable:
    """Return a key that equal values, and no others, have in common."""
    if isinstance(value, Mapping):
        return dict, tuple((key, _freeze(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_freeze, value))
    if isinstance(value, Set):
        return frozenset(value)
    if isinstance(value, Exception):
        return type(value), str(value)
    if is_dataclass(value):
        return type(value), tuple(_freeze(getattr(value, field.name)) for field in fields(value))
    assert isinstance(value, Hashable)
    return value


class Call:
    """A call of an actor to the bucket or the index."""

    def __init__(self, port: str, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        self.port, self.method = port, method
        # A generator argument can be read once, and a call is made in several states.
        self._arguments = [list(item) if isinstance(item, Iterator) else item for item in arguments]
        self._options = options
        self.key = port, method, _freeze(self._arguments), _freeze(options)

    @property
    def is_write(self) -> bool:
        return self.method not in _READS

    def perform(self, storage: Storage) -> "Result":
        method = getattr(getattr(storage, self.port), self.method)
        try:
            return Result(_collect(method(*self._arguments, **self._options)))
        except Exception as error:  # noqa: BLE001 - the actor gets it
            return Result(error)


class Result:
    """The value that a call returned, or the error that it raised."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.key = _freeze(value)

    def get(self) -> Any:
        if isinstance(self._value, Exception):
            raise copy(self._value)
        return _iterate(self._value)


class Snapshot:
    """A storage that is never changed. Equal storages that share *known* have one snapshot."""

    def __init__(self, storage: Storage, known: "dict[Hashable, Snapshot]") -> None:
        self.storage = storage
        self._known = known

    @classmethod
    def take(cls, storage: Storage, known: "dict[Hashable, Snapshot]") -> "Snapshot":
        """Return the snapshot of *storage*, which is sorted: its order would show which call came first."""
        key = []
        for port in (storage.bucket, storage.index):
            for name, value in list(vars(port).items()):
                if name != "_lock":
                    setattr(port, name, _sort(value))
                    key.append(_freeze(getattr(port, name)))
        return known.setdefault(tuple(key), cls(storage, known))

    def perform(self, call: Call) -> "tuple[Result, Snapshot]":
        """Return the result of *call*, and the storage after it."""
        if not call.is_write:
            return call.perform(self.storage), self
        storage = copy_storage(self.storage)
        return call.perform(storage), Snapshot.take(storage, self._known)


def _sort(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, dict) else set(sorted(value, key=repr))  # noqa: C414


class NotDeterministic(BaseException):
    """An actor made another call although all results were the same."""


class Process:
    """An actor after some calls, before its next one or at its end, which may be an *error*."""

    def __init__(self, actor: Actor, history: tuple[tuple[Call, Result], ...] = ()) -> None:
        self._actor, self._history = actor, history
        self.call: Call | None = None
        self.error: Exception | None = None
        self._following: dict[Hashable, Process] = {}

    def start(self, snapshot: Snapshot) -> "Process":
        """Find the next call. Run the actor on to its end, alone in *snapshot*, as it has to be run anyway."""
        run = _Run(self, self._history, snapshot)
        try:
            self._actor(Storage(_Port("bucket", run), _Port("index", run)))
        except Exception as error:  # noqa: BLE001 - an error ends the actor
            run.process.error = error
        return self

    def step(self, snapshot: Snapshot) -> "tuple[Process, Snapshot]":
        """Return the actor and the storage after the next call."""
        assert self.call
        result, changed = snapshot.perform(self.call)
        return self._following.get(result.key) or self.follow(self.call, result).start(changed), changed

    def follow(self, call: Call, result: Result) -> "Process":
        """Add and return the actor after the next *call* with this *result*."""
        self.call = call
        self._following[result.key] = Process(self._actor, (*self._history, (call, result)))
        return self._following[result.key]


class _Run:
    """A run of an actor: its first calls have known results, all others change *snapshot*."""

    def __init__(self, process: Process, history: Iterable[tuple[Call, Result]], snapshot: Snapshot) -> None:
        self.process = process
        self._history = iter(history)
        self._snapshot = snapshot

    def perform(self, call: Call) -> Any:
        known, result = next(self._history, (call, None))
        if call.key != known.key:
            raise NotDeterministic(f"{call.key} instead of {known.key}")
        if result is None:
            result, self._snapshot = self._snapshot.perform(call)
            self.process = self.process.follow(call, result)
        return result.get()


class _Port:
    """The bucket or the index that an actor calls."""

    def __init__(self, name: str, run: _Run) -> None:
        self._name, self._run = name, run

    def __getattr__(self, method: str) -> Any:
        if method in _CONSTANTS:
            return getattr(MemoryIndex, method)
        return lambda *arguments, **options: self._run.perform(Call(self._name, method, arguments, options))


class Node:
    """A storage and its actors after some calls. *interleavings* lead to it, one of them is *schedule*."""

    def __init__(
        self, snapshot: Snapshot, processes: tuple[Process, ...], previous: "tuple[Node, int] | None" = None
    ) -> None:
        self.snapshot, self.processes = snapshot, processes
        self._previous = previous
        self.interleavings = 0 if previous else 1

    @property
    def schedule(self) -> list[int]:
        """The numbers of the actors that made the calls."""
        if self._previous is None:
            return []
        node, actor = self._previous
        return [*node.schedule, actor]

    @property
    def is_final(self) -> bool:
        return all(process.call is None for process in self.processes)


class Graph:
    """The nodes that *actors* reach from a *storage* in memory."""

    def __init__(self, storage: Storage, actors: Sequence[Actor]) -> None:
        snapshot = Snapshot.take(copy_storage(storage), {})
        self.initial = Node(snapshot, tuple(Process(actor).start(snapshot) for actor in actors))
        self._steps: dict[tuple[Process, Snapshot], tuple[Process, Snapshot]] = {}

    def explore(self) -> Iterator[Node]:
        """Yield each node once, those after fewer calls first."""
        nodes = [self.initial]
        while nodes:
            yield from nodes
            following: dict[object, Node] = {}
            for node in nodes:
                for actor, process in enumerate(node.processes):
                    if process.call:
                        processes, snapshot = self._step(node, actor)
                        reached = following.get((processes, snapshot))
                        if reached is None:
                            reached = following[processes, snapshot] = Node(snapshot, processes, (node, actor))
                        reached.interleavings += node.interleavings
            nodes = list(following.values())

    def walk(self, schedule: Iterable[int]) -> Iterator[Node]:
        """Yield the nodes of *schedule*, and of what is left of each actor, one after the other."""
        node = self.initial
        yield node
        for actor in schedule:
            if node.processes[actor].call:
                node = self._follow(node, actor)
                yield node
        for actor in range(len(node.processes)):
            while node.processes[actor].call:
                node = self._follow(node, actor)
                yield node

    def _follow(self, node: Node, actor: int) -> Node:
        processes, snapshot = self._step(node, actor)
        return Node(snapshot, processes, (node, actor))

    def _step(self, node: Node, actor: int) -> tuple[tuple[Process, ...], Snapshot]:
        step = node.processes[actor], node.snapshot
        if step not in self._steps:
            self._steps[step] = step[0].step(step[1])
        process, snapshot = self._steps[step]
        return (*node.processes[:actor], process, *node.processes[actor + 1 :]), snapshot
