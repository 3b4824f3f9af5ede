"""SQL finds each profile once, exported or not, and reads nothing but the tables."""

import csv
import io
import json
from functools import partial
from pathlib import Path

import pytest

from profbucket.cli.commands.sql import PRINTERS
from profbucket.errors import Invalid, Unavailable
from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import parse_samples_key, samples_key
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.samples.database import Database
from profbucket.samples.export import Exporter
from profbucket.samples.table_files import Source, TableFiles, find_tables
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND, format_time
from tests.support.command_line import profbucket
from tests.support.profiles import Sample, encode, profile, stack
from tests.support.storage.compaction_suite import MIDNIGHT, post_profiles
from tests.support.storage.unique_names import new_s3_bucket

CPU = ProfileType.CPU
DAY = 86_400 * SECOND
NOW = MIDNIGHT + DAY + 12 * 3600 * SECOND  # on the second day
TOTAL = "SELECT date::VARCHAR, sum(value) FROM samples WHERE sample_type = 'cpu' GROUP BY 1 ORDER BY 1"


@pytest.fixture(params=["memory", "directory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A storage with profiles of three days, and of a service whose name needs escapes."""
    match request.param:
        case "directory":
            storage = open_storage(f"file://{tmp_path}/storage")
        case "s3":
            endpoint = request.getfixturevalue("s3")
            url = f"s3://{new_s3_bucket(endpoint)}?endpoint={endpoint}&region=us-east-1"
            storage = open_storage(f"{url}&index=sqlite://{tmp_path}/index.sqlite")
        case _:
            storage = Storage(MemoryBucket(), MemoryIndex())
    post_profiles(storage, [-60, 0, 60, 1440, 1500])
    post_profiles(storage, [60], service="shop/cart's")
    return storage


def query(
    storage: Storage, directory: Path, sql: str, start: int = 0, end: int = LATEST
) -> list[tuple[object, ...]]:
    directory.mkdir()
    with Database(TableFiles(find_tables(storage, start, end, NOW), directory), directory) as database:
        _, rows = database.query(sql)
        return list(rows)


def value_of(*numbers: int) -> int:
    return sum(110_000_000 + (number + 1) * 10_000_000 for number in numbers)


TOTALS = [
    ("2026-11-22", value_of(-60)),
    ("2026-11-23", value_of(0, 60, 60)),
    ("2026-11-24", value_of(1440, 1500)),
]


def test_all_profiles_count_once(storage: Storage, tmp_path: Path) -> None:
    """In the head, in blocks, in tables, and in the table of a day that is not over."""
    assert query(storage, tmp_path / "head", TOTAL) == TOTALS
    list(Compactor(storage, clock=lambda: NOW, export_samples=True).run(service="api"))
    assert query(storage, tmp_path / "exported", TOTAL) == TOTALS
    Exporter(storage).export_day("api", CPU, MIDNIGHT + DAY)
    post_profiles(storage, [1441])
    totals = [*TOTALS[:2], ("2026-11-24", value_of(1440, 1441, 1500))]
    assert query(storage, tmp_path / "late", TOTAL) == totals
    assert query(storage, tmp_path / "range", TOTAL, MIDNIGHT + 5, MIDNIGHT + DAY - 1) == TOTALS[1:2]


def test_services_have_their_names(storage: Storage, tmp_path: Path) -> None:
    rows = query(storage, tmp_path / "sql", "SELECT service, type, days, series, sample_types FROM services")
    assert rows == [
        ("api", "cpu", 3, 1, ["cpu", "samples"]),
        ("shop/cart's", "cpu", 1, 1, ["cpu", "samples"]),
    ]


def test_names_and_labels_of_any_characters_are_returned_as_they_are(tmp_path: Path) -> None:
    storage = Storage(MemoryBucket(), MemoryIndex())
    services = ["a'; DROP VIEW samples; --", "100%", "2026", "é", "a=b", "c/../d", "_", ".", "[a-z]*?", "%27~5F"]
    functions = ["f'); DROP VIEW samples; --", "a\0b", "line\nbreak", "日本/語.f", '"quoted"', "%27~5F"]
    labels = Labels.from_pairs([("k'\"", "v\\' é,{}=[]"), ("date", ""), ("service", "x")])
    data = encode(profile(*(Sample(stack(name), (1, 1)) for name in functions), time_nanos=MIDNIGHT))
    for service in services:
        Collector(storage).collect(service, CPU, labels, data)
    rows = query(
        storage,
        tmp_path / "sql",
        "SELECT service, labels, list(function ORDER BY function) FROM functions WHERE sample_type = 'cpu'"
        " GROUP BY ALL",
    )
    assert sorted(rows) == [(service, dict(labels), sorted(functions)) for service in sorted(services)]
    condition = "WHERE service = 'c/../d'"
    assert query(storage, tmp_path / "one", f"SELECT DISTINCT service FROM samples {condition}") == [("c/../d",)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("service = 'shop/cart''s' AND date = '2026-11-23'", {("2026-11-23", "shop/cart's")}),
        ("date > '2026-11-22' AND service LIKE 'ap_'", {("2026-11-23", "api"), ("2026-11-24", "api")}),
        ("type = 'heap'", set()),
    ],
)
@pytest.mark.parametrize("view", ["samples", "functions"])
def test_only_tables_that_match_are_opened(
    storage: Storage, tmp_path: Path, view: str, condition: str, expected: set[tuple[str, str]]
) -> None:
    list(Compactor(storage, clock=lambda: NOW, export_samples=True).run(service="api"))
    opened = set()

    def create(key: str, source: Source, path: Path) -> None:
        service, _, begin = parse_samples_key(key)
        opened.add((format_time(begin)[:10], service))
        source(path)

    sources = find_tables(storage, 0, LATEST, NOW)
    tables = TableFiles({key: partial(create, key, source) for key, source in sources.items()}, tmp_path)
    with Database(tables, tmp_path) as database:
        [(count,)] = database.query(f"SELECT count(*) FROM {view} WHERE {condition}")[1]
    assert opened == expected
    assert bool(count) == bool(expected)


def test_errors_of_the_storage_are_raised_as_they_are(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise Unavailable("the bucket does not answer")

    tables = TableFiles({samples_key("api", CPU, MIDNIGHT): fail}, tmp_path)
    with Database(tables, tmp_path) as database, pytest.raises(Unavailable, match="does not answer"):
        database.query("SELECT sum(value) FROM samples")


def test_an_empty_range_has_no_rows(storage: Storage, tmp_path: Path) -> None:
    for view in ("samples", "functions", "services"):
        assert query(storage, tmp_path / view, f"FROM {view}", 0, DAY) == []


def test_functions_count_recursion_once(tmp_path: Path) -> None:
    storage = Storage(MemoryBucket(), MemoryIndex())
    samples = [
        Sample(stack("a/b.(*T).leaf", "f", "main.f", "f", "main"), (1, 5)),
        Sample(stack("f", "main"), (1, 7)),
        Sample((), (1, 100)),
    ]
    data = encode(profile(*samples, time_nanos=MIDNIGHT))
    Collector(storage).collect("s", CPU, Labels(), data)
    rows = query(
        storage,
        tmp_path / "sql",
        "SELECT function, package, sum(self), sum(cumulative) FROM functions WHERE sample_type = 'cpu'"
        " GROUP BY ALL ORDER BY function",
    )
    assert rows == [
        ("a/b.(*T).leaf", "a/b", 5, 5),
        ("f", "", 7, 12),
        ("main", "", 0, 12),
        ("main.f", "main", 0, 5),
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd'",
        "FROM glob('/etc/*')",
        "FROM sql",  # a variable of the caller
        "FROM read_csv('https://example.com/x.csv')",
        "FROM 's3://bucket/x.parquet'",
        "SELECT * FROM sqlite_scan('x.db', 't')",
        "LOAD httpfs",
        "PRAGMA database_list",
        "FROM query('COPY (SELECT 1) TO ''x.csv''')",
        "COPY (SELECT 1) TO 'x.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "SET lock_configuration = false",
        "DROP VIEW samples",
        "SELECT 1; SELECT 2",
        "",
        "SELCT",
        "SELECT missing FROM samples",
        "SELECT CASE WHEN i = 99999 THEN error('late') ELSE 'row' END FROM range(100000) t(i)",
    ],
)
def test_other_statements_are_refused(tmp_path: Path, sql: str) -> None:
    with pytest.raises(Invalid):
        query(Storage(MemoryBucket(), MemoryIndex()), tmp_path / "sql", sql)
    assert not Path("x.csv").exists()


@pytest.mark.parametrize(
    ("expression", "text", "json_value"),
    [
        ("MAP {DATE '2026-11-23': 1}", '{"2026-11-23": 1}', {"2026-11-23": 1}),
        ("MAP {[1]: 'é'}", '{"key": [[1]], "value": ["é"]}', {"key": [[1]], "value": ["é"]}),
        (
            "{'a': [TIMESTAMP '2026-11-23 01:02:03', NULL]}",
            '{"a": ["2026-11-23T01:02:03", null]}',
            {"a": ["2026-11-23T01:02:03", None]},
        ),
        ("[1, 2]::INTEGER[2]", "[1, 2]", [1, 2]),
        ("'nan'::DOUBLE", "nan", None),
        ("['inf'::DOUBLE, 0.5::DOUBLE]", "[null, 0.5]", [None, 0.5]),
        ("1.50::DECIMAL(4, 2)", "1.50", "1.50"),
        ("'290000-01-01'::DATE", "290000-01-01", "290000-01-01"),
    ],
)
def test_values_of_all_types_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], expression: str, text: str, json_value: object
) -> None:
    printed = {}
    with Database(TableFiles({}, tmp_path), tmp_path) as database:
        for name, print_rows in PRINTERS.items():
            print_rows(*database.query(f"SELECT {expression} AS x"))
            printed[name] = capsys.readouterr().out
    assert printed["table"].lstrip() == f"x\n{text}\n"
    assert list(csv.reader(io.StringIO(printed["csv"]))) == [["x"], [text]]
    assert json.loads(printed["json"], parse_constant=pytest.fail) == {"x": json_value}


