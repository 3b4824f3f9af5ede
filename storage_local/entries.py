"""The tables of entries: one row for each profile of the head.

The sample types of an entry are a row of their own, because thousands of entries have the same ones.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Any

from profbucket.model.blocks import Members, collect_kinds
from profbucket.model.ids import profile_prefix
from profbucket.model.labels import Labels
from profbucket.model.meta import BatchPart, Meta, SampleType, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Selection
from profbucket.times import format_stamp
from storage_local.damage import PARSE_ERRORS, raise_damaged

_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes an encoder for each call

CREATE_ENTRIES = """
CREATE TABLE entries (
    id TEXT PRIMARY KEY,  -- Meta.id
    kind INTEGER NOT NULL REFERENCES kinds,
    series INTEGER NOT NULL REFERENCES series,
    created_at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    totals TEXT NOT NULL  -- a number for each sample type
);
CREATE INDEX entries_of_kind ON entries (kind, created_at, id);
CREATE INDEX entries_of_series ON entries (series, created_at, id);
"""
# Added by schema 5. Before, totals had the names of the sample types. A process of an older version that has the
# file open during the upgrade would go on to write those; the trigger makes it answer posts with 503 instead.
ADD_SAMPLE_TYPES = """
CREATE TABLE sample_types (  -- of one or many entries
    id INTEGER PRIMARY KEY,
    names TEXT NOT NULL UNIQUE  -- types and units
);
ALTER TABLE entries ADD COLUMN sample_types INTEGER NOT NULL DEFAULT 0 REFERENCES sample_types;
CREATE TRIGGER refuse_entry_of_older_version BEFORE INSERT ON entries WHEN new.sample_types = 0 BEGIN
    SELECT RAISE(ABORT, 'a newer version of profbucket has upgraded it; restart this process with that version');
END;
"""

# Added by schema 6.
ADD_PARTS = """
ALTER TABLE entries ADD COLUMN part TEXT;  -- BatchPart.dump(), of a profile in a batch
"""

_INSERT_SAMPLE_TYPES = "INSERT INTO sample_types (names) VALUES (?) ON CONFLICT (names) DO NOTHING"
_INSERT_ENTRY = """
INSERT INTO entries (id, kind, series, created_at, size, totals, part, sample_types)
SELECT ?, kind, series.id, ?, ?, ?, ?, sample_types.id FROM series JOIN sample_types WHERE name = ? AND names = ?
ON CONFLICT (id) DO NOTHING
"""

_SELECT_KINDS = "SELECT id FROM kinds WHERE service = :service AND type = ifnull(:type, type)"
_SELECT_SERIES = "SELECT id FROM series WHERE name IN (SELECT value FROM json_each(:series))"
# Of thousands of series, few may have an entry in the range: this query leaves out the others.
_SELECT_SERIES_WITH_ENTRIES = f"""
{_SELECT_SERIES} AND kind IN ({_SELECT_KINDS})
AND EXISTS (SELECT 1 FROM entries WHERE entries.series = series.id AND created_at BETWEEN :start AND :end)
"""  # noqa: S608
# The entries of a few series are read series by series. Those of many are picked from all entries in the range, if
# these are not many more: to read one and skip it takes a small part of a query for one series.
_MIN_SERIES = 20
_ENTRIES_PER_SERIES = 30
_COUNT_ENTRIES = f"""
SELECT count(*) FROM (
    SELECT 1 FROM entries
    WHERE kind IN ({_SELECT_KINDS}) AND created_at BETWEEN :start AND :end LIMIT :limit
)
"""  # noqa: S608
_SELECT_ENTRIES = """
SELECT created_at, id, size, totals, sample_types, part, series FROM entries
WHERE {column} = ? AND (created_at, id) > (?, ?) AND created_at <= ? ORDER BY created_at, id LIMIT ?
"""
_SELECT_ENTRIES_OF_KIND = _SELECT_ENTRIES.format(column="kind")
_SELECT_ENTRIES_OF_SERIES = _SELECT_ENTRIES.format(column="series")
_SELECT_ONE_SERIES = "SELECT service, type, labels FROM series JOIN kinds ON kinds.id = kind WHERE series.id = ?"
_SELECT_NAMES = "SELECT names FROM sample_types WHERE id = ?"

_SELECT_TYPES = "SELECT id, type FROM kinds WHERE service = :service AND type = ifnull(:type, type) ORDER BY type"
# Columns are read as texts: ten thousands of tuples would take much longer, half of it in garbage collection.
_SELECT_COLUMNS = """
SELECT count(*), group_concat(created_at), group_concat(series), group_concat(size), group_concat(sample_types),
    group_concat(totals), group_concat(substr(id, -16))
