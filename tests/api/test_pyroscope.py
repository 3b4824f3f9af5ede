"""The routes of Pyroscope's clients."""

import base64
import gzip
import json
import tracemalloc
from io import BytesIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from profbucket.auth import ApiKeys, hash_secret
from profbucket.errors import CODES, Unavailable
from profbucket.ingest.pyroscope_push_pb2 import PushRequest
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode, encode, profile_pb2
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.agents import add_series, push
from tests.support.api import NOW, Api, body, comments, total

PUSH = "/push.v1.PusherService/Push"
PROTO = {"Content-Type": "application/proto"}
# The query of @pyroscope/nodejs 0.6.4, as captured.
NODE = (
    "format=pprof&from=1795818146&name=sdk-pyro-node%7Botel.scope.name%3Dcom.grafana.pyroscope%2Fnodejs%2C"
    "otel.scope.version%3D0.6.4%2Cversion%3D1.2.3%2Cregion%3Deu%7D&spyName=nodespy&until=1795818152&sampleRate=167"
)
SECRET = "the-secret"
KEYS = json.dumps(
    [{"name": "shop", "sha256": hash_secret(SECRET).hex(), "scopes": ["write", "read"], "services": ["shop-*"]}]
)


@pytest.fixture
def api() -> Api:
    return Api(Storage(MemoryBucket(), MemoryIndex()))


def profile(*sample_types: str, rows: dict[str, list[int]] | None = None, at: int = NOW) -> bytes:
    """Return a pprof with a sample for each function in *rows*."""
    rows = rows if rows is not None else {"main": [1] * len(sample_types)}
    message = profile_pb2.Profile(
        string_table=[b"", b"unit", *(name.encode() for name in (*sample_types, *rows))],
        sample_type=[{"type": 2 + number, "unit": 1} for number in range(len(sample_types))],
        sample=[{"location_id": [number], "value": values} for number, values in enumerate(rows.values(), 1)],
        location=[{"id": number, "line": [{"function_id": number}]} for number in range(1, len(rows) + 1)],
        function=[{"id": number, "name": 1 + len(sample_types) + number} for number in range(1, len(rows) + 1)],
        time_nanos=at,
    )
    return encode(message)


def ingest(api: Api, data: bytes, query: str, **headers: str) -> TestResponse:
    return api.client.post(f"/ingest?{query}", data=data, headers=headers)


def stored(api: Api, service: str) -> dict[str, Any]:
    """Return the profiles of *service* by type."""
    response = api.get("/api/0/profiles", service=service, **{"from": "0"})
    profiles = body(response) if response.status_code == 200 else []
    assert len({one["type"] for one in profiles}) == len(profiles)
    return {one["type"]: one for one in profiles}


def labels(meta: Any) -> dict[str, str]:
    return {label["key"]: label["value"] for label in meta["labels"]}


def error_code(response: TestResponse) -> str:
    """Return the stable code of an error, after checking the form that Pyroscope's clients expect."""
    answer = json.loads(response.data)
    assert answer.keys() == {"code", "message", "error_code"}
    assert answer["message"]
    assert answer["error_code"] in {*CODES, *(Limits.code(name) for name in Limits.__slots__)}
    return str(answer["error_code"])


