"""The tables of terraform/sql.tf in DuckDB: there is no emulator of BigQuery with external tables."""

import re
from pathlib import Path

import duckdb
import sqlglot

from tests.support.paths import ROOT

TERRAFORM = ROOT / "terraform"


def connect_bigquery(directory: Path) -> duckdb.DuckDBPyConnection:
    """Return DuckDB with the table over the files in *directory*, and the results of the views.

    Maps are structures with a list of pairs, which is what BigQuery makes of those of Parquet.
    """
    connection = duckdb.connect()
    connection.execute(f"""
        CREATE VIEW files AS
        SELECT * REPLACE (
            {{'key_value': map_entries(labels)}} AS labels,
            {{'key_value': map_entries(sample_labels)}} AS sample_labels
        )
        FROM read_parquet(
            '{directory}/_/samples/v1/**/*.parquet',
            hive_partitioning = true,
            hive_types = {{'date': DATE, 'service': VARCHAR, 'type': VARCHAR}}
        )
    """)
    samples = (TERRAFORM / "sql" / "samples.sql").read_text()
    for path in sorted(TERRAFORM.glob("sql/*.sql")):
        query = path.read_text().replace("${samples}", samples).replace("${dataset}", "profbucket")
        # A table: a view would run its correlated subquery, which is slow in DuckDB, in each query.
        connection.execute(f"CREATE TABLE {path.stem} AS {translate(query)}")
    return connection


def translate(query: str) -> str:
    """Return a *query* of BigQuery on the dataset ``profbucket`` as one of DuckDB."""
    [translated] = sqlglot.transpile(
        re.sub(r"`?profbucket\.(\w+)`?", r"\1", query), read="bigquery", write="duckdb"
    )
    return translated


def find_empty_file() -> tuple[Path, str]:
    """Return the file without rows and its key in the bucket."""
    [object_key] = re.findall(r'"(_/samples/.*\.parquet)"', (TERRAFORM / "sql.tf").read_text())
    return TERRAFORM / "sql" / "empty.parquet", object_key
