"""SQL over the tables of samples, in an in-memory DuckDB that reads nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import duckdb

from profbucket.errors import Invalid
from profbucket.samples.table_files import TableFiles

# Of DuckDB, even with fewer processors: most wait for files.
_THREADS = 8

_VIEWS = r"""
-- Conditions on date, service and type decide which files are opened: all three are from the path.
CREATE VIEW samples AS
SELECT date, url_decode(replace(service, '~', '%')) AS service, type, start, "end", labels, profiles, sample_type,
    unit, value, function, package, stack, files, lines, is_first, mapping, sample_labels
FROM read_parquet('tables://_/samples/v1/*/*/*/*.parquet', hive_partitioning = true, hive_types_autocast = false,
    hive_types = {'date': DATE, 'service': VARCHAR, 'type': VARCHAR});

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


class Database:
    """The views of *tables*. Large intermediate results are spilled to *directory*."""

    def __init__(self, tables: TableFiles, directory: Path) -> None:
        self._tables = tables
        self.connection = duckdb.connect(":memory:")
        self.connection.register_filesystem(tables)
        for name, value in (
            ("TimeZone", "UTC"),
            ("threads", max(_THREADS, os.cpu_count() or 1)),
            ("temp_directory", str(directory)),
            ("python_enable_replacements", False),  # a name in a query is no variable of this process
            ("autoinstall_known_extensions", False),
            ("autoload_known_extensions", False),
            ("allowed_directories", [f"{TableFiles.protocol}://"]),
            ("enable_external_access", False),
            ("lock_configuration", True),
        ):
            self.connection.execute(f"SET {name} = $value", {"value": value})
        self.connection.execute(_VIEWS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def query(self, sql: str) -> tuple[list[str], Iterator[tuple[object, ...]]]:
        """Run *sql*, one statement that reads; return the names of the columns and the rows.

        Raise ``Invalid`` for other statements, and if DuckDB refuses it. Errors of the storage are raised as they
        are.
        """
        try:
            statements = self.connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                names = ", ".join(statement.type.name for statement in statements)[:100]
                raise Invalid(f"the query must be one SELECT statement, not {names or 'empty'}")
            result = self.connection.execute(statements[0])
        except duckdb.Error as error:
            raise self._translate(error) from None
        return [column[0] for column in result.description or ()], self._fetch(result)

    def _fetch(self, result: duckdb.DuckDBPyConnection) -> Iterator[tuple[object, ...]]:
        try:
            while rows := result.fetchmany(1000):
                yield from rows
        except duckdb.Error as error:
            raise self._translate(error) from None

    def _translate(self, error: duckdb.Error) -> Exception:
        """Return the error of a file, or the first paragraph of DuckDB's message, in one line."""
        return self._tables.error or Invalid(" ".join(str(error).split("\n\n")[0].split()))
