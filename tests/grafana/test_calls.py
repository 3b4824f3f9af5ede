"""The calls of Grafana, in protobuf and in JSON, over a storage in memory."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from profbucket.auth import ApiKeys, Scope, hash_secret
from profbucket.errors import CODES
from profbucket.grafana import querier_pb2 as pb
from profbucket.limits import Limits
from profbucket.pprof import decode, profile_pb2
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import SeriesSelection
from profbucket.storage.store import Storage
from tests.pprof.report.test_flame_levels import collapsed
from tests.support.api import NOW, Api, pprof

SECOND, MS = 10**9, 10**6
CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
NOW_MS = NOW // MS
RANGE: dict[str, Any] = {"start": NOW_MS - 3_600_000, "end": NOW_MS + 3_600_000}
SELECTION: dict[str, Any] = {"profile_typeID": CPU, "label_selector": '{service_name="api"}', **RANGE}
EMPTY_SELECTIONS: list[dict[str, Any]] = [
    {"label_selector": '{service_name="missing"}'},
    {"label_selector": '{version="9"}'},
    {"profile_typeID": "memory:inuse_space:bytes:space:bytes"},
    {"profile_typeID": "no_such_name:x:y:z:w"},
    {"start": 1, "end": 2},
]
DATA_METHODS = ("SelectMergeStacktraces", "SelectMergeSpanProfile", "SelectMergeProfile", "SelectSeries")

_Message = TypeVar("_Message", bound=Message)


class Grafana:
    """A client of the API, with the headers of every call."""

    def __init__(self, api: Api, headers: Mapping[str, str] = {}) -> None:
        self.api = api
        self.headers = headers

    def post(self, method: str, data: bytes, content_type: str, **headers: str) -> TestResponse:
        path = method if method.startswith("/") else f"/querier.v1.QuerierService/{method}"
        return self.api.client.post(
            path, data=data, headers={"Content-Type": content_type, **self.headers, **headers}
        )

    def json(self, method: str, **fields: Any) -> Any:
        """Return the answer to a call in JSON."""
        response = self.post(method, json.dumps(fields).encode(), "application/json")
        assert response.status_code == 200, response.text
        assert response.content_type == "application/json"
        return json.loads(response.data)

    def proto(self, method: str, request: Message, message_class: type[_Message]) -> _Message:
        """Return the answer to a call in protobuf."""
        response = self.post(method, request.SerializeToString(), "application/proto")
        assert response.status_code == 200, response.text
        assert response.content_type == "application/proto"
        return message_class.FromString(response.data)

    def error(self, method: str, **fields: Any) -> tuple[int, str, str]:
        """Return the status, Connect's code and the stable code of a call that fails."""
        return parse_error(self.post(method, json.dumps(fields).encode(), "application/json"))


def parse_error(response: TestResponse) -> tuple[int, str, str]:
    answer = json.loads(response.data)
    assert answer.keys() == {"code", "message", "error_code"}
    assert answer["error_code"] in {*CODES, *(Limits.code(name) for name in Limits.__slots__)}
    assert response.content_type == "application/json"
    return response.status_code, answer["code"], answer["error_code"]


def heap(inuse: int, *, at: int) -> bytes:
    """Return a heap profile of Go with one sample."""
    names = (("alloc_space", "bytes"), ("inuse_space", "bytes"))
    message = profile_pb2.Profile(
        string_table=[b"", b"alloc_space", b"inuse_space", b"bytes", b"main"],
        sample_type=[{"type": 1 + column, "unit": 3} for column in range(len(names))],
        sample=[{"location_id": [1], "value": [10 * inuse, inuse]}],
        location=[{"id": 1, "line": [{"function_id": 1}]}],
        function=[{"id": 1, "name": 4}],
        time_nanos=at,
    )
    return gzip.compress(message.SerializeToString(), mtime=0)


