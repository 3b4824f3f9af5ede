"""Compare the index with the bucket: one walk over both, which reads and changes nothing else.

Blocks are compared first, then profiles: objects and entries of one service and profile type are walked side by
side in the order of time, so that memory does not grow with their number. The walk sees an object and its entry at
different moments, so :mod:`~profbucket.maintenance.repair` checks each difference again.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from heapq import merge
from itertools import chain, groupby
from operator import itemgetter

from profbucket.errors import Damaged, Invalid
from profbucket.maintenance.copies import Copy, list_copies, part_of_copy
from profbucket.maintenance.findings import Finding, State
from profbucket.maintenance.live_blocks import BlockMembership, list_blocks, select_live
from profbucket.model.blocks import Block
from profbucket.model.ids import BLOCKS, RESERVED, ProfileId, block_prefix, profile_prefix, unescape_service
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.storage.batches import read_tables
from profbucket.storage.listing import list_folders
from profbucket.storage.metadata import from_metadata, has_totals
from profbucket.storage.ports import Bucket, Selection, Series, SeriesSelection
from profbucket.storage.store import Storage
from profbucket.times import LATEST

_Stored = tuple[str, list[Copy], Meta | None]  # a profile's object key, its copies in the bucket, its entry


def compare(storage: Storage, service: str | None, since: int, *, deep: bool) -> Iterator[Finding]:
    """Yield a finding for each profile and block, of one *service* or all, from the time *since*.

    Profiles that are in a block and have no entry are correct, and only reported if *deep*.
    """
    for name in select_services(storage, service):
        profile_types = {*_list_types(storage.bucket, name), *storage.index.profile_types(name)}
        for obj, table in read_tables(storage.bucket, name, since):
            if isinstance(table, Damaged):
                yield Finding(State.DAMAGED, obj.key, obj)
            else:
                profile_types.update(meta.type for meta in table)
        for profile_type in sorted(profile_types):
            yield from _compare_type(storage, name, profile_type, since, deep)


def select_services(storage: Storage, service: str | None) -> list[str]:
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


def _compare_type(
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
    entries = storage.index.find(Selection(service, profile_type, since, LATEST))
    pairs = _pair(list_copies(storage.bucket, service, profile_type, since), entries)
    yield from _compare_profiles(pairs, membership, series, deep)
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


def _pair(profiles: Iterator[tuple[str, list[Copy]]], entries: Iterator[Meta]) -> Iterator[_Stored]:
    """Yield what bucket and index have of each profile, in the order of keys.

    *profiles* and *entries* are in that order: keys sort as positions do.
    """
    in_bucket: Iterator[_Stored] = ((object_key, copies, None) for object_key, copies in profiles)
    in_index: Iterator[_Stored] = ((ProfileId.parse(entry.id).object_key, [], entry) for entry in entries)
    for object_key, group in groupby(merge(in_bucket, in_index, key=itemgetter(0)), itemgetter(0)):
        (_, copies, entry), *rest = group
        yield object_key, copies, rest[0][2] if rest else entry


def _compare_profiles(
    profiles: Iterator[_Stored], compacted: BlockMembership, series: Mapping[str, Series], deep: bool
) -> Iterator[Finding]:
    for object_key, copies, entry in profiles:
        copy = copies[0] if copies else None
        if entry is None:
            state = _state_without_entry(object_key, compacted)
        else:
            copy = next((copy for copy in copies if part_of_copy(copy) == entry.part), copy)
            if compacted.contains(ProfileId.parse(entry.id)):
                state = State.DUPLICATE
            elif copy is None:
                state = State.MISSING_OBJECT
            else:
                state = _compare_entry(copy, entry, series)
        if deep or entry or state is not State.OK:
            yield Finding(state, object_key, copy, entry)
        if deep:
            yield from (Finding(State.OK, object_key, other) for other in copies if other is not copy)


def _state_without_entry(object_key: str, compacted: BlockMembership) -> State:
    try:
        profile_id = ProfileId.from_object_key(object_key)
    except Invalid:
        return State.UNKNOWN_OBJECT
    return State.MISSING_ENTRY if compacted.contains(profile_id) is False else State.OK


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
