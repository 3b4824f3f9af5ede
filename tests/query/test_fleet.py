"""A day of 200 services, asked for with one URL each: within the default limits, and only what a key may see."""

import json
from collections.abc import Iterator, Sequence

import pytest
from werkzeug.test import TestResponse

from profbucket.auth import ApiKeys, hash_secret
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.periods import CompactionPolicy
from profbucket.storage.memory import MemoryBucket
from profbucket.storage.ports import ObjectRange
from profbucket.storage.store import Storage
from profbucket.times import DAY_SECONDS
from tests.query.test_services import CountingIndex
from tests.support.api import MERGE, Api, body, comments, total
from tests.support.profiles import Sample, encode, profile, stack
from tests.support.storage.fleet import make_fleet, name_services

SERVICES, PROFILES = 200, 24
DAY = {"type": "cpu", "from": "2026-11-23T00:00:00", "to": "2026-11-23T23:59:59"}
KEYS = ApiKeys.parse(
    json.dumps(
        [
            {"name": "all", "sha256": hash_secret("all").hex(), "scopes": ["read"]},
            {"name": "a", "sha256": hash_secret("a").hex(), "scopes": ["read"], "services": ["team-a-*"]},
        ]
    )
)


class CountingBucket(MemoryBucket):
    """A bucket that counts the ranges that are read."""

    reads = 0

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        self.reads += len(ranges)
        return super().get_many(ranges)


@pytest.fixture(scope="module")
def api() -> Api:
    contents = [
        encode(profile(Sample(stack("leaf", f"function-{number}"), (1, 10)), time_nanos=0)) for number in range(30)
    ]
    storage = Storage(CountingBucket(), CountingIndex(), policy=CompactionPolicy(short=DAY_SECONDS))
    make_fleet(storage, SERVICES, PROFILES, contents)
    return Api(storage, Limits(), keys=KEYS)


def get(api: Api, path: str, key: str = "all", **parameters: str) -> TestResponse:
    query = {"service": "~.*", **DAY, **parameters}
    return api.client.get(path, query_string=query, headers={"X-Api-Key": key})


@pytest.mark.parametrize(("key", "services"), [("all", 200), ("a", 100)])
def test_a_merge_reads_a_block_of_each_service_that_the_key_may_read(api: Api, key: str, services: int) -> None:
    bucket, index = api.storage.bucket, api.storage.index
    assert isinstance(bucket, CountingBucket)
    assert isinstance(index, CountingIndex)
    bucket.reads = 0
    index.calls.clear()
    response = get(api, MERGE, key)
    assert total(response) == services * PROFILES
    assert f"merged {services * PROFILES} profiles of {services} services" in comments(response)[0]
    assert bucket.reads == services
    assert index.calls.total() == services + 1  # and the list of services


@pytest.mark.parametrize(("key", "names"), [("all", name_services(SERVICES)), ("a", name_services(SERVICES)[::2])])
def test_the_other_routes_answer_within_their_limits(api: Api, key: str, names: list[str]) -> None:
    profiles = body(get(api, "/api/0/profiles", key, limit="1000"))
    assert len(profiles) == 1000
    assert {found["service"] for found in profiles} == set(names)
    positions = [ProfileId.parse(found["id"]) for found in profiles]
    assert positions == sorted(positions, key=lambda profile_id: (profile_id.created_at, str(profile_id)))
    graph = body(get(api, "/api/0/profiles/flame", key, service_label="1", tagroot="service", max_nodes="9999"))
    assert graph["profiles"][0]["merged"] == len(names) * PROFILES
    assert set(names) < set(graph["functions"]["name"])
    timeline = body(get(api, "/api/0/series", key, group_by="service", step="6h"))
    assert sum(sum(group["profiles"]) for group in timeline["groups"]) == len(names) * PROFILES
    assert len(timeline["groups"]) == 100
    labels = body(api.client.get("/api/0/labels?service=~.*", headers={"X-Api-Key": key}))
    assert labels["labels"] == [{"key": "version", "values": ["0", "1", "2"]}]
