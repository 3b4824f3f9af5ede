"""Tables of a collector on Google Cloud and on S3: exported by compaction and by command, and queried."""

import csv
import io
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import pytest

from profbucket.errors import NotFound
from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import SAMPLES, samples_key
from profbucket.model.profile_type import ProfileType
from profbucket.samples.database import Database
from profbucket.samples.table_files import TableFiles, find_tables
from profbucket.storage.open import open_bucket, open_storage
from profbucket.storage.ports import Bucket
from profbucket.times import SECOND, format_time
from tests.support.api import pprof
from tests.support.command_line import PROGRAM, clean_environment, profbucket
from tests.support.proxies import TrafficCounter, gcs_proxy
from tests.support.serving import SCRIPTS, send, served
from tests.support.storage.unique_names import new_gcs_bucket, new_name, new_s3_bucket

CPU = ProfileType.CPU
DAY = 86_400 * SECOND
SERVICES = ("shop", "shop/cart's")
TOTALS = "SELECT date::TEXT, service, sum(value), sum(profiles) FROM samples GROUP BY ALL ORDER BY ALL"


class Cloud:
    """A collector with its storage, another bucket, and the days of its profiles."""

    def __init__(self, storage_url: str, bucket_url: str, other_url: str, collector: str) -> None:
        self.storage_url = storage_url
        self.bucket = open_bucket(bucket_url)
        self.other_url = other_url
        self._collector = collector
        self.today = time.time_ns() // DAY * DAY
        self.days = [self.today - number * DAY for number in (4, 3, 2, 0)]

    def post(self, service: str, day: int, value: int) -> None:
        parameters = urlencode({"service": service, "type": "cpu", "version": str(value)})
        status, body = send(
            f"{self._collector}/api/0/profiles?{parameters}", pprof(value, at=day + value * SECOND)
        )
        assert status == 200, body

    def run(self, *arguments: str, **settings: str) -> tuple[str, str]:
        """Run a command on the storage; return what it prints, and the last line of its messages."""
        command, *options = arguments
        run = profbucket(command, "--storage", self.storage_url, *options, **settings).check()
        return run.text, (run.stderr.splitlines() or [""])[-1]

    def query(self, sql: str, *options: str, **settings: str) -> list[dict[str, object]]:
        """Return the rows of *sql* as objects."""
        text, _ = self.run("sql", "--format=json", "--from=now-9d", *options, sql, **settings)
        return list(map(json.loads, text.splitlines()))

    def totals(self) -> list[tuple[object, ...]]:
        """Return what a query finds, without the seconds that a command takes to start."""
        now = time.time_ns()
        sources = find_tables(open_storage(self.storage_url), self.days[0], now, now)
        with (
            TemporaryDirectory() as directory,
            Database(TableFiles(sources, Path(directory)), Path(directory)) as database,
        ):
            return list(database.query(TOTALS)[1])

    def compact(self) -> None:
        list(Compactor(open_storage(self.storage_url), export_samples=True).run())


def list_tables(bucket: Bucket) -> list[str]:
    return [obj.key for obj in bucket.list(SAMPLES, f"{SAMPLES}\x7f")]


def date(day: int) -> str:
    return format_time(day)[:10]


