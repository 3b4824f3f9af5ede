"""Check a finding about a block again, and repair its record in the index."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from profbucket.errors import (
    Damaged,
    Misconfigured,
    NotFound,
    ProfbucketError,
    StoragePermissionError,
    Unavailable,
)
from profbucket.maintenance.findings import Finding, State
from profbucket.maintenance.read_back import read_back
from profbucket.model.blocks import Block, Members
from profbucket.model.series import list_series
from profbucket.storage.damage import check_object
from profbucket.storage.ports import Change, ExpectedBlocks, Series
from profbucket.storage.store import Storage

_MAX_ATTEMPTS = 5  # to repair a block while compaction replaces those around it


def recheck_block(storage: Storage, finding: Finding, block: Block, *, repair: bool, deep: bool) -> Finding:
    """Return what *finding* about *block* is now; if asked to *repair*, after that."""
    if finding.state is State.MISSING_OBJECT:
        with suppress(NotFound):
            storage.bucket.stat(block.id)
            return Finding(State.OK, finding.object_key)  # written after the bucket was listed
    elif deep and not _is_intact(storage, block):
        return replace(finding, state=State.DAMAGED)
    if repair and finding.state is not State.OK:
        if finding.state in (State.MISSING_ENTRY, State.MISSING_SERIES, State.MISMATCH):
            _add_series(storage, block)
        if finding.state is not State.MISSING_SERIES and not _repair_record(storage, finding.state, block):
            return replace(finding, state=State.OK)  # compaction has changed the blocks: nothing is left to repair
    return finding


def _is_intact(storage: Storage, block: Block) -> bool:
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


def _add_series(storage: Storage, block: Block) -> None:
    [members] = storage.lookup.read_members([block])
    for series in list_series(map(Series.of, members.metas() if isinstance(members, Members) else ())):
        storage.index.add_series(series)


def _repair_record(storage: Storage, state: State, block: Block) -> bool:
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
        if index.commit(Change(added, (), replaced, expected)):
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
