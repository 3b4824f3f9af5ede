"""Compare the index with the bucket, and rebuild it from the bucket.

The bucket is the source of truth: an object's key and metadata hold all that an index entry holds, and a block
lists its members. Blocks are compared first, then profiles: objects and entries of one service and profile type
are walked side by side in the order of time, so that memory does not grow with their number. What is correct is
only read, so a walk that was cut off can be run again.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain

from profbucket.errors import (
    Damaged,
    Invalid,
    Misconfigured,
    NotFound,
    ProfbucketError,
    StoragePermissionError,
    Unavailable,
)
from profbucket.maintenance.copies import Copy, copy_aside, list_copies, part_of_copy, split_batch
from profbucket.maintenance.live_blocks import BlockMembership, list_blocks, select_live
from profbucket.maintenance.profile_totals import compute_totals
from profbucket.maintenance.read_back import read_back
from profbucket.model.blocks import Block, Members
from profbucket.model.ids import (
    BLOCKS,
    RESERVED,
    ProfileId,
    block_prefix,
    profile_prefix,
    unescape_service,
)
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import list_series
from profbucket.storage.batches import is_batch_key, read_tables
from profbucket.storage.damage import check_object, check_profile, check_size, content_metadata
from profbucket.storage.listing import list_folders, with_metadata
from profbucket.storage.lookup import range_of_profile
from profbucket.storage.metadata import add_kinds, from_metadata, has_totals, to_metadata
from profbucket.storage.ports import (
    Bucket,
    ExpectedBlocks,
    Object,
    Selection,
    Series,
    SeriesSelection,
)
from profbucket.storage.store import Storage
from profbucket.times import LATEST

_log = logging.getLogger(__name__)

_WORKERS = 16
_MAX_ATTEMPTS = 5  # to repair a block while compaction replaces those around it
_MAX_PENDING = 8 * _WORKERS  # findings that are being checked


class State(StrEnum):
    """The state of an object and its index entry."""

    OK = "ok"
    MISSING_ENTRY = "missing_entry"  # there is an object, but no entry, or no series with its sample types
    MISSING_OBJECT = "missing_object"  # there is an entry, but no object
    MISMATCH = "mismatch"  # the entry differs from the object
    DUPLICATE = "duplicate"  # the entry's profiles are in a live block: posted again, or a block that was merged
    MISSING_SERIES = "missing_series"  # a block has a member of no series, or of one without its sample types
    DAMAGED = "damaged"  # the object is not what was written; fsck and reindex leave it alone
    QUARANTINED = "quarantined"  # the damaged object was moved aside
    RESTORED = "restored"  # metadata that were damaged were written again; the damaged object was copied aside
    UNKNOWN_OBJECT = "unknown_object"  # the object is not a profile or a block; it is left alone


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one object, its entry, or both.

    A profile in a batch has the key that its own object would have. ``copy`` is what the bucket has of it.
    """

    state: State
    object_key: str
    copy: Copy | None = None
    entry: Meta | Block | None = None

    @property
    def batch(self) -> str | None:
        """The key of the batch that the finding is about, or that has the profile."""
        if isinstance(self.copy, Meta):
            return range_of_profile(self.copy).key
        return self.object_key if is_batch_key(self.object_key) else None


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


def quarantine(storage: Storage, service: str | None = None, since: int = 0) -> Iterator[Finding]:
    """Move the objects that :func:`fsck` with *deep* finds damaged below ``_/quarantine/``, then reindex.

    Yield a finding for each, and those of :func:`reindex`. A damaged block gives way to the profiles in it that
    still have an object of their own.
    """
    for name in _select_services(storage, service):
        # All of a service is read before anything is moved: what is moved cannot be read any more.
        damaged = [finding for finding in fsck(storage, name, since, deep=True) if finding.state is State.DAMAGED]
        damaged_batches: set[str] = set()
        for finding in damaged:
            if finding.batch:
                damaged_batches.add(finding.batch)
            else:
                yield _move_aside(storage, finding)
        # Batches last: their intact members take the keys of objects that were moved.
        gone = {key for key in sorted(damaged_batches) if not split_batch(storage, key)}
        for finding in damaged:
            if finding.batch:
                state = State.OK if finding.batch in gone else State.QUARANTINED  # expired in the meantime
                yield replace(finding, state=state)
    yield from reindex(storage, service, since)


def _move_aside(storage: Storage, finding: Finding) -> Finding:
    bucket, object_key, entry = storage.bucket, finding.object_key, finding.entry
    try:
        data = bucket.get(object_key)
        metadata = dict(bucket.stat(object_key).metadata or {})
    except NotFound:
        return Finding(State.OK, object_key)  # expired in the meantime
    except Damaged:
        metadata = {}
    copy_aside(bucket, object_key, data, metadata)
    if isinstance(entry, Meta):
        with suppress(Damaged):
            check_profile(entry, data)
            bucket.replace(object_key, data, to_metadata(entry) | content_metadata(data))
            return replace(finding, state=State.RESTORED)
    if entry:
        storage.index.remove([entry.id])
    bucket.delete(object_key)
    return replace(finding, state=State.QUARANTINED)


