"""What find and merge read among 20,000 profiles of 200 series, counted on the wire to the emulators.

Only the first 2,000 have objects: to put one takes that emulator longer the more there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from profbucket.model.labels import parse_matchers
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from tests.support.proxies import TrafficCounter, firestore_proxy, gcs_proxy
from tests.support.storage.bulk_load import MINUTE, load_entries, load_objects, make_history
from tests.support.storage.examples import ALL_TIME, NOW
from tests.support.storage.unique_names import new_gcs_bucket, new_name

DATA = (Path(__file__).parents[1] / "data/shop-0.0.1/threadcreate-1.pb.gz").read_bytes()
SIX = Query(
    "service-2", ProfileType.CPU, NOW, NOW + 5 * MINUTE, parse_matchers("version=0.0.1,pod=pod-3")
)  # among the first thousand


@dataclass
class World:
    storage: Storage
    counted: TrafficCounter
    metas: list[Meta]
    small: tuple[list[Meta], int, list[str]]  # of SIX among the first 1,200

    def expected(self, query: Query) -> list[Meta]:
        return sorted(
            (
                one
                for one in self.metas
                if one.service == query.service
                and query.type in (None, one.type)
                and query.start <= one.created_at <= query.end
                and all(matcher.matches(one.labels) for matcher in query.matchers)
            ),
            key=lambda one: one.position,
        )

    def series(self, query: Query) -> int:
        return len(
            {one.series for one in self.metas if one.service == query.service and query.type in (None, one.type)}
        )


@pytest.fixture(scope="module")
def world(gcs: str, firestore: str) -> Iterator[World]:
    metas, counted = make_history(20_000, DATA), TrafficCounter()
    project, bucket = new_name(), new_gcs_bucket(gcs)
    with (
        pytest.MonkeyPatch.context() as environment,
        gcs_proxy(gcs, counted) as gcs_host,
        firestore_proxy(firestore, counted) as firestore_host,
    ):
        load_entries(project, metas[:1200])
        load_objects(gcs, bucket, metas[:2000], DATA)
        environment.setenv("STORAGE_EMULATOR_HOST", gcs_host)
        environment.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
        # What is counted is not to be asked again because the machine is busy.
        environment.setattr("storage_gcs.firestore.QUERY_TIMEOUT_SECONDS", 300.0)
        environment.setattr("storage_gcs.http.READ_TIMEOUT_SECONDS", 300.0)
        storage = Storage(GcsBucket(bucket), FirestoreIndex(project))
        found = list(storage.lookup.find(SIX))
        small = found, counted.documents, list(counted.requests)
        load_entries(project, metas[1200:])
        yield World(storage, counted, metas, small)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ("version=0.0.1,pod=pod-3", "cpu"),
        ("version=0.0.2", None),
        ("pod!~pod-[0-3]", "cpu"),
    ],
)
def test_a_find_by_labels_reads_the_series_and_the_matches(world: World, labels: str, kind: str | None) -> None:
    query = Query(
        "service-2",
        ProfileType(kind) if kind else None,
        NOW + 50 * MINUTE,
        NOW + 60 * MINUTE,
        parse_matchers(labels),
    )
    world.counted.reset()
    found = list(world.storage.lookup.find(query))
    assert found == world.expected(query)
    assert found
    assert world.counted.documents <= world.series(query) + len(found)
    assert world.counted.objects == 0
    assert len(world.counted.requests) <= 3


@pytest.mark.parametrize("kind", ["cpu", None])
@pytest.mark.parametrize("limit", [None, 1, 7, 2001])
def test_a_find_without_labels_reads_the_matches(world: World, kind: str | None, limit: int | None) -> None:
    query = Query("service-1", ProfileType(kind) if kind else None, NOW, NOW + 60 * MINUTE, limit=limit)
    world.counted.reset()
    found = list(world.storage.lookup.find(query))
    assert found == world.expected(query)[:limit]
    assert found
    assert world.counted.documents == len(found)


def test_a_long_find_reads_each_match_once(world: World) -> None:
    """... although it comes in pages."""
    query = Query("service-1", None, *ALL_TIME)
    world.counted.reset()
    assert list(world.storage.lookup.find(query)) == world.expected(query)
    assert world.counted.documents == len(world.expected(query)) == 4000
    assert len(world.counted.requests) == 4


def test_a_find_of_nothing_reads_the_series_at_most(world: World) -> None:
    query = Query("service-1", ProfileType.CPU, *ALL_TIME, parse_matchers("version=none"))
    world.counted.reset()
    assert list(world.storage.lookup.find(query)) == []
    assert world.counted.documents == 20
    assert len(world.counted.requests) == 2


def test_a_merge_reads_as_many_objects_as_it_merges(world: World) -> None:
    query = Query("service-3", ProfileType.HEAP, NOW, NOW + 9 * MINUTE, parse_matchers("version=0.0.3"))
    world.counted.reset()
    merged = Querier(world.storage).merge(query)
    assert merged.merged == merged.found == len(world.expected(query)) == 50
    assert world.counted.objects == 50
    assert world.counted.documents <= 20 + 50


def test_services_read_one_document_each(world: World) -> None:
    world.counted.reset()
    assert world.storage.index.services() == [f"service-{number}" for number in range(5)]
    assert world.counted.documents == 5


def test_a_find_costs_the_same_whatever_is_stored_besides(world: World) -> None:
    """The same six matches among 1,200 profiles and among 20,000; `make bench` has 100,000."""
    found, documents, requests = world.small
    world.counted.reset()
    assert list(world.storage.lookup.find(SIX)) == found == world.expected(SIX)
    assert len(found) == 6
    assert world.counted.documents == documents == 20 + 6
    assert world.counted.requests == requests
    assert len(requests) == 3


def test_what_expires_under_a_find_is_skipped_and_counted(world: World) -> None:
    query = replace(SIX, service="service-4")
    gone = list(world.storage.lookup.find(query))[2]
    world.storage.bucket.delete(f"{gone.id}.pb.gz")
    merged = Querier(world.storage).merge(query)
    assert (merged.found, merged.merged, merged.expired) == (6, 5, 1)
