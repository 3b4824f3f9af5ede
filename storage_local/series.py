"""The tables of series, and their inverted index over labels.

A series has one row in ``series``, and one in ``series_labels`` for each of its labels. Most profiles change none
of them, because times are rounded to hours.
"""

import json
import sqlite3
from functools import lru_cache

from profbucket.model.labels import Labels
from profbucket.model.meta import SampleType
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import sample_types_from_json, sample_types_to_json
from profbucket.storage.ports import Series, SeriesGroup, SeriesSelection
from profbucket.times import LATEST, SECOND
from storage_local.damage import PARSE_ERRORS, raise_damaged

_HOUR = 3600 * SECOND
_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes an encoder for each call

CREATE_SERIES = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,  -- Meta.series
    kind INTEGER NOT NULL REFERENCES kinds,
    labels TEXT NOT NULL
);
CREATE INDEX series_of_kind ON series (kind);
"""
ADD_LABELS = """
ALTER TABLE series ADD COLUMN sample_types TEXT NOT NULL DEFAULT '[]';
ALTER TABLE series ADD COLUMN first_seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN last_seen INTEGER NOT NULL DEFAULT 9223372036854775807;
CREATE TABLE labels (  -- those that any series of a kind has
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL REFERENCES kinds,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (kind, key, value)
);
CREATE TABLE series_labels (
    label INTEGER NOT NULL REFERENCES labels,
    series INTEGER NOT NULL REFERENCES series,
    PRIMARY KEY (label, series)
) WITHOUT ROWID;
CREATE INDEX labels_of_series ON series_labels (series);
CREATE TRIGGER delete_labels_of_series BEFORE DELETE ON series BEGIN
    DELETE FROM series_labels WHERE series = old.id;
END;
CREATE TRIGGER delete_unused_label AFTER DELETE ON series_labels BEGIN
    DELETE FROM labels WHERE id = old.label
    AND NOT EXISTS (SELECT 1 FROM series_labels WHERE label = old.label);
END;
"""

_INSERT_KIND = "INSERT INTO kinds (service, type) VALUES (?, ?) ON CONFLICT (service, type) DO NOTHING"
_INSERT_SERIES = """
INSERT INTO series (name, kind, labels, sample_types, first_seen, last_seen)
SELECT ?, id, ?, ?, ?, ? FROM kinds WHERE service = ? AND type = ?
"""
_UPDATE_SERIES = "UPDATE series SET sample_types = ?, first_seen = ?, last_seen = ? WHERE name = ?"
_INSERT_LABELS = """
INSERT INTO labels (kind, key, value) SELECT kind, ?, ? FROM series WHERE id = ?
ON CONFLICT (kind, key, value) DO NOTHING
"""
_INSERT_SERIES_LABELS = """
INSERT INTO series_labels (label, series)
SELECT labels.id, series.id FROM series JOIN labels ON labels.kind = series.kind
WHERE key = ? AND value = ? AND series.id = ?
"""

_SELECT_RECORDED = "SELECT sample_types, first_seen, last_seen FROM series WHERE name = ?"
_PARAMETERS = ("service", "type", "start", "end")
_SELECT_SERIES = "SELECT name, service, type, labels, sample_types, first_seen, last_seen FROM kinds"
_SELECT_GROUPS = "SELECT service, type, sample_types, min(first_seen), max(last_seen) FROM kinds"
_GROUP_BY = "GROUP BY kinds.id, sample_types"
_JOIN_LABEL = """
CROSS JOIN labels AS label{0} ON label{0}.kind = kinds.id AND label{0}.key = :key{0} AND label{0}.value = :value{0}
"""
_JOIN_SERIES_OF_LABEL = "CROSS JOIN series_labels AS of{0} ON of{0}.label = label{0}.id"

_SELECT_KINDS_WITH_SERIES = """
SELECT id, type FROM kinds WHERE service = ? AND EXISTS (SELECT 1 FROM series WHERE kind = kinds.id)
"""
_SELECT_KEYS = "SELECT DISTINCT key FROM labels WHERE kind = ?"
_SELECT_VALUES = "SELECT value FROM labels WHERE kind = ? AND key = ? ORDER BY value LIMIT ?"

# For an older schema. A series without entries may have members of any of the blocks.
_SELECT_WITH_TOTALS = """
SELECT id, labels, (SELECT totals FROM entries WHERE series = series.id ORDER BY created_at DESC LIMIT 1)
FROM series
"""
_SET_TIMES = """
UPDATE series SET
    first_seen = min(
        ifnull((SELECT min(created_at) FROM entries WHERE series = series.id), {0}),
        ifnull((SELECT min(first) FROM blocks WHERE kind = series.kind), {0})
    ),
    last_seen = max(
        ifnull((SELECT max(created_at) FROM entries WHERE series = series.id), 0),
        ifnull((SELECT max(last) FROM blocks WHERE kind = series.kind), 0)
    )
