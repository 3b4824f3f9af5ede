"""The metrics, as Prometheus reads them."""

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from profbucket.ingest.collector import Collector
from profbucket.model.form import PROFILES_PATH
from profbucket.model.meta import Meta
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage, Writer
from tests.support.api import Api, pprof
from tests.support.serving import served

Sample = tuple[str, frozenset[tuple[str, str]]]


def parse_metrics(text: str) -> dict[Sample, float]:
    """Return the samples in *text* by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


class Scraped:
    """The response of ``/metrics``."""

    def __init__(self, api: Api) -> None:
        response = api.get("/metrics")
        assert response.status_code == 200
        assert response.content_type.startswith("application/openmetrics-text; version=1.0.0")
        assert response.text.endswith("# EOF\n")
        self.samples = parse_metrics(response.text)

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[f"profbucket_{name}", frozenset(labels.items())]


@pytest.fixture
def api() -> Api:
    return Api(open_storage("memory:"))


def test_requests_are_counted_by_method_route_and_status(api: Api) -> None:
    for _ in range(3):
        api.posted(pprof())
    api.post(b"")
    api.get(f"{PROFILES_PATH}/a/cpu/x")
    api.get("/nope")
    scraped = Scraped(api)
    assert scraped("requests_total", method="POST", route=PROFILES_PATH, status="200") == 3
    assert scraped("requests_total", method="POST", route=PROFILES_PATH, status="400") == 1
    assert scraped("requests_total", method="GET", route=f"{PROFILES_PATH}/<path:ids>", status="404") == 1
    assert scraped("requests_total", method="GET", route="none", status="404") == 1
    assert scraped("request_seconds_count", method="POST", route=PROFILES_PATH) == 4


def test_unknown_methods_and_paths_add_no_series(api: Api) -> None:
    Scraped(api)
    before = len(Scraped(api).samples)
    api.client.open("/nope", method="GET")
    api.client.open("/nope", method="BREW")
    after_one_each = len(Scraped(api).samples)
    for number in range(20):
        api.client.open(f"/nope{number}", method="GET")
        api.client.open(f"/nope{number}", method=f"BREW{number}")
    assert len(Scraped(api).samples) == after_one_each > before


def test_bytes_of_both_directions_are_counted(api: Api) -> None:
    sent = len(api.post(pprof()).data)
    scraped = Scraped(api)
    assert scraped("received_bytes_total") == len(pprof())
    assert scraped("sent_bytes_total") == sent


def test_merges_are_counted_with_profiles_found_merged_and_expired(api: Api) -> None:
    ids = [api.posted(pprof(value)) for value in (1, 2, 4)]
    api.storage.bucket.delete(f"{ids[1]}.pb.gz")
    for _ in range(2):
        assert api.merge().status_code == 200
    api.find()
    scraped = Scraped(api)
    assert scraped("merges_total") == 2
    outcomes = {name: scraped("merge_profiles_total", outcome=name) for name in ("found", "merged", "expired")}
    assert outcomes == {"found": 6, "merged": 4, "expired": 2}
    assert scraped("request_seconds_count", method="GET", route=f"{PROFILES_PATH}/merge") == 2


def test_counters_of_merges_exist_before_the_first_merge(api: Api) -> None:
    scraped = Scraped(api)
    assert scraped("merges_total") == scraped("merge_profiles_total", outcome="expired") == 0


def test_posts_in_flight_are_those_without_a_response_yet() -> None:
    storage = open_storage("memory:")
    seen: list[Scraped] = []

    class ScrapingStorage(Writer):
        """Scrapes the metrics while a post is in flight."""

        def __init__(self, storage: Storage) -> None:
            self._storage = storage

        def write(self, meta: Meta, data: bytes) -> bool:
            seen.append(Scraped(watched_api))
            return self._storage.write(meta, data)

    watched_api = Api(storage, collector=Collector(ScrapingStorage(storage)))
    watched_api.posted(pprof())
    seen.append(Scraped(watched_api))
    assert [scraped("posts_in_flight") for scraped in seen] == [1, 0]
    assert [scraped("posts_in_flight_bytes") for scraped in seen] == [len(pprof()), 0]


def test_each_collector_has_its_own_counters(api: Api) -> None:
    api.posted(pprof())
    assert Scraped(Api(open_storage("memory:")))("received_bytes_total") == 0


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with served(f"file://{tmp_path}/profiles", tmp_path / "log") as url:
        yield url


def test_a_served_collector_answers_probes_and_shows_its_memory(url: str) -> None:
    for path in ("/healthz", "/health"):
        with urlopen(url + path) as response:
            assert response.read() == b"ok\n"
    with urlopen(Request(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"})) as response:
        samples = parse_metrics(response.read().decode())
    assert samples["process_resident_memory_bytes", frozenset()] > 10_000_000
    labels = {"method": "GET", "route": "/healthz", "status": "200"}
    assert samples["profbucket_requests_total", frozenset(labels.items())] == 1
