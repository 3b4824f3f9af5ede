"""The stored copies of profiles: their own objects, and their parts of batches.

A profile has one of them, or several, if it was posted again with others. A batch with damage is split: its other
members get objects of their own.
"""

from collections.abc import Iterator
from contextlib import suppress
from heapq import merge
from itertools import count, groupby

from profbucket.errors import Damaged, NotFound
from profbucket.model.batches import MAX_NANOS, IncompleteTable, decode_table
from profbucket.model.ids import QUARANTINE, ProfileId, parse_batch_key, profile_prefix
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.storage.batches import is_batch_key, list_members
from profbucket.storage.damage import check_profile, content_metadata
from profbucket.storage.listing import list_prefix
from profbucket.storage.metadata import to_metadata
from profbucket.storage.ports import Bucket, Object
from profbucket.storage.retry import retry_on_compaction
from profbucket.storage.store import Storage
from profbucket.times import LATEST, parse_stamp

Copy = Object | Meta  # an object, or the meta of a member of a batch


def list_copies(
    bucket: Bucket, service: str, profile_type: ProfileType, since: int
) -> Iterator[tuple[str, list[Copy]]]:
    """Yield the copies of each profile of one service and type, with the key of its own object, ordered by key.

    Objects under other keys than those of profiles are in the list, too, but no batches.
    """
    objects = list_prefix(bucket, profile_prefix(service, profile_type), since)
    in_objects = ((obj.key, obj) for obj in objects if not is_batch_key(obj.key))
    members = list_members(bucket, service, profile_type, since)
    in_batches = ((ProfileId.parse(meta.id).object_key, meta) for meta in members)
    copies: Iterator[tuple[str, Copy]] = merge(in_objects, in_batches, key=lambda item: item[0])
    for object_key, group in groupby(copies, lambda item: item[0]):
        yield object_key, [copy for _, copy in group]


def part_of_copy(copy: Copy) -> object:
    """Return what :attr:`Meta.part` of an entry is that points to *copy*."""
    return copy.part if isinstance(copy, Meta) else None


def split_batch(storage: Storage, object_key: str) -> bool:
    """Copy a batch aside, give those of its members that are intact objects of their own, and delete it.

    If its table is damaged, its members are those that entries and blocks know. The entries are left to reindex;
    until then, a read of a member finds its object. Return whether the batch exists.
    """
    bucket = storage.bucket
    try:
        data = bucket.get(object_key)
    except NotFound:
        return False
    copy_aside(bucket, object_key, data, {})
    for meta in _list_members_of(storage, object_key, data):
        assert meta.part  # noqa: S101 - tells the type checker
        content = data[meta.part.begin : meta.part.begin + meta.size]
        with suppress(Damaged):
            check_profile(meta, content)
            own_key = ProfileId.parse(meta.id).object_key
            bucket.put(own_key, content, to_metadata(meta) | content_metadata(content))
    bucket.delete(object_key, data)  # unless it was replaced, because it was posted again
    return True


@retry_on_compaction
def _list_members_of(storage: Storage, object_key: str, data: bytes) -> list[Meta]:
    with suppress(Damaged, IncompleteTable):
        return decode_table(object_key, data)
    service, name = parse_batch_key(object_key)
    first = parse_stamp(name.partition("-")[0])
    metas = storage.lookup.find(Query(service, None, first, min(first + MAX_NANOS, LATEST)))  # in blocks, too
    return [meta for meta in metas if meta.part and meta.part.name == name]


def copy_aside(bucket: Bucket, object_key: str, data: bytes, metadata: dict[str, str]) -> None:
    """Put a copy of an object below ``_/quarantine/``, unless the same copy is there."""
    for number in count():
        copy_key = f"{QUARANTINE}{object_key}{f'~{number}' if number else ''}"
        if bucket.put(copy_key, data, metadata) or bucket.get(copy_key) == data:
            return