class TestIngest:
    def test_the_name_has_the_service_and_the_labels(self, api: Api) -> None:
        response = ingest(api, profile("samples", "wall"), NODE, **{"Content-Type": "application/octet-stream"})
        assert (response.status_code, response.data) == (200, b"")
        [meta] = stored(api, "sdk-pyro-node").values()
        assert meta["type"] == "wall"
        assert labels(meta) == {
            "otel.scope.name": "com.grafana.pyroscope/nodejs",
            "otel.scope.version": "0.6.4",
            "version": "1.2.3",
            "region": "eu",
        }

    @pytest.mark.parametrize(
        ("name", "service", "expected"),
        [
            ("app", "app", {}),
            ("app{}", "app", {}),
            (" app { a = 1 , b=x y } ", "app", {"a": "1", "b": "x y"}),
            ("app{__session_id__=7,__x=1,a=}", "app", {"a": ""}),
            ("my.app{a=b=c}", "my.app", {"a": "b=c"}),
            ("app{service_name=shop}", "shop", {"app_name": "app"}),
            ("ä{k=ü}", "ä", {"k": "ü"}),
        ],
    )
    def test_names(self, api: Api, name: str, service: str, expected: dict[str, str]) -> None:
        query = {"name": name, "format": "pprof"}
        response = api.client.post("/ingest", query_string=query, data=profile("cpu"))
        assert response.status_code == 200, response.text
        assert labels(stored(api, service)["cpu"]) == expected

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("", "missing_parameter"),
            ("name=", "missing_parameter"),
            ("name=%7Ba=1%7D", "missing_parameter"),
            ("name=app%7Ba%7D", "invalid_label"),
            ("name=app%7Ba=1", "invalid_label"),
            ("name=app%7B=1%7D", "invalid_label"),
            ("name=app%7Ba=1,a=2%7D", "invalid_label"),
            ("name=a%0Ab", "invalid_service"),
            ("name=app&from=yesterday", "invalid_time"),
            ("name=app&from=9999999999999999999", "invalid_time"),
        ],
    )
    def test_bad_parameters_are_400_and_store_nothing(self, api: Api, query: str, code: str) -> None:
        response = ingest(api, profile("cpu", at=0), f"format=pprof&{query}")
        assert (response.status_code, error_code(response)) == (400, code)
        assert not list(api.storage.bucket.list("", "\x7f"))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1559217000", "2019-05-30T11:50:00Z"),
            ("1559217000123", "2019-05-30T11:50:00Z"),
            ("1559217000123456", "2019-05-30T11:50:00Z"),
            ("1559217000123456789", "2019-05-30T11:50:00Z"),
            ("now-1h", "2026-11-22T21:51:07Z"),
            ("", "2026-11-22T22:51:07Z"),
        ],
    )
    def test_from_is_the_time_of_a_profile_without_one(self, api: Api, text: str, expected: str) -> None:
        ingest(api, profile("cpu", at=0), f"name=app&format=pprof&from={text}")
        assert stored(api, "app")["cpu"]["created_at"] == expected

    @pytest.mark.parametrize(
        ("sample_types", "expected"),
        [
            (["cpu"], {"cpu": ["cpu"]}),
            (["samples", "cpu"], {"cpu": ["samples", "cpu"]}),
            (["samples", "wall"], {"wall": ["samples", "wall"]}),
            (["samples", "wall", "cpu"], {"wall": ["samples", "wall"], "cpu": ["cpu"]}),
            (["inuse_objects", "inuse_space"], {"heap": ["inuse_objects", "inuse_space"]}),
            (["objects", "space"], {"heap": ["objects", "space"]}),
            (
                ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"],
                {"alloc": ["alloc_objects", "alloc_space"], "heap": ["inuse_objects", "inuse_space"]},
            ),
            (["mutex_count", "mutex_duration"], {"mutex": ["mutex_count", "mutex_duration"]}),
            (["goroutines"], {"goroutine": ["goroutines"]}),
            (["what", "ever"], {"other": ["what", "ever"]}),
        ],
    )
    def test_sample_types_decide_the_profile_type(
        self, api: Api, sample_types: list[str], expected: dict[str, list[str]]
    ) -> None:
        assert ingest(api, profile(*sample_types), "name=app&format=pprof").status_code == 200
        found = {name: [total["type"] for total in meta["totals"]] for name, meta in stored(api, "app").items()}
        assert found == expected

    def test_a_profile_of_one_type_is_stored_as_it_came(self, api: Api) -> None:
        data = gzip.decompress(profile("samples", "cpu"))
        ingest(api, data, "name=app&format=pprof")
        assert api.get(f"/api/0/profiles/{stored(api, 'app')['cpu']['id']}").data == data

    def test_a_split_profile_keeps_what_its_samples_use(self, api: Api) -> None:
        rows = {"f": [1, 2, 0], "g": [4, 8, 16], "h": [0, 0, 32], "f2": [0, 0, 0]}
        ingest(api, profile("samples", "wall", "cpu", rows=rows), "name=app&format=pprof")
        found = {}
        for profile_type, meta in stored(api, "app").items():
            message = decode(api.get(f"/api/0/profiles/{meta['id']}").data).message
            names = {function.id: message.string_table[function.name] for function in message.function}
            found[profile_type] = {names[one.location_id[0]]: list(one.value) for one in message.sample}
            assert len(message.location) == len(message.function) == len(message.sample)
            assert message.time_nanos == NOW
        assert found == {"wall": {b"f": [1, 2], b"g": [4, 8]}, "cpu": {b"g": [16], b"h": [32]}}

    def test_a_profile_without_samples_is_accepted_and_not_stored(self, api: Api) -> None:
        assert ingest(api, profile("cpu", rows={}), "name=app&format=pprof").status_code == 200
        assert stored(api, "app") == {}

    @pytest.mark.parametrize(
        ("query", "headers"),
        [
            ("format=jfr", {}),
            ("format=trie", {}),
            ("format=tree", {}),
            ("format=speedscope", {}),
            ("", {"Content-Type": "binary/octet-stream+trie"}),
            ("", {"Content-Type": "binary/octet-stream+tree"}),
        ],
    )
    def test_formats_that_cannot_be_stored_are_422(self, api: Api, query: str, headers: dict[str, str]) -> None:
        response = ingest(api, b"data", f"name=app&{query}", **headers)
        assert (response.status_code, error_code(response)) == (422, "unsupported_format")

    def test_pyroscope_ingest_is_an_alias(self, api: Api) -> None:
        response = api.client.post("/pyroscope/ingest?name=app&format=pprof", data=profile("cpu"))
        assert response.status_code == 200
        assert "cpu" in stored(api, "app")

    def test_a_repeated_profile_counts_once(self, api: Api) -> None:
        data = profile("samples", "wall", "cpu")
        for _ in range(2):
            assert ingest(api, data, NODE).status_code == 200
        assert len(stored(api, "sdk-pyro-node")) == 2


