"""The queries of the index, and the documents they read. indexes.json says what Firestore must have for them."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from profbucket.labels import Labels
from profbucket.meta import Meta, ProfileType, Total
from profbucket.ports import Selection, Series
from storage_gcs.firestore import RunQueryRequest

ENTRIES = "entries"
SERIES = "series"

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


def next_service(after: str) -> Any:
    """An entry of the service that follows *after*: a document a service, however many profiles it has."""
    request = _select(ENTRIES, ("service",), [("service", _ABOVE, after)])
    _order(request.structured_query, "service", "type", "created_at", "id")
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


def write_series(fields: Any, meta: Meta) -> None:
    fields["service"].string_value = meta.service
    fields["type"].string_value = meta.type
    fields["labels"].string_value = meta.labels.format()


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
