"""Pyroscope's older JSON, which Profiles Drilldown reads for comparisons."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.query.merging import MergeResult
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.grafana.test_calls import CPU, NOW_MS, RANGE, SECOND, heap
from tests.pprof.report.test_flame_levels import collapsed
from tests.support.api import NOW, Api

RENDER, DIFF = "/pyroscope/render", "/pyroscope/render-diff"
QUERY = {"query": f'{CPU}{{service_name="api"}}', "from": str(RANGE["start"]), "until": str(RANGE["end"])}
SIDES = {
    f"{side}{name.capitalize()}": value
    for side in ("left", "right")
    for name, value in {**QUERY, "query": f'{CPU}{{version="{1 if side == "left" else 2}"}}'}.items()
}


def make_api() -> Api:
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    api.posted(collapsed("main;b 1", "main;c 2"), version="1", created_at=str(NOW // SECOND))
    api.posted(collapsed("main;b 4", "main;c 8"), version="2", created_at=str(NOW // SECOND + 30))
    api.posted(heap(7, at=NOW), service="shop", type="heap")
    return api


def test_a_call_graph_that_takes_too_long_is_refused(api: Api) -> None:
    """A graph has the deadline of its merge: the seconds that it takes begin once all profiles are merged."""
    merged: list[bool] = []
    querier = Querier(api.storage, timer=lambda: 1000.0 if merged else 0.0)
    original = querier.merge

    def merge(query: Query, options: MergeOptions = MergeOptions()) -> MergeResult:
        result = original(query, options)
        merged.append(True)
        return result

    querier.merge = merge  # type: ignore[method-assign]
    response = Api(api.storage, querier=querier).get(RENDER, **QUERY, format="dot")
    assert (response.status_code, json.loads(response.data)["error_code"]) == (422, "max_merge_seconds_exceeded")


@pytest.fixture
def api() -> Api:
    return make_api()


def render(api: Api, path: str = RENDER, **parameters: str) -> Any:
    response = api.get(path, **{**(QUERY if path == RENDER else SIDES), **parameters})
    assert response.status_code == 200, response.text
    return json.loads(response.data)


def test_a_flame_graph(api: Api) -> None:
    graph = render(api)
    assert graph["flamebearer"] == {
        "names": ["total", "main", "c", "b"],
        "levels": [[0, 15, 0, 0], [0, 15, 0, 1], [0, 5, 5, 3, 0, 10, 10, 2]],
        "numTicks": 15,
        "maxSelf": 10,
    }
    assert graph["metadata"] == {
        "format": "single",
        "spyName": "",
        "sampleRate": 10**9,
        "units": "samples",
        "name": "cpu",
    }
    assert (graph["version"], graph["groups"], graph["heatmap"]) == (1, None, None)


@pytest.mark.parametrize(
    ("sample_type", "unit", "units"),
    [("inuse_space", "bytes", "bytes"), ("alloc_space", "bytes", "bytes"), ("inuse_objects", "count", "objects")],
)
def test_units(api: Api, sample_type: str, unit: str, units: str) -> None:
    graph = render(api, query=f"memory:{sample_type}:{unit}:space:bytes{{}}")
    assert (graph["metadata"]["units"], graph["metadata"]["sampleRate"]) == (units, 100)


def test_the_timeline(api: Api) -> None:
    """Check that it has steps of 15 seconds or more, about 1,500 of them at most."""
    start = NOW_MS - 30_000
    timeline = render(api, **{"from": str(start), "until": str(NOW_MS + 30_000)})["timeline"]
    assert timeline == {
        "startTime": start // 1000,
        "samples": [0, 0, 3, 0, 12],
        "durationDelta": 15,
        "watermarks": None,
    }
    timeline = render(api, **{"from": "0000000001"})["timeline"]
    assert 1500 <= len(timeline["samples"]) <= 1501


def test_timelines_of_groups(api: Api) -> None:
    groups = render(api, groupBy="version")["groups"]
    assert {name: sum(timeline["samples"]) for name, timeline in groups.items()} == {"1": 3, "2": 12}
    query = urlencode([*QUERY.items(), ("groupBy", "version"), ("groupBy", "service_name")])
    groups = json.loads(api.client.get(f"{RENDER}?{query}").data)["groups"]
    assert list(groups) == ["api, 1", "api, 2"]


def test_a_comparison(api: Api) -> None:
    graph = render(api, DIFF)
    assert graph["flamebearer"]["levels"] == [
        [0, 3, 0, 0, 12, 0, 0],
        [0, 3, 0, 0, 12, 0, 1],
        [0, 1, 1, 0, 4, 4, 3, 0, 2, 2, 0, 8, 8, 2],
    ]
    assert (graph["leftTicks"], graph["rightTicks"], graph["metadata"]["format"]) == (3, 12, "double")
    assert render(api, DIFF, **{"max-nodes": "1"})["flamebearer"]["names"] == ["total", "main", "other"]


def test_a_call_graph(api: Api) -> None:
    response = api.get(RENDER, **QUERY, format="dot")
    assert response.content_type == "text/vnd.graphviz; charset=utf-8"
    assert response.text.startswith("digraph profile {")
    assert all(name in response.text for name in ("main", "b", "c"))
    response = api.get(RENDER, **{**QUERY, "query": f'{CPU}{{version="3"}}'}, format="dot")
    assert response.text == "digraph profile {\n}\n"


def test_nothing_found(api: Api) -> None:
    graph = render(api, query=f'{CPU}{{service_name="missing"}}')
    assert graph["flamebearer"] == {"names": ["total"], "levels": [[0, 0, 0, 0]], "numTicks": 0, "maxSelf": 0}
    graph = render(api, DIFF, leftQuery=f'{CPU}{{version="3"}}')
    assert (graph["leftTicks"], graph["rightTicks"]) == (0, 12)


@pytest.mark.parametrize("text", ["now-2h", str(NOW // SECOND - 7200), "2026-11-22T20:00:00Z"])
def test_forms_of_times(api: Api, text: str) -> None:
    assert render(api, **{"from": text})["flamebearer"]["numTicks"] == 15


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"query": ""}, "missing_parameter"),
        ({"until": ""}, "missing_parameter"),
        ({"query": "cpu{}"}, "invalid_profile_type"),
        ({"query": f"{CPU}{{"}, "invalid_matcher"),
        ({"from": "x"}, "invalid_time"),
        ({"from": QUERY["until"], "until": QUERY["from"]}, "invalid_time_range"),
        ({"max-nodes": "x"}, "invalid_parameter"),
        ({"maxNodes": "50001"}, "max_flame_nodes_exceeded"),
        ({"format": "svg"}, "invalid_parameter"),
        ({"aggregation": "max"}, "invalid_parameter"),
    ],
)
def test_errors(api: Api, parameters: dict[str, str], code: str) -> None:
    response = api.get(RENDER, **{**QUERY, **parameters})
    answer = json.loads(response.data)
    assert (answer["code"], answer["error_code"]) == ("invalid_argument", code)


ANY_API = make_api()
TEXTS = st.text(max_size=20) | st.sampled_from([*QUERY.values(), "now", "-1", "0", "9" * 13, f"{CPU}{{}}"])


@given(st.sampled_from([RENDER, DIFF]), st.dictionaries(st.sampled_from([*QUERY, *SIDES, "max-nodes"]), TEXTS))
def test_no_query_is_an_error_of_the_collector(path: str, parameters: dict[str, str]) -> None:
    defaults = QUERY if path == RENDER else SIDES
    response = ANY_API.get(path, **{**defaults, **parameters})
    assert response.status_code < 500