class TestForm:
    @staticmethod
    def post(api: Api, **parts: bytes) -> TestResponse:
        form = {name: (BytesIO(data), name) for name, data in parts.items()}
        return api.client.post("/ingest?name=app", data=form, content_type="multipart/form-data")

    def test_the_part_profile_is_stored(self, api: Api) -> None:
        data = profile("samples", "cpu")
        assert self.post(api, profile=data).status_code == 200
        assert api.get(f"/api/0/profiles/{stored(api, 'app')['cpu']['id']}").data == data

    def test_the_names_in_sample_type_config_decide_the_type(self, api: Api) -> None:
        config = {"contentions": {"display-name": "mutex_count"}, "delay": {"display-name": "mutex_duration"}}
        response = self.post(
            api, profile=profile("contentions", "delay"), sample_type_config=json.dumps(config).encode()
        )
        assert response.status_code == 200
        names = [total["type"] for total in stored(api, "app")["mutex"]["totals"]]
        assert names == ["mutex_count", "mutex_duration"]  # which are no counters for delta=1

    @pytest.mark.parametrize(
        ("settings", "kind"),
        [
            ({"cumulative": True, "aggregation": "sum"}, "cumulative"),
            ({"aggregation": "average"}, "instant"),
            ({"aggregation": "sum"}, "sum"),
            ({"cumulative": False}, "sum"),
            ({"units": "objects"}, None),
            ({"cumulative": "yes", "aggregation": ["sum"]}, None),
        ],
    )
    def test_sample_type_config_tells_the_kinds_of_values(
        self, api: Api, settings: dict[str, object], kind: str | None
    ) -> None:
        config = json.dumps({"contentions": settings})
        data = profile("contentions", "delay")
        assert self.post(api, profile=data, sample_type_config=config.encode()).status_code == 200
        [answer] = stored(api, "app").values()
        assert [total.get("kind") for total in answer["totals"]] == [kind, None]

    @pytest.mark.parametrize(
        ("parts", "status", "code"),
        [
            ({"other": b"x"}, 400, "invalid_multipart"),
            ({"profile": b"x"}, 400, "invalid_protobuf"),
            ({"profile": b""}, 400, "empty_body"),
            ({"jfr": b"x", "labels": b""}, 422, "unsupported_format"),
            ({"profile": b"x", "prev_profile": b"x"}, 422, "unsupported_format"),
            ({"profile": b"x", "sample_type_config": b"["}, 400, "invalid_json"),
            ({"profile": b"x", "sample_type_config": b"[" * 60_000}, 400, "invalid_json"),
            ({"profile": b"x", "sample_type_config": b'{"a": 1}'}, 400, "invalid_json"),
            ({"profile": b"x", "sample_type_config": b" " * 100_000}, 400, "invalid_json"),
            ({f"part{number}": b"" for number in range(70)}, 400, "invalid_multipart"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_bad_forms(self, api: Api, parts: dict[str, bytes], status: int, code: str) -> None:
        response = self.post(api, **parts)
        assert (response.status_code, error_code(response)) == (status, code)
        assert not list(api.storage.bucket.list("", "\x7f"))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"--b",
            b"--b\r\n",
            b'--b\r\nContent-Disposition: form-data; name="profile"\r\n\r\nx',
            b"--b\r\n\r\nx\r\n--b--",
            b"--b\r\n" + b"a\n" * 100_000 + b"\r\n\r\nx\r\n--b--",
            b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--b--',
        ],
        ids=lambda data: str(data[:60]),
    )
    def test_malformed_bodies_are_400(self, api: Api, data: bytes) -> None:
        response = ingest(api, data, "name=app", **{"Content-Type": "multipart/form-data; boundary=b"})
        assert (response.status_code, error_code(response)) == (400, "invalid_multipart")

    def test_a_form_without_a_boundary_is_400(self, api: Api) -> None:
        response = ingest(api, b"x", "name=app", **{"Content-Type": "multipart/form-data"})
        assert (response.status_code, error_code(response)) == (400, "invalid_multipart")


class TestCollapsedStacks:
    def test_stacks_are_converted(self, api: Api) -> None:
        text = b"main;work;sum 12\n\nmain;work 3\nmain;work;sum 1\n"
        query = "name=app%7Bv=1%7D&from=1795380267&until=1795380277&sampleRate=50"
        assert ingest(api, text, query).status_code == 200
        meta = stored(api, "app")["cpu"]
        message = decode(api.get(f"/api/0/profiles/{meta['id']}").data).message
        names = {function.id: message.string_table[function.name].decode() for function in message.function}
        found = {";".join(names[i] for i in one.location_id): list(one.value) for one in message.sample}
        assert found == {"sum;work;main": [13, 260_000_000], "work;main": [3, 60_000_000]}
        assert (message.duration_nanos, message.period) == (10 * 10**9, 20_000_000)
        assert meta["created_at"] == "2026-11-22T20:44:27Z"

    def test_lines_count_once(self, api: Api) -> None:
        assert ingest(api, b"a;b\na;b\nc 5", "name=app&format=lines").status_code == 200
        assert stored(api, "app")["cpu"]["totals"][0] == {"type": "samples", "unit": "count", "value": 7}

    @pytest.mark.parametrize(
        ("name", "service", "profile_type", "totals"),
        [
            ("app.cpu", "app", "cpu", [("samples", "count"), ("cpu", "nanoseconds")]),
            ("my.app.wall", "my.app", "wall", [("samples", "count"), ("wall", "nanoseconds")]),
            ("app.inuse_space", "app", "inuse_space", [("inuse_space", "bytes")]),
            ("app.mutex_duration", "app", "mutex_duration", [("mutex_duration", "nanoseconds")]),
            ("app.goroutines", "app", "goroutine", [("goroutines", "count")]),
            ("cpu", "cpu", "cpu", [("samples", "count"), ("cpu", "nanoseconds")]),
            ("my.app", "my.app", "cpu", [("samples", "count"), ("cpu", "nanoseconds")]),
            ("my.app&units=bytes", "my.app", "other", [("bytes", "bytes")]),
        ],
    )
    def test_the_end_of_the_name_decides_the_type(
        self, api: Api, name: str, service: str, profile_type: str, totals: list[tuple[str, str]]
    ) -> None:
        assert ingest(api, b"a;b 1", f"name={name}").status_code == 200
        found = stored(api, service)[profile_type]["totals"]
        assert [(total["type"], total["unit"]) for total in found] == totals

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            (b"", "empty_profile"),
            (b"\n\n", "empty_profile"),
            (b"a;b", "invalid_collapsed_stacks"),
            (b"a;b -1", "invalid_collapsed_stacks"),
            (b"a;b 1.5", "invalid_collapsed_stacks"),
            (b"a 9223372036854775808", "invalid_collapsed_stacks"),
            (b"a " + b"9" * 5000, "invalid_collapsed_stacks"),
            (b"a;" * 200_000 + b" 1", "invalid_collapsed_stacks"),
            (b"\x1f\x8b\x08", "invalid_collapsed_stacks"),
        ],
    )
    def test_other_text_is_400(self, api: Api, text: bytes, code: str) -> None:
        response = ingest(api, text, "name=app")
        assert (response.status_code, error_code(response)) == (400, code)

    def test_stacks_are_limited(self) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(entries=1000))
        response = ingest(api, b"".join(b"f%d;g%d 1\n" % (n, n) for n in range(200)), "name=app")
        assert (response.status_code, error_code(response)) == (413, "max_entries_exceeded")

    def test_values_saturate(self, api: Api) -> None:
        assert ingest(api, b"a 9223372036854775807\na 1", "name=app").status_code == 200
        assert [one["value"] for one in stored(api, "app")["cpu"]["totals"]] == [2**63 - 1] * 2


