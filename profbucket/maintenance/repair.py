"""Compare the index with the bucket, and rebuild it from the bucket.

The bucket is the source of truth: an object's key and metadata hold all that an index entry holds, and a block
lists its members. Blocks are compared first, then profiles: objects and entries of one service and profile type
are walked side by side in the order of time, so that memory does not grow with their number. What is correct is
only read, so a walk that was cut off can be run again.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from profbucket.errors import Damaged, Invalid, NotFound
from profbucket.maintenance.live_blocks import BlockMembership, list_blocks, select_live
from profbucket.model.blocks import Block, Members
from profbucket.model.ids import BLOCKS, RESERVED, ProfileId, profile_prefix, unescape_service
from profbucket.model.meta import Meta, series_id
from profbucket.model.profile_type import ProfileType
from profbucket.storage.listing import list_prefix, with_metadata
from profbucket.storage.metadata import from_metadata
from profbucket.storage.ports import Bucket, Object, Selection, Series
from profbucket.storage.store import Storage
from profbucket.times import LATEST

_log = logging.getLogger(__name__)

_WORKERS = 16
_MAX_PENDING = 8 * _WORKERS  # findings that are being checked


class State(StrEnum):
    """The state of an object and its index entry."""

    OK = "ok"
    MISSING_ENTRY = "missing_entry"  # there is an object, but no entry, or the entry's series is missing
    MISSING_OBJECT = "missing_object"  # there is an entry, but no object
    MISMATCH = "mismatch"  # the entry differs from the object
    DUPLICATE = "duplicate"  # the entry's profiles are in a live block: posted again, or a block that was merged
    UNKNOWN_OBJECT = "unknown_object"  # the object is not a profile or a block; it is left alone


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one object, its entry, or both."""

    state: State
    object_key: str
    object: Object | None = None
    entry: Meta | Block | None = None


def fsck(storage: Storage, service: str | None = None, since: int = 0) -> Iterator[Finding]:
    """Yield a finding for each profile and block, of one *service* or all, from the time *since*; change nothing.

    Profiles that are in a block and have no entry are correct and not reported.
    """
    return _check_all(storage, service, since, repair=False)


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


def _check_all(storage: Storage, service: str | None, since: int, *, repair: bool) -> Iterator[Finding]:
    pending: deque[Future[Finding]] = deque()
    threads = ThreadPoolExecutor(_WORKERS, "repair")
    try:
        for finding in _walk(storage, service, since):
            pending.append(threads.submit(_check, storage, finding, repair))
            if len(pending) == _MAX_PENDING:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _check(storage: Storage, finding: Finding, repair: bool) -> Finding:
    """Check *finding* again, because the walk saw object and entry at different times, and repair it."""
    if finding.state in (State.OK, State.UNKNOWN_OBJECT):
        return finding
    if isinstance(finding.entry, Block):
        return _check_block(storage, finding, finding.entry, repair)
    if finding.state is State.DUPLICATE and finding.entry:
        if repair:
            storage.index.remove([finding.entry.id])
        return finding
    return _check_profile(storage, finding, repair)


def _check_profile(storage: Storage, finding: Finding, repair: bool) -> Finding:
    bucket, index = storage.bucket, storage.index
    try:
        obj = with_metadata(bucket, finding.object) if finding.object else bucket.stat(finding.object_key)
        meta = from_metadata(obj.key, obj.size, obj.metadata or {})
    except NotFound:
        if finding.entry is None:
            return Finding(State.OK, finding.object_key)  # expired since the walk: neither exists
        if repair:
            index.remove([finding.entry.id])
        return finding
    except Invalid:
        return Finding(State.UNKNOWN_OBJECT, finding.object_key)
    if finding.state is State.MISSING_OBJECT:
        return Finding(State.OK, finding.object_key)  # written after the bucket was listed
    if repair:
        if finding.state is State.MISMATCH:
            index.remove([meta.id])
        if not index.add(meta):  # an entry that no find reads, because it is damaged
            index.remove([meta.id])
            index.add(meta)
    return finding


def _check_block(storage: Storage, finding: Finding, block: Block, repair: bool) -> Finding:
    index = storage.index
    if finding.state is State.MISSING_OBJECT:
        with suppress(NotFound):
            storage.bucket.stat(block.id)
            return Finding(State.OK, finding.object_key)  # written after the bucket was listed
    if repair and finding.state is not State.MISSING_ENTRY:
        index.remove([block.id])
    if repair and finding.state in (State.MISSING_ENTRY, State.MISMATCH):
        [members] = storage.lookup.read_members([block])
        for labels in members.labels if isinstance(members, Members) else ():
            index.add_series(
                Series(series_id(block.service, block.type, labels), block.service, block.type, labels)
            )
        index.commit(block, (), ())
    return finding


