"""ClickHouse and BigQuery read the files as DuckDB does: sums equal those of ``go tool pprof -top``."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import boto3
import duckdb
import pyarrow.parquet as pq
import pytest

from profbucket.model.ids import parse_samples_key
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode, encode
from profbucket.samples.schema import SCHEMA
from tests.samples.conftest import point_to, read_section, read_statements
from tests.support.bigquery import connect_bigquery, find_empty_file, translate
from tests.support.clickhouse import ClickHouse, Rows, start_clickhouse
from tests.support.go_tool import GoPprof, read_top
from tests.support.paths import CORPUS
from tests.support.sample_fleet import CPU, HEAP, Posted, write_tables
from tests.support.storage.unique_names import new_s3_bucket

TOP = """
    SELECT function, sum(self), sum(cumulative) FROM functions WHERE sample_type = '{}' AND {}
    GROUP BY function HAVING sum(self) <> 0 OR sum(cumulative) <> 0
"""
# With ClickHouse's names of functions, for a table without views.
TOP_OF_TABLE = """
    SELECT frame, sum(if(frame = function, value, 0)), sum(value) FROM {} ARRAY JOIN arrayDistinct(stack) AS frame
    WHERE sample_type = 'cpu' GROUP BY frame HAVING sum(value) <> 0
