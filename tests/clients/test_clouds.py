"""The functions on the clouds' emulators, as deployed: the Go agent posts, ``go tool pprof`` reads."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3

from tests.support.go_tool import GoPprof, run
from tests.support.paths import ROOT
from tests.support.serving import free_port, served
from tests.support.storage.unique_names import new_gcs_bucket, new_name, new_s3_bucket

RANGE = {"from": "1970-01-01T00:00:00", "to": "2100-01-01T00:00:00"}


@pytest.fixture(scope="module", params=["gs", "s3"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a collector on emulators."""
    firestore: str = request.getfixturevalue("firestore")
    assert firestore
    if request.param == "gs":
        url = f"gs://{new_gcs_bucket(request.getfixturevalue('gcs'))}?project={new_name()}&database=profbucket"
    else:
        endpoint = request.getfixturevalue("s3")
        url = f"s3://{new_s3_bucket(endpoint)}?endpoint={endpoint}&index=firestore://{new_name()}"
    with served(url, tmp_path_factory.mktemp("cloud") / "log", PROFBUCKET_ANONYMOUS="1") as collector:
        yield collector


@pytest.fixture(scope="module")
def posted(cloud: str, shop: Path) -> int:
    """How many profiles two versions of a program have posted."""
    total = 0
    for version, slow in (("0.0.1", ()), ("0.0.2", ("-slow",))):
        args = (
            "-collector",
            cloud,
            "-service",
            "shop",
            "-version",
            version,
            "-label",
            "host=a b,c",
            "-count",
            "2",
        )
        total += len(run(str(shop), *args, *slow).check().text.splitlines())
    return total


def address(cloud: str, path: str, **query: str) -> str:
    return f"{cloud}/api/0/{path}?{urlencode({'service': 'shop', **RANGE, **query})}"


def test_all_that_was_posted_is_found(cloud: str, posted: int) -> None:
    answer = json.loads(urllib3.request("GET", address(cloud, "profiles")).data)
    assert len(answer["body"]) == posted == 28
    labelled = json.loads(urllib3.request("GET", address(cloud, "profiles", labels="version=0.0.2")).data)
    assert len(labelled["body"]) == 14
    services = json.loads(urllib3.request("GET", f"{cloud}/api/0/services").data)
    assert services["body"] == ["shop"]


def test_go_tool_pprof_compares_two_versions(cloud: str, posted: int, go_pprof: GoPprof) -> None:
    """The second version spends its time in a function that the first one calls much less."""
    first = address(cloud, "profiles/merge", type="cpu", labels="version=0.0.1")
    second = address(cloud, "profiles/merge", type="cpu", labels="version=0.0.2")
    top = go_pprof("-top", "-base", first, second).check()
    assert "Type: cpu" in top.text
    assert "merged 2 profiles" in go_pprof("-comments", second).check().text
    assert len(top.text.splitlines()) > 6


def test_a_profile_comes_back_by_its_id(cloud: str, posted: int, go_pprof: GoPprof) -> None:
    found = json.loads(urllib3.request("GET", address(cloud, "profiles", type="heap")).data)["body"]
    answer = urllib3.request("GET", f"{cloud}/api/0/profiles/{found[0]['id']}")
    assert answer.status == 200
    assert len(answer.data) == found[0]["size"]
    assert "inuse_space" in go_pprof("-top", f"{cloud}/api/0/profiles/{found[0]['id']}").check().text


def test_a_storage_that_cannot_be_reached_is_a_503_with_retry_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """... within the deadline of a function, which is 60 seconds."""
    nowhere = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{nowhere}")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", nowhere)
    data = (ROOT / "tests/data/shop-0.0.1/threadcreate-1.pb.gz").read_bytes()
    with served("gs://bucket?project=test", tmp_path / "log", PROFBUCKET_ANONYMOUS="1") as collector:
        url = f"{collector}/api/0/profiles?service=a&type=threadcreate"
        with ThreadPoolExecutor(2) as threads:
            post = threads.submit(urllib3.request, "POST", url, body=data, retries=False, timeout=45)
            find = threads.submit(
                urllib3.request, "GET", address(collector, "profiles"), retries=False, timeout=45
            )
        for answer in (post.result(), find.result()):
            assert answer.status == 503, answer.data
            assert int(answer.headers["Retry-After"]) > 0
            assert "cannot be reached" in answer.json()["error"] or "failed to" in answer.json()["error"]
