"""SQL over the samples of a storage: its tables, and what is not exported yet, in an in-memory DuckDB.

All files are in one temporary directory, and DuckDB may read no others: exported tables as links or copies, the
rest as tables that are made for the query.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from profbucket.errors import Invalid
from profbucket.model.ids import SAMPLES, parse_samples_key, samples_key, samples_prefix
from profbucket.model.profile_type import ProfileType
from profbucket.samples.day import DAY, list_days, list_lanes, write_day
from profbucket.samples.schema import FILE_SCHEMA
from profbucket.storage.ports import Bucket, ObjectRange
from profbucket.storage.store import Storage

_READ_AT_ONCE = 100  # objects

_VIEWS = r"""
CREATE VIEW samples AS
SELECT date, service_name AS service, type, start, "end", labels, profiles, sample_type, unit, value, function,
    package, stack, files, lines, is_first, mapping, sample_labels
FROM read_parquet('{files}', hive_partitioning = true, hive_types_autocast = false,
    hive_types = {{'date': DATE, 'service': VARCHAR, 'type': VARCHAR}});

-- A row for each function of each stack: sums of self and cumulative are flat and cum of pprof.
CREATE VIEW functions AS
SELECT * EXCLUDE (leaf, is_first), regexp_extract(function, '^((.*/)?\w+)(\.|::)[^/]*$', 1) AS package,
    CASE WHEN function = leaf THEN value ELSE 0 END AS self, value AS cumulative
FROM (
    SELECT * EXCLUDE (function, package, stack, files, lines, is_first), function AS leaf,
        unnest(stack) AS function, unnest(is_first) AS is_first
    FROM samples
)
WHERE is_first;

CREATE VIEW services AS
SELECT service, type, min(start) AS first, max("end") AS last, count(DISTINCT date) AS days,
    count(DISTINCT labels) AS series, list(DISTINCT sample_type ORDER BY sample_type) AS sample_types
FROM samples GROUP BY service, type ORDER BY service, type;
"""


def collect_tables(  # noqa: PLR0917
    storage: Storage,
    directory: Path,
    start: int,
    end: int,
    now: int,
    service: str | None = None,
    profile_type: ProfileType | None = None,
) -> None:
    """Fill *directory* with a table for each day from *start* to *end*, of one *service* and type or of all.

    Exported tables are linked or copied; those of days that are not over at *now*, and of days that were not
    exported, are made.
    """
    exported = list(_list_exported(storage.bucket, start, end, now, service, profile_type))
    copied = set(_copy_objects(storage.bucket, exported, directory))
    for lane in list_lanes(storage, start, end, service, profile_type):
        for begin in list_days(storage, *lane, start, end):
            key = samples_key(*lane, begin)
            if key not in copied:
                with _create(directory / key).open("w+b") as sink:
                    write_day(storage, *lane, begin, sink)
    # The views need a file.
    with _create(directory / samples_key("_", ProfileType.OTHER, 0)).open("wb") as sink:
        pq.ParquetWriter(sink, FILE_SCHEMA, store_schema=False).close()


def connect(directory: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection to a database with the views of the tables in *directory*, which reads nothing else."""
    connection = duckdb.connect(":memory:")
    for name, value in (
        ("TimeZone", "UTC"),
        ("temp_directory", str(directory / "tmp")),
        ("allowed_directories", [f"{directory}/"]),
        ("enable_external_access", False),
        ("lock_configuration", True),
    ):
        connection.execute(f"SET {name} = $value", {"value": value})
    files = f"{directory}/{SAMPLES}*/*/*/*.parquet".replace("'", "''")
    connection.execute(_VIEWS.format(files=files))
    return connection


def run_query(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], Iterator[tuple[object, ...]]]:
    """Run *sql*, one statement that reads; return the names of the columns and the rows.

    Raise ``Invalid`` for other statements, and if DuckDB refuses it.
    """
    try:
        statements = connection.extract_statements(sql)
        # Others could write, and a table may be a link to that of the storage.
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise Invalid("the query must be one SELECT statement")
        result = connection.execute(statements[0])
    except duckdb.Error as error:
        raise _translate(error) from None
    return [column[0] for column in result.description or ()], _fetch(result)


def _fetch(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[object, ...]]:
    try:
        while rows := result.fetchmany(1000):
            yield from rows
    except duckdb.Error as error:
        raise _translate(error) from None


def _translate(error: duckdb.Error) -> Invalid:
    """Return the error with the first paragraph of DuckDB's message, in one line."""
    return Invalid(" ".join(str(error).split("\n\n")[0].split()))


def _list_exported(  # noqa: PLR0917
    bucket: Bucket, start: int, end: int, now: int, service: str | None, profile_type: ProfileType | None
) -> Iterator[str]:
    """Yield the keys of the tables that are wanted, without those of days that are not over."""
    end = min(end, now - DAY)
    if end < start // DAY * DAY:
        return
    for obj in bucket.list(samples_prefix(start), f"{samples_prefix(end)}\x7f"):
        try:
            own_service, own_type, _ = parse_samples_key(obj.key)
        except ValueError:
            continue
        if service in (None, own_service) and profile_type in (None, own_type):
            yield obj.key


def _copy_objects(bucket: Bucket, keys: list[str], directory: Path) -> Iterator[str]:
    """Copy the objects to *directory*, and yield the keys of those that exist: one may just be replaced."""
    remote = []
    for key in keys:
        if (path := bucket.local_path(key)) is None:
            remote.append(key)
        elif _link(path, _create(directory / key)):
            yield key
    for begin in range(0, len(remote), _READ_AT_ONCE):
        chunk = remote[begin : begin + _READ_AT_ONCE]
        for key, data in zip(chunk, bucket.get_many(list(map(ObjectRange, chunk))), strict=True):
            if data is not None:
                _create(directory / key).write_bytes(data)
                yield key


def _link(path: Path, copy: Path) -> bool:
    """Make *copy* a hard link to *path*, or a copy if that is on another file system; return whether it exists."""
    with suppress(OSError):
        copy.hardlink_to(path)
        return True
    with suppress(FileNotFoundError):
        shutil.copyfile(path, copy)
        return True
    return False


def _create(path: Path) -> Path:
    """Create the folder of *path*, and return *path*."""
    os.makedirs(path.parent, exist_ok=True)
    return path
