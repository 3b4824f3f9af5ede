"""The routes of Cloud Profiler's agents."""

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from profbucket.auth import ApiKeys, hash_secret
from profbucket.errors import CODES
from profbucket.ingest.cloud_profiler import make_id
from profbucket.limits import Limits
from profbucket.pprof import decode
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.api import NOW, Api, body, pprof

PROFILES = "/v2/projects/demo/profiles"
# As the agents send it.
DEPLOYMENT = {"projectId": "demo", "target": "shop", "labels": {"language": "python", "version": "1.2.3"}}
CREATE = {"profileType": ["CPU", "WALL"], "deployment": DEPLOYMENT}
ID = make_id(NOW - 5 * 10**9)
SECRET = "the-secret"
KEYS = json.dumps([{"name": "k", "sha256": hash_secret(SECRET).hex(), "scopes": ["write"], "services": ["shop"]}])


@pytest.fixture
def api() -> Api:
    return Api(Storage(MemoryBucket(), MemoryIndex()))


def profile(data: bytes, profile_type: str = "CPU", **fields: Any) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"profileType": profile_type, "deployment": DEPLOYMENT, "profileBytes": encoded, **fields}


def patch(api: Api, message: Any, profile_id: str = ID, **headers: str) -> TestResponse:
    return api.client.patch(f"{PROFILES}/{profile_id}?alt=json", data=json.dumps(message), headers=headers)


def stored(api: Api) -> list[Any]:
    response = api.get("/api/0/profiles", service="shop", to="2100-01-01T00:00:00", **{"from": "0"})
    profiles: list[Any] = body(response) if response.status_code == 200 else []
    return profiles


def reason(response: TestResponse) -> str:
    """Return the stable code of an error, after checking the form that Google's clients expect."""
    error = json.loads(response.data)["error"]
    assert error.keys() == {"code", "status", "message", "details"}
    assert (error["code"], bool(error["message"])) == (response.status_code, True)
    code = str(error["details"][0]["reason"]).lower()
    assert code in {*CODES, *(Limits.code(name) for name in Limits.__slots__)}
    return code


class TestCreate:
    def test_an_agent_is_told_what_to_do_or_when_to_ask_again(self) -> None:
        now = NOW
        api = Api(Storage(MemoryBucket(), MemoryIndex()), clock=lambda: now)
        seen = {}
        for _ in range(4):
            response = api.client.post(PROFILES, json=CREATE)
            if response.status_code == 409:
                assert reason(response) == "profile_not_due"
                error = json.loads(response.data)["error"]
                assert error["status"] == "ABORTED"
                retry = error["details"][1]
                assert retry["@type"] == "type.googleapis.com/google.rpc.RetryInfo"
                now += int(float(retry["retryDelay"].removesuffix("s")) * 1e9) + 1
            else:
                granted = json.loads(response.data)
                assert granted["name"] == f"projects/demo/profiles/{make_id(now)}"
                assert granted["deployment"] == DEPLOYMENT
                assert granted["duration"] == "10s"
                seen[granted["profileType"]] = now
                now += 10 * 10**9
        assert seen.keys() == {"CPU", "WALL"}

    def test_the_content_type_does_not_matter(self, api: Api) -> None:
        response = api.client.post(PROFILES, data=json.dumps(CREATE), content_type="text/plain;charset=UTF-8")
        assert response.status_code in (200, 409)

    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"{",
            b"[" * 100_000,
            b"[]",
            b"{}",
            b'{"profileType": ["CPU"]}',
            b'{"deployment": {"target": "shop"}}',
            b'{"deployment": {"target": "shop"}, "profileType": []}',
            b'{"deployment": {"target": "shop"}, "profileType": ["NEW"]}',
            b'{"deployment": {"target": "shop"}, "profileType": [["CPU"], {}]}',
            b'{"deployment": {"target": "shop"}, "profileType": "CPU"}',
            b'{"deployment": {"target": ""}, "profileType": ["CPU"]}',
            b'{"deployment": {"target": 1}, "profileType": ["CPU"]}',
            b'{"deployment": {"target": "a", "projectId": 1}, "profileType": ["CPU"]}',
            b'{"deployment": {"target": "a", "labels": {"a": 1}}, "profileType": ["CPU"]}',
            b'{"deployment": {"target": "a", "labels": [1]}, "profileType": ["CPU"]}',
        ],
        ids=lambda message: str(message[:80]),
    )
    def test_malformed_requests_are_400(self, api: Api, message: bytes) -> None:
        response = api.client.post(PROFILES, data=message)
        assert (response.status_code, reason(response)) == (400, "invalid_json")


