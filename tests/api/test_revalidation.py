"""Entity tags: which results have one, when it changes, and what a request with it costs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import pytest
from werkzeug.test import TestResponse

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.model.meta import Query
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import ObjectRange
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.paths import ROOT
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, compact, post_profiles

DELAY = 3600 * SECOND + 600 * SECOND
RANGE = {"type": "cpu", "from": "2026-11-23T00:00:00", "to": "2026-11-23T01:59:59"}
END = MIDNIGHT + 2 * HOUR - 1
PATHS = ["/merge", "/api/0/profiles", "/api/0/profiles/flame", "/api/0/series", "/api/0/tags"]


class CountingBucket(MemoryBucket):
    """A bucket that counts the ranges that are read."""

    reads = 0

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        self.reads += len(ranges)
        return super().get_many(ranges)


class Collector:
    """A collector of two services with 120 profiles, posted in an *order*; the clock is movable."""

    def __init__(self, order: int = 0) -> None:
        self.now = END + DELAY
        self.bucket = CountingBucket()
        self.storage = Storage(self.bucket, MemoryIndex())
        posts = [(number, "api" if number % 3 else "web") for number in range(120)]
        if order:
            Random(order).shuffle(posts)
        for number, service in posts:
            post_profiles(self.storage, [number], service)
        self.restart(Config("memory:"))

    def restart(self, config: Config) -> None:
        querier = Querier(self.storage, config.limits)
        self.client = create_app(config, Role.QUERY, querier=querier, clock=lambda: self.now).test_client()

    def get(self, path: str = "/merge", tag: str | None = "", **parameters: str) -> TestResponse:
        headers = {"If-None-Match": tag} if tag else {}
        return self.client.get(path, query_string={"service": "api", **RANGE, **parameters}, headers=headers)

    def tag(self, path: str = "/merge", **parameters: str) -> str | None:
        response = self.get(path, **parameters)
        assert response.status_code == 200, response.text
        return response.headers.get("ETag")


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("service", ["api", "~.*"])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_second_request_with_the_tag_is_304_and_opens_no_profile(
    collector: Collector, path: str, service: str, compacted: bool
) -> None:
    if compacted:
        compact(collector.storage, MIDNIGHT + 20 * HOUR)
    first = collector.get(path, service=service)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert collector.get(path, service=service).headers["ETag"] == tag
    collector.bucket.reads = 0
    for sent in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        second = collector.get(path, sent, service=service)
        assert (second.status_code, second.data) == (304, b"")
        assert (second.headers["ETag"], second.headers["Cache-Control"]) == (tag, "private, no-cache")
    assert collector.bucket.reads == 0
    other = collector.get(path, '"other"', service=service)
    assert (other.status_code, other.data) == (200, first.data)


@pytest.mark.parametrize("path", PATHS)
def test_a_late_profile_changes_the_tag(collector: Collector, path: str) -> None:
    before, other = collector.get(path), collector.get(path, service="web")
    post_profiles(collector.storage, [3], "api")
    after = collector.get(path, before.headers["ETag"])
    assert (after.status_code, after.data != before.data) == (200, True)
    assert after.headers["ETag"] != before.headers["ETag"]
    assert collector.get(path, other.headers["ETag"], service="web").status_code == 304


def test_requests_for_something_else_have_other_tags(collector: Collector) -> None:
    variants: list[dict[str, str]] = [
        {},
        {"service": "web"},
        {"service": "~.*"},
        {"service": "~a.*"},
        {"limit": "3"},
        {"v": "1"},
        {"labels": "v!=1"},
        {"from": "2026-11-23T00:10:00"},
        {"to": "2026-11-23T01:00:00"},
        {"sample_type": "cpu"},
        {"keep_labels": "1"},
        {"service_label": "1"},
        {"focus": "leaf"},
    ]
    tags = [collector.tag(**variant) for variant in variants]
    tags += [collector.tag(path) for path in PATHS]
    tags += [collector.tag(PATHS[2], base_to="2026-11-23T01:00:00"), collector.tag(PATHS[3], group_by="v")]
    assert None not in tags
    assert len(set(tags)) == len(tags) - 1  # that of the first variant and path


@pytest.mark.parametrize("path", PATHS)
def test_a_range_that_is_not_finished_has_no_tag(collector: Collector, path: str) -> None:
    assert collector.tag(path)
    collector.now -= 1
    assert collector.tag(path) is None
    if path == PATHS[2]:
        collector.now += 1
        assert collector.tag(path, base_to="2026-11-23T02:00:00") is None


def test_another_build_or_setting_has_another_tag(collector: Collector) -> None:
    config = Config("memory:")
    tags = {collector.tag()}
    for changed in (replace(config, commit="b"), replace(config, limits=Limits(dropped_labels=("a",)))):
        collector.restart(changed)
        tags.add(collector.tag())
    assert len(tags) == 3


def test_compaction_may_change_the_tag_but_not_the_result(collector: Collector) -> None:
    before = collector.get(PATHS[1])
    compact(collector.storage, MIDNIGHT + 20 * HOUR)
    after = collector.get(PATHS[1], before.headers["ETag"])
    assert (after.status_code, after.data) == (200, before.data)


def test_a_response_that_lacks_damaged_profiles_has_no_tag(collector: Collector) -> None:
    tag = collector.tag()
    assert tag
    [meta, *_] = collector.storage.lookup.find(Query("api", None, 0, END))
    key = ProfileId.parse(meta.id).object_key
    data, metadata = collector.bucket._objects[key]
    collector.bucket._objects[key] = data[:-1] + b"\1", metadata
    damaged = collector.get()
    assert (damaged.status_code, damaged.headers["X-Profbucket-Damaged"]) == (200, "1")
    assert "ETag" not in damaged.headers
    assert "Cache-Control" not in damaged.headers
    assert collector.get(tag=tag).status_code == 304  # the client has what was lost


@pytest.mark.parametrize("path", PATHS)
def test_errors_have_no_tag(collector: Collector, path: str) -> None:
    for parameters in ({"service": "none"}, {"v": "9"}, {"to": "nonsense"}):
        for tag in ("", "*", '"x"'):
            response = collector.get(path, tag, **parameters)
            assert response.status_code == (400 if "to" in parameters else 404)
            assert "ETag" not in response.headers


SCRIPT = """
import json, sys
from hashlib import sha256
from tests.api.test_revalidation import PATHS, Collector
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, compact

results = []
for order in range(3):
    collector = Collector(order)
    for compacted in (False, True):
        if compacted:
            compact(collector.storage, MIDNIGHT + 20 * HOUR)
        requests = [(path, {}) for path in PATHS]
        options = ({"aggregate": "average"}, {"limit": "7"}, {"format": "svg"})
        requests += [("/merge", parameters) for parameters in options]
        for path, parameters in requests:
            for service in ("api", "~.*"):
                response = collector.get(path, service=service, **parameters)
                digest = sha256(response.data).hexdigest()
                request = f"{path} {parameters} {service} {compacted}"
                results.append([order, request, response.headers["ETag"], digest])
print(json.dumps(results))
"""


def test_two_processes_and_three_orders_of_posting_give_equal_bytes_and_tags() -> None:
    outputs = []
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(json.loads(run.stdout))
    assert outputs[0] == outputs[1]
    results = [{row[1]: row[2:] for row in outputs[0] if row[0] == order} for order in range(3)]
    assert len(results[0]) == 2 * (len(PATHS) + 3) * 2
    assert results[0] == results[1] == results[2]
