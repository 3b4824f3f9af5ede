"""Commits of compaction, and removal of entries: transactions that read what they depend on."""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from profbucket.errors import Unavailable
from profbucket.storage.ports import Change, CommitTooLarge
from storage_gcs.batches import IdRange, write_removals
from storage_gcs.documents import BLOCKS, ENTRIES, document_id, read_blocks, write_block
from storage_gcs.firestore import (
    WRITE_ROLE,
    Calls,
    CommitRequest,
    DocumentExists,
    DocumentMissing,
    TransactionTooLarge,
)
from storage_gcs.queries import select_blocks

_COMMIT_DOCUMENTS = 300  # removed in one commit


def commit_changes(
    calls: Calls, changes: Sequence[Change], entered_twice: Collection[str], oldest_block: float
) -> bool:
    """Make all *changes* as :meth:`Index.commit` does.

    The entries with the ids *entered_twice* may be in documents of batches and have one of their own. Blocks that
    were stored before *oldest_block* have expired.
    """
    request = CommitRequest()
    members = {profile_id for change in changes for profile_id in change.members}
    replaced = {block_id for change in changes for block_id in change.replaced}
    added = {change.block.id: change.block for change in changes if change.block}
    for block in added.values():
        write = request.writes.add()
        write.update.name = f"{calls.documents}/{BLOCKS}/{document_id(block.id)}"
        write.current_document.exists = block.id in replaced
        write_block(write.update.fields, block, int(time.time()))
    _write_deletions(calls, request, replaced - added.keys())
    count, ranges = len(request.writes), IdRange.of(members)
    all_expected = [change.expected for change in changes if change.expected]

    def prepare(documents: Sequence[Any]) -> bool:
        """Return whether the blocks are as expected, and add the removal of the members."""
        for expected in all_expected:
            blocks = read_blocks(documents, expected.start, expected.end, oldest_block)
            if expected.ids != {block.id for block in blocks if block.type == expected.type}:
                return False
        del request.writes[count:]  # of an earlier attempt
        in_groups: set[str] = set()
        for id_range in ranges:
            groups = calls.query_in_transaction(id_range.select(), request.transaction)
            in_groups |= write_removals(request, groups, members)
        _write_deletions(calls, request, members - in_groups)
        for name in _document_names(calls, in_groups.intersection(entered_twice)):
            request.writes.add().delete = name
        return True

    query = ranges[0].select() if ranges else None  # begins the transaction
    if all_expected:
        types = {expected.type for expected in all_expected}
        query = select_blocks(
            all_expected[0].service,
            types.pop() if len(types) == 1 else None,
            min(expected.start for expected in all_expected),
            max(expected.end for expected in all_expected),
        )
    try:
        return calls.commit_block(query, prepare, request, "commit a block", WRITE_ROLE)
    except (DocumentExists, DocumentMissing):
        return False
    except TransactionTooLarge as error:
        if not members:
            raise Unavailable(f"Firestore failed to commit a block: {error}") from error
        raise CommitTooLarge(str(error)) from error


def remove_documents(calls: Calls, ids: Iterable[str]) -> None:
    """Remove the entries of profiles and the records of blocks with these ids, as far as they exist."""
    all_ids = set(ids)
    for id_range in IdRange.of(all_ids):
        _remove_from_groups(calls, id_range, all_ids)
    names = _document_names(calls, all_ids)
    for begin in range(0, len(names), _COMMIT_DOCUMENTS):
        request = CommitRequest()
        for name in names[begin : begin + _COMMIT_DOCUMENTS]:
            request.writes.add().delete = name
        calls.commit(request, "remove entries", WRITE_ROLE)


def _remove_from_groups(calls: Calls, id_range: IdRange, ids: Collection[str]) -> None:
    request = CommitRequest()

    def prepare(documents: Iterable[Any]) -> bool:
        del request.writes[:]
        return bool(write_removals(request, documents, ids))

    try:
        calls.commit_block(id_range.select(), prepare, request, "remove entries", WRITE_ROLE)
    except TransactionTooLarge as error:
        raise Unavailable(f"Firestore failed to remove {len(request.writes)} groups: {error}") from error


def _write_deletions(calls: Calls, request: Any, ids: Iterable[str]) -> None:
    for name in _document_names(calls, ids):
        write = request.writes.add()
        write.delete = name
        write.current_document.exists = True


def _document_names(calls: Calls, ids: Iterable[str]) -> list[str]:
    """Return the document names of profiles and blocks with these ids, sorted."""
    # The id of a block is its object key, which begins with the reserved prefix.
    collections = {entry_id: BLOCKS if entry_id.startswith("_/") else ENTRIES for entry_id in ids}
    return sorted(
        f"{calls.documents}/{collection}/{document_id(entry_id)}" for entry_id, collection in collections.items()
    )
