"""Export samples as tables: a Parquet file for each service, profile type and day that has profiles.

A file's metadata name the profiles that it was made from. A file made from fewer is replaced by one under the same
key. So a reader of all files finds each profile once, whatever is interrupted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from io import BytesIO

from profbucket.errors import Damaged, NotFound
from profbucket.model.ids import ProfileName, samples_key
from profbucket.model.numbers import parse_count
from profbucket.model.profile_type import ProfileType
from profbucket.samples.day import DaySums, read_day
from profbucket.storage.damage import content_metadata
from profbucket.storage.ports import Bucket
from profbucket.storage.retry import retry_on_compaction
from profbucket.storage.store import Storage


class Outcome(StrEnum):
    """The outcome of the export of a day."""

    EXPORTED = "exported"
    UNCHANGED = "unchanged"  # it has all profiles
    EMPTY = "empty"  # there are no profiles


@dataclass(frozen=True, slots=True)
class Export:
    """The export of a day: the outcome, the key of its file, and the number of rows, bytes and profiles."""

    outcome: Outcome
    object_key: str
    profiles: int = 0
    rows: int = 0
    size: int = 0


class Exporter:
    """Exports the samples of the profiles in *storage* to *bucket*, by default that of the storage."""

    def __init__(self, storage: Storage, bucket: Bucket | None = None) -> None:
        self._storage = storage
        self._bucket = storage.bucket if bucket is None else bucket

    @retry_on_compaction
    def export_day(self, service: str, profile_type: ProfileType, begin: int) -> Export:
        """Export the profiles of the day that begins at *begin*, unless its file has them all.

        Profiles that have expired remain in the file.

        Raises:
            TooMany: a stack, or the table, has too many frames.
            Damaged: all profiles are damaged.
            Unavailable: compaction kept replacing the blocks that are read, or the storage failed.
            StoragePermissionError: the storage denies access.
        """
        day = read_day(self._storage, service, profile_type, begin)
        object_key = samples_key(day.service, day.type, day.begin)
        names = day.names()
        if not names:
            return Export(Outcome.EMPTY, object_key)
        known = self._read_metadata(object_key)
        if known and (known.get("made-from") == _hash(names) or _count_profiles(known) > len(names)):
            return Export(Outcome.UNCHANGED, object_key, len(names))
        sink = BytesIO()
        rows = DaySums(self._storage, day).write(sink)
        if not (names := day.names()):  # without those that are damaged
            raise day.damage.error()
        data = sink.getvalue()
        metadata = {"made-from": _hash(names), "profiles": str(len(names)), "rows": str(rows)}
        self._bucket.replace(object_key, data, metadata | content_metadata(data))
        return Export(Outcome.EXPORTED, object_key, len(names), rows, len(data))

    def _read_metadata(self, object_key: str) -> Mapping[str, str] | None:
        """Return the metadata of a file, without any if they are damaged; ``None`` if there is no file."""
        try:
            return self._bucket.stat(object_key).metadata or {}
        except NotFound:
            return None
        except Damaged:
            return {}


def _count_profiles(metadata: Mapping[str, str]) -> int:
    return parse_count(metadata.get("profiles", "0")) or 0


def _hash(names: list[ProfileName]) -> str:
    return sha256(json.dumps(names).encode()).hexdigest()[:32]
