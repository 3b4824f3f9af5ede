"""Compare the index with the bucket, and rebuild it from the bucket.

The bucket is the source of truth: an object's key and metadata hold all that an index entry holds, and a block
lists its members. What is correct is only read, so a run that was cut off can be repeated.
"""

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from profbucket.errors import Damaged
from profbucket.maintenance.block_repair import recheck_block
from profbucket.maintenance.comparison import compare
from profbucket.maintenance.findings import Finding, State
from profbucket.maintenance.profile_repair import SeriesWriter, recheck_profile
from profbucket.model.blocks import Block
from profbucket.model.ids import ProfileId
from profbucket.storage.store import Storage

_log = logging.getLogger(__name__)

_WORKERS = 16
_MAX_PENDING = 8 * _WORKERS  # findings that are being checked
_MAX_WITHOUT_TASK = 1000  # entries that were added


def fsck(storage: Storage, service: str | None = None, since: int = 0, *, deep: bool = False) -> Iterator[Finding]:
    """Yield a finding for each profile and block, of one *service* or all, from the time *since*; change nothing.

    Profiles that are in a block and have no entry are correct and not reported. With *deep*, all objects are read
    and compared with their digests, those of such profiles, too.
    """
    return _check_all(storage, service, since, None, deep=deep)


def reindex(storage: Storage, service: str | None = None, since: int = 0) -> Iterator[Finding]:
    """Yield the findings of :func:`fsck`, each after it was repaired. Collectors may write in the meantime.

    If the index itself is damaged, it is moved aside, and a new one is made of all services.
    """
    try:
        yield from _repair_all(storage, service, since)
    except Damaged as error:
        if error.code != "damaged_index" or (moved := storage.index.replace_damaged()) is None:
            raise
        _log.error("%s; it was moved to %s, and all services are indexed again", error, moved)
        yield from _repair_all(storage, None, 0)


def _repair_all(storage: Storage, service: str | None, since: int) -> Iterator[Finding]:
    """Yield each finding after it was repaired.

    Tasks are added after many entries, because those of an hour have the same one. The daily visit of compaction
    finds the entries whose tasks are lost if the run is killed in between.
    """
    added: list[ProfileId] = []  # whose tasks have not been added
    try:
        for finding in _check_all(storage, service, since, SeriesWriter(storage.index)):
            if finding.state in (State.MISSING_ENTRY, State.MISMATCH) and not isinstance(finding.entry, Block):
                added.append(ProfileId.from_object_key(finding.object_key))
                if len(added) == _MAX_WITHOUT_TASK:
                    storage.add_tasks(added)
                    added.clear()
            yield finding
    finally:
        storage.add_tasks(added)


def _check_all(
    storage: Storage, service: str | None, since: int, repair: SeriesWriter | None, *, deep: bool = False
) -> Iterator[Finding]:
    pending: deque[Future[Finding]] = deque()
    threads = ThreadPoolExecutor(_WORKERS, "repair")
    try:
        for finding in compare(storage, service, since, deep=deep):
            pending.append(threads.submit(_recheck, storage, finding, repair, deep))
            if isinstance(finding.entry, Block):
                pending[-1].exception()  # entries are removed only if a block in the index has their profiles
            if len(pending) == _MAX_PENDING:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _recheck(storage: Storage, finding: Finding, repair: SeriesWriter | None, deep: bool) -> Finding:
    """Check *finding* again, because the walk saw object and entry at different times, and repair it."""
    if finding.state in (State.UNKNOWN_OBJECT, State.DAMAGED) or (finding.state is State.OK and not deep):
        return finding
    if isinstance(finding.entry, Block):
        return recheck_block(storage, finding, finding.entry, repair=repair is not None, deep=deep)
    return recheck_profile(storage, finding, finding.entry, repair, deep=deep)
