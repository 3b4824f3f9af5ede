"""The route of OpenTelemetry's exporters."""

import gzip
import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesPartialSuccess,
    ExportProfilesServiceResponse,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import Sample
from werkzeug.test import TestResponse

from profbucket.auth import ApiKeys, hash_secret
from profbucket.errors import Unavailable
from profbucket.ingest.otlp import choose_type
from profbucket.limits import Limits
from profbucket.pprof import decode
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.api import Api, body, pprof
from tests.support.canonical import canonicalize
from tests.support.go_tool import GoPprof
from tests.support.otlp import AT, Request, cpu_request

EXPORT = "/v1development/profiles"
PROTOBUF = "application/x-protobuf"
JSON = "application/json"
CPU: dict[tuple[str, ...], int] = {("hot", "main"): 92, ("warm", "main"): 8}
HEAP = (("inuse_objects", "count"), ("inuse_space", "bytes"))


@pytest.fixture
def api() -> Api:
    return Api(Storage(MemoryBucket(), MemoryIndex()))


class FailingBucket(MemoryBucket):
    """A bucket that fails once, when the second object is written."""

    def __init__(self) -> None:
        super().__init__()
        self._puts = 0

    def put(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        self._puts += 1
        if self._puts == 2:
            raise Unavailable("the bucket cannot be reached")
        return super().put(object_key, data, metadata)


def send(api: Api, request: Request | bytes, content_type: str = PROTOBUF, **headers: str) -> TestResponse:
    data = request if isinstance(request, bytes) else request.encode()
    return api.client.post(EXPORT, data=data, headers={"Content-Type": content_type, **headers})


def partial_success(response: TestResponse) -> ExportProfilesPartialSuccess:
    assert response.status_code == 200, response.data
    return ExportProfilesServiceResponse.FromString(response.data).partial_success


def status_of(response: TestResponse) -> tuple[int, int, str]:
    """Return the HTTP status of an error, its google.rpc.Code, and profbucket's error code."""
    assert response.content_type == PROTOBUF
    status, info = Status.FromString(response.data), ErrorInfo()
    assert status.message
    assert status.details[0].Unpack(info)
    return response.status_code, status.code, info.reason.lower()


def stored(api: Api, service: str = "shop") -> list[dict[str, Any]]:
    response = api.get("/api/0/profiles", service=service, **{"from": "0"})
    return list(body(response)) if response.status_code == 200 else []


def read(api: Api, meta: dict[str, Any]) -> Any:
    return canonicalize(api.get(f"/api/0/profiles/{meta['id']}").data)


class TestConversion:
    def test_counts_of_cpu_samples_become_cpu_time(self, api: Api) -> None:
        response = send(api, cpu_request(CPU))
        assert (response.status_code, response.data, response.content_type) == (200, b"", PROTOBUF)
        [meta] = stored(api)
        assert (meta["type"], meta["created_at"]) == ("cpu", "2026-11-22T22:31:24Z")
        cpu = read(api, meta)
        assert cpu.header.sample_types == ((b"samples", b"count"), (b"cpu", b"nanoseconds"))
        assert sorted(cpu.samples.values()) == [(8, 80_000_000), (92, 920_000_000)]

    def test_go_tool_pprof_shows_the_function(self, api: Api, go_pprof: GoPprof, tmp_path: Path) -> None:
        send(api, cpu_request(CPU))
        file = tmp_path / "cpu.pprof"
        file.write_bytes(api.get("/api/0/profiles/merge", service="shop", type="cpu", **{"from": "0"}).data)
        top = go_pprof("-top", file).check().text
        assert any(line.split()[:2] == ["920ms", "92.00%"] and line.endswith("hot") for line in top.splitlines())

    def test_cpu_time_that_is_sent_is_not_computed(self, api: Api) -> None:
        request = Request()
        resource, stack = request.resource(service__name="shop"), request.stack("a")
        for sample_type, value in ((("samples", "count"), 3), (("cpu", "nanoseconds"), 33)):
            sample = Sample(stack_index=stack, values=[value])
            request.profile(resource, sample_type, [sample], period_type=("cpu", "nanoseconds"), period=10)
        send(api, request)
        [meta] = stored(api)
        assert list(read(api, meta).samples.values()) == [(3, 33)]

    def test_products_wrap_at_64_bits(self, api: Api) -> None:
        request = Request()
        sample = Sample(stack_index=request.stack("a"), values=[2**62 + 1])
        request.profile(
            request.resource(service__name="shop"),
            ("samples", "count"),
            [sample],
            period_type=("cpu", "nanoseconds"),
            period=4,
        )
        assert send(api, request).status_code == 200
        assert list(read(api, stored(api)[0]).samples.values()) == [(2**62 + 1, 4)]

    def test_profiles_of_one_time_become_one_by_type(self, api: Api) -> None:
        request = Request()
        resource, stack = request.resource(service__name="shop"), request.stack("a")
        for number, sample_type in enumerate((*HEAP, ("off_cpu", "nanoseconds"), ("wall", "nanoseconds")), 1):
            request.profile(resource, sample_type, [Sample(stack_index=stack, values=[number])])
        send(api, request)
        by_type = {meta["type"]: read(api, meta) for meta in stored(api)}
        assert by_type.keys() == {"heap", "off_cpu", "wall"}
        assert by_type["heap"].header.sample_types == tuple((a.encode(), b.encode()) for a, b in HEAP)
        assert list(by_type["heap"].samples.values()) == [(1, 2)]

    def test_equal_sample_types_and_other_times_stay_apart(self, api: Api) -> None:
        request = Request()
        resource, stack = request.resource(service__name="shop"), request.stack("a")
        for value, at in ((1, AT), (2, AT), (3, AT + 10**10)):
            request.profile(resource, HEAP[0], [Sample(stack_index=stack, values=[value])], at=at)
        send(api, request)
        assert sorted(meta["totals"][0]["value"] for meta in stored(api)) == [1, 2, 3]

    def test_times_without_values_count_one_each(self, api: Api) -> None:
        request = Request()
        samples = [
            Sample(stack_index=request.stack("a"), timestamps_unix_nano=[AT, AT + 1, AT + 2]),
            Sample(stack_index=request.stack("b"), timestamps_unix_nano=[AT, AT + 1], values=[5, 6]),
        ]
        request.profile(request.resource(service__name="shop"), ("events", "count"), samples)
        send(api, request)
        [meta] = stored(api)
        assert meta["type"] == "events"
        assert sorted(read(api, meta).samples.values()) == [(3,), (11,)]

    def test_attributes_of_samples_become_labels(self, api: Api) -> None:
        request = Request()
        attributes = [
            request.attribute("thread.name", "main"),
            request.attribute("size", 64, "bytes"),
            request.attribute("gc", True),
            0,
        ]
        sample = Sample(stack_index=request.stack("a"), values=[1], attribute_indices=attributes)
        request.profile(request.resource(service__name="shop"), ("wall", "nanoseconds"), [sample])
        send(api, request)
        message = decode(api.get(f"/api/0/profiles/{stored(api)[0]['id']}").data).message
        strings = message.string_table
        labels = {
            (strings[label.key], strings[label.str], label.num, strings[label.num_unit])
            for label in message.sample[0].label
        }
        assert labels == {
            (b"thread.name", b"main", 0, b""),
            (b"size", b"", 64, b"bytes"),
            (b"gc", b"true", 0, b""),
        }

    def test_only_what_a_profile_uses_is_copied(self, api: Api) -> None:
        request = Request()
        for service in ("shop", "web"):
            sample = Sample(stack_index=request.stack(f"only {service}"), values=[1])
            request.profile(request.resource(service__name=service), ("wall", "nanoseconds"), [sample])
        send(api, request)
        message = decode(api.get(f"/api/0/profiles/{stored(api)[0]['id']}").data).message
        assert b"only shop" in message.string_table
        assert b"only web" not in message.string_table
        assert (len(message.function), len(message.location)) == (1, 1)

    def test_mappings_keep_addresses_and_build_ids(self, api: Api) -> None:
        request = Request()
        build_id = request.attribute("process.executable.build_id.gnu", "abcd")
        dictionary = request.message.dictionary
        dictionary.mapping_table.add(
            memory_start=16,
            memory_limit=64,
            filename_strindex=request.string("/bin/a"),
            attribute_indices=[build_id],
        )
        dictionary.location_table.add(mapping_index=1, address=20)
        dictionary.stack_table.add(location_indices=[1])
        sample = Sample(stack_index=1, values=[1])
        request.profile(request.resource(service__name="shop"), ("wall", "nanoseconds"), [sample])
        send(api, request)
        message = decode(api.get(f"/api/0/profiles/{stored(api)[0]['id']}").data).message
        [mapping], [location] = message.mapping, message.location
        assert (mapping.memory_start, mapping.memory_limit, mapping.has_functions) == (16, 64, False)
        assert message.string_table[mapping.build_id] == b"abcd"
        assert (location.address, location.mapping_id) == (20, mapping.id)

    @pytest.mark.parametrize("at", [0, 12345, 700 * 86400 * 10**9])
    def test_a_time_since_the_start_of_the_machine_is_unknown(self, api: Api, at: int) -> None:
        request = cpu_request(CPU)
        request.message.resource_profiles[0].scope_profiles[0].profiles[0].time_unix_nano = at
        assert send(api, request).status_code == 200
        assert stored(api)[0]["created_at"].startswith("2026-")

    def test_a_profile_without_samples_is_not_stored(self, api: Api) -> None:
        assert partial_success(send(api, cpu_request({}))).rejected_profiles == 0
        assert stored(api) == []

    def test_an_empty_request_is_a_success(self, api: Api) -> None:
        assert send(api, b"").status_code == 200

    @pytest.mark.parametrize(
        ("sample_type", "period_type", "profile_type"),
        [
            ("samples", "cpu", "cpu"),
            ("samples", "wall", "wall"),
            ("samples", "", "other"),
            ("alloc_space", "space", "alloc"),
            ("off_cpu", "cpu", "off_cpu"),
            ("Page Faults", "", "page_faults"),
            ("trace", "", "other"),
            ("unknown", "", "other"),
            ("", "", "other"),
            ("7", "", "other"),
        ],
    )
    def test_profile_types(self, sample_type: str, period_type: str, profile_type: str) -> None:
        assert choose_type((sample_type, "count"), (period_type, "nanoseconds")) == profile_type


class TestResources:
    def test_attributes_are_labels_but_those_of_one_process(self, api: Api) -> None:
        request = Request()
        resource = request.resource(
            service__name="shop",
            service__version="1.2.3",
            service__instance__id="8f9aa7fd",
            process__pid=7,
            process__command_line="shop --password=x",
            process__runtime__name="CPython",
            container__id="0123",
            k8s__pod__uid="0123",
            host__name="node-1",
            replicas=3,
        )
        request.profile(resource, HEAP[0], [Sample(stack_index=request.stack("a"), values=[1])])
        send(api, request)
        assert {label["key"]: label["value"] for label in stored(api)[0]["labels"]} == {
            "service.version": "1.2.3",
            "process.runtime.name": "CPython",
            "host.name": "node-1",
            "replicas": "3",
        }

    @pytest.mark.parametrize(
        ("attributes", "service"),
        [({}, "unknown_service"), ({"process__executable__name": "shop"}, "unknown_service:shop")],
    )
    def test_a_resource_without_a_service(self, api: Api, attributes: dict[str, str], service: str) -> None:
        request = Request()
        sample = Sample(stack_index=request.stack("a"), values=[1])
        request.profile(request.resource(**attributes), HEAP[0], [sample])
        assert send(api, request).status_code == 200
        assert len(stored(api, service)) == 1


class TestPayloads:
    def test_a_pprof_is_stored_as_it_is(self, api: Api) -> None:
        request = cpu_request(CPU)
        profile = request.message.resource_profiles[0].scope_profiles[0].profiles[0]
        profile.original_payload_format, profile.original_payload = "pprof", pprof(5)
        assert send(api, request).status_code == 200
        [meta] = stored(api)
        assert (meta["type"], meta["created_at"]) == ("cpu", "2026-11-22T22:31:24Z")
        assert api.get(f"/api/0/profiles/{meta['id']}").data == pprof(5)

    def test_another_format_is_converted_from_its_samples(self, api: Api) -> None:
        request = cpu_request(CPU)
        profile = request.message.resource_profiles[0].scope_profiles[0].profiles[0]
        profile.original_payload_format, profile.original_payload = "jfr", b"FLR"
        assert send(api, request).status_code == 200
        assert len(stored(api)) == 1

    def test_another_format_without_samples_is_422(self, api: Api) -> None:
        request = cpu_request({})
        profile = request.message.resource_profiles[0].scope_profiles[0].profiles[0]
        profile.original_payload_format, profile.original_payload = "jfr", b"FLR"
        assert status_of(send(api, request)) == (422, 3, "unsupported_format")


class TestEncodings:
    def test_json_is_answered_in_json(self, api: Api) -> None:
        data = MessageToJson(cpu_request(CPU).message).encode()
        response = send(api, data, JSON)
        assert (response.status_code, response.data, response.content_type) == (200, b"{}", JSON)
        assert len(stored(api)) == 1

    def test_json_may_have_ids_in_hex(self, api: Api) -> None:
        message = MessageToDict(cpu_request(CPU).message)
        message["resourceProfiles"][0]["scopeProfiles"][0]["profiles"][0]["profileId"] = "0" * 31
        assert send(api, json.dumps(message).encode(), JSON).status_code == 200

    def test_gzip(self, api: Api) -> None:
        data = gzip.compress(cpu_request(CPU).encode())
        assert send(api, data, **{"Content-Encoding": "gzip"}).status_code == 200
        assert len(stored(api)) == 1

    def test_what_is_not_converted_in_time_can_be_sent_again(self) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(batch_seconds=-1))
        response = send(api, cpu_request(CPU).encode())
        assert status_of(response)[0] == 503
        assert status_of(response)[2] == "max_batch_seconds_exceeded"
        assert stored(api) == []

    def test_both_encodings_and_repetitions_store_one_profile(self, api: Api) -> None:
        request = cpu_request(CPU)
        for data, content_type in ((request.encode(), PROTOBUF), (MessageToJson(request.message).encode(), JSON)):
            for _ in range(2):
                send(api, data, content_type)
        assert len(stored(api)) == 1


