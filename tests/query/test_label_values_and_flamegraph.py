"""Flame graphs, label values and timelines, over HTTP."""

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.auth import ApiKeys, hash_secret
from profbucket.config import Config
from profbucket.limits import Limits
from profbucket.model.form import PROFILES_PATH
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.times import SECOND
from tests.support.api import NOW, Api, body, error, error_code, pprof
from tests.support.profiles import Sample, encode, profile, stack

FLAME = f"{PROFILES_PATH}/flame"
HOUR = {"service": "api", "type": "cpu", "from": "now-1h"}


@pytest.fixture
def api() -> Api:
    """A service with two versions, and another service."""
    api = Api(open_storage("memory:"))
    api.posted(pprof(5, at=NOW - 600 * SECOND, name="slow"), version="1", host="a")
    api.posted(pprof(7, at=NOW - 60 * SECOND, name="slow"), version="2", host="a")
    api.posted(pprof(3, at=NOW - 30 * SECOND, name="quick"), version="2", host="b")
    api.posted(pprof(9, at=NOW, name="main"), service="web", type="heap", region="eu")
    return api


def flat_values(answer: Any) -> dict[str, list[int]]:
    """Return the flat values of each function in a flame graph."""
    functions = answer["functions"]
    return dict(zip(functions["name"], map(list, zip(*functions["flat"], strict=True)), strict=True))


# Flame graphs


def test_a_flame_graph_shows_the_merge_of_a_query(api: Api) -> None:
    answer = body(api.get(FLAME, **HOUR))
    assert answer["totals"] == [15]
    assert flat_values(answer) == {"slow": [12], "quick": [3]}
    assert answer["profiles"] == [
        {"found": 3, "merged": 3, "expired": 0, "damaged": 0, "aggregate": "sum of 3 profiles"}
    ]
    assert "callers" not in answer
    narrowed = body(api.get(FLAME, **HOUR, version="2", labels="host=a"))
    assert flat_values(narrowed) == {"slow": [7]}


def test_a_sample_type_that_not_all_profiles_have_is_shown_of_those_that_have_it(api: Api) -> None:
    types = ((b"wall", b"ns"), (b"cpu", b"ms"))
    content = profile(Sample(stack("idle"), (8, 0)), Sample(stack("slow"), (4, 2)), sample_types=types)
    api.posted(encode(replace(content, time_nanos=NOW)), version="3")
    common = body(api.get(FLAME, **HOUR))
    assert (common["sample_type"], len(common["sample_types"])) == ({"type": "cpu", "unit": "nanoseconds"}, 1)
    assert flat_values(common)["slow"] == [12 + 2_000_000]
    wall = body(api.get(FLAME, **HOUR, sample_type="wall"))
    assert flat_values(wall) == {"idle": [8], "slow": [4]}
    assert wall["sample_types"] == [*common["sample_types"], {"type": "wall", "unit": "ns"}]
    assert error_code(api.get(FLAME, **HOUR, sample_type="x")) == "unknown_sample_type"
    without_base = api.get(FLAME, **HOUR, sample_type="wall", base_labels="version=1")
    assert error_code(without_base) == "unknown_sample_type"


def test_a_base_with_another_unit_is_compared_in_the_finer_one(api: Api) -> None:
    content = profile(Sample(stack("slow"), (2,)), sample_types=((b"cpu", b"ms"),), time_nanos=NOW)
    api.posted(encode(content), version="3")
    answer = body(api.get(FLAME, **HOUR, labels="version=3", base_labels="version=1"))
    assert answer["sample_type"] == {"type": "cpu", "unit": "nanoseconds"}
    assert (answer["totals"], flat_values(answer)) == ([2_000_000, 5], {"slow": [2_000_000, 5]})


def test_a_base_differs_from_the_query_in_the_given_parameters(api: Api) -> None:
    by_label = body(api.get(FLAME, **HOUR, labels="version=2", base_labels="version=1"))
    assert (by_label["totals"], flat_values(by_label)) == ([10, 5], {"slow": [7, 5], "quick": [3, 0]})
    by_time = body(api.get(FLAME, **HOUR, host="a", base_from="now-11m", base_to="now-9m"))
    assert flat_values(by_time) == {"slow": [12, 5]}
    of_all = body(api.get(FLAME, **HOUR, version="1", base_labels=""))
    assert (of_all["totals"], len(of_all["profiles"])) == ([5, 15], 2)


def test_errors_of_the_base_name_it(api: Api) -> None:
    response = api.get(FLAME, **HOUR, base_labels="version=9")
    assert response.status_code == 404
    assert error(response).startswith("the base: nothing found: service=api type=cpu version=9")
    backwards = error(api.get(FLAME, **HOUR, base_from="now", base_to="now-1m"))
    assert backwards.startswith("base_from is after base_to")


def test_the_graph_of_a_function_has_its_callers(api: Api) -> None:
    answer = body(api.get(FLAME, **HOUR, function="slow"))
    assert answer["callers"]["values"] == [[12, 12]]
    assert error(api.get(FLAME, **HOUR, function="nobody")) == "no function 'nobody' is in these profiles"


def test_a_sample_type_can_be_chosen(api: Api) -> None:
    assert body(api.get(FLAME, **HOUR, sample_type="cpu"))["sample_type"]["unit"] == "nanoseconds"
    assert error(api.get(FLAME, **HOUR, sample_type="x")) == "no sample type 'x': the profiles have cpu"


def test_parameters_of_the_flame_graph_are_labels_in_other_requests(api: Api) -> None:
    api.posted(pprof(1, at=NOW), function="groups")
    assert len(api.found(function="groups")) == 1
    assert flat_values(body(api.get(FLAME, **HOUR, labels="function=groups"))) == {"main": [1]}