@pytest.fixture
def api() -> Api:
    """Return a collector with two versions of "api" and with the service "shop"."""
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    api.posted(collapsed("main;b;e 1", "main;c 2"), version="1", created_at=str(NOW // SECOND))
    api.posted(collapsed("main;c;d 5"), version="2", created_at=str(NOW // SECOND + 1))
    api.posted(heap(7, at=NOW), service="shop", type="heap", region="eu")
    return api


@pytest.fixture
def grafana(api: Api) -> Grafana:
    return Grafana(api)


class TestListing:
    def test_profile_types(self, grafana: Grafana) -> None:
        types = grafana.json("ProfileTypes", **RANGE)["profileTypes"]
        assert [one["ID"] for one in types] == [
            "memory:alloc_space:bytes:space:bytes",
            "memory:inuse_space:bytes:space:bytes",
            CPU,
        ]
        assert types[-1] == {
            "ID": CPU,
            "name": "process_cpu",
            "sampleType": "cpu",
            "sampleUnit": "nanoseconds",
            "periodType": "cpu",
            "periodUnit": "nanoseconds",
        }
        answer = grafana.proto("ProfileTypes", pb.ProfileTypesRequest(**RANGE), pb.ProfileTypesResponse)
        assert [one.ID for one in answer.profile_types] == [one["ID"] for one in types]

    def test_no_range_is_all_time(self, grafana: Grafana) -> None:
        assert len(grafana.json("ProfileTypes")["profileTypes"]) == 3
        assert grafana.json("ProfileTypes", start=1, end=2) == {}
        assert grafana.json("LabelNames", start="0", end="0")["names"]

    @pytest.mark.parametrize(
        ("matchers", "names"),
        [
            ([], ["region", "service_name", "version"]),
            (["{}"], ["region", "service_name", "version"]),
            ([""], ["region", "service_name", "version"]),
            (['{service_name="api",}'], ["service_name", "version"]),
            ([f'{{__profile_type__="{CPU}",service_name="api"}}'], ["service_name", "version"]),
            (['{__profile_type__=~"memory:.*"}'], ["region", "service_name"]),
            (['{service_name="api"}', '{region="eu"}'], ["region", "service_name", "version"]),
            (['{service_name=~"ap"}'], []),
        ],
    )
    def test_label_names(self, grafana: Grafana, matchers: list[str], names: list[str]) -> None:
        assert grafana.json("LabelNames", matchers=matchers, **RANGE).get("names", []) == names
        request = pb.LabelNamesRequest(matchers=matchers, **RANGE)
        assert list(grafana.proto("LabelNames", request, pb.LabelNamesResponse).names) == names

    @pytest.mark.parametrize(
        ("name", "matchers", "values"),
        [
            ("service_name", [], ["api", "shop"]),
            ("service_name", ['{version=~".+"}'], ["api"]),
            ("version", [], ["1", "2"]),
            ("version", ['{version!="1"}'], ["2"]),
            ("__profile_type__", ['{service_name="api"}'], [CPU]),
            ("__unit__", [], ["bytes", "nanoseconds"]),
            ("missing", [], []),
        ],
    )
    def test_label_values(self, grafana: Grafana, name: str, matchers: list[str], values: list[str]) -> None:
        assert grafana.json("LabelValues", name=name, matchers=matchers, **RANGE).get("names", []) == values

    def test_series_as_drilldown_asks_for_them(self, grafana: Grafana) -> None:
        fields = {"labelNames": ["service_name", "__profile_type__"], "matchers": [], **RANGE}
        sets = grafana.json("Series", **fields)["labelsSet"]
        assert [[label["value"] for label in one["labels"]] for one in sets] == [
            ["memory:alloc_space:bytes:space:bytes", "shop"],
            ["memory:inuse_space:bytes:space:bytes", "shop"],
            [CPU, "api"],
        ]
        assert [label["name"] for label in sets[0]["labels"]] == ["__profile_type__", "service_name"]

    def test_series_with_all_labels_hide_those_of_pyroscope(self, grafana: Grafana) -> None:
        sets = grafana.json("Series", **RANGE)["labelsSet"]
        assert [{label["name"]: label["value"] for label in one["labels"]} for one in sets] == [
            {"region": "eu", "service_name": "shop"},
            {"service_name": "api", "version": "1"},
            {"service_name": "api", "version": "2"},
        ]

    @pytest.mark.parametrize("label_names", [["service_name"], ["__profile_type__", "version"], []])
    @pytest.mark.parametrize(
        ("matchers", "reads"),
        [
            (['{service_name="api"}'] * 64, 1),
            (['{service_name="api"}', '{service_name="api",version="2"}', '{service_name="shop"}'], 2),
            (['{service_name="shop",region="eu"}', '{version="1"}', '{version="2",service_name=~"a.*"}'], 1),
            (['{service_name="api",version="1"}', '{service_name="api",version="1",__unit__="bytes"}'], 1),
            (['{service_name="api",service_name="shop"}', f'{{__profile_type__="{CPU}"}}'], 1),
        ],
    )
    def test_several_selectors_select_what_each_of_them_does(
        self,
        grafana: Grafana,
        monkeypatch: pytest.MonkeyPatch,
        matchers: list[str],
        reads: int,
        label_names: list[str],
    ) -> None:
        """The index is read once, or once for each service that they name."""
        fields = {"labelNames": label_names, **RANGE}
        expected = [
            one
            for matcher in matchers
            for one in grafana.json("Series", matchers=[matcher], **fields).get("labelsSet", [])
        ]
        selections: list[SeriesSelection] = []
        for method in ("series", "series_groups"):
            original = getattr(MemoryIndex, method)

            def read(index: MemoryIndex, selection: SeriesSelection, original: Any = original) -> Any:
                selections.append(selection)
                return original(index, selection)

            monkeypatch.setattr(MemoryIndex, method, read)
        found = grafana.json("Series", matchers=matchers, **fields)["labelsSet"]
        assert len(selections) <= reads * 2  # groups of a storage in memory are those of its series
        assert len(set(selections)) == reads
        assert sorted(map(str, found)) == sorted(set(map(str, expected)))

    def test_profile_stats(self, grafana: Grafana) -> None:
        stats = grafana.json("GetProfileStats")
        assert stats["dataIngested"] is True
        assert int(stats["oldestProfileTime"]) <= NOW_MS <= int(stats["newestProfileTime"])
        empty = Grafana(Api(Storage(MemoryBucket(), MemoryIndex())))
        assert empty.json("GetProfileStats") == {}


class TestMerge:
    def test_stacktraces(self, grafana: Grafana) -> None:
        request = pb.SelectMergeStacktracesRequest(max_nodes=16384, **SELECTION)
        graph = grafana.proto("SelectMergeStacktraces", request, pb.SelectMergeStacktracesResponse).flamegraph
        assert list(graph.names) == ["total", "main", "c", "d", "b", "e"]
        assert [list(level.values) for level in graph.levels] == [
            [0, 8, 0, 0],
            [0, 8, 0, 1],
            [0, 1, 0, 4, 0, 7, 2, 2],
            [0, 1, 1, 5, 2, 5, 5, 3],
        ]
        assert (graph.total, graph.max_self) == (8, 5)
        answer = grafana.json("SelectMergeStacktraces", **SELECTION)["flamegraph"]
        assert answer["levels"][0] == {"values": ["0", "8", "0", "0"]}
        assert (answer["total"], answer["maxSelf"]) == ("8", "5")

    def test_the_bytes_of_a_request_and_its_response(self) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()))
        api.posted(collapsed("a 4"), service="demo", created_at="1559218000")
        request = bytes.fromhex(
            "0a2b70726f636573735f6370753a6370753a6e616e6f7365636f6e64733a6370753a6e616e6f7365636f6e647312167b736572766963"
            "655f6e616d653d2264656d6f222c7d18c09ccdc4b02d20c0f9a8c6b02d28808001"
        )
        response = Grafana(api).post("SelectMergeStacktraces", request, "application/proto")
        assert response.data.hex() == "0a1e0a05746f74616c0a016112060a040004000012060a040004040118042004"

    @pytest.mark.parametrize("names", ["camelCase", "original"])
    def test_both_names_of_a_field(self, grafana: Grafana, names: str) -> None:
        fields = dict(SELECTION)
        if names == "camelCase":
            fields = {"profileTypeID": CPU, "labelSelector": fields["label_selector"], "maxNodes": 1, **RANGE}
        else:
            fields["max_nodes"] = "1"
        assert grafana.json("SelectMergeStacktraces", **fields)["flamegraph"]["names"] == [
            "total",
            "main",
            "other",
        ]

    @pytest.mark.parametrize("max_nodes", [-1, 0, None])
    def test_the_default_number_of_nodes(self, grafana: Grafana, max_nodes: int | None) -> None:
        graph = grafana.json("SelectMergeStacktraces", maxNodes=max_nodes, **SELECTION)["flamegraph"]
        assert "other" not in graph["names"]

    def test_too_many_nodes(self, grafana: Grafana) -> None:
        status, code, _ = grafana.error("SelectMergeStacktraces", maxNodes=50_001, **SELECTION)
        assert (status, code) == (422, "invalid_argument")

    def test_the_stacks_of_a_call_site(self, grafana: Grafana) -> None:
        site = {"callSite": [{"name": "main"}, {"name": "b"}]}
        graph = grafana.json("SelectMergeStacktraces", stackTraceSelector=site, **SELECTION)["flamegraph"]
        assert graph["names"] == ["total", "main", "b", "e"]
        profile = grafana.json("SelectMergeProfile", stackTraceSelector=site, **SELECTION)
        assert [sample["value"] for sample in profile["sample"]] == [["1"]]

    def test_formats(self, grafana: Grafana) -> None:
        dot = grafana.json("SelectMergeStacktraces", format="PROFILE_FORMAT_DOT", **SELECTION)
        assert dot["dot"].startswith("digraph profile {")
        pprof = grafana.json("SelectMergeStacktraces", format=4, **SELECTION)["pprof"]
        profile = profile_pb2.Profile.FromString(base64.b64decode(pprof))
        assert sum(sample.value[0] for sample in profile.sample) == 8
        for number in (3, 4):
            selection = {**SELECTION, "label_selector": '{service_name="missing"}'}
            assert grafana.json("SelectMergeStacktraces", format=number, **selection) == {}
        for number in (2, 99):
            answer = grafana.error("SelectMergeStacktraces", format=number, **SELECTION)
            assert answer == (400, "invalid_argument", "invalid_parameter")

    def test_several_services(self, grafana: Grafana) -> None:
        grafana.api.posted(collapsed("main;f 9"), service="apiary")
        graph = grafana.json(
            "SelectMergeStacktraces", **{**SELECTION, "label_selector": '{service_name=~"api.*"}'}
        )
        assert graph["flamegraph"]["total"] == "17"
        everything = grafana.json("SelectMergeStacktraces", **{**SELECTION, "label_selector": "{}"})
        assert everything == graph

    def test_profile(self, grafana: Grafana) -> None:
        profile = grafana.proto(
            "SelectMergeProfile", pb.SelectMergeProfileRequest(**SELECTION), profile_pb2.Profile
        )
        assert sum(sample.value[0] for sample in profile.sample) == 8
        assert profile.time_nanos == RANGE["end"] * MS
        assert profile.duration_nanos == (RANGE["end"] - RANGE["start"]) * MS
        answer = grafana.json("SelectMergeProfile", **SELECTION)
        assert answer["stringTable"] == [text.decode() for text in profile.string_table]
        assert answer["timeNanos"] == str(profile.time_nanos)

    def test_a_profile_with_few_nodes(self, grafana: Grafana) -> None:
        profile = grafana.json("SelectMergeProfile", max_nodes=2, **SELECTION)
        assert sum(int(sample["value"][0]) for sample in profile["sample"]) == 8
        assert "other" in profile["stringTable"]
        assert grafana.error("SelectMergeProfile", max_nodes=50_001, **SELECTION)[1] == "invalid_argument"

    @pytest.mark.parametrize("method", DATA_METHODS)
    def test_a_range_of_all_times(self, grafana: Grafana, method: str) -> None:
        fields = {**SELECTION, "start": -(2**63), "end": 2**63 - 1, "step": 10**9}
        assert method == "SelectMergeSpanProfile" or grafana.json(method, **fields)

    def test_a_profile_without_a_match_has_no_bytes(self, grafana: Grafana) -> None:
        request = pb.SelectMergeProfileRequest(**{**SELECTION, "label_selector": '{service_name="missing"}'})
        assert grafana.post("SelectMergeProfile", request.SerializeToString(), "application/proto").data == b""

    def test_spans(self, grafana: Grafana) -> None:
        message = decode(collapsed("main;f 3", "main;g 4")).message
        message.string_table.extend([b"span_id", b"00f067aa0ba902b7"])
        at = len(message.string_table)
        message.sample[0].label.add(key=at - 2, str=at - 1)
        grafana.api.posted(message.SerializeToString(), service="spans")
        selection = {**SELECTION, "label_selector": '{service_name="spans"}'}
        answer = grafana.json("SelectMergeSpanProfile", spanSelector=["00f067aa0ba902b7"], **selection)
        assert answer["flamegraph"]["names"] == ["total", "main", "f"]
        assert grafana.json("SelectMergeSpanProfile", spanSelector=["1"], **selection) == {}

    def test_diff(self, grafana: Grafana) -> None:
        left, right = ({**SELECTION, "label_selector": f'{{version="{version}"}}'} for version in "12")
        graph = grafana.json("Diff", left=left, right=right)["flamegraph"]
        assert (graph["total"], graph["leftTicks"], graph["rightTicks"], graph["maxSelf"]) == ("8", "3", "5", "5")
        assert graph["levels"][1]["values"] == ["0", "3", "0", "0", "5", "0", "1"]
        missing = {**SELECTION, "label_selector": '{version="3"}'}
        graph = grafana.json("Diff", left=missing, right=right)["flamegraph"]
        assert (graph["rightTicks"], "leftTicks" in graph) == ("5", False)
        assert grafana.json("Diff", left=missing, right=missing) == {}


class TestSelectSeries:
    def select(self, grafana: Grafana, **fields: Any) -> dict[tuple[str, ...], list[tuple[float, int]]]:
        """Return the points of each series, their times in ms after the start of NOW."""
        answer = grafana.json("SelectSeries", **{**SELECTION, "step": 15, **fields})
        return {
            tuple(label["value"] for label in one.get("labels", [])): [
                (point["value"], int(point["timestamp"]) - NOW_MS) for point in one["points"]
            ]
            for one in answer.get("series", [])
        }

    def test_points_are_at_the_ends_of_steps(self, grafana: Grafana) -> None:
        """A step excludes its start, and the first one begins before the range."""
        assert self.select(grafana, start=NOW_MS, end=NOW_MS + 1000, step=1) == {(): [(3, 0), (5, 1000)]}
        assert self.select(grafana, start=NOW_MS + 999, end=NOW_MS + 2000, step=1) == {(): [(3, 999), (5, 1999)]}
        assert self.select(grafana, start=NOW_MS + 1000, end=NOW_MS + 1000, step=1) == {(): [(5, 1000)]}
        assert self.select(grafana, start=NOW_MS + 1000, end=NOW_MS + 1000, step=1.001) == {(): [(8, 1000)]}

    def test_groups(self, grafana: Grafana) -> None:
        fields = {"start": NOW_MS + 1000, "end": NOW_MS + 1000, "groupBy": ["version"]}
        assert self.select(grafana, **fields) == {("1",): [(3, 1000)], ("2",): [(5, 1000)]}
        assert self.select(grafana, limit=1, **fields) == {("2",): [(5, 1000)]}
        fields["groupBy"] = ["service_name", "missing", "__profile_type__"]
        assert self.select(grafana, **fields) == {(CPU, "api"): [(8, 1000)]}

    def test_average(self, grafana: Grafana) -> None:
        fields = {"start": NOW_MS + 1000, "end": NOW_MS + 1000}
        assert self.select(grafana, aggregation="TIME_SERIES_AGGREGATION_TYPE_AVERAGE", **fields) == {
            (): [(4, 1000)]
        }
        assert self.select(grafana, aggregation=0, **fields) == {(): [(8, 1000)]}

    @pytest.mark.parametrize("step", [0, 0.0009, -1, "NaN", "Infinity", 1e300])
    def test_invalid_steps(self, grafana: Grafana, step: float | str) -> None:
        answer = grafana.error("SelectSeries", **SELECTION, step=step)
        assert answer == (400, "invalid_argument", "invalid_step")

    def test_a_step_of_a_millisecond(self, grafana: Grafana) -> None:
        assert self.select(grafana, step=0.001) == {(): [(3, 0), (5, 1000)]}


class TestErrors:
    @pytest.mark.parametrize("changes", EMPTY_SELECTIONS)
    @pytest.mark.parametrize("method", DATA_METHODS)
    def test_a_selection_without_a_match_is_empty(
        self, grafana: Grafana, method: str, changes: dict[str, Any]
    ) -> None:
        assert grafana.json(method, **{**SELECTION, "step": 15, **changes}) == {}

    @pytest.mark.parametrize("method", DATA_METHODS)
    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"label_selector": "{"}, "invalid_matcher"),
            ({"label_selector": '{a=~"("}'}, "invalid_regex"),
            ({"profile_typeID": ""}, "invalid_profile_type"),
            ({"profile_typeID": "cpu"}, "invalid_profile_type"),
            ({"start": 0, "end": 0}, "invalid_time_range"),
            ({"start": 2, "end": 1}, "invalid_time_range"),
        ],
    )
    def test_malformed_selections(self, grafana: Grafana, method: str, changes: dict[str, Any], code: str) -> None:
        answer = grafana.error(method, **{**SELECTION, "step": 15, **changes})
        assert answer == (400, "invalid_argument", code)

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("Missing", 404),
            ("/settings.v1.SettingsService/Missing", 404),
            ("/settings.v1.RecordingRulesService/List", 404),
            ("/vcs.v1.VCSService/GithubApp", 404),
            ("/adhocprofiles.v1.AdHocProfileService/List", 404),
        ],
    )
    def test_an_unknown_method(self, grafana: Grafana, path: str, status: int) -> None:
        assert grafana.error(path) == (status, "unimplemented", "unknown_route")

    @pytest.mark.parametrize(
        ("data", "content_type", "headers", "expected"),
        [
            (b"{}", "text/plain", {}, (415, "invalid_argument", "unsupported_content_type")),
            (b"{}", "application/grpc", {}, (415, "invalid_argument", "unsupported_content_type")),
            (b"{", "application/json", {}, (400, "invalid_argument", "invalid_json")),
            (b"[]", "application/json", {}, (400, "invalid_argument", "invalid_json")),
            (b'{"start":"x"}', "application/json", {}, (400, "invalid_argument", "invalid_json")),
            (b"[" * 100_000, "application/json", {}, (400, "invalid_argument", "invalid_json")),
            (b"\x08", "application/proto", {}, (400, "invalid_argument", "invalid_protobuf")),
            (b"{}", "application/json", {"Connect-Protocol-Version": "2"},
             (400, "invalid_argument", "invalid_parameter")),
            (b"{}", "application/json", {"Content-Encoding": "br"},
             (415, "invalid_argument", "unsupported_content_encoding")),
            (b" " * 2_000_000, "application/json", {}, (413, "resource_exhausted", "max_body_bytes_exceeded")),
        ],
    )  # fmt: skip
    def test_malformed_requests(
        self,
        grafana: Grafana,
        data: bytes,
        content_type: str,
        headers: dict[str, str],
        expected: tuple[int, str, str],
    ) -> None:
        assert parse_error(grafana.post("ProfileTypes", data, content_type, **headers)) == expected

    @pytest.mark.parametrize("body", [b'{"aggregation":Infinity}', b'{"step":1%s}' % (b"0" * 400)])
    def test_numbers_that_are_too_large(self, grafana: Grafana, body: bytes) -> None:
        answer = parse_error(grafana.post("SelectSeries", body, "application/json"))
        assert answer == (400, "invalid_argument", "invalid_json")

    def test_gzip_in_both_directions(self, grafana: Grafana) -> None:
        headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
        body = gzip.compress(b'{"start":"0"}')
        response = grafana.post("ProfileTypes", body, "application/json; charset=utf-8", **headers)
        assert response.headers["Content-Encoding"] == "gzip"
        assert len(json.loads(gzip.decompress(response.data))["profileTypes"]) == 3

    def test_an_empty_body_is_an_empty_message(self, grafana: Grafana) -> None:
        assert grafana.post("ProfileTypes", b"", "application/json").status_code == 200
        assert grafana.post("ProfileTypes", b"", "application/proto").status_code == 200

    def test_many_selectors_and_labels_are_refused(self, grafana: Grafana) -> None:
        for fields in ({"matchers": ["{}"] * 65}, {"labelNames": ["a"] * 65}):
            assert grafana.error("Series", **fields)[2] == "max_labels_exceeded"
        assert grafana.error("SelectSeries", groupBy=["a"] * 65, step=15, **SELECTION)[2] == "max_labels_exceeded"