def _check_all(
    storage: Storage, service: str | None, since: int, *, repair: bool = False, deep: bool = False
) -> Iterator[Finding]:
    pending: deque[Future[Finding]] = deque()
    threads = ThreadPoolExecutor(_WORKERS, "repair")
    try:
        for finding in _walk(storage, service, since, deep):
            pending.append(threads.submit(_check, storage, finding, repair, deep))
            if isinstance(finding.entry, Block):
                pending[-1].exception()  # entries are removed only if a block in the index has their profiles
            if len(pending) == _MAX_PENDING:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _check(storage: Storage, finding: Finding, repair: bool, deep: bool) -> Finding:
    """Check *finding* again, because the walk saw object and entry at different times, and repair it."""
    if finding.state in (State.UNKNOWN_OBJECT, State.DAMAGED) or (finding.state is State.OK and not deep):
        return finding
    if isinstance(finding.entry, Block):
        if deep and finding.state is not State.MISSING_OBJECT and not _is_block_intact(storage, finding.entry):
            return replace(finding, state=State.DAMAGED)
        return _check_block(storage, finding, finding.entry, repair)
    if finding.state is State.DUPLICATE and finding.entry:
        if repair and not _remove_duplicate(storage, finding.entry):
            return replace(finding, state=State.OK)  # the blocks have changed since the walk read the index
        return finding
    return _check_profile(storage, finding, repair, deep)


def _remove_duplicate(storage: Storage, entry: Meta) -> bool:
    """Remove *entry* if a block in the index has its profile; return whether it was removed."""
    index, created_at = storage.index, entry.created_at
    overlapping = index.blocks(entry.service, entry.type, created_at, created_at)
    lists = storage.lookup.read_members(overlapping)
    if not any(isinstance(members, Members) and members.member_ids([entry]) for members in lists):
        return False
    expected = ExpectedBlocks.among(overlapping, entry.service, entry.type, created_at, created_at)
    return index.commit(None, [entry.id], (), expected)


def _check_profile(storage: Storage, finding: Finding, repair: bool, deep: bool) -> Finding:
    index = storage.index
    try:
        meta = _read_copy(storage, finding, deep=deep or finding.state is State.MISMATCH)
    except NotFound:
        if finding.entry is None:
            return Finding(State.OK, finding.object_key)  # expired since the walk: neither exists
        if repair:
            index.remove([finding.entry.id])
        return finding
    except (Invalid, Damaged):
        return replace(finding, state=State.DAMAGED)
    if finding.state is State.MISSING_OBJECT:
        return Finding(State.OK, finding.object_key)  # written after the bucket was listed
    if repair and finding.state is not State.OK:
        if finding.state is State.MISMATCH:
            index.remove([meta.id])
        index.add_series(Series.of(meta))
        if not storage.add_entry(meta) and not _has_entry(storage, meta):  # a damaged entry, which no find reads
            index.remove([meta.id])
            index.add(meta)
    return finding


def _read_copy(storage: Storage, finding: Finding, *, deep: bool) -> Meta:
    """Return the meta of the copy of a profile, or of the one that its entry points to; raise as `_read_meta`."""
    member = finding.copy or finding.entry
    if not isinstance(member, Meta) or member.part is None:
        bucket = storage.bucket
        obj = (
            with_metadata(bucket, finding.copy)
            if isinstance(finding.copy, Object)
            else bucket.stat(finding.object_key)
        )
        return _read_meta(storage, obj, deep=deep)
    if deep or finding.copy is None:
        [data] = storage.lookup.read_profiles([member])
        if data is None:
            raise NotFound(f"no object {finding.object_key!r}")
        if isinstance(data, Damaged):
            raise data
    return member


def _has_entry(storage: Storage, meta: Meta) -> bool:
    entries = storage.index.find(Selection(meta.service, meta.type, meta.created_at, meta.created_at))
    return any(entry.id == meta.id for entry in entries)


def _read_meta(storage: Storage, obj: Object, *, deep: bool) -> Meta:
    """Return the meta of a profile's object; raise ``NotFound``, ``Invalid``, or ``Damaged``.

    The profile is read and checked if *deep*, and if it is older than the metadata that tell its size.
    """
    metadata = obj.metadata or {}
    meta = from_metadata(obj.key, obj.size, metadata)
    check_size(obj)
    if deep or "digest" not in metadata or not has_totals(metadata):
        [data] = storage.lookup.read_profiles([meta])
        if data is None:
            raise NotFound(f"no object {obj.key!r}")
        if isinstance(data, Damaged):
            raise data
        if not has_totals(metadata):
            totals = compute_totals(meta, data, storage.limits)
            return replace(meta, totals=add_kinds(totals, metadata))
    return meta


