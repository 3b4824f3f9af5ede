"""Puts of profiles and batches that may have been put before, and been damaged since."""

import logging
from collections.abc import Mapping

from profbucket.errors import Damaged, Invalid, NotFound, StoragePermissionError
from profbucket.storage.batches import check_batch, is_batch_key
from profbucket.storage.damage import check_object
from profbucket.storage.metadata import from_metadata
from profbucket.storage.ports import Bucket

_log = logging.getLogger(__name__)


def put_intact(bucket: Bucket, object_key: str, data: bytes, metadata: Mapping[str, str]) -> None:
    """Put a profile or batch; if the object exists and is damaged, replace it.

    Only a repeated put costs more than a put. A writer without permission to read trusts what is stored.
    """
    if bucket.put(object_key, data, metadata):
        return
    try:
        if is_batch_key(object_key):
            _check_batch(bucket, object_key, data)
        else:
            _check_profile(bucket, object_key, data, metadata)
    except StoragePermissionError:
        pass
    except NotFound:  # it was deleted in the meantime
        bucket.replace(object_key, data, metadata)
    except (Damaged, Invalid) as error:
        bucket.replace(object_key, data, metadata)
        _log.error("replaced %s, which was damaged, as it was posted again: %s", object_key, error)


def _check_profile(bucket: Bucket, object_key: str, data: bytes, metadata: Mapping[str, str]) -> None:
    """Raise ``Damaged`` or ``Invalid`` unless an object is the profile *data*, with the labels in *metadata*."""
    obj = bucket.verify(object_key, data)
    check_object(obj, data)
    stored = obj.metadata or {}
    from_metadata(object_key, obj.size, stored)
    if stored.get("labels") != metadata["labels"]:
        raise Damaged(f"the metadata of {object_key} are those of another profile, or lost")


def _check_batch(bucket: Bucket, object_key: str, data: bytes) -> None:
    """Raise ``Damaged`` unless an object is an intact batch: the table in *data* may be of another version."""
    try:
        bucket.verify(object_key, data)
    except Damaged:
        check_batch(object_key, bucket.get(object_key))