class TestSettings:
    def test_settings_are_empty_and_a_change_is_confirmed(self, grafana: Grafana) -> None:
        assert grafana.json("/settings.v1.SettingsService/Get") == {}
        setting = {"name": "pluginSettings", "value": "{}", "modifiedAt": "5"}
        assert grafana.json("/settings.v1.SettingsService/Set", setting=setting) == {"setting": setting}
        assert grafana.json("/settings.v1.SettingsService/Get") == {}

    def test_analyze_query(self, grafana: Grafana) -> None:
        assert grafana.json("AnalyzeQuery", query='{service_name="api"}', **RANGE) == {}


class TestKeys:
    """A key sees its own services; the others are as if they did not exist."""

    KEYS = ApiKeys.parse(
        json.dumps(
            [
                {"name": name, "sha256": hash_secret(name).hex(), "scopes": scopes, "services": services}
                for name, scopes, services in (
                    ("all", list(Scope), ["*"]),
                    ("shop", ["read"], ["shop*"]),
                    ("none", ["read"], ["x"]),
                    ("writer", ["write"], ["*"]),
                )
            ]
        )
    )

    def grafana(self, api: Api, key: str) -> Grafana:
        guarded = Api(api.storage, keys=self.KEYS)
        return Grafana(guarded, {"Authorization": f"Bearer {key}"} if key else {})

    def test_basic_authentication(self, api: Api) -> None:
        client = Api(api.storage, keys=self.KEYS).client
        response = client.post("/querier.v1.QuerierService/ProfileTypes", json={}, auth=("grafana", "all"))
        assert len(json.loads(response.data)["profileTypes"]) == 3

    def test_lists(self, api: Api) -> None:
        shop = self.grafana(api, "shop")
        assert len(shop.json("ProfileTypes")["profileTypes"]) == 2
        assert shop.json("LabelNames") == {"names": ["region", "service_name"]}
        assert shop.json("LabelValues", name="service_name") == {"names": ["shop"]}
        assert shop.json("LabelValues", name="version") == {}
        assert len(shop.json("Series")["labelsSet"]) == 1
        none = self.grafana(api, "none")
        for method in ("ProfileTypes", "LabelNames", "Series", "GetProfileStats"):
            assert none.json(method) == {}

    @pytest.mark.parametrize("selector", ['{service_name="api"}', "{}", '{service_name=~".*"}'])
    @pytest.mark.parametrize("method", DATA_METHODS)
    def test_data(self, api: Api, method: str, selector: str) -> None:
        fields = {**SELECTION, "label_selector": selector, "step": 15}
        spans = {"spanSelector": ["1"]} if method == "SelectMergeSpanProfile" else {}
        if not spans:
            assert self.grafana(api, "all").json(method, **fields)
        assert self.grafana(api, "shop").json(method, **fields, **spans) == {}

    def test_the_scope_is_read(self, api: Api) -> None:
        for path in ("ProfileTypes", "Diff", "/settings.v1.SettingsService/Get"):
            assert self.grafana(api, "writer").error(path) == (403, "permission_denied", "missing_scope")
            assert self.grafana(api, "").error(path) == (401, "unauthenticated", "missing_api_key")
            assert self.grafana(api, "unknown").error(path) == (401, "unauthenticated", "unknown_api_key")