def _is_block_intact(storage: Storage, block: Block) -> bool:
    """Return whether the object of *block* has the bytes that were written; also if it is gone."""
    try:
        obj, data = storage.bucket.stat(block.id), storage.bucket.get(block.id)
        check_object(obj, data)
        if "digest" not in (obj.metadata or {}):
            read_back(block, data, storage.limits)
    except NotFound:
        return True
    except ProfbucketError as error:
        if isinstance(error, Unavailable | StoragePermissionError | Misconfigured):
            raise
        return False
    return True


def _check_block(storage: Storage, finding: Finding, block: Block, repair: bool) -> Finding:
    if finding.state is State.MISSING_OBJECT:
        with suppress(NotFound):
            storage.bucket.stat(block.id)
            return Finding(State.OK, finding.object_key)  # written after the bucket was listed
    if finding.state is State.OK:
        return finding
    if repair:
        if finding.state in (State.MISSING_ENTRY, State.MISSING_SERIES, State.MISMATCH):
            _add_series(storage, block)
        if finding.state is not State.MISSING_SERIES and not _repair_block(storage, finding.state, block):
            return replace(finding, state=State.OK)  # compaction has changed the blocks: nothing is left to repair
    return finding


def _add_series(storage: Storage, block: Block) -> None:
    [members] = storage.lookup.read_members([block])
    for series in list_series(map(Series.of, members.metas() if isinstance(members, Members) else ())):
        storage.index.add_series(series)


def _repair_block(storage: Storage, state: State, block: Block) -> bool:
    """Add *block* to the index, replace it there, or remove it. Return whether that was still right.

    Compaction may have replaced blocks since the walk read the index. So the decision is made again, from the
    blocks that overlap now, and committed on condition that they are still those.
    """
    index = storage.index
    for _ in range(_MAX_ATTEMPTS):
        overlapping = index.blocks(block.service, block.type, block.first, block.last)
        expected = ExpectedBlocks.among(overlapping, block.service, block.type, block.first, block.last)
        others = [other for other in overlapping if other.id != block.id]
        is_committed = block.id in expected.ids
        if is_committed is (state is State.MISSING_ENTRY):
            return False
        sharing, is_certain = _find_sharing(storage, block, others)
        if state is State.MISSING_ENTRY and not (is_certain and all(sharing.values())):
            return False
        if state is State.DUPLICATE and not sharing:
            return False
        added = None if state in (State.DUPLICATE, State.MISSING_OBJECT) else block
        replaced = [block.id] if is_committed else list(sharing)
        if index.commit(added, (), replaced, expected):
            return True
    raise Unavailable(
        f"compaction kept replacing the blocks that overlap {block.id}; run reindex again",
        code="compaction_in_progress",
    )


def _find_sharing(storage: Storage, block: Block, others: Sequence[Block]) -> tuple[dict[str, bool], bool]:
    """Return the ids of those of *others* that share a member with *block*, and whether all lists can be read.

    The values say whether *block* has all their members, and more.
    """
    first, *rest = storage.lookup.read_members([block, *others])
    names = set(first.names()) if isinstance(first, Members) else set()
    sharing = {
        other.id: names > set(members.names())
        for other, members in zip(others, rest, strict=True)
        if isinstance(members, Members) and not names.isdisjoint(members.names())
    }
    return sharing, not any(isinstance(members, Damaged) for members in rest)


def _walk(storage: Storage, service: str | None, since: int, deep: bool) -> Iterator[Finding]:
    for name in _select_services(storage, service):
        profile_types = {*_list_types(storage.bucket, name), *storage.index.profile_types(name)}
        for obj, table in read_tables(storage.bucket, name, since):
            if isinstance(table, Damaged):
                yield Finding(State.DAMAGED, obj.key, obj)
            else:
                profile_types.update(meta.type for meta in table)
        for profile_type in sorted(profile_types):
            yield from _compare(storage, name, profile_type, since, deep)


def _select_services(storage: Storage, service: str | None) -> list[str]:
    """Return *service*, or all that have objects or entries."""
    return [service] if service else sorted({*_list_services(storage.bucket), *storage.index.services()})


def _list_services(bucket: Bucket) -> Iterator[str]:
    """Yield the services that have objects, some twice."""
    for folder in chain(list_folders(bucket), list_folders(bucket, BLOCKS)):
        with suppress(ValueError):  # not written by profbucket
            if folder != RESERVED:
                yield unescape_service(folder)