class TestPush:
    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    def test_profiles_of_several_series_are_stored(self, api: Api, encoding: str) -> None:
        request = PushRequest()
        cpu = gzip.decompress(profile("cpu"))
        add_series(request, {"__name__": "process_cpu", "service_name": "app", "version": "1"}, cpu)
        memory = profile("alloc_objects", "alloc_space", "inuse_objects", "inuse_space")
        add_series(request, {"__name__": "memory", "service_name": "app", "otel.scope.name": "x"}, memory)
        data = request.SerializeToString()
        data = gzip.compress(data) if encoding == "gzip" else data
        for _ in range(2):  # a retry counts once
            response = api.client.post(PUSH, data=data, headers={**PROTO, "Content-Encoding": encoding})
            assert (response.status_code, response.data) == (200, b"")
            assert response.content_type == "application/proto"
        found = stored(api, "app")
        assert found.keys() == {"cpu", "alloc", "heap"}
        assert labels(found["cpu"]) == {"version": "1"}
        assert labels(found["heap"]) == {"otel.scope.name": "x"}
        assert api.get(f"/api/0/profiles/{found['cpu']['id']}").data == cpu

    def test_a_repeated_request_counts_once(self, api: Api) -> None:
        """The sender's ID of a sample does not matter."""
        for sample_id in ("6d1b", "6d1c"):
            data = push("app", "process_cpu", profile("cpu")).replace(b"6d1b", sample_id.encode())
            assert api.client.post(PUSH, data=data, headers=PROTO).status_code == 200
        assert [meta["type"] for meta in body(api.find(service="app"))] == ["cpu"]

    def test_the_vector_of_the_format_is_read(self, api: Api) -> None:
        data = bytes.fromhex(
            "0a390a170a085f5f6e616d655f5f120b70726f636573735f6370750a140a0c736572766963655f6e616d65120464656d6f"
            "12080a021f8b12027531"
        )
        response = api.client.post(PUSH, data=data, headers=PROTO)
        assert (response.status_code, error_code(response)) == (400, "invalid_gzip")
        assert "series 1" in response.text

    def test_json(self, api: Api) -> None:
        series = {
            "labels": [{"name": "__name__", "value": "process_cpu"}, {"name": "service_name", "value": "app"}],
            "samples": [{"rawProfile": base64.b64encode(profile("cpu")).decode(), "ID": "u1"}],
            "annotations": [{"key": "k", "value": "v"}],
        }
        response = api.client.post(PUSH, json={"series": [series]})
        assert (response.status_code, response.json, response.content_type) == (200, {}, "application/json")
        assert "cpu" in stored(api, "app")

    @pytest.mark.parametrize(
        ("name", "profile_type"),
        [
            ("process_cpu", "cpu"),
            ("wall", "wall"),
            ("mutex", "mutex"),
            ("block", "block"),
            ("goroutines", "goroutine"),
            ("goroutine", "goroutine"),
            ("lock", "lock"),
            ("exception", "exceptions"),
            ("My:gc", "my_gc"),
        ],
    )
    def test_the_name_of_a_series_is_its_type(self, api: Api, name: str, profile_type: str) -> None:
        response = api.client.post(PUSH, data=push("app", name, profile("a", "b")), headers=PROTO)
        assert response.status_code == 200, response.text
        assert list(stored(api, "app")) == [profile_type]

    def test_a_bad_series_does_not_lose_the_good_ones(self, api: Api) -> None:
        request = PushRequest()
        add_series(request, {"__name__": "process_cpu", "service_name": "app"}, b"nonsense", profile("cpu"))
        add_series(request, {"service_name": "app"}, profile("cpu"))
        add_series(request, {"__name__": "mutex"}, profile("cpu"))
        add_series(request, {"__name__": "123", "service_name": "app"}, profile("cpu"))
        add_series(request, {"__name__": "block", "service_name": "app", "": "x"}, profile("cpu"))
        add_series(request, {"__name__": "wall", "service_name": "app"}, profile("wall"))
        response = api.client.post(PUSH, data=request.SerializeToString(), headers=PROTO)
        assert response.status_code == 400
        assert json.loads(response.data)["code"] == "invalid_argument"
        assert error_code(response) == "invalid_protobuf"
        message = json.loads(response.data)["message"]
        assert "5 of 7 profiles" in message
        assert all(f"series {number}: " in message for number in range(1, 6))
        assert stored(api, "app").keys() == {"cpu", "wall"}

    @pytest.mark.parametrize(
        ("data", "headers", "status", "code"),
        [
            (b"\xff", PROTO, 400, "invalid_protobuf"),
            (b"{", {"Content-Type": "application/json"}, 400, "invalid_json"),
            (b"[" * 100_000, {"Content-Type": "application/json"}, 400, "invalid_json"),
            (b"[]", {"Content-Type": "application/json"}, 400, "invalid_json"),
            (b'{"series": 1}', {"Content-Type": "application/json"}, 400, "invalid_json"),
            (b'{"series": [{"samples": [{"rawProfile": "?"}]}]}', {"Content-Type": "application/json"}, 400, None),
            (b'{"series": [{"labels": [{"name": "\\ud800"}]}]}', {"Content-Type": "application/json"}, 400, None),
            (b"", {"Content-Type": "text/plain"}, 415, "unsupported_content_type"),
            (b"", {}, 415, "unsupported_content_type"),
            (b"x", {**PROTO, "Content-Encoding": "gzip"}, 415, "invalid_content_encoding"),
            (b'{"series": [%s]}' % b",".join([b"{}"] * 300_000), {"Content-Type": "application/json"}, 413, None),
            (b"\x0a\x00" * 5_000_000, PROTO, 413, "max_entries_exceeded"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_bad_requests(
        self, api: Api, data: bytes, headers: dict[str, str], status: int, code: str | None
    ) -> None:
        response = api.client.post(PUSH, data=data, headers=headers)
        assert response.status_code == status, response.text
        assert error_code(response) == code or code is None

    def test_the_number_of_profiles_is_limited(self) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(profiles=3))
        response = api.client.post(PUSH, data=push("app", "cpu", *[profile("cpu")] * 4), headers=PROTO)
        assert (response.status_code, error_code(response)) == (413, "max_profiles_exceeded")

    def test_a_temporary_error_of_one_profile_decides_the_status(self, api: Api) -> None:
        """A client that retries would otherwise drop the profile."""
        request = PushRequest()
        add_series(request, {"__name__": "cpu", "service_name": "bad"}, b"nonsense")
        add_series(request, {"__name__": "cpu", "service_name": "down"}, profile("cpu"))
        put = api.storage.bucket.put

        def fail(object_key: str, *arguments: Any) -> bool:
            if object_key.startswith("down/"):
                raise Unavailable("the bucket is down")
            return put(object_key, *arguments)

        api.storage.bucket.put = fail  # type: ignore[method-assign,assignment]
        response = api.client.post(PUSH, data=request.SerializeToString(), headers=PROTO)
        assert (response.status_code, json.loads(response.data)["code"]) == (503, "unavailable")


class TestKeys:
    @pytest.fixture
    def guarded(self) -> Api:
        return Api(Storage(MemoryBucket(), MemoryIndex()), keys=ApiKeys.parse(KEYS))

    @pytest.mark.parametrize("path", ["/ingest?name=shop-a&format=pprof", PUSH])
    def test_a_key_is_required(self, guarded: Api, path: str) -> None:
        response = guarded.client.post(path, data=b"", headers=PROTO)
        assert (response.status_code, error_code(response)) == (401, "missing_api_key")
        assert json.loads(response.data)["code"] == "unauthenticated"
        assert response.headers["WWW-Authenticate"].startswith("Basic")

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": f"Basic {base64.b64encode(f'user:{SECRET}'.encode()).decode()}"},
            {"Authorization": f"Bearer {SECRET}"},
            {"X-Api-Key": SECRET},
        ],
    )
    def test_a_key_is_valid_for_its_services(self, guarded: Api, headers: dict[str, str]) -> None:
        request = PushRequest()
        add_series(request, {"__name__": "process_cpu", "service_name": "shop-b"}, profile("cpu"))
        add_series(request, {"__name__": "process_cpu", "service_name": "bank"}, profile("cpu"))
        response = guarded.client.post(PUSH, data=request.SerializeToString(), headers={**PROTO, **headers})
        assert (response.status_code, error_code(response)) == (403, "service_denied")
        assert guarded.storage.index.services() == ["shop-b"]
        data = profile("cpu")
        assert ingest(guarded, data, "name=shop-a&format=pprof", **headers).status_code == 200
        assert ingest(guarded, data, "name=bank&format=pprof", **headers).status_code == 403
        assert guarded.storage.index.services() == ["shop-a", "shop-b"]


