"""`top` and `merge` of an hour of heap profiles of one process, which has 50 MB in use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from profbucket.cli.http_client import HttpClient
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from tests.support.collecting import store
from tests.support.command_line import profbucket
from tests.support.go_tool import GoPprof
from tests.support.hour_of_heap import hour_of_heap
from tests.support.serving import served

QUERY = ("--service", "api", "--type", "heap", "--from", "2027-01-15T08:00:00", "--to", "2027-01-15T08:59:59")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("hour")
    with served(f"file://{directory / 'profiles'}", directory / "log") as url:
        for data in hour_of_heap():
            store(HttpClient(url), Upload("api", ProfileType.HEAP, Labels(), data))
        yield url


def test_top_averages_memory_in_use(url: str) -> None:
    lines = profbucket("top", *QUERY, "--url", url).check().text.splitlines()
    assert "inuse_space: average of 52 profiles" in lines
    assert "Showing nodes accounting for 50MB, 100% of 50MB total" in lines
    assert any(line.split()[-1] == "main.cache" and line.split()[0] == "40MB" for line in lines)


def test_top_shows_the_increase_of_counters(url: str) -> None:
    text = profbucket("top", *QUERY, "--sample-type", "alloc_space", "--url", url).check().text
    assert "alloc_space: increase over 51 min\n" in text
    assert "of 4.98MB total" in text


def test_top_can_add_up(url: str) -> None:
    text = profbucket("top", *QUERY, "--aggregate", "sum", "--url", url).check().text
    assert "of 2600MB total" in text


def test_merge_adds_up_as_pprof_does_and_says_so(url: str, go_pprof: GoPprof, tmp_path: Path) -> None:
    files = []
    for number, data in enumerate(hour_of_heap()):
        files.append(tmp_path / f"{number}.pb")
        files[-1].write_bytes(data)
    merged = tmp_path / "merged"
    profbucket("merge", *QUERY, "--url", url, "-o", merged).check()
    totals = [
        next(line for line in go_pprof("-top", *sources).check().text.splitlines() if "Showing nodes" in line)
        for sources in (files, [merged])
    ]
    assert totals[0] == totals[1]
    assert "of 2600MB total" in totals[0]
    [comment] = go_pprof("-comments", merged).check().text.splitlines()
    assert comment.endswith(
        "; alloc_objects, alloc_space count from the start of each process, and inuse_objects, inuse_space are"
        " values of one moment; all are added up here: see aggregate=auto"
    )


def test_delta_and_aggregate_exclude_each_other_and_need_a_query(url: str) -> None:
    for arguments in (
        ("top", *QUERY, "--delta", "--aggregate", "auto", "--url", url),
        ("top", "file", "--aggregate", "auto"),
        ("merge", "file", "--delta"),
    ):
        result = profbucket(*arguments)
        assert (result.returncode, "--aggregate" in result.stderr) == (2, True)