@pytest.fixture(params=["gs", "s3"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cloud]:
    """A collector to which a profile of each service was posted for four days, the last of which is today."""
    if request.param == "gs":
        endpoint, project = request.getfixturevalue("gcs"), new_name()
        request.getfixturevalue("firestore")
        bucket_url, other_url = (f"gs://{new_gcs_bucket(endpoint)}?project={project}" for _ in range(2))
        storage_url = bucket_url
    else:
        endpoint = request.getfixturevalue("s3")
        bucket_url, other_url = (
            f"s3://{new_s3_bucket(endpoint)}?endpoint={endpoint}&region=us-east-1" for _ in range(2)
        )
        storage_url = f"{bucket_url}&index=sqlite://{tmp_path}/index.sqlite"
    with served(storage_url, tmp_path / "log", program="profbucket", scripts=SCRIPTS) as collector:
        cloud = Cloud(storage_url, bucket_url, other_url, collector)
        for number, day in enumerate(cloud.days):
            for service in SERVICES:
                cloud.post(service, day, 10 + number)
        yield cloud


def test_compaction_exports_what_queries_read(cloud: Cloud) -> None:
    expected = [
        (date(day), service, 10 + number, 1) for number, day in enumerate(cloud.days) for service in SERVICES
    ]
    assert cloud.totals() == expected  # of the head
    text, message = cloud.run("compact", "--all", PROFBUCKET_SAMPLES="1")
    keys = [samples_key(service, CPU, day) for service in SERVICES for day in cloud.days[:3]]
    assert {line.split()[-1] for line in text.splitlines() if line.startswith("exported ")} == set(keys)
    assert "6 tables of samples exported" in message
    assert cloud.totals() == expected  # of tables, and of today's head

    cloud.post(SERVICES[0], cloud.days[0], 900)
    assert cloud.totals() == expected  # the table lacks the profile until the next export
    cloud.compact()
    expected[0] = (date(cloud.days[0]), SERVICES[0], 910, 2)
    assert cloud.totals() == expected

    for key in keys:  # as an expiry rule of the bucket does
        cloud.bucket.delete(key)
    assert cloud.totals() == expected  # of blocks
    assert cloud.run("export", "--from", "now-9d")[1] == "8 files exported, 0 unchanged"
    assert set(list_tables(cloud.bucket)) > set(keys)

    condition = f"WHERE date = '{date(cloud.today)}' GROUP BY service ORDER BY service"
    sql = f"SELECT service, max(start) AS t, sum(self) AS ns FROM functions {condition}"
    start = format_time(cloud.today + 13 * SECOND)[:19] + "Z"
    rows = [[service, start, "13"] for service in SERVICES]
    lines = cloud.run("sql", sql)[0].splitlines()
    assert [line.split() for line in lines] == [["service", "t", "ns"], *rows]
    text, _ = cloud.run("sql", "--format=csv", sql)
    assert list(csv.reader(io.StringIO(text))) == [["service", "t", "ns"], *rows]
    options = ("--service", SERVICES[1], "--type=cpu", "--to=now-3d")
    assert cloud.query("SELECT count(*) AS n FROM samples", *options) == [{"n": 2}]


def test_an_interrupted_export_is_completed_by_the_next(cloud: Cloud) -> None:
    options = ("--from=now-9d", "--output", cloud.other_url)
    command = [PROGRAM, "export", "--storage", cloud.storage_url, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment()) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"_/samples/v1/date=")
        process.kill()
    tables = open_bucket(cloud.other_url)
    left = list_tables(tables)
    assert all(tables.get(key)[-4:] == b"PAR1" for key in left)
    assert cloud.run("export", *options)[1] == f"{8 - len(left)} files exported, {len(left)} unchanged"
    assert len(list_tables(tables)) == 8
    with pytest.raises(NotFound):  # the storage has none
        cloud.bucket.get(samples_key(SERVICES[0], CPU, cloud.days[0]))


@pytest.mark.parametrize("cloud", ["gs"], indirect=True)
def test_only_tables_that_match_are_downloaded(cloud: Cloud, gcs: str) -> None:
    cloud.run("export", "--from=now-9d")
    traffic = TrafficCounter()
    with gcs_proxy(gcs, traffic) as proxy:
        condition = f"WHERE date = '{date(cloud.days[1])}' AND service = '{SERVICES[0]}'"
        rows = cloud.query(f"SELECT value FROM samples {condition}", STORAGE_EMULATOR_HOST=proxy)
    assert rows == [{"value": 11}]
    assert traffic.objects == 1, traffic.requests