def _walk(storage: Storage, service: str | None, since: int) -> Iterator[Finding]:
    services = {service} if service else {*_list_services(storage.bucket), *storage.index.services()}
    for name in sorted(services):
        for profile_type in sorted(ProfileType):
            yield from _compare(storage, name, profile_type, since)


def _list_services(bucket: Bucket) -> Iterator[str]:
    """Yield the services that have objects, some twice. Only the first object of each is listed."""
    for top in ("", BLOCKS):
        start = top
        while (first := next(bucket.list(start, f"{top}\x7f"), None)) is not None:
            segment, slash, _ = first.key.removeprefix(top).partition("/")
            # Skip all keys below the segment ("0" is the character after "/"), or a key that has no slash.
            start = f"{top}{segment}0" if slash else f"{top}{segment} "
            if slash and segment != RESERVED:
                try:
                    yield unescape_service(segment)
                except ValueError:
                    continue  # not written by profbucket


def _compare(storage: Storage, service: str, profile_type: ProfileType, since: int) -> Iterator[Finding]:
    objects = list(list_blocks(storage, service, profile_type, since))
    yield from (Finding(State.UNKNOWN_OBJECT, obj.key, obj) for obj, block in objects if block is None)
    blocks = [block for _, block in objects if block]
    committed = storage.index.blocks(service, profile_type, since, LATEST)
    live = select_live(storage, blocks, committed)
    yield from _compare_blocks({block.id for block in blocks}, committed, live)
    yield from _compare_profiles(storage, service, profile_type, since, BlockMembership(storage, live))


def _compare_blocks(
    stored_ids: Collection[str], committed: Sequence[Block], live: Sequence[Block]
) -> Iterator[Finding]:
    """Yield the findings that make the index have exactly the *live* blocks; those to remove come first."""
    live_by_id = {block.id: block for block in live}
    committed_by_id = {block.id: block for block in committed}
    for object_key, block in committed_by_id.items():
        if object_key not in live_by_id:
            state = State.DUPLICATE if object_key in stored_ids else State.MISSING_OBJECT
            yield Finding(state, object_key, None, block)
    for object_key, block in live_by_id.items():
        entry = committed_by_id.get(object_key)
        state = State.MISSING_ENTRY if entry is None else State.OK if entry == block else State.MISMATCH
        yield Finding(state, object_key, None, block)


def _compare_profiles(
    storage: Storage, service: str, profile_type: ProfileType, since: int, compacted: BlockMembership
) -> Iterator[Finding]:
    """Walk objects and entries of one service and profile type side by side: keys sort as positions do."""
    objects = list_prefix(storage.bucket, profile_prefix(service, profile_type), since)
    entries = storage.index.find(Selection(service, profile_type, since, LATEST))
    series_ids = {series.id for series in storage.index.series(service, profile_type)}
    obj, entry = next(objects, None), next(entries, None)
    while obj or entry:
        entry_key = ProfileId.parse(entry.id).object_key if entry else ""
        if obj and (not entry or obj.key < entry_key):
            profile_id = _parse_key(obj.key)
            if profile_id is None:
                yield Finding(State.UNKNOWN_OBJECT, obj.key, obj)
            elif profile_id not in compacted:
                yield Finding(State.MISSING_ENTRY, obj.key, obj)
            obj = next(objects, None)
            continue
        assert entry  # noqa: S101 - tells the type checker
        own_object = obj if obj and obj.key == entry_key else None
        if ProfileId.parse(entry.id) in compacted:
            state = State.DUPLICATE
        elif own_object is None:
            state = State.MISSING_OBJECT
        else:
            state = _compare_entry(own_object, entry, series_ids)
        yield Finding(state, entry_key, own_object, entry)
        obj, entry = next(objects, None) if own_object else obj, next(entries, None)


def _compare_entry(obj: Object, entry: Meta, series_ids: Collection[str]) -> State:
    if obj.metadata is not None:
        try:
            if from_metadata(obj.key, obj.size, obj.metadata) != entry:
                return State.MISMATCH
        except Invalid:
            return State.UNKNOWN_OBJECT
    elif obj.size != entry.size:
        return State.MISMATCH
    return State.OK if entry.series in series_ids else State.MISSING_ENTRY


def _parse_key(object_key: str) -> ProfileId | None:
    try:
        return ProfileId.from_object_key(object_key)
    except Invalid:
        return None
