"""The functions on emulators of the clouds: the Go agent posts, ``go tool pprof`` reads."""

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
    """The URL of a collector over emulators."""
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
    """The number of profiles that two versions of a program have posted."""
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


def api_url(cloud: str, path: str, **query: str) -> str:
    return f"{cloud}/api/0/{path}?{urlencode({'service': 'shop', **RANGE, **query})}"


def test_every_posted_profile_is_found(cloud: str, posted: int) -> None:
    response = json.loads(urllib3.request("GET", api_url(cloud, "profiles")).data)
    assert len(response["body"]) == posted == 28
    matching = json.loads(urllib3.request("GET", api_url(cloud, "profiles", labels="version=0.0.2")).data)
    assert len(matching["body"]) == 14
    services = json.loads(urllib3.request("GET", f"{cloud}/api/0/services").data)
    assert services["body"] == ["shop"]


def test_go_tool_pprof_compares_two_versions(cloud: str, posted: int, go_pprof: GoPprof) -> None:
    """The second version spends its time in a function that the first version hardly calls."""
    first = api_url(cloud, "profiles/merge", type="cpu", labels="version=0.0.1")
    second = api_url(cloud, "profiles/merge", type="cpu", labels="version=0.0.2")
    top = go_pprof("-top", "-base", first, second).check()
    assert "Type: cpu" in top.text
    assert "merged 2 profiles" in go_pprof("-comments", second).check().text
    assert len(top.text.splitlines()) > 6


def test_a_profile_comes_back_by_its_id(cloud: str, posted: int, go_pprof: GoPprof) -> None:
    profiles = json.loads(urllib3.request("GET", api_url(cloud, "profiles", type="heap")).data)["body"]
    response = urllib3.request("GET", f"{cloud}/api/0/profiles/{profiles[0]['id']}")
    assert response.status == 200
    assert len(response.data) == profiles[0]["size"]
    assert "inuse_space" in go_pprof("-top", f"{cloud}/api/0/profiles/{profiles[0]['id']}").check().text


def test_an_unreachable_storage_is_a_503_with_retry_after(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The response arrives within 45 seconds; a function has 60."""
    closed_port = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{closed_port}")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", closed_port)
    data = (ROOT / "tests/data/shop-0.0.1/threadcreate-1.pb.gz").read_bytes()
    with served("gs://bucket?project=test", tmp_path / "log", PROFBUCKET_ANONYMOUS="1") as collector:
        url = f"{collector}/api/0/profiles?service=a&type=threadcreate"
        with ThreadPoolExecutor(2) as threads:
            post = threads.submit(urllib3.request, "POST", url, body=data, retries=False, timeout=45)
            find = threads.submit(
                urllib3.request, "GET", api_url(collector, "profiles"), retries=False, timeout=45
            )
        for response in (post.result(), find.result()):
            assert response.status == 503, response.data
            assert int(response.headers["Retry-After"]) > 0
            assert response.json()["error_code"] == "unavailable"