def _list_types(bucket: Bucket, service: str) -> Iterator[ProfileType]:
    """Yield the profile types of *service* that have objects, some twice."""
    for prefix in (profile_prefix(service), block_prefix(service)):
        for folder in list_folders(bucket, prefix):
            with suppress(ValueError):  # not written by profbucket
                yield ProfileType(folder)


def _compare(
    storage: Storage, service: str, profile_type: ProfileType, since: int, deep: bool
) -> Iterator[Finding]:
    # The index first: a block that is replaced afterwards is still found, as its object is kept for a while.
    committed = storage.index.blocks(service, profile_type, since, LATEST)
    objects = list(list_blocks(storage, service, profile_type, since))
    yield from (Finding(State.UNKNOWN_OBJECT, obj.key, obj) for obj, block in objects if block is None)
    damaged_keys = {obj.key for obj, block in objects if isinstance(block, Damaged)}
    blocks = [block for _, block in objects if isinstance(block, Block)]
    # The index still knows what the metadata of a damaged object have lost, and some of its parts may be readable.
    blocks += [block for block in committed if block.id in damaged_keys]
    live = select_live(storage, blocks, committed)
    series = {series.id: series for series in storage.index.series(SeriesSelection(service, profile_type))}
    membership = BlockMembership(storage, live, {block.id for block in committed}, series)
    correct: dict[str, Block] = {}  # as far as their member lists can be read and have a series for all labels
    for finding in _compare_blocks({block.id for block in blocks}, committed, live):
        if finding.state is State.OK and isinstance(finding.entry, Block):
            correct[finding.object_key] = finding.entry
        else:
            yield finding
    yield from _compare_profiles(storage, service, profile_type, since, membership, series=series, deep=deep)
    membership.read_rest()
    damaged_keys.update(block.id for block, _ in membership.damaged)
    records = {block.id: block for block in [*live, *committed]}
    yield from (Finding(State.DAMAGED, key, None, records.get(key)) for key in sorted(damaged_keys))
    without_series = {block.id for block in membership.without_series}
    for object_key, block in correct.items():
        if object_key not in damaged_keys:
            state = State.MISSING_SERIES if object_key in without_series else State.OK
            yield Finding(state, object_key, None, block)


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
    storage: Storage,
    service: str,
    profile_type: ProfileType,
    since: int,
    compacted: BlockMembership,
    *,
    series: Mapping[str, Series],
    deep: bool,
) -> Iterator[Finding]:
    """Walk copies and entries of one service and profile type side by side: keys sort as positions do."""
    profiles = list_copies(storage.bucket, service, profile_type, since)
    entries = storage.index.find(Selection(service, profile_type, since, LATEST))
    none: tuple[str, list[Copy]] = ("", [])
    (object_key, copies), entry = next(profiles, none), next(entries, None)
    while copies or entry:
        entry_key = ProfileId.parse(entry.id).object_key if entry else ""
        if copies and (not entry or object_key < entry_key):
            first, *others = copies
            profile_id = _parse_key(object_key)
            if profile_id is None:
                yield Finding(State.UNKNOWN_OBJECT, object_key, first)
            elif compacted.contains(profile_id) is False:
                yield Finding(State.MISSING_ENTRY, object_key, first)
            elif deep:
                yield Finding(State.OK, object_key, first)
        else:
            assert entry  # noqa: S101 - tells the type checker
            own = copies if object_key == entry_key else []
            copy = next((copy for copy in own if part_of_copy(copy) == entry.part), next(iter(own), None))
            others = [other for other in own if other is not copy]
            if compacted.contains(ProfileId.parse(entry.id)):
                state = State.DUPLICATE
            elif copy is None:
                state = State.MISSING_OBJECT
            else:
                state = _compare_entry(copy, entry, series)
            yield Finding(state, entry_key, copy, entry)
            entry = next(entries, None)
            if not own:
                continue
        if deep:
            yield from (Finding(State.OK, object_key, other) for other in others)
        object_key, copies = next(profiles, none)


def _compare_entry(copy: Copy, entry: Meta, series: Mapping[str, Series]) -> State:
    if part_of_copy(copy) != entry.part:
        return State.MISMATCH
    if isinstance(copy, Meta):
        if copy != entry:
            return State.MISMATCH
    elif copy.metadata is not None:
        try:
            known = entry if has_totals(copy.metadata) else replace(entry, totals=())
            if from_metadata(copy.key, copy.size, copy.metadata) != known:
                return State.MISMATCH
        except Invalid:
            return State.DAMAGED
    elif copy.size != entry.size:
        return State.MISMATCH
    own_series, names = series.get(entry.series), [(total.type, total.unit) for total in entry.totals]
    return State.OK if own_series and own_series.may_have_sample_types(names) else State.MISSING_ENTRY


def _parse_key(object_key: str) -> ProfileId | None:
    try:
        return ProfileId.from_object_key(object_key)
    except Invalid:
        return None
