"""Records of series: one document for each series, set of sample types and day, and many packed into one document.

The first profile of a day creates a record, which needs no permission to read. Compaction packs the records of a
service into a few documents, and leaves an empty one in the place of each, so that the same record is not created
again on that day.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from profbucket.model.labels import Labels
from profbucket.model.meta import formatted_series_id
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import sample_types_from_json, sample_types_to_json
from profbucket.storage.ports import Series
from profbucket.times import DAY, DAY_SECONDS, LATEST, SECOND

_MAX_PACKED_BYTES = 900_000  # before compression; Firestore's limit is a mebibyte for each document
_MAX_SHRUNK_PARTS = 8  # in one transaction, of which the limit is 10 MiB


class PackedSeries(NamedTuple):
    """A series and the time of its last record, in seconds since 1970."""

    series: Series
    recorded_at: int


Parts = Sequence[Sequence[PackedSeries]]  # the series of a service, by the document in which they are


def round_to_day(series: Series) -> Series:
    """Return *series* with times rounded outward to days, which begin at an hour of its own.

    So of many series, only some are recorded for a new day at the same time.
    """
    offset = int(series.id[:8], 16) % DAY_SECONDS * SECOND
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


def add_records(parts: Parts, records: Iterable[Series], now: int) -> list[list[PackedSeries]]:
    """Return *parts* with all that *records* tell; *now* is in seconds since 1970.

    New series are in the smallest part. Parts that no record is about stay as they are.
    """
    result = [list(part) for part in parts]
    rows = {item.series.id: (part, row) for part in result for row, item in enumerate(part)}
    new: list[PackedSeries] = []
    for record in records:
        # An earlier version did not record when a series was seen: it is kept as long as one that was seen now.
        if (record.first_seen, record.last_seen) == (0, LATEST):
            record = record._replace(last_seen=now * SECOND)  # noqa: PLW2901
        part, row = rows.setdefault(record.id, (new, len(new)))
        if row < len(part):
            part[row] = PackedSeries(part[row].series.union(record), now)
        else:
            part.append(PackedSeries(record, now))
    if result:
        min(result, key=len).extend(new)
    elif new:
        result.append(new)
    return result


def drop_expired(parts: Parts, oldest: int) -> list[list[PackedSeries]]:
    """Return *parts* with the series that were recorded, or had profiles, since *oldest*, in seconds since 1970.

    Of many parts that change, some keep all series: one transaction cannot write all of them.
    """
    result = [list(part) for part in parts]
    changes = 0
    for number, part in enumerate(parts):
        kept = [item for item in part if max(item.recorded_at, item.series.last_seen // SECOND) >= oldest]
        if len(kept) < len(part) and changes < _MAX_SHRUNK_PARTS:
            result[number] = kept
            changes += 1
    return result


def arrange(parts: Parts, known: Parts) -> list[list[PackedSeries]]:
    """Return *parts* so that each fits into a document. The first are those of *known*, changed, in its order.

    A part that is too large is split. If the two smallest parts fit into one document, one of them becomes empty;
    so there are at most about two parts for every document that all series would fill.
    """
    result = [list(part) for part in parts]
    for number, part in enumerate(parts):
        if number >= len(known) or part != known[number]:
            result[number], *others = _split(part)
            result += others
    smallest = sorted((part for part in result if part), key=len)[:2]
    if (
        len(smallest) == 2
        and sum(len(_to_text(item)) + 1 for part in smallest for item in part) <= _MAX_PACKED_BYTES
    ):
        smallest[1] += smallest[0]
        smallest[0].clear()
    return result


def _split(part: Sequence[PackedSeries]) -> list[list[PackedSeries]]:
    """Return *part* in as many pieces of about the same size as it takes for each to fit into a document."""
    sizes = [len(_to_text(item)) + 1 for item in part]
    count = -(-sum(sizes) // _MAX_PACKED_BYTES) or 1
    pieces: list[list[PackedSeries]] = [[] for _ in range(count)]
    end = 0
    for item, size in zip(part, sizes, strict=True):
        pieces[end * count // sum(sizes)].append(item)
        end += size
    return pieces


def pack(part: Iterable[PackedSeries]) -> bytes:
    """Return the content of a document with the series of *part*, all of one service."""
    return zlib.compress(f"[{','.join(sorted(map(_to_text, part)))}]".encode())


def unpack(service: str, content: bytes) -> Iterator[PackedSeries]:
    """Yield the series in one of the contents that :func:`pack` returned."""
    parse_type, parse_labels = lru_cache(None)(ProfileType), lru_cache(None)(Labels.parse)
    last_types: Any = ()  # differs from any list
    own_types, has_more = sample_types_from_json(last_types)
    for type_name, text, sample_types, first_seen, last_seen, recorded_at in json.loads(zlib.decompress(content)):
        profile_type, labels = parse_type(type_name), parse_labels(text)
        if sample_types != last_types:  # most series have those of the previous one
            own_types, has_more = sample_types_from_json(sample_types)
            last_types = sample_types
        id_ = formatted_series_id(service, profile_type, text)
        series = Series(id_, service, profile_type, labels, own_types, first_seen, last_seen, has_more)
        yield PackedSeries(series, recorded_at)


def _to_text(item: PackedSeries) -> str:
    series = item.series
    times = series.first_seen, series.last_seen, item.recorded_at
    row = series.type, series.labels.format(), sample_types_to_json(series), *times
    return json.dumps(row, separators=(",", ":"))
