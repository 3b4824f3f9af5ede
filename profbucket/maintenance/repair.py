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
from profbucket.maintenance.profile_repair import recheck_profile
from profbucket.model.blocks import Block
from profbucket.storage.store import Storage

_log = logging.getLogger(__name__)

_WORKERS = 16
_MAX_PENDING = 8 * _WORKERS  # findings that are being checked


def fsck(storage: Storage, service: str | None = None, since: int = 0, *, deep: bool = False) -> Iterator[Finding]:
    """Yield a finding for each profile and block, of one *service* or all, from the time *since*; change nothing.

    Profiles that are in a block and have no entry are correct and not reported. With *deep*, all objects are read
    and compared with their digests, those of such profiles, too.
    """
    return _check_all(storage, service, since, deep=deep)


def reindex(storage: Storage, service: str | None = None, since: int = 0) -> Iterator[Finding]:
    """Yield the findings of :func:`fsck`, each after it was repaired. Collectors may write in the meantime.

    If the index itself is damaged, it is moved aside, and a new one is made of all services.
    """
    try:
        yield from _check_all(storage, service, since, repair=True)
    except Damaged as error:
        if error.code != "damaged_index" or (moved := storage.index.replace_damaged()) is None:
            raise
        _log.error("%s; it was moved to %s, and all services are indexed again", error, moved)
        yield from _check_all(storage, None, 0, repair=True)


def _check_all(
    storage: Storage, service: str | None, since: int, *, repair: bool = False, deep: bool = False
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


def _recheck(storage: Storage, finding: Finding, repair: bool, deep: bool) -> Finding:
    """Check *finding* again, because the walk saw object and entry at different times, and repair it."""
    if finding.state in (State.UNKNOWN_OBJECT, State.DAMAGED) or (finding.state is State.OK and not deep):
        return finding
    if isinstance(finding.entry, Block):
        return recheck_block(storage, finding, finding.entry, repair=repair, deep=deep)
    return recheck_profile(storage, finding, finding.entry, repair=repair, deep=deep)
