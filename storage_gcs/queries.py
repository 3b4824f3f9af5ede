"""The queries of the index, and its documents. indexes.json lists the Firestore indexes that the queries need."""

import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from profbucket.errors import Damaged, Invalid
from profbucket.model.blocks import Block
from profbucket.model.labels import Labels
from profbucket.model.meta import BatchPart, Meta, SampleType, Total, series_id
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import sample_types_from_json, sample_types_to_json
from profbucket.model.tasks import Task
from profbucket.storage.ports import MAX_BLOCK_NANOS, Selection, Series
from profbucket.times import LATEST
from storage_gcs.firestore import RunQueryRequest
from storage_gcs.series import PackedSeries, unpack

_T = TypeVar("_T")

ENTRIES = "entries"
SERIES = "series"
BLOCKS = "blocks"
TASKS = "tasks"
GROUPS = "batches"

# The field that has the profile type, or of a batch the set of its types, of which a service has few.
TYPE_FIELDS = {ENTRIES: "type", BLOCKS: "type", GROUPS: "type_list"}
# The order of the documents of one service and type; the Firestore index of such a query ends with these fields.
_ORDERS = {ENTRIES: ("created_at", "id"), BLOCKS: ("last",), GROUPS: ()}

_BLOCK_TEXTS = ("id", "service", "type", "measures")
_BLOCK_NUMBERS = ("period", "first", "last", "count", "size", "written_at")
_BLOCK_FIELDS = (*_BLOCK_TEXTS, *_BLOCK_NUMBERS, "ends")
# Without series.
_ENTRY_FIELDS = ("id", "service", "type", "labels", "created_at", "size", "totals", "part", "stored_at")
_SERIES_FIELDS = ("service", "type", "labels", "sample_types", "first_seen", "last_seen", "packed")


def select_entries(
    selection: Selection, series: Sequence[str] | None, after: tuple[int, str] | None, limit: int
) -> Any:
    """Select the first *limit* entries of *selection* after the position *after*, of *series* (at most 30)."""
    start = max(selection.start, after[0]) if after else selection.start
    # A series has one service and type: a query by series does not filter by them.
    filters = _filters(selection.service, selection.type) if series is None else [("series", _IN, series)]
    filters += [("created_at", _GREATER_OR_EQUAL, start), ("created_at", _LESS_OR_EQUAL, selection.end)]
    request = _select(ENTRIES, _ENTRY_FIELDS, filters)
    query = request.structured_query
    _order_by(query, "created_at", "id")
    if after and after[0] >= selection.start:
        query.start_at.values.add().integer_value = after[0]
        query.start_at.values.add().string_value = after[1]
    query.limit.value = limit
    return request


def select_series(service: str, limit: int | None = None) -> Any:
    """Select the records of series of *service*, or *limit* of them."""
    request = _select(SERIES, _SERIES_FIELDS, [("service", _EQUAL, service)])
    if limit is not None:
        request.structured_query.limit.value = limit
    return request


def select_all_series(after: Any, limit: int) -> Any:
    """Select the first *limit* records of series, of all services, after the document *after* if given."""
    request = _select(SERIES, _SERIES_FIELDS, [("service", _GREATER_OR_EQUAL, "")])
    query = request.structured_query
    _order_by(query, "service", "__name__")
    if after is not None:
        query.start_at.values.add().string_value = after.fields["service"].string_value
        query.start_at.values.add().reference_value = after.name
    query.limit.value = limit
    return request


def select_packed(service: str) -> Any:
    """Select the documents with packed series of *service*."""
    return _select(SERIES, _SERIES_FIELDS, [("service", _EQUAL, service), ("is_packed", _EQUAL, True)])


def select_new_records(limit: int) -> Any:
    """Select *limit* records of series that are not packed."""
    request = _select(SERIES, _SERIES_FIELDS, [("is_new", _EQUAL, True)])
    request.structured_query.limit.value = limit
    return request


def select_blocks(service: str, profile_type: ProfileType | None, start: int, end: int) -> Any:
    """Select the blocks that may overlap the range: they end in it, or at most a block's length after.

    Most ranges are recent, and few blocks end after their start.
    """
    filters = [
        *_filters(service, profile_type),
        ("last", _GREATER_OR_EQUAL, start),
        ("last", _LESS_OR_EQUAL, min(end + MAX_BLOCK_NANOS, LATEST)),
    ]
    request = _select(BLOCKS, (*_BLOCK_FIELDS, "stored_at"), filters)
    _order_by(request.structured_query, "last")
    return request


