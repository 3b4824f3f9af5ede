"""Damage to stored objects: checks that find it, and the report of what a query left out because of it."""

import logging
import threading
from hashlib import sha256

from profbucket.errors import Damaged
from profbucket.model.ids import profile_digest
from profbucket.model.meta import Meta
from profbucket.storage.ports import Object
from profbucket.times import format_stamp

_LISTED_IDS = 10  # in an error message

_log = logging.getLogger(__name__)


class DamageReport:
    """The damaged objects that a query came across, by id, and the number of profiles that it lost with them."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.profiles = 0
        self._lock = threading.Lock()  # several services are looked up at once

    def add(self, object_id: str, reason: object, profiles: int = 1) -> None:
        """Count and log the damage to a profile or block, once. It holds that many *profiles*."""
        with self._lock:
            if object_id in self.ids:
                return
            self.ids.append(object_id)
            self.profiles += profiles
        _log.error("left out %s, which is damaged: %s", object_id, reason)

    def error(self) -> Damaged:
        """Return the error for an answer that would consist of damage alone."""
        more = f" and {len(self.ids) - _LISTED_IDS} more" if len(self.ids) > _LISTED_IDS else ""
        return Damaged(
            f"stored data is damaged: {', '.join(self.ids[:_LISTED_IDS])}{more};"
            " run profbucket fsck --deep, then profbucket repair --quarantine"
        )


def content_metadata(data: bytes) -> dict[str, str]:
    """Return the object metadata by which :func:`check_object` recognizes *data*: its digest and size."""
    return {"digest": _digest(data), "bytes": str(len(data))}


def check_size(obj: Object) -> None:
    """Raise ``Damaged`` if an object does not have the size that it was written with, as far as that is known."""
    written = (obj.metadata or {}).get("bytes", str(obj.size or 1))  # no object was written empty
    if written != str(obj.size):
        raise Damaged(f"{obj.key} has {obj.size} bytes; it was written with {written}")


def check_object(obj: Object, data: bytes) -> None:
    """Raise ``Damaged`` if *data* is not what was written to an object, whose metadata know it."""
    check_size(obj)
    if (obj.metadata or {}).get("digest", digest := _digest(data)) != digest:
        raise Damaged(f"{obj.key} does not have the digest that it was written with")


def check_profile(meta: Meta, data: bytes) -> None:
    """Raise ``Damaged`` unless *data* and *meta* belong together: the id of *meta* ends with a digest of both."""
    digest = profile_digest(meta.service, meta.type, meta.labels, meta.created_at, data)
    if not meta.id.endswith(f"/{format_stamp(meta.created_at)}-{digest}"):
        raise Damaged(f"{meta.id} does not match its id: its object or its entry is damaged")


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]
