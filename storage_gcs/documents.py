"""The documents of the index: their collections, and how their fields are written and read."""

import json
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import sha256
from typing import Any, TypeVar

from profbucket.errors import Damaged, Invalid
from profbucket.model.blocks import Block
from profbucket.model.labels import Labels
from profbucket.model.meta import BatchPart, Meta, SampleType, Total, series_id
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import sample_types_from_json, sample_types_to_json
from profbucket.model.tasks import Task
from profbucket.storage.ports import Series
from storage_gcs.series import PackedSeries, unpack

_T = TypeVar("_T")

ENTRIES = "entries"
SERIES = "series"
BLOCKS = "blocks"
TASKS = "tasks"
GROUPS = "batches"

BLOCK_TEXTS = ("id", "service", "type", "measures")
BLOCK_NUMBERS = ("period", "first", "last", "count", "size", "written_at")


def document_id(entry_id: str) -> str:
    """Return the document id for the id of a profile or block."""
    return sha256(entry_id.encode()).hexdigest()[:32]


def write_entry(fields: Any, meta: Meta, stored_at: int) -> None:
    """Set *fields* of a document to those of an entry."""
    fields["id"].string_value = meta.id
    fields["service"].string_value = meta.service
    fields["type"].string_value = meta.type
    fields["series"].string_value = meta.series
    fields["labels"].string_value = meta.labels.format()
    fields["created_at"].integer_value = meta.created_at
    fields["size"].integer_value = meta.size
    # As text, because a sum of 64-bit numbers may need more than 64 bits.
    fields["totals"].string_value = json.dumps(
        [total if total.kind else total[:3] for total in meta.totals], separators=(",", ":")
    )
    fields["stored_at"].timestamp_value.seconds = stored_at
    if meta.part:
        fields["part"].string_value = meta.part.dump()


def read_document(document: Any, read: Callable[[Any], _T]) -> _T:
    """Return what *read* returns for *document*; raise ``Damaged`` if it has other fields."""
    try:
        return read(document)
    except (ValueError, TypeError, OverflowError, RecursionError, Invalid, zlib.error) as error:
        raise Damaged(
            f"the document {document.name} is damaged: {error}; delete it and run profbucket reindex",
            code="damaged_index",
        ) from None


def read_types(document: Any) -> list[ProfileType]:
    """Return the profile types in an answer to :func:`select_next_types`, in the order of its text."""
    [types] = document.fields.values()
    return list(map(ProfileType, types.string_value.split(",")))


def read_type(document: Any) -> ProfileType:
    """Return the profile type in an entry, a block or a series."""
    return ProfileType(document.fields["type"].string_value)


def read_entry(document: Any) -> Meta:
    """Return the entry that :func:`write_entry` wrote."""
    fields = document.fields
    return Meta(
        id=fields["id"].string_value,
        service=fields["service"].string_value,
        type=read_type(document),
        labels=_parse_labels(fields["labels"].string_value),
        created_at=fields["created_at"].integer_value,
        size=fields["size"].integer_value,
        totals=tuple(Total(*total) for total in json.loads(fields["totals"].string_value)),
        part=BatchPart.load(fields["part"].string_value) if "part" in fields else None,
    )


def write_block(fields: Any, block: Block, stored_at: int) -> None:
    """Set *fields* of a document to those of a block."""
    for name in BLOCK_TEXTS:
        fields[name].string_value = getattr(block, name)
    for name in BLOCK_NUMBERS:
        fields[name].integer_value = getattr(block, name)
    fields["ends"].string_value = json.dumps(block.ends)
    fields["stored_at"].timestamp_value.seconds = stored_at


def read_block(document: Any) -> Block:
    """Return the block that :func:`write_block` wrote."""
    fields = document.fields
    return Block(
        type=read_type(document),
        ends=tuple(json.loads(fields["ends"].string_value)),
        **{name: fields[name].string_value for name in BLOCK_TEXTS if name != "type"},
        **{name: fields[name].integer_value for name in BLOCK_NUMBERS},
    )


def read_blocks(documents: Iterable[Any], start: int, end: int, oldest: float) -> list[Block]:
    """Return the blocks in *documents* that overlap the range, ordered by position.

    Those that were stored before *oldest*, in seconds since 1970, have expired.
    """
    blocks = [
        read_document(document, read_block)
        for document in documents
        if document.fields["stored_at"].timestamp_value.seconds >= oldest
    ]
    return sorted((block for block in blocks if block.overlaps(start, end)), key=lambda block: block.position)


def write_series(fields: Any, series: Series) -> None:
    """Set *fields* of a document to a record of a series: its labels, and what is known of the rest."""
    fields["service"].string_value = series.service
    fields["type"].string_value = series.type
    fields["labels"].string_value = series.labels.format()
    fields["sample_types"].string_value = json.dumps(sample_types_to_json(series), separators=(",", ":"))
    fields["first_seen"].integer_value = series.first_seen
    fields["last_seen"].integer_value = series.last_seen
    fields["is_new"].boolean_value = True


def read_series(document: Any) -> Series:
    """Return the record that :func:`write_series` wrote; an earlier version recorded labels only."""
    fields = document.fields
    service, profile_type = fields["service"].string_value, read_type(document)
    labels = _parse_labels(fields["labels"].string_value)
    series = Series(series_id(service, profile_type, labels), service, profile_type, labels)
    if "sample_types" not in fields:
        return series
    sample_types, has_more = _parse_sample_types(fields["sample_types"].string_value)
    return series._replace(
        sample_types=sample_types,
        has_more_types=has_more,
        first_seen=fields["first_seen"].integer_value,
        last_seen=fields["last_seen"].integer_value,
    )


def write_packed(fields: Any, service: str, content: bytes) -> None:
    """Set *fields* of a document to packed series of *service*."""
    fields["service"].string_value = service
    fields["packed"].bytes_value = content
    fields["is_packed"].boolean_value = True


def is_packed(document: Any) -> bool:
    """Return whether a document has packed series, not the record of one."""
    return "packed" in document.fields


def read_packed(document: Any) -> list[PackedSeries]:
    """Return the series that :func:`write_packed` wrote."""
    fields = document.fields
    return list(unpack(fields["service"].string_value, fields["packed"].bytes_value))


def read_all_series(document: Any) -> list[Series]:
    """Return the packed series, or the one that a record is about."""
    if is_packed(document):
        return [item.series for item in read_packed(document)]
    return [read_series(document)]


def write_task(fields: Any, task: Task) -> None:
    """Set *fields* of a document to those of a task; its id is the document's."""
    fields["task"].string_value = task.dump()
    fields["due"].integer_value = task.due


_parse_labels = lru_cache(4096)(Labels.parse)  # thousands of entries share few label sets


@lru_cache(256)
def _parse_sample_types(text: str) -> tuple[tuple[SampleType, ...], bool]:
    return sample_types_from_json(json.loads(text))
