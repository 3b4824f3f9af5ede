"""The queries of the index, and the documents they read. indexes.json says what Firestore must have for them."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from profbucket.model.blocks import Block
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import LONGEST, Selection, Series
from storage_gcs.firestore import RunQueryRequest

ENTRIES = "entries"
SERIES = "series"
BLOCKS = "blocks"

# What orders the documents of a service and type: the index that serves it ends with these.
_ORDERS = {ENTRIES: ("created_at", "id"), BLOCKS: ("first",)}

_BLOCK_TEXTS = ("id", "service", "type", "measures")
_BLOCK_NUMBERS = ("period", "first", "last", "count", "size", "written_at")
_BLOCK = (*_BLOCK_TEXTS, *_BLOCK_NUMBERS, "ends")
_ENTRY = ("id", "service", "type", "labels", "created_at", "size", "totals", "stored_at")  # all but the series


def of_entries(
    selection: Selection, series: Sequence[str] | None, after: tuple[int, str] | None, limit: int
) -> Any:
    """The first *limit* entries of *selection* behind *after*, of *series* (at most 30) if given."""
    start = max(selection.start, after[0]) if after else selection.start
    if series is None:
        types = [selection.type] if selection.type else list(ProfileType)
        which = [("service", _EQUAL, selection.service), ("type", _IN, types)]
    else:
        # A series is of one service and type, so they need not be asked for.
        which = [("series", _IN, series)]
    request = _select(ENTRIES, _ENTRY, [*which, ("created_at", _FROM, start), ("created_at", _TO, selection.end)])
    query = request.structured_query
    _order(query, "created_at", "id")
    if after and after[0] >= selection.start:
        query.start_at.values.add().integer_value = after[0]
        query.start_at.values.add().string_value = after[1]
    query.limit.value = limit
    return request


def of_series(service: str, kind: ProfileType | None) -> Any:
    """The series of *service*, of one type if given."""
    which: list[_Filter] = [("service", _EQUAL, service)]
    if kind:
        which.append(("type", _EQUAL, kind))
    return _select(SERIES, ("service", "type", "labels"), which)


def of_blocks(service: str, kind: ProfileType | None, start: int, end: int) -> Any:
    """The blocks of *service*, of one type if given, whose first member is in the range, or not long before it."""
    types = [kind] if kind else list(ProfileType)
    which = [("service", _EQUAL, service), ("type", _IN, types)]
    begin = max(start - LONGEST, 0)
    request = _select(BLOCKS, (*_BLOCK, "stored_at"), [*which, ("first", _FROM, begin), ("first", _TO, end)])
    _order(request.structured_query, "first")
    return request


def next_service(collection: str, after: str) -> Any:
    """A document of the service that follows *after*: one a service, however many profiles or blocks it has."""
    request = _select(collection, ("service",), [("service", _ABOVE, after)])
    _order(request.structured_query, "service", "type", *_ORDERS[collection])
    request.structured_query.limit.value = 1
    return request


def write_entry(fields: Any, meta: Meta, stored_at: int) -> None:
    """Fill *fields* of a document: what :func:`read_entry` reads, and what queries ask for."""
    fields["id"].string_value = meta.id
    fields["service"].string_value = meta.service
    fields["type"].string_value = meta.type
    fields["series"].string_value = meta.series
    fields["labels"].string_value = meta.labels.format()
    fields["created_at"].integer_value = meta.created_at
    fields["size"].integer_value = meta.size
    # A sum of 64-bit numbers may need more than 64 bits, which only text holds.
    fields["totals"].string_value = json.dumps(meta.totals, separators=(",", ":"))
    fields["stored_at"].timestamp_value.seconds = stored_at


def read_entry(fields: Any) -> Meta:
    return Meta(
        id=fields["id"].string_value,
        service=fields["service"].string_value,
        type=ProfileType(fields["type"].string_value),
        labels=_labels(fields["labels"].string_value),
        created_at=fields["created_at"].integer_value,
        size=fields["size"].integer_value,
        totals=tuple(Total(*total) for total in json.loads(fields["totals"].string_value)),
    )


def write_block(fields: Any, block: Block, stored_at: int) -> None:
    """Fill *fields* of a document: what :func:`read_block` reads, and what queries ask for."""
    for name in _BLOCK_TEXTS:
        fields[name].string_value = getattr(block, name)
    for name in _BLOCK_NUMBERS:
        fields[name].integer_value = getattr(block, name)
    fields["ends"].string_value = json.dumps(block.ends)
    fields["stored_at"].timestamp_value.seconds = stored_at


def read_block(fields: Any) -> Block:
    return Block(
        type=ProfileType(fields["type"].string_value),
        ends=tuple(json.loads(fields["ends"].string_value)),
        **{name: fields[name].string_value for name in _BLOCK_TEXTS if name != "type"},
        **{name: fields[name].integer_value for name in _BLOCK_NUMBERS},
    )


def write_series(fields: Any, series: Series) -> None:
    fields["service"].string_value = series.service
    fields["type"].string_value = series.type
    fields["labels"].string_value = series.labels.format()


def read_series(document: Any) -> Series:
    fields = document.fields
    return Series(
        id=document.name.rpartition("/")[2],
        service=fields["service"].string_value,
        type=ProfileType(fields["type"].string_value),
        labels=_labels(fields["labels"].string_value),
    )


_Filter = tuple[str, int, Any]
_EQUAL, _FROM, _TO, _ABOVE, _IN = 5, 4, 2, 3, 8  # StructuredQuery.FieldFilter.Operator


def _select(collection: str, fields: Sequence[str], filters: Sequence[_Filter]) -> Any:
    request = RunQueryRequest()
    query = request.structured_query
    query.from_.add().collection_id = collection
    for field in fields:
        query.select.fields.add().field_path = field
    query.where.composite_filter.op = 1  # AND
    for field, operator, value in filters:
        one = query.where.composite_filter.filters.add().field_filter
        one.field.field_path = field
        if operator == _IN and len(value) == 1:
            operator, (value,) = _EQUAL, value  # noqa: PLW2901 - the same condition, cheaper
        one.op = operator
        if isinstance(value, int):
            one.value.integer_value = value
        elif isinstance(value, str):
            one.value.string_value = value
        else:
            for item in value:
                one.value.array_value.values.add().string_value = item
    return request


def _order(query: Any, *fields: str) -> None:
    for field in fields:
        order = query.order_by.add()
        order.field.field_path = field
        order.direction = 1  # ASCENDING


_labels = lru_cache(4096)(Labels.parse)  # a thousand entries have few label sets
