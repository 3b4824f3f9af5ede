"""The documents and objects that find and merge read among 20,000 profiles of 200 series.

Proxies count the requests to the emulators. Only the first 2,000 profiles have objects: a put takes the emulator
longer the more there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from profbucket.model.labels import parse_matchers
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier
from profbucket.storage.ports import Series
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from storage_gcs.series import round_to_day, series_record_id
from tests.support.proxies import TrafficCounter, firestore_proxy, gcs_proxy
from tests.support.storage.bulk_load import MINUTE, load_entries, load_objects, make_history
from tests.support.storage.examples import ALL_TIME, NOW
from tests.support.storage.unique_names import new_gcs_bucket, new_name

DATA = (Path(__file__).parents[1] / "data/shop-0.0.1/threadcreate-1.pb.gz").read_bytes()
SIX_MATCHES = Query(
    "service-2", ProfileType.CPU, NOW, NOW + 5 * MINUTE, parse_matchers("version=0.0.1,pod=pod-3")
)  # among the first thousand


@dataclass
class World:
    """Stored profiles, behind proxies that count requests."""

    storage: Storage
    traffic: TrafficCounter
    metas: list[Meta]
    small: tuple[list[Meta], int, list[str]]  # metas, documents and requests of SIX_MATCHES among 1,200

    def expected(self, query: Query) -> list[Meta]:
        """Return the result of a find of *query*."""
        return sorted(
            (
                meta
                for meta in self.metas
                if meta.service == query.service
                and query.type in (None, meta.type)
                and query.start <= meta.created_at <= query.end
                and all(matcher.matches(meta.labels) for matcher in query.matchers)
            ),
            key=lambda meta: meta.position,
        )

    def count_records(self, service: str, count: int | None = None) -> int:
        """Return the number of records about the series of *service*, of the first *count* profiles."""
        all_series = (Series.of(meta) for meta in self.metas[:count] if meta.service == service)
        return len({series_record_id(round_to_day(series)) for series in all_series})


@pytest.fixture(scope="module")
def world(gcs: str, firestore: str) -> Iterator[World]:
    metas, traffic = make_history(20_000, DATA), TrafficCounter()
    project, bucket = new_name(), new_gcs_bucket(gcs)
    with (
        pytest.MonkeyPatch.context() as environment,
        gcs_proxy(gcs, traffic) as gcs_host,
        firestore_proxy(firestore, traffic) as firestore_host,
    ):
        load_entries(project, metas[:1200])
        load_objects(gcs, bucket, metas[:2000], DATA)
        environment.setenv("STORAGE_EMULATOR_HOST", gcs_host)
        environment.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
        # A slow machine must not cause retries, which would be counted.
        environment.setattr("storage_gcs.firestore.QUERY_TIMEOUT_SECONDS", 300.0)
        environment.setattr("storage_gcs.http.READ_TIMEOUT_SECONDS", 300.0)
        storage = Storage(GcsBucket(bucket), FirestoreIndex(project))
        found = list(storage.lookup.find(SIX_MATCHES))
        small = found, traffic.documents, list(traffic.requests)
        load_entries(project, metas[1200:])
        yield World(storage, traffic, metas, small)


@pytest.mark.parametrize(
    ("labels", "profile_type"),
    [
        ("version=0.0.1,pod=pod-3", "cpu"),
        ("version=0.0.2", None),
        ("pod!~pod-[0-3]", "cpu"),
    ],
)
def test_a_find_by_labels_reads_the_series_and_the_matches(
    world: World, labels: str, profile_type: str | None
) -> None:
    query = Query(
        "service-2",
        ProfileType(profile_type) if profile_type else None,
        NOW + 50 * MINUTE,
        NOW + 60 * MINUTE,
        parse_matchers(labels),
    )
    world.traffic.reset()
    found = list(world.storage.lookup.find(query))
    assert found == world.expected(query)
    assert found
    assert world.traffic.documents <= world.count_records(query.service) + len(found)
    assert world.traffic.objects == 0
    assert len(world.traffic.requests) <= 4  # of blocks, series, entries and batches


@pytest.mark.parametrize("profile_type", ["cpu", None])
@pytest.mark.parametrize("limit", [None, 1, 7, 2001])
def test_a_find_without_labels_reads_the_matches(
    world: World, profile_type: str | None, limit: int | None
) -> None:
    query = Query(
        "service-1", ProfileType(profile_type) if profile_type else None, NOW, NOW + 60 * MINUTE, limit=limit
    )
    world.traffic.reset()
    found = list(world.storage.lookup.find(query))
    assert found == world.expected(query)[:limit]
    assert found
    assert world.traffic.documents == len(found)


def test_a_find_over_several_pages_reads_each_match_once(world: World) -> None:
    query = Query("service-1", None, *ALL_TIME)
    world.traffic.reset()
    assert list(world.storage.lookup.find(query)) == world.expected(query)
    assert world.traffic.documents == len(world.expected(query)) == 4000
    assert len(world.traffic.requests) == 5


def test_a_find_without_matches_reads_only_the_series(world: World) -> None:
    query = Query("service-1", ProfileType.CPU, *ALL_TIME, parse_matchers("version=none"))
    world.traffic.reset()
    assert list(world.storage.lookup.find(query)) == []
    assert world.traffic.documents == world.count_records(query.service) + 1
    assert len(world.traffic.requests) == 4


def test_a_merge_reads_as_many_objects_as_it_merges(world: World) -> None:
    query = Query("service-3", ProfileType.HEAP, NOW, NOW + 9 * MINUTE, parse_matchers("version=0.0.3"))
    world.traffic.reset()
    result = Querier(world.storage).merge(query)
    assert result.merged == result.found == len(world.expected(query)) == 50
    assert world.traffic.objects == 50
    assert world.traffic.documents <= world.count_records(query.service) + 50


def test_listing_services_reads_one_document_each(world: World) -> None:
    world.traffic.reset()
    assert world.storage.index.services() == [f"service-{number}" for number in range(5)]
    assert world.traffic.documents == 5


def test_the_cost_of_a_find_does_not_depend_on_other_profiles(world: World) -> None:
    """Find the same six matches among 1,200 and among 20,000 profiles; `make bench` has 100,000."""
    found, documents, requests = world.small
    world.traffic.reset()
    assert list(world.storage.lookup.find(SIX_MATCHES)) == found == world.expected(SIX_MATCHES)
    assert len(found) == 6
    assert documents == world.count_records(SIX_MATCHES.service, 1200) + 6
    assert world.traffic.documents == world.count_records(SIX_MATCHES.service) + 6
    assert world.traffic.requests == requests
    assert len(requests) == 4


def test_a_profile_that_expires_before_it_is_merged_is_skipped_and_counted(world: World) -> None:
    query = replace(SIX_MATCHES, service="service-4")
    expired = list(world.storage.lookup.find(query))[2]
    world.storage.bucket.delete(f"{expired.id}.pb.gz")
    result = Querier(world.storage).merge(query)
    assert (result.found, result.merged, result.expired) == (6, 5, 1)
