"""Fixtures with tables of samples, and engines that read them."""

import re
from collections.abc import Iterator
from pathlib import Path

import boto3
import duckdb
import pytest

from tests.support.clickhouse import ClickHouse, start_clickhouse
from tests.support.paths import ROOT
from tests.support.sample_fleet import Posted, make_fleet, open_tables, write_tables
from tests.support.storage.unique_names import new_s3_bucket

DOCUMENT = (ROOT / "docs" / "sql.md").read_text()


def read_section(heading: str) -> str:
    """Return what docs/sql.md says below *heading*, up to the next one of the same level."""
    level = heading.partition(" ")[0]
    return DOCUMENT.partition(f"\n{heading}\n")[2].partition(f"\n{level} ")[0]


def read_statements(heading: str) -> list[str]:
    """Return the SQL below *heading*."""
    return re.findall(r"^```sql\n(.*?)^```$", read_section(heading), re.M | re.S)


def point_to(bucket_url: str, statement: str) -> str:
    """Return a *statement* of docs/sql.md with another bucket and the credentials of the emulator."""
    for text, actual in (
        ("https://my-profiles.s3.eu-central-1.amazonaws.com", bucket_url),
        ("https://storage.googleapis.com/my-profiles", bucket_url),
        ("ACCESS_KEY", "testing"),
        ("SECRET_KEY", "testing"),
    ):
        statement = statement.replace(text, actual)
    return statement


@pytest.fixture(scope="session")
def fleet() -> list[Posted]:
    return make_fleet()


@pytest.fixture(scope="session")
def tables(fleet: list[Posted], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that holds the tables of all days of the fleet, under their keys."""
    directory = tmp_path_factory.mktemp("tables")
    write_tables(fleet, directory)
    return directory


@pytest.fixture(scope="session")
def bucket_url(tables: Path, s3: str) -> str:
    """Return the URL of a bucket of S3 that holds the files of *tables* under their keys."""
    bucket = new_s3_bucket(s3)
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    for path in tables.rglob("*.parquet"):
        client.upload_file(str(path), bucket, str(path.relative_to(tables)))
    return f"{s3}/{bucket}"


@pytest.fixture(scope="session")
def clickhouse_views(bucket_url: str) -> Iterator[ClickHouse]:
    """Yield ClickHouse with the table and the views of docs/sql.md, over the bucket."""
    _, *definitions = read_statements("## ClickHouse")
    with start_clickhouse() as engine:
        for statement in definitions:
            engine.query(point_to(bucket_url, statement))
        yield engine


@pytest.fixture(scope="session")
def duckdb_views(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield DuckDB with the views of `profbucket sql`, over the directory."""
    with open_tables(tables, tmp_path_factory.mktemp("opened")) as database:
        yield database.connection