@pytest.mark.parametrize(
    ("max_nodes", "status"), [("1", 200), ("2", 200), ("40", 200), ("41", 422), ("0", 400), ("x", 400)]
)
def test_the_number_of_frames_is_limited(max_nodes: str, status: int) -> None:
    api = Api(open_storage("memory:"), Limits(flame_nodes=40))
    for number in range(60):
        api.posted(pprof(number + 1, at=NOW, name=f"f{number}"))
    response = api.get(FLAME, **HOUR, max_nodes=max_nodes)
    assert response.status_code == status
    if status == 422:
        assert response.get_json()["error_code"] == "max_flame_nodes_exceeded"
    if status == 200:
        assert len(body(response)["nodes"]["parent"]) <= max(2, int(max_nodes))
        assert len(body(api.get(FLAME, **HOUR))["nodes"]["parent"]) == 40


def test_traces_and_invalid_types_have_no_flame_graph(api: Api) -> None:
    assert api.get(FLAME, **{**HOUR, "type": "trace"}).status_code == 405
    assert api.get(FLAME, **{**HOUR, "type": "Nonsense"}).status_code == 405
    assert api.get(FLAME, service="api", **{"from": "now-1h"}).status_code == 405


def test_large_answers_are_compressed_if_the_client_accepts_it(api: Api) -> None:
    plain = api.client.get(FLAME, query_string=HOUR)
    compressed = api.client.get(FLAME, query_string=HOUR, headers={"Accept-Encoding": "gzip"})
    assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.data) == plain.data
    not_accepted = api.client.get(FLAME, query_string=HOUR, headers={"Accept-Encoding": "gzip;q=0, br"})
    assert not_accepted.data == plain.data


# Label values


def test_the_existing_profile_types_and_label_values_are_listed(api: Api) -> None:
    api.posted(pprof(2, at=NOW, sample_type="alloc"), type="heap", pod="x")
    assert body(api.get("/api/0/labels", service="api")) == {
        "types": ["cpu", "heap"],
        "labels": [
            {"key": "host", "values": ["a", "b"]},
            {"key": "pod", "values": ["x"]},
            {"key": "version", "values": ["1", "2"]},
        ],
        "complete": True,
    }
    heap = body(api.get("/api/0/labels", service="api", type="heap"))
    assert (heap["types"], heap["labels"]) == (["cpu", "heap"], [{"key": "pod", "values": ["x"]}])
    assert api.get("/api/0/labels", service="nobody").status_code == 404
    assert api.get("/api/0/labels").status_code == 400


def test_a_list_of_label_values_is_limited_and_marked_incomplete(api: Api) -> None:
    for number in range(1001):
        api.posted(pprof(1, at=NOW + number), service="many", pod=f"p{number:04}")
    answer = body(api.get("/api/0/labels", service="many"))
    assert (len(answer["labels"][0]["values"]), answer["complete"]) == (1000, False)


# Timelines


def test_totals_are_added_up_by_step_and_group(api: Api) -> None:
    answer = body(api.get("/api/0/series", **HOUR, step="5m", group_by="version"))
    assert answer["start"] == "2026-11-22T21:50:00Z"
    assert answer["step"] == 300
    assert answer["sample_types"] == [{"type": "cpu", "unit": "nanoseconds"}]
    by_version = {group["labels"][0]["value"]: group for group in answer["groups"]}
    assert [sum(by_version[v]["profiles"]) for v in ("1", "2")] == [1, 2]
    assert by_version["1"]["values"][0][10:] == [5, 0, 0]
    assert by_version["2"]["values"][0][10:] == [0, 0, 10]


def test_a_timeline_without_profiles_is_404_and_an_invalid_step_is_rejected(api: Api) -> None:
    missing = api.get("/api/0/series", **HOUR, version="9")
    assert missing.status_code == 404
    assert "version=9" in error(missing)
    assert api.get("/api/0/series", **HOUR, step="0").status_code == 400
    assert api.get("/api/0/series", **HOUR, step="soon").status_code == 400
    assert api.get("/api/0/series", **HOUR, step="1").status_code == 422


# API keys


def make_api_with_keys() -> Api:
    entries = [
        {"name": "of-api", "sha256": hash_secret("k").hex(), "scopes": ["read"], "services": ["api"]},
        {"name": "writer", "sha256": hash_secret("w").hex(), "scopes": ["write"]},
    ]
    storage = open_storage("memory:")
    api = Api(storage)
    api.posted(pprof(1, at=NOW))
    api.posted(pprof(1, at=NOW), service="secret")
    api.app = create_app(
        Config("memory:", keys=ApiKeys.parse(json.dumps(entries))),
        Role.QUERY,
        querier=Querier(storage),
        clock=lambda: NOW,
    )
    api.client = api.app.test_client()
    return api


@pytest.mark.parametrize("path", [FLAME, "/api/0/labels", "/api/0/series"])
def test_an_api_key_is_valid_for_its_services(path: str) -> None:
    api = make_api_with_keys()
    request = {"query_string": HOUR, "headers": {"Authorization": "Bearer k"}}
    assert api.client.get(path, **request).status_code == 200
    assert api.client.get(path, query_string=HOUR).status_code == 401
    assert api.client.get(path, query_string=HOUR, headers={"Authorization": "Bearer w"}).status_code == 403
    other = api.client.get(path, **{**request, "query_string": {**HOUR, "service": "secret"}})
    assert other.status_code == 403
    assert api.client.get("/").status_code == 200
