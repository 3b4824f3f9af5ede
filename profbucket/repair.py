"""The index compared with the bucket, and made to say what the bucket says.

The bucket is the source of truth: an object's key and metadata are all that an entry holds. Both are walked side
by side in the order of time, one service and type after the other, so that memory does not grow with them; what
is right is only read. A walk that was cut off is therefore resumed by another one.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from profbucket.errors import Invalid, NotFound
from profbucket.keys import RESERVED, Id, prefix, unescape
from profbucket.meta import Meta, ProfileType
from profbucket.ports import Bucket, Index, Object, Selection
from profbucket.storage import Storage, from_metadata
from profbucket.times import LATEST, format_stamp

_WORKERS = 16
_AHEAD = 8 * _WORKERS  # findings that are being looked into


class State(StrEnum):
    """How an object and its entry stand."""

    GOOD = "good"
    MISSING = "missing"  # an object without an entry, or an entry whose series is not there
    STALE = "stale"  # an entry without an object
    DIFFERENT = "different"  # an entry that says something else than its object
    FOREIGN = "foreign"  # an object among profiles that is none: left alone


@dataclass(frozen=True, slots=True)
class Finding:
    """One object, its entry, or both. ``key`` is the object's."""

    state: State
    key: str
    object: Object | None = None
    entry: Meta | None = None


def fsck(storage: Storage, service: str | None = None, since: int = 0) -> Iterator[Finding]:
    """Yield a finding for each profile, of one *service* or all, taken from *since* on; change nothing."""
    return _settled(storage, service, since, mend=False)


def reindex(storage: Storage, service: str | None = None, since: int = 0) -> Iterator[Finding]:
    """The same, and mend each finding before it is yielded. Profiles may be written and expire meanwhile."""
    return _settled(storage, service, since, mend=True)


def _settled(storage: Storage, service: str | None, since: int, *, mend: bool) -> Iterator[Finding]:
    pending: deque[Future[Finding]] = deque()
    threads = ThreadPoolExecutor(_WORKERS, "repair")
    try:
        for finding in _walk(storage, service, since):
            pending.append(threads.submit(_settle, storage, finding, mend))
            if len(pending) == _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _settle(storage: Storage, finding: Finding, mend: bool) -> Finding:
    """Look into *finding* once more, as the walk saw object and entry at different times, and mend it."""
    bucket, index = storage.bucket, storage.index
    if finding.state in (State.GOOD, State.FOREIGN):
        return finding
    try:
        there = finding.object
        if there is None or there.metadata is None:
            there = bucket.stat(finding.key)
        meta = from_metadata(there.key, there.size, there.metadata or {})
    except NotFound:
        if finding.entry is None:
            return Finding(State.GOOD, finding.key)  # expired since: there is neither
        if mend:
            index.remove([finding.entry.id])
        return finding
    except Invalid:
        return Finding(State.FOREIGN, finding.key)
    if finding.state is State.STALE:
        return Finding(State.GOOD, finding.key)  # written since the bucket was listed
    if mend:
        if finding.state is State.DIFFERENT:
            index.remove([meta.id])
        index.add(meta)
    return finding


def _walk(storage: Storage, service: str | None, since: int) -> Iterator[Finding]:
    names = {service} if service else {*_services(storage.bucket), *storage.index.services()}
    for name in sorted(names):
        for kind in sorted(ProfileType):
            yield from _compare(storage.bucket, storage.index, name, kind, since)


def _services(bucket: Bucket) -> Iterator[str]:
    """The services that have objects: the first key of each is read, and the others are passed over."""
    start = ""
    while (first := next(bucket.list(start, "\x7f"), None)) is not None:
        part, slash, _ = first.key.partition("/")
        # What comes next: the character behind "/", or the first key behind one that is no profile's.
        start = f"{part}0" if slash else f"{part} "
        if slash and part != RESERVED:
            try:
                yield unescape(part)
            except ValueError:
                continue  # nothing of ours


def _compare(bucket: Bucket, index: Index, service: str, kind: ProfileType, since: int) -> Iterator[Finding]:
    """Walk objects and entries of one service and type side by side: keys sort as positions do."""
    below = prefix(service, kind)
    objects = bucket.list(f"{below}{format_stamp(since)}" if since else below, f"{below[:-1]}0")
    entries = index.find(Selection(service, kind, since, LATEST))
    series = {one.id for one in index.series(service, kind)}
    there, entry = next(objects, None), next(entries, None)
    while there or entry:
        key = Id.parse(entry.id).key if entry else ""
        if there and (not entry or there.key < key):
            state = State.MISSING if _is_profile(there.key) else State.FOREIGN
            yield Finding(state, there.key, there)
            there = next(objects, None)
        elif entry and (not there or key < there.key):
            yield Finding(State.STALE, key, None, entry)
            entry = next(entries, None)
        else:
            assert there  # noqa: S101 - tells the type checker
            assert entry  # noqa: S101
            yield Finding(_state(there, entry, series), key, there, entry)
            there, entry = next(objects, None), next(entries, None)


def _state(there: Object, entry: Meta, series: set[str]) -> State:
    if there.metadata is not None:
        try:
            if from_metadata(there.key, there.size, there.metadata) != entry:
                return State.DIFFERENT
        except Invalid:
            return State.FOREIGN
    elif there.size != entry.size:
        return State.DIFFERENT
    return State.GOOD if entry.series in series else State.MISSING


def _is_profile(key: str) -> bool:
    try:
        Id.of_key(key)
    except Invalid:
        return False
    return True
