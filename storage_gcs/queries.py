"""The queries of the index. indexes.json lists the Firestore indexes that the queries need."""

from collections.abc import Sequence
from typing import Any

from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import MAX_BLOCK_NANOS, Selection
from profbucket.times import LATEST
from storage_gcs.documents import BLOCK_NUMBERS, BLOCK_TEXTS, BLOCKS, ENTRIES, GROUPS, SERIES, TASKS
from storage_gcs.firestore import RunQueryRequest

# The field that has the profile type, or of a batch the set of its types, of which a service has few.
_TYPE_FIELDS = {ENTRIES: "type", BLOCKS: "type", GROUPS: "type_list"}
# The order of the documents of one service and type; the Firestore index of such a query ends with these fields.
_ORDERS = {ENTRIES: ("created_at", "id"), BLOCKS: ("last",), GROUPS: ()}

_BLOCK_FIELDS = (*BLOCK_TEXTS, *BLOCK_NUMBERS, "ends")
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
    _order_by(request.structured_query, "service", _TYPE_FIELDS[collection], *_ORDERS[collection])
    request.structured_query.limit.value = 1
    return request


def select_next_types(collection: str, service: str, after: str) -> Any:
    """Select one document of *service* with the first profile type, or set of types, greater than *after*."""
    field = _TYPE_FIELDS[collection]
    request = _select(collection, (field,), [("service", _EQUAL, service), (field, _GREATER, after)])
    _order_by(request.structured_query, field, *_ORDERS[collection])
    request.structured_query.limit.value = 1
    return request


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
