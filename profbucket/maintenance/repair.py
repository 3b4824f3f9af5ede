"""The index compared with the bucket, and made to say what the bucket says.

The bucket is the source of truth: an object's key and metadata are all that an entry holds, and a block lists its
members. Blocks come first, then profiles: objects and entries are walked side by side in the order of time, one
service and type after the other, so that memory does not grow with them; what is right is only read. A walk that
was cut off is therefore resumed by another one.
"""

from collections import deque
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from profbucket.errors import Invalid, NotFound
from profbucket.maintenance.live_blocks import Held, blocks_in, chosen
from profbucket.model.blocks import Block
from profbucket.model.ids import BLOCKS, RESERVED, ProfileId, profile_prefix, unescape_service
from profbucket.model.meta import Meta, series_id
from profbucket.model.profile_type import ProfileType
from profbucket.storage.metadata import from_metadata
from profbucket.storage.ports import Bucket, Object, Selection, Series
from profbucket.storage.store import Storage
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
    TWICE = "twice"  # an entry of what a block holds besides: a profile that was posted again, or another block


@dataclass(frozen=True, slots=True)
class Finding:
    """One object, its entry, or both. ``key`` is the object's."""

    state: State
    key: str
    object: Object | None = None
    entry: Meta | Block | None = None


def fsck(storage: Storage, service: str | None = None, since: int = 0) -> Iterator[Finding]:
    """Yield a finding for each profile and block, of one *service* or all, taken from *since* on; change nothing.

    Profiles that are in a block and have no entry are as they should be, and not mentioned.
    """
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
    if finding.state in (State.GOOD, State.FOREIGN):
        return finding
    if isinstance(finding.entry, Block):
        return _settle_block(storage, finding, finding.entry, mend)
    if finding.state is State.TWICE and finding.entry:
        if mend:
            storage.index.remove([finding.entry.id])
        return finding
    return _settle_profile(storage, finding, mend)


def _settle_profile(storage: Storage, finding: Finding, mend: bool) -> Finding:
    bucket, index = storage.bucket, storage.index
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


def _settle_block(storage: Storage, finding: Finding, block: Block, mend: bool) -> Finding:
    """The same for a block, which is the finding's entry."""
    index = storage.index
    if finding.state is State.STALE:
        with suppress(NotFound):
            storage.bucket.stat(block.id)
            return Finding(State.GOOD, finding.key)  # written since the bucket was listed
    if mend and finding.state is not State.MISSING:
        index.remove([block.id])
    if mend and finding.state in (State.MISSING, State.DIFFERENT):
        [members] = storage.lists([block])
        for labels in members.labels if members else ():
            index.add_series(
                Series(series_id(block.service, block.type, labels), block.service, block.type, labels)
            )
        index.commit(block, (), ())
    return finding


def _walk(storage: Storage, service: str | None, since: int) -> Iterator[Finding]:
    names = {service} if service else {*_services(storage.bucket), *storage.index.services()}
    for name in sorted(names):
        for kind in sorted(ProfileType):
            yield from _compare(storage, name, kind, since)


def _services(bucket: Bucket) -> Iterator[str]:
    """The services that have objects, some twice: the first key of each is read, the others are passed over."""
    for below in ("", BLOCKS):
        start = below
        while (first := next(bucket.list(start, f"{below}\x7f"), None)) is not None:
            part, slash, _ = first.key.removeprefix(below).partition("/")
            # What comes next: the character behind "/", or the first key behind one that is no profile's.
            start = f"{below}{part}0" if slash else f"{below}{part} "
            if slash and part != RESERVED:
                try:
                    yield unescape_service(part)
                except ValueError:
                    continue  # nothing of ours


def _compare(storage: Storage, service: str, kind: ProfileType, since: int) -> Iterator[Finding]:
    blocks = list(blocks_in(storage, service, kind, since))
    known = storage.index.blocks(service, kind, since, LATEST)
    counting = chosen(storage, [block for _, block in blocks if block], known)
    yield from (Finding(State.FOREIGN, there.key, there) for there, block in blocks if block is None)
    yield from _compare_blocks({block.id for _, block in blocks if block}, known, counting)
    yield from _compare_profiles(storage, service, kind, since, Held(storage, counting))


def _compare_blocks(there: Container[str], known: Sequence[Block], counting: Sequence[Block]) -> Iterator[Finding]:
    """What is to be done so that the index has the blocks that count and no others; what to remove comes first."""
    right = {block.id: block for block in counting}
    entries = {block.id: block for block in known}
    for key, block in entries.items():
        if key not in right:
            yield Finding(State.TWICE if key in there else State.STALE, key, None, block)
    for key, block in right.items():
        entry = entries.get(key)
        state = State.MISSING if entry is None else State.GOOD if entry == block else State.DIFFERENT
        yield Finding(state, key, None, block)


def _compare_profiles(
    storage: Storage, service: str, kind: ProfileType, since: int, held: Held
) -> Iterator[Finding]:
    """Walk objects and entries of one service and type side by side: keys sort as positions do."""
    below = profile_prefix(service, kind)
    objects = storage.bucket.list(f"{below}{format_stamp(since)}" if since else below, f"{below[:-1]}0")
    entries = storage.index.find(Selection(service, kind, since, LATEST))
    series = {one.id for one in storage.index.series(service, kind)}
    there, entry = next(objects, None), next(entries, None)
    while there or entry:
        key = ProfileId.parse(entry.id).object_key if entry else ""
        if there and (not entry or there.key < key):
            profile_id = _profile(there.key)
            if profile_id is None or profile_id not in held:
                yield Finding(State.MISSING if profile_id else State.FOREIGN, there.key, there)
            there = next(objects, None)
            continue
        assert entry  # noqa: S101 - tells the type checker
        both = there if there and there.key == key else None
        if ProfileId.parse(entry.id) in held:
            yield Finding(State.TWICE, key, both, entry)
        else:
            yield Finding(_state(both, entry, series) if both else State.STALE, key, both, entry)
        there, entry = next(objects, None) if both else there, next(entries, None)


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


def _profile(key: str) -> ProfileId | None:
    try:
        return ProfileId.from_object_key(key)
    except Invalid:
        return None
