"""Compaction: profiles of the head become blocks, blocks become larger blocks, replaced objects are deleted.

The index has tasks: each names a lane (a service and profile type) and a period. That of a short period is added
with its first profile, and is for all lanes of the service if batches of several types are stored; that of a
longer one is added when the task of a shorter period in it is done. A run does the tasks that are due, and looks
at nothing else. Once a day it visits each service as a whole, in case a task was lost. A task is claimed before it
is done, so that of concurrent runs one does it, and so that a profile that arrives meanwhile adds it again.

An error ends only the work on its own lane; it is logged, and the run goes on with the next.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.maintenance.lane import Action, Compaction, JointCompaction, Lane, Step, finished_until
from profbucket.maintenance.stages import list_joint_stages, list_stages
from profbucket.model.ids import block_prefix
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import Task, period_task
from profbucket.periods import CompactionPolicy
from profbucket.storage.listing import list_folders
from profbucket.storage.memory import MemoryQueue
from profbucket.storage.ports import TaskQueue
from profbucket.storage.store import Storage
from profbucket.times import DAY, LATEST, SECOND, read_clock

__all__ = ["Action", "Compactor", "Step"]

_MAX_TASKS = 10_000  # in one answer of the index
_MIN_CLAIM_SECONDS = 900  # after which a task is done again if its run ended without a trace

_log = logging.getLogger(__name__)


class Compactor:
    """Compaction of *storage*. *clock* returns nanoseconds since 1970, *timer* returns seconds.

    With *export_samples*, the samples of a day are exported as a table after its block has been committed.

    After a run, ``complete`` tells whether it had time for everything, ``failed`` is the number of errors, each of
    which was logged, and ``oldest_head_seconds`` is the age of the oldest profile that should be in a block.
    """

    def __init__(
        self,
        storage: Storage,
        limits: Limits = Limits(),
        policy: CompactionPolicy = CompactionPolicy(),
        clock: Callable[[], int] = read_clock,
        timer: Callable[[], float] = time.monotonic,
        *,
        export_samples: bool = False,
    ) -> None:
        self._storage = storage
        self._index = storage.index
        self._limits = limits
        self._policy = policy
        self._clock = clock
        self._timer = timer
        self._export_samples = export_samples
        self.complete = True
        self.failed = 0
        self.oldest_head_seconds = 0

    def run(self, seconds: float | None = None, service: str | None = None) -> Iterator[Step]:
        """Compact everything of one *service* or of all, and yield each step once it is done.

        No step begins after that many *seconds*; the next run continues. Services and profile types take turns, in
        random order, so that a large one does not delay the others.
        """
        self._begin(seconds)
        self._tidy_series(all_services=service is None)
        services = self._index.services() if service is None else [service]
        random.shuffle(services)
        queue: deque[str | Iterator[Step]] = deque(services)
        while queue and not self._is_late():
            work = queue.popleft()
            if isinstance(work, str):
                queue.extendleft(map(self._run_lane, self._list_lanes_of(work)))
            elif (step := next(work, None)) is not None:
                yield step
                queue.append(work)
        self._end(complete=not queue)

    def run_due(self, seconds: float | None = None) -> Iterator[Step]:
        """Do all tasks that are due in this process, and yield each step once it is done.

        No step begins after that many *seconds*; the next run continues.
        """
        self._begin(seconds)
        queue = MemoryQueue()
        self._add_visits()
        while self.complete and queue.put(self._due_tasks()):  # compacting the head adds tasks that merge blocks
            while task := queue.take():
                if self._is_late():
                    self._note_unfinished(task)
                    self.complete = False
                else:
                    yield from self._run_task(task)
        self._end(complete=self.complete)

    def enqueue_due(self, queue: TaskQueue) -> int:
        """Put all tasks that are due into *queue*, which has :meth:`run_task` called; return how many are new."""
        self._begin(None)
        self._add_visits()
        tasks = self._due_tasks()
        for task in filter(self._is_overdue, tasks):
            self._note_unfinished(task)
        count = queue.put(tasks)
        self._end(complete=True)
        return count

    def run_task(self, task: Task, seconds: float | None = None) -> Iterator[Step]:
        """Do *task*, unless another run does or has done it, and yield each step once it is done.

        It remains, to be done again, if it fails for reasons that may pass, or if *seconds* are over.
        """
        self._begin(seconds)
        yield from self._run_task(task)
        if self.oldest_head_seconds or not self.complete:
            self._end(complete=self.complete)

    def _begin(self, seconds: float | None) -> None:
        self._deadline = float("inf") if seconds is None else self._timer() + seconds
        self.complete, self.failed, self.oldest_head_seconds = True, 0, 0

    def _is_late(self) -> bool:
        return self._deadline < float("inf") and self._timer() >= self._deadline

    def _end(self, *, complete: bool) -> None:
        self.complete = complete
        fields = {"oldest_head_seconds": self.oldest_head_seconds, "failed": self.failed}
        if not complete:
            _log.warning("compaction incomplete", extra={"fields": fields})
        _log.info("compaction done", extra={"fields": fields})

    def _tidy_series(self, *, all_services: bool = False) -> None:
        try:
            self._index.tidy_series(all_services=all_services)
        except ProfbucketError as error:
            _log.error("cannot tidy the series in the index: %s", error)
            self._log_failure("", None, error)

    def _add_visits(self) -> None:
        """Tidy the series, and once a day, add tasks that look at each service as a whole.

        A task without service marks the day.
        """
        now = self._clock()
        today = (now + DAY // 2) // DAY * DAY - DAY // 2  # from noon to noon: at midnight there is much to do
        marker = Task("", None, 0, today, LATEST)
        is_first_run = self._index.add_task(marker)
        self._tidy_series(all_services=is_first_run)
        if not is_first_run:
            return
        try:
            for service in self._index.services():
                self._index.add_task(Task(service, None, 0, 0, now))
            self._index.replace_task(Task("", None, 0, today - DAY, LATEST))
        except BaseException:
            self._index.replace_task(marker)  # the next run tries again
            raise

    def _due_tasks(self) -> list[Task]:
        """Return the tasks that are due; those of a lane only after the task of all lanes for the same period.

        What both could compact is then compacted together.
        """
        tasks = self._index.due_tasks(self._clock(), _MAX_TASKS)
        periods = {(task.service, task.period, task.begin) for task in tasks if task.type is None and task.period}
        return [
            task for task in tasks if task.type is None or (task.service, task.period, task.begin) not in periods
        ]

    def _is_overdue(self, task: Task) -> bool:
        """Return whether *task* has been due for two periods, or a run claimed it and ended without a trace."""
        short = self._policy.short * SECOND
        if not task.period or task.due < self._clock() - 2 * short:
            return True
        at_once = task.due % short == 0  # was added by a late profile
        usual = period_task(self._policy, task.service, task.type, task.period, task.begin)
        return task != usual and not at_once

    def _note_unfinished(self, task: Task) -> None:
        if 0 < task.period <= self._policy.short:
            self._note_oldest(task.begin)

    def _note_oldest(self, created_at: int) -> None:
        """Take into account that a profile of this time is not in a block yet."""
        self.oldest_head_seconds = max(self.oldest_head_seconds, (self._clock() - created_at) // SECOND)

    def _run_task(self, task: Task) -> Iterator[Step]:
        claim_seconds = max(2 * self._policy.seconds, _MIN_CLAIM_SECONDS)
        claimed = task.postpone(self._clock() + claim_seconds * SECOND)
        try:
            if not self._index.replace_task(task, claimed):
                return  # another run has claimed it
            work = self._list_work(task)
            for compaction, stages in work:
                yield from self._run_stages(compaction, stages, task)
            parts = [part for compaction, _ in work for part in compaction.list_parts()]
            self._index.replace_task(claimed, self._follow_up(task, parts))
        except ProfbucketError as error:  # the index fails; the task is due again when the claim ends
            self._log_failure(task.service, task.type, error)

    def _list_work(self, task: Task) -> Sequence[tuple[Compaction, Iterator[Iterator[Step]]]]:
        """Return the compactions that *task* is for, one for each lane or a joint one, with their stages."""
        if task.period and not task.type:
            joint = JointCompaction(self._storage, task.service, self._limits, self._policy, self._clock)
            return [(joint, list_joint_stages(joint, task))]
        lanes = [self._lane(task.service, task.type)] if task.type else self._list_lanes(task.service)
        return [(lane, list_stages(lane, task, export_samples=self._export_samples)) for lane in lanes]

    def _follow_up(self, task: Task, parts: Sequence[Compaction]) -> Task | None:
        """Return the task that replaces *task* after it was done by all *parts* of its compactions."""
        if any(part.is_unfinished for part in parts):
            self._note_unfinished(task)
            return task
        if any(part.has_replaced or part.has_failed_exports for part in parts):
            # To delete what was replaced, and to export again.
            return task.postpone(self._clock() + (self._policy.grace + 1) * SECOND)
        if task.period:
            period = max(task.period, self._policy.short)
            if task.last >= finished_until(self._policy, period, self._clock()):  # its writer has shorter periods
                return period_task(self._policy, task.service, task.type, period, task.begin)
        return None

    def _run_lane(self, lane: Lane) -> Iterator[Step]:
        """Do everything for *lane*."""
        return self._run_stages(lane, list_stages(lane, None, export_samples=self._export_samples), None)

    def _run_stages(
        self, compaction: Compaction, stages: Iterator[Iterator[Step]], task: Task | None
    ) -> Iterator[Step]:
        """Do the *stages* of *compaction*, for *task* if given. Errors are logged and end only this compaction."""
        for stage in stages:
            if compaction.oldest_left is not None:
                self._note_oldest(compaction.oldest_left)
            try:
                for step in stage:
                    yield step
                    if task and not step.with_next and self._is_late():
                        self.complete, compaction.is_unfinished = False, True
                        break
            except Exception as error:  # noqa: BLE001 - unforeseen damage must not keep others from being compacted
                compaction.fail(error)
            if compaction.is_unfinished:
                break
        for part in compaction.list_parts():
            if part.errors:
                self._log_failure(part.service, part.type, part.errors[0], len(part.errors))

    def _lane(self, service: str, profile_type: ProfileType) -> Lane:
        return Lane(self._storage, service, profile_type, self._limits, self._policy, self._clock)

    def _list_lanes(self, service: str) -> list[Lane]:
        """Return the lanes of *service* that have entries or objects of blocks, in random order."""
        profile_types = set(self._index.profile_types(service))
        for folder in list_folders(self._storage.bucket, block_prefix(service)):
            with suppress(ValueError):  # not written by profbucket
                profile_types.add(ProfileType(folder))
        lanes = [self._lane(service, profile_type) for profile_type in profile_types if profile_type.is_pprof]
        random.shuffle(lanes)
        return lanes

    def _list_lanes_of(self, service: str) -> list[Lane]:
        """Return what :meth:`_list_lanes` returns; nothing, and an error is logged, if that fails."""
        try:
            return self._list_lanes(service)
        except Exception as error:  # noqa: BLE001 - as above
            _log.error("cannot list the profile types of service %s: %s", service, error)
            self._log_failure(service, None, error)
            return []

    def _log_failure(
        self, service: str, profile_type: ProfileType | None, error: Exception, count: int = 1
    ) -> None:
        self.failed += count
        code = error.code if isinstance(error, ProfbucketError) else ProfbucketError.default_code
        fields = {"service": service, "type": profile_type, "code": code}
        _log.error("compaction of a lane failed", extra={"fields": fields})