def change_stack(request: Request) -> None:
    request.message.resource_profiles[0].scope_profiles[0].profiles[0].samples[0].stack_index = 99


def change_location(request: Request) -> None:
    request.message.dictionary.stack_table[1].location_indices[0] = -1


def change_function(request: Request) -> None:
    request.message.dictionary.location_table[1].lines[0].function_index = 2**31 - 1


def change_name(request: Request) -> None:
    request.message.dictionary.function_table[1].name_strindex = 99


def change_mapping(request: Request) -> None:
    request.message.dictionary.location_table[1].mapping_index = 1


def change_attribute(request: Request) -> None:
    request.message.resource_profiles[0].scope_profiles[0].profiles[0].samples[0].attribute_indices.append(1)


def change_type(request: Request) -> None:
    request.message.resource_profiles[0].scope_profiles[0].profiles[0].sample_type.type_strindex = 99


class TestErrors:
    @pytest.mark.parametrize(
        "change",
        [
            change_stack,
            change_location,
            change_function,
            change_name,
            change_mapping,
            change_attribute,
            change_type,
        ],
    )
    def test_references_are_checked(self, api: Api, change: Any) -> None:
        request = cpu_request(CPU)
        change(request)
        assert status_of(send(api, request)) == (400, 3, "invalid_profile")
        assert stored(api) == []

    def test_a_bad_profile_does_not_lose_the_good_ones(self, api: Api) -> None:
        request = cpu_request(CPU)
        resource = request.message.resource_profiles[0]
        for value, stack in ((1, 99), (2, 1)):
            request.profile(resource, HEAP[value - 1], [Sample(stack_index=stack, values=[value])])
        partial = partial_success(send(api, request))
        assert partial.rejected_profiles == 1
        assert "profile 2: stack 99" in partial.error_message
        assert {meta["type"]: meta["totals"][0]["type"] for meta in stored(api)} == {
            "cpu": "samples",
            "heap": "inuse_space",
        }
        message = MessageToJson(request.message).encode()
        assert json.loads(send(api, message, JSON).data)["partialSuccess"]["rejectedProfiles"] == "1"

    def test_a_bad_resource_does_not_lose_the_others(self, api: Api) -> None:
        request = cpu_request(CPU)
        bad = request.resource(service__name="bad", label="\x00")
        request.profile(bad, HEAP[0], [Sample(stack_index=1, values=[1])])
        assert partial_success(send(api, request)).rejected_profiles == 1
        assert len(stored(api)) == 1

    def test_a_time_after_2262(self, api: Api) -> None:
        request = cpu_request(CPU)
        request.message.resource_profiles[0].scope_profiles[0].profiles[0].time_unix_nano = 2**64 - 1
        assert status_of(send(api, request)) == (400, 3, "invalid_time")

    def test_a_duration_is_at_most_that_of_a_pprof(self, api: Api) -> None:
        request = cpu_request(CPU)
        request.message.resource_profiles[0].scope_profiles[0].profiles[0].duration_nano = 2**64 - 1
        assert send(api, request).status_code == 200
        assert read(api, stored(api)[0]).header.duration_nanos == 2**63 - 1

    @pytest.mark.parametrize(
        ("data", "content_type", "status", "code"),
        [
            (b"\xff", PROTOBUF, 400, "invalid_protobuf"),
            (b"\x0a\x05\x00", PROTOBUF, 400, "invalid_protobuf"),
            (b"[]", JSON, 400, "invalid_json"),
            (b"{", JSON, 400, "invalid_json"),
            (b'{"dictionary": 7}', JSON, 400, "invalid_json"),
            (b'{"dictionary": {"stringTable": ["\\ud800"]}}', JSON, 400, "invalid_json"),
            (b'{"a":' * 5000, JSON, 400, "invalid_json"),
            (
                b'{"dictionary": {"attributeTable": [{"value": {"doubleValue": 1%s}}]}}' % (b"0" * 400),
                JSON,
                400,
                "invalid_json",
            ),
            (b"", "text/plain", 415, "unsupported_content_type"),
        ],
    )
    def test_bad_bodies(self, api: Api, data: bytes, content_type: str, status: int, code: str) -> None:
        response = send(api, data, content_type)
        if content_type == PROTOBUF:
            assert status_of(response) == (status, 3, code)
        else:
            answer = json.loads(response.data)
            assert (response.status_code, answer["details"][0]["reason"].lower()) == (status, code)
            assert answer["code"] == 3

    def test_too_many_profiles(self) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(profiles=1))
        request = cpu_request(CPU)
        request.message.resource_profiles.append(request.message.resource_profiles[0])
        assert status_of(send(api, request)) == (413, 8, "max_profiles_exceeded")

    def test_an_unavailable_storage_is_503_although_others_are_stored(self) -> None:
        """The profiles of each service are stored with a write of their own."""
        api = Api(Storage(FailingBucket(), MemoryIndex()))
        request = cpu_request(CPU)
        sample = Sample(stack_index=1, values=[1])
        request.profile(request.resource(service__name="web"), HEAP[0], [sample])
        response = send(api, request)
        assert status_of(response) == (503, 14, "unavailable")
        assert response.headers["Retry-After"]
        assert send(api, request).data == b""
        assert [len(stored(api, service)) for service in ("shop", "web")] == [1, 1]

    def test_a_key_is_required_and_valid_for_its_services(self) -> None:
        entries = [{"name": "a", "sha256": hash_secret("s").hex(), "scopes": ["write"], "services": ["shop"]}]
        api = Api(Storage(MemoryBucket(), MemoryIndex()), keys=ApiKeys.parse(json.dumps(entries)))
        key = {"X-Api-Key": "s"}
        assert status_of(send(api, cpu_request(CPU))) == (401, 16, "missing_api_key")
        assert status_of(send(api, cpu_request(CPU, "web"), **key)) == (403, 7, "service_denied")
        assert send(api, cpu_request(CPU), **key).status_code == 200

    def test_another_method_is_405(self, api: Api) -> None:
        response = api.client.get(EXPORT)
        assert (response.status_code, json.loads(response.data)["code"]) == (405, 12)


