"""Records of series: one document for each series, set of sample types and day, and many packed into one document.

The first profile of a day creates a record, which needs no permission to read. Compaction packs the records of a
service into a few documents, and leaves an empty one in the place of each, so that the same record is not created
again on that day.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from profbucket.model.labels import Labels
from profbucket.model.meta import SampleType, series_id
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import sample_types_from_json, sample_types_to_json
from profbucket.storage.ports import Series
from profbucket.times import LATEST, SECOND

DAY = 86_400 * SECOND

_MAX_PACKED_BYTES = 900_000  # before compression; Firestore's limit is a mebibyte for each document


class PackedSeries(NamedTuple):
    """A series and the time of its last record, in seconds since 1970."""

    series: Series
    recorded_at: int


def round_to_day(series: Series) -> Series:
    """Return *series* with times rounded outward to days, which begin at an hour of its own.

    So of many series, only some are recorded for a new day at the same time.
    """
    offset = int(series.id[:8], 16) % 86_400 * SECOND
    first_seen = (series.first_seen + offset) // DAY * DAY - offset
    last_seen = ((series.last_seen + offset) // DAY + 1) * DAY - 1 - offset
    return series._replace(first_seen=max(first_seen, 0), last_seen=min(last_seen, LATEST))


def series_record_id(series: Series) -> str:
    """Return the document id of a record of *series*: each process creates the same one."""
    content = f"{series.id} {series.last_seen} {json.dumps(series.sample_types)}"
    return sha256(content.encode()).hexdigest()[:32]


def packed_id(service: str, number: int) -> str:
    """Return the id of a document with packed series of *service*."""
    return sha256(f"packed {number} {service}".encode()).hexdigest()[:32]


def add_records(packed: Iterable[PackedSeries], records: Iterable[Series], now: int) -> list[PackedSeries]:
    """Return *packed* with all that *records* tell; *now* is in seconds since 1970."""
    by_id = {item.series.id: item for item in packed}
    for record in records:
        # An earlier version did not record when a series was seen: it is kept as long as one that was seen now.
        if (record.first_seen, record.last_seen) == (0, LATEST):
            record = record._replace(last_seen=now * SECOND)  # noqa: PLW2901
        known = by_id.get(record.id)
        by_id[record.id] = PackedSeries(known.series.union(record) if known else record, now)
    return list(by_id.values())


def drop_expired(packed: Iterable[PackedSeries], oldest: int) -> list[PackedSeries]:
    """Return those of *packed* that were recorded, or had profiles, since *oldest*, in seconds since 1970."""
    return [item for item in packed if max(item.recorded_at, item.series.last_seen // SECOND) >= oldest]


def pack(packed: Iterable[PackedSeries]) -> list[bytes]:
    """Return the contents of as few documents as hold all *packed* series, of one service."""
    rows = [
        [
            item.series.type,
            item.series.labels.format(),
            sample_types_to_json(item.series),
            item.series.first_seen,
            item.series.last_seen,
            item.recorded_at,
        ]
        for item in packed
    ]
    contents: list[bytes] = []
    texts: list[str] = []
    size = 0
    for text in (json.dumps(row, separators=(",", ":")) for row in sorted(rows, key=lambda row: row[:2])):
        if texts and size + len(text) > _MAX_PACKED_BYTES:
            contents.append(_compress(texts))
            texts, size = [], 0
        texts.append(text)
        size += len(text) + 1
    return [*contents, _compress(texts)] if texts else contents


def unpack(service: str, content: bytes) -> Iterator[PackedSeries]:
    """Yield the series in one of the contents that :func:`pack` returned."""
    parsed: dict[str, tuple[tuple[SampleType, ...], bool]] = {}
    for type_name, text, sample_types, first_seen, last_seen, recorded_at in json.loads(zlib.decompress(content)):
        profile_type, labels = ProfileType(type_name), Labels.parse(text)
        key = str(sample_types)
        if key not in parsed:  # most series have those of another
            parsed[key] = sample_types_from_json(sample_types)
        own_types, has_more = parsed[key]
        id_ = series_id(service, profile_type, labels)
        series = Series(id_, service, profile_type, labels, own_types, first_seen, last_seen, has_more)
        yield PackedSeries(series, recorded_at)


def _compress(texts: Sequence[str]) -> bytes:
    return zlib.compress(f"[{','.join(texts)}]".encode())