"""


def store_series(connection: sqlite3.Connection, series: Series) -> None:
    """Add *series*, or what it tells, in the current transaction."""
    first_seen = series.first_seen // _HOUR * _HOUR
    last_seen = min((series.last_seen // _HOUR + 1) * _HOUR - 1, LATEST)
    sample_types = _encode(sample_types_to_json(series))
    recorded = connection.execute(_SELECT_RECORDED, (series.id,)).fetchone()
    if recorded is None:
        labels = series.labels.format()
        connection.execute(_INSERT_KIND, (series.service, series.type))
        columns = (series.id, labels, sample_types, first_seen, last_seen)
        inserted = connection.execute(_INSERT_SERIES, (*columns, series.service, series.type))
        _insert_labels(connection, inserted.lastrowid, series.labels)
    else:
        known_types, known_first, known_last = recorded
        if known_types != sample_types:
            known, has_more = _load(known_types)
            sample_types = _encode(
                sample_types_to_json(series._replace(sample_types=known, has_more_types=has_more).union(series))
            )
        row = (sample_types, min(first_seen, known_first), max(last_seen, known_last))
        if row != recorded:
            connection.execute(_UPDATE_SERIES, (*row, series.id))


def read_series(connection: sqlite3.Connection, selection: SeriesSelection) -> list[Series]:
    """Return the selected series."""
    # Many series share their type, their labels or their sample types.
    parse_type, parse_labels = lru_cache(None)(ProfileType), lru_cache(None)(Labels.parse)
    load = lru_cache(None)(_load)
    rows = _select(connection, _SELECT_SERIES, selection)
    all_series = []
    try:
        for name, service, type_name, labels, types_text, first, last in rows:
            sample_types, has_more = load(types_text)
            all_series.append(
                Series(
                    name, service, parse_type(type_name), parse_labels(labels), sample_types, first, last, has_more
                )
            )
    except PARSE_ERRORS as error:
        raise_damaged(f"a series: {error}")
    return all_series


def read_series_groups(connection: sqlite3.Connection, selection: SeriesSelection) -> list[SeriesGroup]:
    """Return the groups of the selected series."""
    parse_type, load = lru_cache(None)(ProfileType), lru_cache(None)(_load)
    rows = _select(connection, _SELECT_GROUPS, selection, _GROUP_BY)
    groups = []
    try:
        for service, type_name, types_text, first, last in rows:
            sample_types, has_more = load(types_text)
            groups.append(SeriesGroup(service, parse_type(type_name), sample_types, first, last, has_more))
    except PARSE_ERRORS as error:
        raise_damaged(f"a series: {error}")
    return groups


def _select(
    connection: sqlite3.Connection, columns: str, selection: SeriesSelection, group_by: str = ""
) -> sqlite3.Cursor:
    """Return the rows of the selected series.

    The joins are in this order, so that of each kind only series with the first label are read.
    """
    parameters: dict[str, str | int | None] = {name: getattr(selection, name) for name in _PARAMETERS}
    parameters["limit"] = -1 if selection.limit is None else selection.limit
    for number, (key, value) in enumerate(selection.labels):
        parameters |= {f"key{number}": key, f"value{number}": value}
    numbers = range(len(selection.labels))
    joins = [_JOIN_LABEL.format(number) for number in numbers]
    joins += [_JOIN_SERIES_OF_LABEL.format(number) for number in numbers]
    joins.append("CROSS JOIN series ON series." + ("id = of0.series" if numbers else "kind = kinds.id"))
    conditions = ["first_seen <= :end", "last_seen >= :start"]
    conditions += ["service = :service"] if selection.service is not None else []
    conditions += ["type = :type"] if selection.type is not None else []
    conditions += [f"of{number}.series = of0.series" for number in numbers[1:]]
    statement = " ".join([columns, *joins, "WHERE", " AND ".join(conditions), group_by, "LIMIT :limit"])
    return connection.execute(statement, parameters)


def read_label_values(
    connection: sqlite3.Connection, service: str, limit: int
) -> dict[ProfileType, dict[str, list[str]]]:
    """Return what :meth:`Index.label_values` does."""
    values: dict[ProfileType, dict[str, list[str]]] = {}
    for kind, type_name in connection.execute(_SELECT_KINDS_WITH_SERIES, (service,)).fetchall():
        try:
            of_type = values.setdefault(ProfileType(type_name), {})
        except PARSE_ERRORS as error:
            raise_damaged(f"a profile type: {error}")
        for (key,) in connection.execute(_SELECT_KEYS, (kind,)).fetchall():
            of_type[key] = [value for (value,) in connection.execute(_SELECT_VALUES, (kind, key, limit))]
    return values


def add_labels(connection: sqlite3.Connection) -> None:
    """Fill what ``ADD_LABELS`` added, from all that an older schema has."""
    rows = connection.execute(_SELECT_WITH_TOTALS).fetchall()
    for series, labels, totals in rows:
        _insert_labels(connection, series, Labels.parse(labels))
        sample_types = [SampleType(*total[:2]) for total in json.loads(totals or "[]")]
        connection.execute("UPDATE series SET sample_types = ? WHERE id = ?", (_encode(sample_types), series))
    connection.execute(_SET_TIMES.format(LATEST))


def _insert_labels(connection: sqlite3.Connection, series: int | None, labels: Labels) -> None:
    rows = [(key, value, series) for key, value in labels]
    connection.executemany(_INSERT_LABELS, rows)
    connection.executemany(_INSERT_SERIES_LABELS, rows)


def _load(text: str) -> tuple[tuple[SampleType, ...], bool]:
    return sample_types_from_json(json.loads(text))