class TestLimits:
    """A small request can use its dictionary very often."""

    @pytest.mark.parametrize("profiles", [1, 50])
    def test_a_stack_that_is_used_often(self, profiles: int) -> None:
        limits = Limits(entries=100_000)
        api = Api(Storage(MemoryBucket(), MemoryIndex()), limits)
        request = Request()
        request.stack("a")
        request.message.dictionary.stack_table[1].location_indices[:] = [1] * 50_000
        samples = [
            Sample(stack_index=1, values=[1], attribute_indices=[request.attribute("n", n)]) for n in range(100)
        ]
        for number in range(profiles):
            resource = request.resource(service__name=f"s{number}")
            request.profile(resource, HEAP[0], samples[: 100 // profiles + 1])
        data = request.encode()
        tracemalloc.start()
        try:
            response = send(api, data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        if profiles == 1:
            assert status_of(response) == (413, 8, "max_entries_exceeded")
        else:
            assert partial_success(response).rejected_profiles > profiles // 2
        assert peak < 20 << 20

    def test_a_string_that_is_used_often(self) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(inflated_bytes=1 << 20))
        request = Request()
        stack = request.stack("a" * 300_000)
        for number in range(20):
            resource = request.resource(service__name=f"s{number}")
            request.profile(resource, HEAP[0], [Sample(stack_index=stack, values=[1])])
        partial = partial_success(send(api, request))
        assert 10 < partial.rejected_profiles < 20
        assert "PROFBUCKET_MAX_INFLATED_BYTES" in partial.error_message


def captures() -> list[tuple[bytes, str]]:
    request = cpu_request(CPU)
    attributes = [request.attribute("thread.name", "main"), request.attribute("size", 64, "bytes")]
    sample = Sample(stack_index=1, timestamps_unix_nano=[AT], attribute_indices=attributes)
    for sample_type in HEAP:
        request.profile(request.message.resource_profiles[0], sample_type, [sample])
    profile = request.profile(request.resource(service__name="web"), HEAP[0], [])
    profile.original_payload_format, profile.original_payload = "pprof", gzip.decompress(pprof())
    return [(request.encode(), PROTOBUF), (MessageToJson(request.message, indent=None).encode(), JSON)]


CAPTURES = captures()
APIS = [Api(Storage(MemoryBucket(), MemoryIndex()))]


@given(
    st.sampled_from(CAPTURES),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=6),
    st.integers(0, 60),
)
def test_mutated_requests_are_never_an_error_of_the_collector(
    capture: tuple[bytes, str], changes: list[tuple[float, bytes]], cut: int
) -> None:
    data = bytearray(capture[0])
    for place, change in changes:
        at = int(place * len(data))
        data[at : at + len(change)] = change
    response = send(APIS[0], bytes(data[: len(data) - cut * (cut % 3 == 0)]), capture[1])
    assert response.status_code in (200, 400, 413, 422), response.data


@given(st.data())
def test_no_number_is_an_error_of_the_collector(data: st.DataObject) -> None:
    """Replace numbers of a well-formed request, so that most of it is still read."""
    message = json.loads(CAPTURES[1][0])
    numbers = st.integers(-1, 12) | st.integers(-(2**63), 2**64 - 1)

    def mutate(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: mutate(child) for name, child in node.items()}
        if isinstance(node, list):
            return [mutate(child) for child in node]
        is_number = isinstance(node, int) or (isinstance(node, str) and node.isdigit())
        return str(data.draw(numbers)) if is_number and data.draw(st.integers(0, 9)) == 0 else node

    response = send(APIS[0], json.dumps(mutate(message)).encode(), JSON)
    assert response.status_code in (200, 400, 413, 422), response.data