def select_groups(  # noqa: PLR0917
    service: str,
    profile_type: ProfileType | None,
    start: int,
    end: int,
    after: Any = None,
    limit: int | None = None,
) -> Any:
    """Select the groups with entries of the type, of which the first was created from *start* to *end*.

    They are ordered by that time.

    With *after*, a document, those that come after it; with *limit*, the first of them.
    """
    filters = [
        *_filters(service, None),
        ("first", _GREATER_OR_EQUAL, max(start, 0)),
        ("first", _LESS_OR_EQUAL, end),
    ]
    if profile_type:
        filters.append(("types", _CONTAINS, profile_type))
    request = _select(GROUPS, ("service", "first", "members", "stored_at"), filters)
    query = request.structured_query
    _order_by(query, "first", "__name__")
    if after is not None:
        query.start_at.values.add().integer_value = after.fields["first"].integer_value
        query.start_at.values.add().reference_value = after.name
    if limit is not None:
        query.limit.value = limit
    return request


def select_due_tasks(until: int, limit: int) -> Any:
    """Select the first *limit* tasks that are due at *until*."""
    request = _select(TASKS, ("task",), [("due", _LESS_OR_EQUAL, until)])
    _order_by(request.structured_query, "due")
    request.structured_query.limit.value = limit
    return request


def select_next_service(collection: str, after: str) -> Any:
    """Select one document of the first service greater than *after*: one read a service, whatever it stores."""
    request = _select(collection, ("service",), [("service", _GREATER, after)])
    _order_by(request.structured_query, "service", TYPE_FIELDS[collection], *_ORDERS[collection])
    request.structured_query.limit.value = 1
    return request


def select_next_types(collection: str, service: str, after: str) -> Any:
    """Select one document of *service* with the first profile type, or set of types, greater than *after*."""
    field = TYPE_FIELDS[collection]
    request = _select(collection, (field,), [("service", _EQUAL, service), (field, _GREATER, after)])
    _order_by(request.structured_query, field, *_ORDERS[collection])
    request.structured_query.limit.value = 1
    return request


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
    for name in _BLOCK_TEXTS:
        fields[name].string_value = getattr(block, name)
    for name in _BLOCK_NUMBERS:
        fields[name].integer_value = getattr(block, name)
    fields["ends"].string_value = json.dumps(block.ends)
    fields["stored_at"].timestamp_value.seconds = stored_at


def read_block(document: Any) -> Block:
    """Return the block that :func:`write_block` wrote."""
    fields = document.fields
    return Block(
        type=read_type(document),
        ends=tuple(json.loads(fields["ends"].string_value)),
        **{name: fields[name].string_value for name in _BLOCK_TEXTS if name != "type"},
        **{name: fields[name].integer_value for name in _BLOCK_NUMBERS},
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


_Filter = tuple[str, int, Any]  # field, operator, value

# StructuredQuery.FieldFilter.Operator, CompositeFilter.Operator and Direction
_EQUAL, _GREATER_OR_EQUAL, _LESS_OR_EQUAL, _GREATER, _CONTAINS, _IN = 5, 4, 2, 3, 7, 8
_AND = 1
_ASCENDING = 1


def _filters(service: str, profile_type: ProfileType | None) -> list[_Filter]:
    filters: list[_Filter] = [("service", _EQUAL, service)]
    if profile_type:
        filters.append(("type", _EQUAL, profile_type))
    return filters


def _select(collection: str, fields: Sequence[str], filters: Sequence[_Filter]) -> Any:
    request = RunQueryRequest()
    query = request.structured_query
    query.from_.add().collection_id = collection
    for field in fields:
        query.select.fields.add().field_path = field
    query.where.composite_filter.op = _AND
    for field, operator, value in filters:
        field_filter = query.where.composite_filter.filters.add().field_filter
        field_filter.field.field_path = field
        if operator == _IN and len(value) == 1:
            operator, (value,) = _EQUAL, value  # noqa: PLW2901 - the same condition, cheaper
        field_filter.op = operator
        if isinstance(value, bool):
            field_filter.value.boolean_value = value
        elif isinstance(value, int):
            field_filter.value.integer_value = value
        elif isinstance(value, str):
            field_filter.value.string_value = value
        else:
            for item in value:
                field_filter.value.array_value.values.add().string_value = item
    return request


def _order_by(query: Any, *fields: str) -> None:
    for field in fields:
        order = query.order_by.add()
        order.field.field_path = field
        order.direction = _ASCENDING


_parse_labels = lru_cache(4096)(Labels.parse)  # thousands of entries share few label sets


@lru_cache(256)
def _parse_sample_types(text: str) -> tuple[tuple[SampleType, ...], bool]:
    return sample_types_from_json(json.loads(text))
