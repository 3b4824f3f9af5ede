"""Tasks of compaction: which lane has something to compact, of which time, and from when on.

A lane is all profiles of one service and profile type. Tasks are in the index, so that a compaction looks only at
lanes with something to do. Batches of several types have one task for all of them.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

from profbucket.errors import Invalid
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.times import LATEST, SECOND

MAX_TASK_BYTES = 4096

_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes an encoder for each call

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """Compaction of a lane's profiles that were created in the ``period`` seconds from ``begin`` on.

    Without a ``type`` it is that of all lanes of the service. A ``period`` of 0 means all profiles. ``begin`` and
    ``due`` are nanoseconds since 1970. A task never changes: to postpone it, another takes its place.
    """

    service: str
    type: ProfileType | None
    period: int
    begin: int
    due: int

    @property
    def id(self) -> str:
        """32 hex digits: equal for equal tasks."""
        return sha256(self.dump().encode()).hexdigest()[:32]

    @property
    def last(self) -> int:
        """The last nanosecond of the period."""
        return min(self.begin + self.period * SECOND - 1, LATEST)

    def postpone(self, due: int) -> "Task":
        return replace(self, due=due)

    def dump(self) -> str:
        """Return the task as JSON."""
        return _encode([self.service, self.type, self.period, self.begin, self.due])

    @classmethod
    def load(cls, text: bytes | str) -> "Task":
        """Read what :meth:`dump` wrote, or raise ``Invalid``."""
        try:
            if len(text) > MAX_TASK_BYTES:
                raise ValueError("it is too long")
            service, type_name, *numbers = json.loads(text)
            period, begin, due = numbers
            if not isinstance(service, str) or not all(
                type(number) is int and 0 <= number <= LATEST for number in numbers
            ):
                raise ValueError("its fields have other types")
            return cls(service, None if type_name is None else ProfileType(type_name), period, begin, due)
        except (ValueError, TypeError, RecursionError) as error:
            raise Invalid(f"invalid task of compaction: {error!s:.200}", code="invalid_task") from None


def load_tasks(texts: Iterable[str]) -> list[Task]:
    """Read what :meth:`Task.dump` wrote; log and leave out what is damaged, which must not stop all others."""
    tasks = []
    for text in texts:
        try:
            tasks.append(Task.load(text))
        except Invalid as error:
            _log.error("a damaged task in the index is ignored; compaction visits each lane once a day: %s", error)
    return tasks


def period_task(
    policy: CompactionPolicy, service: str, profile_type: ProfileType | None, period: int, at: int
) -> Task:
    """Return the task that compacts the *period* seconds around the time *at*, once all of them are over."""
    begin = at // (period * SECOND) * period * SECOND
    # Larger periods later, so that the smaller ones in them are compacted first.
    delay = policy.wait + policy.short * sum(level < period for level in policy.levels)
    return Task(service, profile_type, period, begin, min(begin + (period + delay) * SECOND, LATEST))