class TestPatch:
    def test_the_profile_is_stored(self, api: Api) -> None:
        response = patch(api, profile(pprof(sample_type="cpu"), labels={"instance": "i-1"}))
        assert response.status_code == 200, response.text
        assert json.loads(response.data)["name"] == f"projects/demo/profiles/{ID}"
        [meta] = stored(api)
        assert meta["type"] == "cpu"
        labels = {label["key"]: label["value"] for label in meta["labels"]}
        assert labels == {"language": "python", "version": "1.2.3", "instance": "i-1"}
        assert meta["created_at"] == "2026-11-22T22:51:02Z"  # when it was granted

    def test_a_profile_with_common_names_is_stored_as_it_came(self, api: Api) -> None:
        data = gzip.decompress(pprof(sample_type="wall"))
        assert patch(api, profile(data, "WALL")).status_code == 200
        assert api.get(f"/api/0/profiles/{stored(api)[0]['id']}").data == data

    @pytest.mark.parametrize(
        ("profile_type", "stored_type", "sample_type", "name"),
        [
            ("CPU", "cpu", "CPU", "cpu"),
            ("CPU", "cpu", "sample", "samples"),
            ("WALL", "wall", "sample", "samples"),
            ("HEAP", "heap", "objects", "inuse_objects"),
            ("HEAP", "heap", "space", "inuse_space"),
            ("HEAP_ALLOC", "alloc", "alloc_space", "alloc_space"),
            ("PEAK_HEAP", "peak_heap", "objects", "objects"),
            ("CONTENTION", "mutex", "contentions", "contentions"),
            ("THREADS", "goroutine", "goroutines", "goroutines"),
        ],
    )
    def test_names_are_those_of_other_agents(
        self, api: Api, profile_type: str, stored_type: str, sample_type: str, name: str
    ) -> None:
        assert patch(api, profile(pprof(sample_type=sample_type), profile_type)).status_code == 200
        [meta] = stored(api)
        assert (meta["type"], meta["totals"][0]["type"]) == (stored_type, name)
        message = decode(api.get(f"/api/0/profiles/{meta['id']}").data).message
        assert message.string_table[message.function[0].name] == b"main"

    def test_a_repeated_request_changes_nothing(self, api: Api) -> None:
        for _ in range(4):  # Python's agent repeats a request three times
            assert patch(api, profile(pprof(sample_type="CPU"))).status_code == 200
        assert len(stored(api)) == 1

    def test_a_profile_with_its_own_time_keeps_it(self, api: Api) -> None:
        patch(api, profile(pprof(at=NOW - 7 * 10**9)))
        assert stored(api)[0]["created_at"] == "2026-11-22T22:51:00Z"

    def test_url_safe_base64_is_read(self, api: Api) -> None:
        data = pprof(name="?>?>~~\x7f" * 9)
        message = {**profile(data), "profileBytes": base64.urlsafe_b64encode(data).decode()}
        assert patch(api, message).status_code == 200

    def test_a_profile_without_samples_is_accepted_and_not_stored(self, api: Api) -> None:
        message = decode(pprof()).message
        message.ClearField("sample")
        assert patch(api, profile(message.SerializeToString())).status_code == 200
        assert stored(api) == []

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"profileType": "NEW"}, "invalid_json"),
            ({"profileType": ["CPU"]}, "invalid_json"),
            ({"deployment": None}, "invalid_json"),
            ({"labels": {"a": 1}}, "invalid_json"),
            ({"labels": {"": "x"}}, "invalid_label"),
            ({"labels": {"a": "\ud800"}}, "invalid_label"),
            ({"profileBytes": None}, "invalid_json"),
            ({"profileBytes": "*"}, "invalid_json"),
            ({"profileBytes": "\u00e4"}, "invalid_json"),
            ({"profileBytes": ""}, "empty_body"),
            ({"profileBytes": "AAAA"}, "invalid_protobuf"),
            ({"deployment": {"target": "\ud800"}}, "invalid_service"),
        ],
        ids=str,
    )
    def test_bad_profiles_are_400(self, api: Api, change: dict[str, Any], code: str) -> None:
        response = patch(api, {**profile(pprof()), **change})
        assert (response.status_code, reason(response)) == (400, code)
        assert not list(api.storage.bucket.list("", "\x7f"))

    @pytest.mark.parametrize("profile_id", ["1", "x" * 16, "f" * 16, "-000000000000001", "0" * 17, "\u0660" * 16])
    def test_an_id_that_was_not_given_out_is_400(self, api: Api, profile_id: str) -> None:
        response = patch(api, profile(pprof()), profile_id)
        assert (response.status_code, reason(response)) == (400, "invalid_profile_id")


class TestCreateOffline:
    def test_the_profile_is_stored_with_its_start(self, api: Api) -> None:
        message = profile(pprof(), startTime="2026-11-22T12:00:00.5Z", duration="10s")
        response = api.client.post(f"{PROFILES}:createOffline", json=message)
        assert response.status_code == 200
        assert stored(api)[0]["created_at"] == "2026-11-22T12:00:00Z"

    @pytest.mark.parametrize(
        ("start", "code"),
        [
            ("yesterday", "invalid_time"),
            ("", "invalid_json"),
            (1, "invalid_json"),
            (None, "invalid_json"),
            ([], "invalid_json"),
        ],
    )
    def test_a_malformed_start_is_400(self, api: Api, start: Any, code: str) -> None:
        response = api.client.post(f"{PROFILES}:createOffline", json=profile(pprof(), startTime=start))
        assert (response.status_code, reason(response)) == (400, code)
        assert stored(api) == []


