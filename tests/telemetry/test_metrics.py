"""What is counted, as Prometheus reads it."""

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed

from profbucket.api.routes import PROFILES
from profbucket.ingest.collector import Collector
from profbucket.model.meta import Meta
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from tests.support.api import Api, pprof
from tests.support.serving import served

Sample = tuple[str, frozenset[tuple[str, str]]]


def read(text: str) -> dict[Sample, float]:
    """All samples of an exposition, which the parser of the format takes without complaint."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parsed(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


class Scraped:
    """What ``/metrics`` says."""

    def __init__(self, api: Api) -> None:
        response = api.get("/metrics")
        assert response.status_code == 200
        assert response.content_type.startswith("application/openmetrics-text; version=1.0.0")
        assert response.text.endswith("# EOF\n")
        self.samples = read(response.text)

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[f"profbucket_{name}", frozenset(labels.items())]


@pytest.fixture
def api() -> Api:
    return Api(open_storage("memory:"))


def test_requests_are_counted_by_method_rule_and_status(api: Api) -> None:
    for _ in range(3):
        api.posted(pprof())
    api.post(b"")
    api.get(f"{PROFILES}/a/cpu/x")
    api.get("/nope")
    scraped = Scraped(api)
    assert scraped("requests_total", method="POST", route=PROFILES, status="200") == 3
    assert scraped("requests_total", method="POST", route=PROFILES, status="400") == 1
    assert scraped("requests_total", method="GET", route=f"{PROFILES}/<path:ids>", status="404") == 1
    assert scraped("requests_total", method="GET", route="none", status="404") == 1
    assert scraped("request_seconds_count", method="POST", route=PROFILES) == 4


def test_what_strangers_make_up_makes_no_new_series(api: Api) -> None:
    Scraped(api)
    before = len(Scraped(api).samples)
    api.client.open("/nope", method="GET")
    api.client.open("/nope", method="BREW")
    once = len(Scraped(api).samples)
    for number in range(20):
        api.client.open(f"/nope{number}", method="GET")
        api.client.open(f"/nope{number}", method=f"BREW{number}")
    assert len(Scraped(api).samples) == once > before


def test_bytes_are_counted_both_ways(api: Api) -> None:
    sent = len(api.post(pprof()).data)
    scraped = Scraped(api)
    assert scraped("received_bytes_total") == len(pprof())
    assert scraped("sent_bytes_total") == sent


def test_merges_are_counted_with_what_was_found_merged_and_expired(api: Api) -> None:
    ids = [api.posted(pprof(value)) for value in (1, 2, 4)]
    api.storage.bucket.delete(f"{ids[1]}.pb.gz")
    for _ in range(2):
        assert api.merge().status_code == 200
    api.find()
    scraped = Scraped(api)
    assert scraped("merges_total") == 2
    outcomes = {name: scraped("merge_profiles_total", outcome=name) for name in ("found", "merged", "expired")}
    assert outcomes == {"found": 6, "merged": 4, "expired": 2}
    assert scraped("request_seconds_count", method="GET", route=f"{PROFILES}/merge") == 2


def test_counters_of_merges_are_there_before_the_first(api: Api) -> None:
    scraped = Scraped(api)
    assert scraped("merges_total") == scraped("merge_profiles_total", outcome="expired") == 0


def test_posts_in_flight_are_those_that_are_not_answered_yet() -> None:
    storage = open_storage("memory:")
    seen: list[Scraped] = []

    class Watched:
        def __init__(self, storage: Storage) -> None:
            self._storage = storage

        def write(self, meta: Meta, data: bytes) -> bool:
            seen.append(Scraped(watched))
            return self._storage.write(meta, data)

    watched = Api(storage, collector=Collector(Watched(storage)))
    watched.posted(pprof())
    seen.append(Scraped(watched))
    assert [scraped("posts_in_flight") for scraped in seen] == [1, 0]
    assert [scraped("posts_in_flight_bytes") for scraped in seen] == [len(pprof()), 0]


def test_each_collector_counts_for_itself(api: Api) -> None:
    api.posted(pprof())
    assert Scraped(Api(open_storage("memory:")))("received_bytes_total") == 0


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with served(f"file://{tmp_path}/profiles", tmp_path / "log") as url:
        yield url


def test_a_served_collector_is_healthy_and_scraped(url: str) -> None:
    """... and tells its memory, too, which is what the caps are about."""
    for path in ("/healthz", "/health"):
        with urlopen(url + path) as response:
            assert response.read() == b"ok\n"
    with urlopen(Request(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"})) as response:
        samples = read(response.read().decode())
    assert samples["process_resident_memory_bytes", frozenset()] > 10_000_000
    labels = {"method": "GET", "route": "/healthz", "status": "200"}
    assert samples["profbucket_requests_total", frozenset(labels.items())] == 1
