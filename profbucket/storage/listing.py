"""List the objects and folders below a prefix."""

from collections.abc import Iterator

from profbucket.storage.ports import Bucket, Object
from profbucket.times import LATEST, format_stamp


def list_prefix(bucket: Bucket, prefix: str, since: int = 0, until: int = LATEST) -> Iterator[Object]:
    """Yield the objects whose keys begin with *prefix*, which ends with ``/``, ordered by key.

    Keys with a timestamp before *since* or after *until*, in nanoseconds, are left out.
    """
    start = f"{prefix}{format_stamp(since)}" if since else prefix
    end = (
        f"{prefix}{format_stamp(until)}." if until < LATEST else f"{prefix[:-1]}0"
    )  # characters after "-" and "/"
    return bucket.list(start, end)


def list_folders(bucket: Bucket, prefix: str = "") -> Iterator[str]:
    """Yield the names between *prefix* and the next ``/`` in the bucket's keys, in order.

    Only the first object of each folder is listed.
    """
    start = prefix
    while (first := next(bucket.list(start, f"{prefix}\x7f"), None)) is not None:
        name, slash, _ = first.key.removeprefix(prefix).partition("/")
        # Skip all keys below the folder ("0" is the character after "/"), or a key that has no slash.
        start = f"{prefix}{name}0" if slash else f"{prefix}{name} "
        if slash:
            yield name


def with_metadata(bucket: Bucket, obj: Object) -> Object:
    """Return the object with its metadata, which some buckets do not list. Raise ``NotFound`` if it is gone."""
    return obj if obj.metadata is not None else bucket.stat(obj.key)
