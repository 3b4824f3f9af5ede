"""The batches of a service in the bucket, and the profiles in them."""

from collections.abc import Iterator
from itertools import islice

from profbucket.errors import Damaged, Invalid, detach
from profbucket.model.batches import MAX_NANOS, IncompleteTable, decode_table, merge_members
from profbucket.model.ids import batch_prefix, parse_batch_key
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.storage.damage import check_profile
from profbucket.storage.listing import list_prefix
from profbucket.storage.ports import Bucket, Object, ObjectRange
from profbucket.storage.sources import range_of_profile

_TABLE_BYTES = 16 << 10  # read first of the end of a batch; few tables are longer
_CONCURRENT_TABLES = 200

Table = list[Meta] | Damaged


def is_batch_key(object_key: str) -> bool:
    """Return whether *object_key* is that of a batch."""
    try:
        parse_batch_key(object_key)
    except Invalid:
        return False
    return True


def read_tables(bucket: Bucket, service: str, since: int = 0) -> Iterator[tuple[Object, Table]]:
    """Yield the batches of *service* that may have members since that time, each with its members or damage."""
    objects = list_prefix(bucket, batch_prefix(service), max(since - MAX_NANOS, 0))
    batches = (obj for obj in objects if is_batch_key(obj.key))
    while chunk := list(islice(batches, _CONCURRENT_TABLES)):
        ranges = [_range_of_end(obj, _TABLE_BYTES) for obj in chunk]
        for obj, end in zip(chunk, bucket.get_many(ranges), strict=True):
            if (table := None if end is None else _decode(bucket, obj, end)) is not None:
                yield obj, table


def list_members(bucket: Bucket, service: str, profile_type: ProfileType, since: int) -> Iterator[Meta]:
    """Yield the profiles of one type in batches, ordered by position: one that is in several, several times.

    Batches whose tables are damaged are left out.
    """
    tables = (table for _, table in read_tables(bucket, service, since) if not isinstance(table, Damaged))
    return merge_members(
        (table[0].created_at, [meta for meta in table if meta.type == profile_type and meta.created_at >= since])
        for table in tables
    )


def check_batch(object_key: str, data: bytes) -> None:
    """Raise ``Damaged`` unless *data* are a batch under *object_key* whose table and members are intact."""
    try:
        members = decode_table(object_key, data)
    except IncompleteTable:
        raise Damaged(f"{object_key} is cut short: {len(data)} bytes") from None
    for meta in members:
        object_range = range_of_profile(meta)
        check_profile(meta, data[object_range.begin : object_range.end])


def _decode(bucket: Bucket, obj: Object, end: bytes) -> Table | None:
    """Return the members of a batch, whose last bytes are *end*; ``None`` if it is gone.

    What is damaged is read again, in case it was damaged on the way.
    """
    size = _TABLE_BYTES
    for is_last in (False, False, True):
        try:
            return decode_table(obj.key, end)
        except IncompleteTable as error:
            if error.size > obj.size:
                return Damaged(f"{obj.key} is cut short: {obj.size} bytes")
            size = error.size
        except Damaged as error:
            if is_last:
                return detach(error)
        [end_again] = bucket.get_many([_range_of_end(obj, size)])
        if end_again is None:
            return None
        end = end_again
    return Damaged(f"the length of the table of {obj.key} changes each time it is read")


def _range_of_end(obj: Object, size: int) -> ObjectRange:
    return ObjectRange(obj.key, max(obj.size - size, 0))