FROM (
    SELECT created_at, entries.series, size, entries.sample_types, totals, entries.id
    FROM {} AND created_at BETWEEN :start AND :end ORDER BY created_at, entries.id
)
"""
_SELECT_COLUMNS_OF_KIND = _SELECT_COLUMNS.format("entries WHERE kind = :kind")
_SELECT_COLUMNS_OF_SERIES = _SELECT_COLUMNS.format(
    "series CROSS JOIN entries ON entries.series = series.id"
    " WHERE series.kind = :kind AND name IN (SELECT value FROM json_each(:series))"
)
_SELECT_COLUMNS_OF_MANY_SERIES = _SELECT_COLUMNS.format(
    f"entries WHERE kind = :kind AND series IN ({_SELECT_SERIES})"
)
_SELECT_LABELS = "SELECT id, labels FROM series WHERE id IN (SELECT value FROM json_each(?))"

_UPDATE_TOTALS = """
UPDATE entries SET totals = ?, sample_types = (SELECT id FROM sample_types WHERE names = ?) WHERE id = ?
"""


def store_entry(connection: sqlite3.Connection, meta: Meta) -> bool:
    """Add the entry of *meta*, whose series exists, in the current transaction; return whether it is new."""
    names = _dump([item if item.kind else item[:2] for item in meta.sample_types])
    totals = _dump([total.value for total in meta.totals])
    part = meta.part.dump() if meta.part else None
    row = (meta.id, meta.created_at, meta.size, totals, part, meta.series, names)
    connection.execute(_INSERT_SAMPLE_TYPES, (names,))
    return connection.execute(_INSERT_ENTRY, row).rowcount == 1


def read_entries(connection: sqlite3.Connection, selection: Selection) -> Iterator[Meta]:
    """Yield the selected entries as :meth:`Index.find` does."""
    # Entries have greater positions than this one: no id is empty.
    after = max((selection.start, ""), selection.after or (selection.start, ""))
    parameters = _parameters(selection) | {"start": after[0]}
    by_kind = _reads_all(connection, selection, parameters)
    if by_kind:
        select_ids, select_entries = _SELECT_KINDS, _SELECT_ENTRIES_OF_KIND
    else:
        select_ids, select_entries = _SELECT_SERIES_WITH_ENTRIES, _SELECT_ENTRIES_OF_SERIES
    ids = connection.execute(select_ids, parameters).fetchall()
    rows = merge(*(_read_pages(connection, select_entries, id_, after, selection.end) for (id_,) in ids))
    if by_kind and selection.series is not None:
        selected = {id_ for (id_,) in connection.execute(_SELECT_SERIES, parameters)}
        rows = (row for row in rows if row[-1] in selected)
    series_of_rows: dict[int, tuple[str, ProfileType, Labels]] = {}
    prefixes: dict[int, str] = {}  # of ids, by series
    names_of = lru_cache(None)(lambda sample_types: _read_names(connection, sample_types))
    for created_at, profile_id, size, values, sample_types, part, series in islice(rows, selection.limit):
        try:
            if series not in series_of_rows:
                service, type_name, labels = connection.execute(_SELECT_ONE_SERIES, (series,)).fetchone()
                profile_type = ProfileType(type_name)
                series_of_rows[series] = service, profile_type, Labels.parse(labels)
                prefixes[series] = profile_prefix(service, profile_type)
            names = names_of(sample_types)
            totals = tuple(
                Total(item.type, item.unit, value, item.kind)
                for item, value in zip(names, json.loads(values), strict=True)
            )
            prefix = f"{prefixes[series]}{format_stamp(created_at)}-"
            if not isinstance(size, int) or not profile_id.startswith(prefix):
                raise ValueError("its columns do not match its id")
            batch_part = None if part is None else BatchPart.load(part)
        except PARSE_ERRORS as error:
            raise_damaged(f"the entry {profile_id!r:.120}: {error}")
        yield Meta(profile_id, *series_of_rows[series], created_at, size, totals, batch_part)


def read_columns(connection: sqlite3.Connection, selection: Selection) -> list[Members]:
    """Return the selected entries as :meth:`Index.snapshot_columns` does."""
    parameters = _parameters(selection)
    if selection.series is None:
        statement = _SELECT_COLUMNS_OF_KIND
    elif _reads_all(connection, selection, parameters):
        statement = _SELECT_COLUMNS_OF_MANY_SERIES
    else:
        statement = _SELECT_COLUMNS_OF_SERIES
    columns = []
    for kind, type_name in connection.execute(_SELECT_TYPES, parameters).fetchall():
        count, *texts = connection.execute(statement, parameters | {"kind": kind}).fetchone()
        if count:
            try:
                columns.append(_to_columns(connection, selection.service, ProfileType(type_name), texts))
            except PARSE_ERRORS as error:
                raise_damaged(f"an entry of service {selection.service}, type {type_name!r:.80}: {error}")
    return columns


def _reads_all(connection: sqlite3.Connection, selection: Selection, parameters: dict[str, Any]) -> bool:
    """Return whether to read all entries in the range, of which some or all are selected."""
    if selection.series is None:
        return True
    if len(selection.series) < _MIN_SERIES:
        return False
    limit = _ENTRIES_PER_SERIES * len(selection.series)
    (count,) = connection.execute(_COUNT_ENTRIES, parameters | {"limit": limit}).fetchone()
    return int(count) < limit


def _to_columns(
    connection: sqlite3.Connection, service: str, profile_type: ProfileType, texts: list[str]
) -> Members:
    *numbers, totals, digests = texts
    created_at, series, size, sample_types = (json.loads(f"[{text}]") for text in numbers)
    numbers_of_series = {id_: number for number, id_ in enumerate(dict.fromkeys(series))}
    numbers_of_types = {id_: number for number, id_ in enumerate(dict.fromkeys(sample_types))}
    types = [_read_names(connection, id_) for id_ in numbers_of_types]
    labels = dict(connection.execute(_SELECT_LABELS, (_dump(list(numbers_of_series)),)).fetchall())
    if len(labels) < len(numbers_of_series):
        raise ValueError("its series is missing")
    return Members(
        service=service,
        type=profile_type,
        labels=[Labels.parse(labels[id_]) for id_ in numbers_of_series],
        types=[[item[:2] for item in own] for own in types],
        created_at=created_at,
        digest=digests.split(","),
        series=[numbers_of_series[id_] for id_ in series],
        size=size,
        measured=[numbers_of_types[id_] for id_ in sample_types],
        totals=_parse_totals(totals, len(types[0]) if len(types) == 1 else 0),
        kinds=collect_kinds(types),
    ).check()


def _parse_totals(text: str, width: int) -> list[Sequence[int]]:
    """Return the totals in a list of JSON arrays, all with *width* numbers unless it is 0."""
    if not width:
        return list(json.loads(f"[{text}]"))
    # Tuples of numbers, unlike lists, are no work for the garbage collector, which would take as long as all else.
    numbers = iter(json.loads(text.replace("],[", ",")))
    return list(zip(*[numbers] * width, strict=True))


def separate_names(connection: sqlite3.Connection) -> None:
    """Move the names of sample types out of the totals that an older schema has."""
    for profile_id, text in connection.execute("SELECT id, totals FROM entries").fetchall():
        totals = [Total(*total) for total in json.loads(text)]
        names = _dump([(total.type, total.unit) for total in totals])
        connection.execute(_INSERT_SAMPLE_TYPES, (names,))
        connection.execute(_UPDATE_TOTALS, (_dump([total.value for total in totals]), names, profile_id))


def _parameters(selection: Selection) -> dict[str, Any]:
    return {
        "service": selection.service,
        "type": selection.type,
        "series": _dump(list(selection.series or ())),
        "start": selection.start,
        "end": selection.end,
    }


def _read_names(connection: sqlite3.Connection, sample_types: int) -> list[SampleType]:
    """Return the sample types in a row of ``sample_types``."""
    (names,) = connection.execute(_SELECT_NAMES, (sample_types,)).fetchone()
    return [SampleType(*item) for item in json.loads(names)]


def _read_pages(
    connection: sqlite3.Connection, select_entries: str, id_: int, after: tuple[int, str], end: int
) -> Iterator[tuple[int, str, int, str, int, str | None, int]]:
    """Yield the rows of one kind or series, in order.

    It reads pages, because the cost of open cursors is quadratic: a find among thousands of series would take
    minutes. The first pages are small, because such a find may need only one row of each series.
    """
    limit = 4
    while rows := connection.execute(select_entries, (id_, *after, end, limit)).fetchall():
        if not all(isinstance(row[0], int) and isinstance(row[1], str) for row in rows):
            raise_damaged("an entry has no time or no id")  # and cannot be ordered
        yield from rows
        if len(rows) < limit:
            return
        after = rows[-1][:2]
        limit = min(2 * limit, 1024)


def _dump(values: list[Any]) -> str:
    return _encode(values)