MUTATIONS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), max_size=4)
SEEDS = {
    "push": (PUSH, "application/proto", push("app", "memory", profile("alloc_space", "inuse_space"))),
    "json": (
        PUSH,
        "application/json",
        b'{"series":[{"labels":[{"name":"a","value":"b"}],"samples":[{}]}]}',
    ),
    "pprof": ("/ingest?name=app&format=pprof", "", gzip.decompress(profile("samples", "wall", "cpu"))),
    "form": (
        "/ingest?name=app",
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="profile"; filename="p"\r\n\r\n%s\r\n--b--\r\n'
        % gzip.decompress(profile("alloc_space", "inuse_space")),
    ),
    "groups": ("/ingest?name=app", "text/plain", b"main;work;sum 12\nmain;work 3\n"),
    "lines": ("/ingest?name=app&format=lines", "text/plain", b"main;work;sum\nmain;work 3\n"),
}


@pytest.mark.parametrize("seed", SEEDS)
@given(mutations=MUTATIONS, cut=st.integers(0, 40))
@example(mutations=[], cut=0)
def test_mutated_bodies_are_never_an_error_of_the_collector(
    seed: str, mutations: list[tuple[float, bytes]], cut: int
) -> None:
    path, content_type, data = SEEDS[seed]
    mutated = bytearray(data[: len(data) - cut])
    for place, replacement in mutations:
        at = int(place * len(mutated))
        mutated[at : at + len(replacement)] = replacement
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    response = api.client.post(path, data=bytes(mutated), headers={"Content-Type": content_type})
    assert response.status_code in (200, 400, 403, 413, 422), response.text
    if response.status_code != 200:
        error_code(response)