METHODS = (
    "ProfileTypes", "LabelNames", "LabelValues", "Series", "SelectMergeStacktraces", "SelectMergeSpanProfile",
    "SelectMergeProfile", "SelectSeries", "Diff", "GetProfileStats", "AnalyzeQuery",
)  # fmt: skip
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([CPU, "{}", '{a="b"}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    (
        "start", "end", "name", "matchers", "labelNames", "profileTypeID", "labelSelector", "maxNodes", "format",
        "step", "groupBy", "aggregation", "limit", "left", "right", "stackTraceSelector", "spanSelector", "query",
    )
)  # fmt: skip


class TestRandomBodies:
    """No body causes an error of the collector."""

    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    api.posted(pprof(5, at=NOW), version="1")
    grafana = Grafana(api)

    @settings(max_examples=300)
    @given(st.sampled_from(METHODS), st.dictionaries(FIELDS, JSON_VALUES))
    def test_json(self, method: str, fields: dict[str, Any]) -> None:
        body = json.dumps({**(SELECTION if method in DATA_METHODS else {}), **fields}).encode()
        assert self.grafana.post(method, body, "application/json").status_code < 500

    @settings(max_examples=300)
    @given(st.sampled_from(METHODS), st.binary(max_size=60), st.booleans())
    def test_protobuf(self, method: str, tail: bytes, is_selection: bool) -> None:
        head = pb.SelectMergeStacktracesRequest(**SELECTION).SerializeToString() if is_selection else b""
        assert self.grafana.post(method, head + tail, "application/proto").status_code < 500
