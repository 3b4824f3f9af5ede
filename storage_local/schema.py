"""The schema of the index file, and the upgrade of files with older schemas."""

import sqlite3
from collections.abc import Iterator

from storage_local.damage import PARSE_ERRORS, raise_damaged
from storage_local.entries import ADD_PARTS, ADD_SAMPLE_TYPES, CREATE_ENTRIES, separate_names
from storage_local.series import ADD_LABELS, CREATE_SERIES, add_labels

SCHEMA_VERSION = 6
_CREATE_BLOCKS = """
CREATE TABLE blocks (
    id TEXT PRIMARY KEY,  -- Block.id
    kind INTEGER NOT NULL REFERENCES kinds,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    period INTEGER NOT NULL,
    count INTEGER NOT NULL,
    size INTEGER NOT NULL,
    ends TEXT NOT NULL,
    measures TEXT NOT NULL,
    written_at INTEGER NOT NULL
);
CREATE INDEX blocks_of_kind ON blocks (kind, first, id);
"""
_CREATE_TASKS = """
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,  -- Task.id
    due INTEGER NOT NULL,
    task TEXT NOT NULL  -- Task.dump()
);
CREATE INDEX tasks_by_due ON tasks (due);
"""
CREATE_ALL = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE kinds (  -- one row for each service and profile type
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    type TEXT NOT NULL,
    UNIQUE (service, type)
);
{CREATE_SERIES}
{CREATE_ENTRIES}
{_CREATE_BLOCKS}
{_CREATE_TASKS}
{ADD_LABELS}
{ADD_SAMPLE_TYPES}
{ADD_PARTS}
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
# Each has additions, and a function that fills them.
_STEPS = (
    (2, _CREATE_BLOCKS, None),
    (3, _CREATE_TASKS, None),
    (4, ADD_LABELS, add_labels),
    (5, ADD_SAMPLE_TYPES, separate_names),
    (6, ADD_PARTS, None),
)


def upgrade(connection: sqlite3.Connection) -> int:
    """Upgrade a file of an older schema, unless a concurrent process did, and return its schema."""
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    try:
        for schema, additions, fill in _STEPS:
            if version < schema:
                for statement in _split_statements(additions):
                    connection.execute(statement)
                if fill:
                    fill(connection)
                connection.execute(f"PRAGMA user_version = {schema}")
                version = schema
    except PARSE_ERRORS as error:
        raise_damaged(f"it cannot be upgraded: {error}")
    connection.execute("COMMIT")
    return int(version)


def _split_statements(script: str) -> Iterator[str]:
    statement = ""
    for part in script.split(";")[:-1]:  # the statements in a trigger have semicolons, too
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
