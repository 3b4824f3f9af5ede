"""The route that a scheduler calls to compact the storage, and a queue with each task."""

from collections.abc import Callable, Iterable, Mapping
from copy import copy

from flask import Response, request

from profbucket.api.authentication import authenticate_request
from profbucket.api.responses import json_response
from profbucket.auth import Authenticator, Scope
from profbucket.errors import ProfbucketError, Unavailable
from profbucket.maintenance.compactor import Action, Compactor, Step
from profbucket.model.tasks import MAX_TASK_BYTES, Task
from profbucket.storage.ports import TaskQueue
from profbucket.telemetry.metrics import Metrics
from profbucket.telemetry.request import current_record

OpenQueue = Callable[[str], TaskQueue]  # by the URL to which it posts the tasks


class CompactRoutes:
    """The view that runs *compactor* for at most *max_seconds*, or hands its tasks to a queue."""

    def __init__(
        self,
        compactor: Compactor,
        authenticator: Authenticator,
        max_seconds: int,
        open_queue: OpenQueue | None,
        metrics: Metrics,
    ) -> None:
        self._compactor = compactor
        self._authenticator = authenticator
        self._max_seconds = max_seconds
        self._open_queue = open_queue
        self._failed = 0
        self._oldest_head_seconds = 0
        metrics.watch("compaction_errors", "Errors of compactions since the start.", lambda: self._failed)
        metrics.watch(
            "compaction_oldest_head_seconds",
            "Age of the oldest profile that should be in a block, at the last compaction.",
            lambda: self._oldest_head_seconds,
        )

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"compact": self.post}

    def post(self) -> Response:
        """Do the task in the body; without one, all tasks that are due, or hand them to the queue.

        Return the number of steps per action, with status 500 if some profiles failed.
        """
        authenticate_request(self._authenticator, Scope.ADMIN)
        compactor = copy(self._compactor)  # it has the outcome of one run
        counts = dict.fromkeys((*map(str, Action), "profiles", "enqueued"), 0)
        current_record().counts = counts
        if text := request.stream.read(MAX_TASK_BYTES + 1):
            _count(counts, compactor.run_task(Task.load(text), self._max_seconds))
            if not compactor.complete:  # the queue posts the task again
                raise Unavailable(
                    "the time was too short for this task; post it again", code="compaction_incomplete"
                )
        elif self._open_queue:
            counts["enqueued"] = compactor.enqueue_due(self._open_queue(f"https://{request.host}/"))
        else:
            _count(counts, compactor.run_due(self._max_seconds))
        self._failed += compactor.failed
        self._oldest_head_seconds = compactor.oldest_head_seconds
        body = {
            **counts,
            "complete": compactor.complete,
            "failed": compactor.failed,
            "oldest_head_seconds": compactor.oldest_head_seconds,
        }
        if not compactor.failed:
            return json_response(body)
        error = ProfbucketError(
            f"{compactor.failed} errors during the compaction; the log has them, and all else was compacted",
            code="compaction_failed",
        )
        return json_response(body, error.status, error=str(error), error_code=error.code)


def _count(counts: dict[str, int], steps: Iterable[Step]) -> None:
    for step in steps:
        counts[step.action] += 1
        counts["profiles"] += step.profiles
