"""Check a finding about a profile again, and repair its entry."""

import threading
from contextlib import suppress
from dataclasses import replace

from profbucket.errors import Damaged, Invalid, NotFound
from profbucket.maintenance.findings import Finding, State
from profbucket.maintenance.profile_totals import compute_totals
from profbucket.model.blocks import Members
from profbucket.model.meta import Meta
from profbucket.storage.damage import check_size
from profbucket.storage.listing import with_metadata
from profbucket.storage.metadata import add_kinds, from_metadata, has_totals
from profbucket.storage.ports import Change, ExpectedBlocks, Index, Object, Selection, Series
from profbucket.storage.sources import range_of_profile
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND

_HOUR = 3600 * SECOND
_SERIES_CACHE_SIZE = 20_000


class SeriesWriter:
    """Adds the series of profiles to *index*, each once an hour of its profiles, however many they are."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._added: set[Series] = set()

    def add(self, meta: Meta) -> None:
        """Add the series of *meta*, unless it was added."""
        hour = meta.created_at // _HOUR * _HOUR
        series = Series.of(meta)._replace(first_seen=hour, last_seen=min(hour + _HOUR - 1, LATEST))
        with self._lock:
            if series in self._added:
                return
            if len(self._added) >= _SERIES_CACHE_SIZE:
                self._added.clear()  # costs one call a series, and needs no eviction order
            self._added.add(series)
        try:
            self._index.add_series(series)
        except BaseException:
            self._added.discard(series)  # so that its next profile tries again
            raise


def recheck_profile(
    storage: Storage, finding: Finding, entry: Meta | None, repair: SeriesWriter | None, *, deep: bool
) -> Finding:
    """Return what *finding* about a profile with this *entry* is now; with a writer to *repair*, after that.

    The tasks of entries that were added are left to the caller.
    """
    if entry and finding.state is State.DUPLICATE:
        # If it cannot be removed, the blocks have changed since the walk read the index.
        return replace(finding, state=State.OK) if repair and not _remove_duplicate(storage, entry) else finding
    try:
        meta = _read_copy(storage, finding, deep=deep or finding.state is State.MISMATCH)
    except NotFound:
        if entry is None:
            return Finding(State.OK, finding.object_key)  # expired since the walk: neither exists
        if repair:
            storage.index.remove([entry.id])
            with suppress(NotFound, Invalid, Damaged):  # it was posted again before its entry was removed
                storage.index.add(_read_copy(storage, finding, deep=deep))
        return finding
    except (Invalid, Damaged):
        return replace(finding, state=State.DAMAGED)
    if finding.state is State.MISSING_OBJECT:
        return Finding(State.OK, finding.object_key)  # written after the bucket was listed
    if repair and finding.state is not State.OK:
        repair.add(meta)
        _repair_entry(storage, finding.state, meta)
    return finding


def _repair_entry(storage: Storage, state: State, meta: Meta) -> None:
    index = storage.index
    if state is State.MISMATCH:
        index.remove([meta.id])
    if not index.add(meta) and not _has_entry(storage, meta):  # a damaged entry, which no find reads
        index.remove([meta.id])
        index.add(meta)


def _remove_duplicate(storage: Storage, entry: Meta) -> bool:
    """Remove *entry* if a block in the index has its profile; return whether it was removed."""
    index, created_at = storage.index, entry.created_at
    overlapping = index.blocks(entry.service, entry.type, created_at, created_at)
    lists = storage.lookup.read_members(overlapping)
    if not any(isinstance(members, Members) and members.member_ids([entry]) for members in lists):
        return False
    expected = ExpectedBlocks.among(overlapping, entry.service, entry.type, created_at, created_at)
    return index.commit(Change(None, [entry.id], (), expected))


def _read_copy(storage: Storage, finding: Finding, *, deep: bool) -> Meta:
    """Return the meta of the copy of a profile, or of the one that its entry points to; raise as `_read_meta`."""
    member = finding.copy or finding.entry
    if not isinstance(member, Meta) or member.part is None:
        bucket = storage.bucket
        if isinstance(finding.copy, Object):
            return _read_meta(storage, with_metadata(bucket, finding.copy), deep=deep)
        return _read_meta(storage, bucket.stat(finding.object_key), deep=deep)
    if deep or finding.copy is None:
        _read_content(storage, member)
    return member


def _read_meta(storage: Storage, obj: Object, *, deep: bool) -> Meta:
    """Return the meta of a profile's object; raise ``NotFound``, ``Invalid``, or ``Damaged``.

    The profile is read and checked if *deep*, and if it is older than the metadata that tell its size.
    """
    metadata = obj.metadata or {}
    meta = from_metadata(obj.key, obj.size, metadata)
    check_size(obj)
    if deep or "digest" not in metadata or not has_totals(metadata):
        data = _read_content(storage, meta)
        if not has_totals(metadata):
            totals = compute_totals(meta, data, storage.limits)
            return replace(meta, totals=add_kinds(totals, metadata))
    return meta


def _read_content(storage: Storage, meta: Meta) -> bytes:
    """Return the bytes of a profile, as they were posted; raise ``NotFound`` or ``Damaged``."""
    [data] = storage.lookup.read_profiles([meta])
    if data is None:
        raise NotFound(f"no object {range_of_profile(meta).key!r}")
    if isinstance(data, Damaged):
        raise data
    return data


def _has_entry(storage: Storage, meta: Meta) -> bool:
    entries = storage.index.find(Selection(meta.service, meta.type, meta.created_at, meta.created_at))
    return any(entry.id == meta.id for entry in entries)