"""

Top = dict[str, tuple[int, int]]


def to_top(rows: Rows) -> Top:
    return {str(function): (int(flat), int(cumulative)) for function, flat, cumulative in rows}


@pytest.fixture(scope="session")
def bigquery_views(tables: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect_bigquery(tables) as connection:
        yield connection


@dataclass(frozen=True, slots=True)
class Engine:
    query: Callable[[str], Rows]
    label: str = "sample_labels['{}']"


@pytest.fixture(params=["duckdb", "clickhouse", "bigquery"])
def engine(request: pytest.FixtureRequest) -> Engine:
    views = request.getfixturevalue(f"{request.param}_views")
    if request.param == "clickhouse":
        return Engine(views.query)
    if request.param == "duckdb":
        return Engine(lambda query: views.sql(query).fetchall())
    label = "(SELECT label.value FROM UNNEST(sample_labels) AS label WHERE label.key = '{}')"
    return Engine(lambda query: views.sql(translate(query)).fetchall(), label)


class Case(NamedTuple):
    service: str
    profile_type: ProfileType
    sample_type: str
    label: tuple[str, str] | None = None


CASES = [
    Case("shop", CPU, "cpu"),
    Case("shop", CPU, "cpu", ("pool", "payments")),
    Case("shop", HEAP, "inuse_space"),
    Case("shop", HEAP, "alloc_objects"),
    Case("shop/billing", HEAP, "alloc_space", ("endpoint", "/cart")),
]


@pytest.fixture(scope="module")
def tops(fleet: list[Posted], go_pprof: GoPprof, tmp_path_factory: pytest.TempPathFactory) -> Mapping[Case, Top]:
    """Return what ``go tool pprof -top`` shows of each case."""
    tops = {}
    for case in CASES:
        directory, files = tmp_path_factory.mktemp("profiles"), list[Path]()
        for number, posted in enumerate(fleet):
            if (posted.service, posted.type) == (case.service, case.profile_type):
                files.append(directory / f"{number}.pb")
                files[-1].write_bytes(encode(posted.message()))
        flags = [f"-sample_index={case.sample_type}", "-unit=ns" if case.profile_type == CPU else "-unit=B"]
        if case.label:
            flags.append(f"-tagfocus={'='.join(case.label)}")
        tops[case] = read_top(go_pprof, files, *flags)
        assert len(tops[case]) > 10
    return tops


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.sample_type}-{case.label and case.label[0]}")
def test_sums_equal_top(engine: Engine, tops: Mapping[Case, Top], case: Case) -> None:
    condition = f"service = '{case.service}'"
    if case.label:
        key, value = case.label
        condition += f" AND {engine.label.format(key)} = '{value}'"
    assert to_top(engine.query(TOP.format(case.sample_type, condition))) == tops[case]


def test_services_have_days_and_series(engine: Engine, fleet: list[Posted]) -> None:
    rows = engine.query("SELECT service, type, days, series, sample_types FROM services")
    days, series = defaultdict(set), defaultdict(set)
    for posted in fleet:
        days[posted.service, str(posted.type)].add(posted.date)
        series[posted.service, str(posted.type)].add(str(posted.labels))
    assert {row[:2]: row[2:4] for row in rows} == {key: (len(days[key]), len(series[key])) for key in days}
    assert {row[1]: row[4] for row in rows if row[0] == "search"} == {
        "cpu": ["cpu", "samples"],
        "heap": ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"],
    }


def test_packages_of_functions_are_those_of_samples(engine: Engine) -> None:
    """A view derives the package of a caller, which a table has only for the last function of a stack."""
    packages: dict[str, str] = dict(engine.query("SELECT DISTINCT function, package FROM samples"))
    rows = engine.query("SELECT DISTINCT function, package FROM functions")
    assert {function: package for function, package in rows if function in packages} == packages
    assert len(rows) > len(packages)


@pytest.mark.skipif(not CORPUS.exists(), reason="needs ../shared/corpus")
def test_the_corpus_equals_top(clickhouse_views: ClickHouse, go_pprof: GoPprof, tmp_path: Path) -> None:
    files = [file for file in sorted(CORPUS.glob("*.pb.gz"))[::40] if decode(file.read_bytes()).has_samples]
    write_tables((Posted("compiler", CPU, "2026-11-20", {}, file) for file in files), tmp_path)
    table = f"file('{tmp_path}/_/samples/v1/**/*.parquet', 'Parquet')"
    assert to_top(clickhouse_views.query(TOP_OF_TABLE.format(table))) == read_top(go_pprof, files, "-unit=ns")


@pytest.mark.parametrize("function", ["s3", "gcs"])
def test_table_functions_read_the_bucket(clickhouse_views: ClickHouse, bucket_url: str, function: str) -> None:
    statement = read_statements("## ClickHouse")[0]
    if function == "gcs":
        [call] = re.findall(r"`(gcs\('.*?') *, …\)`", read_section("## ClickHouse"))
        statement = re.sub(r"s3\('[^']*'", lambda _: call, statement)
    rows = clickhouse_views.query(point_to(bucket_url, statement))
    assert len(rows) == 10
    assert rows[0][0] == "main.priceCart"


def test_conditions_decide_which_files_are_read(s3: str, tables: Path) -> None:
    """Files of another date, service and type cannot be read, and are not."""
    bucket = new_s3_bucket(s3)
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    key = "_/samples/v1/date=2026-11-17/service=shop~2Fbilling/type=cpu/samples.parquet"
    client.upload_file(str(tables / key), bucket, key)
    for text, other in (("2026-11-17", "2026-11-18"), ("shop~2Fbilling", "shop"), ("cpu", "wall")):
        client.put_object(Bucket=bucket, Key=key.replace(text, other), Body=b"damaged")
    with start_clickhouse() as clickhouse:
        for statement in read_statements("## ClickHouse")[1:]:
            clickhouse.query(point_to(f"{s3}/{bucket}", statement))
        for view in ("samples", "functions"):
            condition = "date < '2026-11-18' AND service = 'shop/billing' AND type = 'cpu'"
            [(count,)] = clickhouse.query(f"SELECT count() FROM {view} WHERE {condition}")
            assert count > 0


def test_a_key_that_is_missing_is_an_empty_text(clickhouse_views: ClickHouse) -> None:
    rows = clickhouse_views.query(
        "SELECT DISTINCT service, stack[-1] = function FROM samples WHERE labels['version'] = ''"
    )
    assert rows == [("reports", 1)]


def test_the_document_declares_the_columns_of_the_schema(clickhouse_views: ClickHouse) -> None:
    columns = [name for name, *_ in clickhouse_views.query("DESCRIBE TABLE files")]
    assert columns == ["date", "service", "type", *SCHEMA.names]


def test_the_query_for_bigquery_is_valid(bigquery_views: duckdb.DuckDBPyConnection, fleet: list[Posted]) -> None:
    [query] = read_statements("## BigQuery")
    rows = bigquery_views.sql(translate(query)).fetchall()
    assert {version for version, _ in rows} == {None, "0.0.1", "0.0.2"}


def test_the_file_without_rows_has_the_schema_of_the_others(tables: Path) -> None:
    """BigQuery takes the schema of all files from it."""
    path, object_key = find_empty_file()
    empty = pq.ParquetFile(path)
    assert empty.metadata.num_rows == 0
    assert all(pq.ParquetFile(path).schema.equals(empty.schema) for path in tables.rglob("*.parquet"))
    assert parse_samples_key(object_key) == ("none", ProfileType.OTHER, 0)


def test_views_have_the_same_columns_in_all_engines(
    duckdb_views: duckdb.DuckDBPyConnection,
    bigquery_views: duckdb.DuckDBPyConnection,
    clickhouse_views: ClickHouse,
) -> None:
    for view in ("samples", "functions", "services"):
        columns = [name for name, *_ in clickhouse_views.query(f"DESCRIBE TABLE {view}")]
        assert bigquery_views.table(view).columns == columns
        assert duckdb_views.table(view).columns == columns
