"""The queue that spreads the tasks of a compaction."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from profbucket.model.tasks import Task


class TaskQueue(Protocol):
    """Tasks that are each done by one call of :meth:`Compactor.run_task`, in this process or another."""

    def put(self, tasks: Sequence[Task]) -> int:
        """Add *tasks* and return how many were not in the queue yet. A task may be done more than once."""
        ...


class LocalQueue:
    """A queue of this process. Each task is returned once."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()
        self._seen: set[Task] = set()

    def put(self, tasks: Sequence[Task]) -> int:
        new = [task for task in tasks if task not in self._seen]
        self._tasks.extend(new)
        self._seen.update(new)
        return len(new)

    def take(self) -> Task | None:
        """Remove and return the oldest task; ``None`` if there is none."""
        return self._tasks.popleft() if self._tasks else None