class TestList:
    def test_pages_hold_all_profiles_of_all_services(self, api: Api) -> None:
        ids = [
            api.posted(pprof(number + 1, at=NOW - 100 + number), service=service)
            for service in ("a/b", "shop", "zoo")
            for number in range(3)
        ]
        token, seen = "", []
        while True:
            page = api.get(PROFILES, pageSize="2", pageToken=token).get_json()
            assert 0 < len(page["profiles"]) <= 2
            seen += [
                one["name"].removeprefix("projects/demo/profiles/").replace(":", "/") for one in page["profiles"]
            ]
            token = page.get("nextPageToken", "")
            if not token:
                break
        assert seen == ids

    def test_a_profile_has_its_type_and_deployment(self, api: Api) -> None:
        patch(api, profile(pprof(sample_type="CPU")))
        api.posted(pprof(), service="shop", type="strange")
        profiles = api.get(PROFILES).get_json()["profiles"]
        assert {one["profileType"] for one in profiles} == {"CPU", "PROFILE_TYPE_UNSPECIFIED"}
        assert DEPLOYMENT in [one["deployment"] for one in profiles]

    def test_an_empty_storage_has_an_empty_page(self, api: Api) -> None:
        response = api.get(PROFILES)
        assert (response.status_code, response.get_json()) == (200, {"profiles": []})

    @pytest.mark.parametrize("query", [{"pageToken": "x"}, {"pageSize": "0"}, {"pageSize": "x"}])
    def test_bad_parameters_are_400(self, api: Api, query: dict[str, str]) -> None:
        response = api.get(PROFILES, **query)
        assert (response.status_code, reason(response)) == (400, "invalid_parameter")


@pytest.mark.parametrize(
    ("headers", "root"),
    [
        ({}, "http://collector.example/"),
        ({"X-Forwarded-Proto": "https"}, "https://collector.example/"),
        ({"X-Forwarded-Proto": "gopher"}, "http://collector.example/"),
    ],
)
def test_the_discovery_document_names_the_host_of_the_request(
    api: Api, headers: dict[str, str], root: str
) -> None:
    response = api.client.get("/$discovery/rest?version=v2", base_url="http://collector.example", headers=headers)
    assert (response.status_code, response.get_json()["rootUrl"]) == (200, root)


def test_the_discovery_document_names_the_function() -> None:
    api = Api(Storage(MemoryBucket(), MemoryIndex()), names=frozenset({"write"}))
    response = api.client.get("/write/$discovery/rest", base_url="http://run.example")
    assert response.get_json()["rootUrl"] == "http://run.example/write/"
    assert api.client.post(f"/write{PROFILES}", json=CREATE).status_code in (200, 409)


def test_a_key_is_valid_for_its_services() -> None:
    api = Api(Storage(MemoryBucket(), MemoryIndex()), keys=ApiKeys.parse(KEYS))
    headers = {"Authorization": f"Bearer {SECRET}"}
    other = {"deployment": {**DEPLOYMENT, "target": "bank"}}
    assert api.client.post(PROFILES, json=CREATE).status_code == 401
    assert patch(api, profile(pprof())).status_code == 401
    assert api.client.post(PROFILES, json=CREATE, headers=headers).status_code in (200, 409)
    denied = [
        api.client.post(PROFILES, json={**CREATE, **other}, headers=headers),
        patch(api, {**profile(pprof()), **other}, **headers),
        api.client.post(f"{PROFILES}:createOffline", json={**profile(pprof()), **other}, headers=headers),
    ]
    assert [(one.status_code, reason(one)) for one in denied] == [(403, "service_denied")] * 3
    assert patch(api, profile(pprof()), **headers).status_code == 200
    assert reason(api.client.get(PROFILES, headers=headers)) == "missing_scope"
    assert api.storage.index.services() == ["shop"]


@given(
    place=st.floats(0, 1, exclude_max=True),
    replacement=st.binary(max_size=4),
    cut=st.integers(0, 30),
    method=st.sampled_from(["POST", "PATCH"]),
)
@example(place=0, replacement=b"", cut=0, method="PATCH")
def test_mutated_bodies_are_never_an_error_of_the_collector(
    place: float, replacement: bytes, cut: int, method: str
) -> None:
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    message = CREATE if method == "POST" else profile(gzip.decompress(pprof(sample_type="CPU")))
    data = bytearray(json.dumps(message).encode())
    at = int(place * len(data))
    data[at : at + len(replacement)] = replacement
    path = PROFILES if method == "POST" else f"{PROFILES}/{ID}"
    response = api.client.open(path, method=method, data=bytes(data[: len(data) - cut]))
    assert response.status_code in (200, 400, 409, 413), response.text
    if response.status_code != 200:
        reason(response)
