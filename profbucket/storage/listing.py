"""List the objects of one prefix, with their metadata."""

from collections.abc import Iterator

from profbucket.storage.ports import Bucket, Object
from profbucket.times import format_stamp


def list_prefix(bucket: Bucket, prefix: str, since: int = 0) -> Iterator[Object]:
    """Yield the objects whose keys begin with *prefix*, which ends with ``/``, ordered by key.

    With *since*, in nanoseconds, keys with an earlier timestamp are left out.
    """
    start = f"{prefix}{format_stamp(since)}" if since else prefix
    return bucket.list(start, f"{prefix[:-1]}0")  # "0" is the character after "/"


def with_metadata(bucket: Bucket, obj: Object) -> Object:
    """Return the object with its metadata, which some buckets do not list. Raise ``NotFound`` if it is gone."""
    return obj if obj.metadata is not None else bucket.stat(obj.key)