@given(
    query=st.dictionaries(st.sampled_from(["name", "from", "until", "format", "sampleRate", "units"]), st.text()),
    content_type=st.text(st.characters(min_codepoint=32, max_codepoint=126)),
)
def test_no_query_is_an_error_of_the_collector(query: dict[str, str], content_type: str) -> None:
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    response = api.client.post(
        "/ingest", query_string={"name": "app", **query}, data=b"a;b 1", headers={"Content-Type": content_type}
    )
    assert response.status_code in (200, 400, 422), response.text


_SIZE = 4 << 20
_FORM = "multipart/form-data; boundary=b"
_PART = b'--b\r\nContent-Disposition: form-data; name="profile"; filename="p"\r\n\r\n'


@pytest.mark.parametrize(
    ("path", "content_type", "data"),
    [
        (PUSH, "application/json", b'{"series":[%s{}]}' % (b"{}," * (_SIZE // 3))),
        (PUSH, "application/json", b"[" * _SIZE),
        (PUSH, "application/proto", b"\x0a\x00" * (_SIZE // 2)),
        ("/ingest?name=app", _FORM, b"--b\r\n" + b"a:\n" * (_SIZE // 3) + b"\r\n\r\nx\r\n--b--"),
        ("/ingest?name=app", _FORM, b"--b" + b" " * _SIZE),
        ("/ingest?name=app", _FORM, _PART + b"\r\n--" * (_SIZE // 4)),
        ("/ingest?name=app", "", b"a;" * (_SIZE // 2) + b" 1"),
        ("/ingest?name=app&format=lines", "", b"".join(b"%d;%d\n" % (n, -n) for n in range(_SIZE // 16))),
    ],
    ids=["json objects", "json depth", "series", "headers", "spaces", "boundaries", "one stack", "many stacks"],
)
def test_the_memory_of_a_body_is_bounded(path: str, content_type: str, data: bytes) -> None:
    api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(entries=100_000))
    tracemalloc.start()
    try:
        response = api.client.post(path, data=data, headers={"Content-Type": content_type})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code in (400, 413), response.text
    assert peak < 8 * _SIZE


def test_allocations_are_added_up_and_are_no_counters(api: Api) -> None:
    for number in range(2):
        data = profile("alloc_objects", "inuse_objects", at=NOW - number)
        assert api.client.post(PUSH, data=push("app", "memory", data), headers=PROTO).status_code == 200
    assert "delta=1" not in comments(api.merge(service="app", type="alloc"))[0]
    assert total(api.merge(service="app", type="alloc")) == 2
    response = api.merge(service="app", type="alloc", delta="1")
    assert (response.status_code, json.loads(response.data)["error_code"]) == (400, "no_counters")


def test_a_merge_spans_the_clients_of_one_service(api: Api) -> None:
    """pyroscope-io sends CPU time alone, and profbucket's agent also samples."""
    api.client.post(PUSH, data=push("app", "process_cpu", profile("cpu", at=NOW - 1)), headers=PROTO)
    api.posted(profile("samples", "cpu", rows={"work": [1, 10]}), service="app", type="cpu")
    for _ in range(2):  # then from a block
        response = api.merge(service="app", to="2026-11-24T00:00:00", **{"from": "0"})
        assert total(response) == 11
        assert list(Compactor(api.storage, clock=lambda: NOW + 2 * 86_400 * 10**9).run()) is not None
    assert api.storage.index.blocks("app", ProfileType.CPU, 0, 2**62)