def test_a_directory_is_exported_and_queried_from_the_command_line(tmp_path: Path) -> None:
    storage_url = f"file://{tmp_path}/storage"
    post_profiles(open_storage(storage_url), [0, 1440])
    options = ("--storage", storage_url, "--from", "2026-11-01T00:00:00", "--to", "2026-12-01T00:00:00")
    for expected in ("2 files exported, 0 unchanged", "0 files exported, 2 unchanged"):
        run = profbucket("export", *options, "--output", f"file://{tmp_path}/tables").check()
        assert run.stderr.strip() == expected
    tables = tmp_path / "tables"
    assert sorted(path.relative_to(tables).as_posix() for path in tables.rglob("[!.]*.parquet")) == [
        f"_/samples/v1/date=2026-11-{day}/service=api/type=cpu/samples.parquet" for day in (23, 24)
    ]

    def run_sql(sql: str, *more: str) -> str:
        return profbucket("sql", *options, *more, sql).check().text

    leaf = "FROM functions WHERE function = 'leaf' AND sample_type = 'cpu'"
    sums = f"SELECT function, sum(self) AS self {leaf} GROUP BY function"
    assert run_sql(sums, "--type", "cpu") == "function       self\nleaf      220000000\n"
    text = run_sql("SELECT 'a,b' AS a, NULL AS b, [1] AS c, MAP {'k': 'v'} AS d", "--format=csv")
    assert list(csv.reader(io.StringIO(text))) == [["a", "b", "c", "d"], ["a,b", "", "[1]", '{"k": "v"}']]
    text = run_sql("SELECT min(start) AS t, sum(profiles) AS n FROM samples", "--format=json")
    assert json.loads(text) == {"t": "2026-11-23T00:00:00Z", "n": 12}
    for sql, message in (
        ("SELECT missing FROM samples", 'Referenced column "missing" not found'),
        ("SELECT date, date FROM samples", "2 columns are called 'date'"),
    ):
        failed = profbucket("sql", *options, sql, "--format=json")
        assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
        assert message in failed.stderr
