"""Posts of several profiles at once, over all transports, from friendly and from hostile clients."""

import gzip
import json
import logging
import subprocess
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, TestResponse

from profbucket.api.routes import Role
from profbucket.auth import ApiKeys, hash_secret
from profbucket.errors import Unavailable
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.form import BATCH_PATH, encode_form, split_by_size
from profbucket.model.meta import Meta
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from tests.support.api import NOW, Api, body, error_code, pprof
from tests.support.paths import DATA
from tests.support.serving import served

CPU = {"service": "api", "type": "cpu", "labels": "v=1,pod=a%20b"}
HEAP = {"service": "api", "type": "heap", "created_at": "2026-11-22T22:00:00Z"}
WEB = {"service": "web", "type": "cpu", "zone": "eu"}
GOOD = [(CPU, pprof(1, at=NOW)), (HEAP, pprof(2)), (WEB, pprof(3, at=NOW))]
BAD = (CPU, b"hello")
TOO_LONG = ({**CPU, "zone": "x" * 2000}, pprof())
KEYS = ApiKeys.parse(
    json.dumps(
        [
            {"name": "api", "sha256": hash_secret("a").hex(), "scopes": ["write"], "services": ["api"]},
            {"name": "reader", "sha256": hash_secret("r").hex(), "scopes": ["read"]},
        ]
    )
)
Profiles = Sequence[tuple[Mapping[str, str], bytes]]


@pytest.fixture
def api() -> Api:
    return Api(Storage(MemoryBucket(), MemoryIndex()))


def send(api: Api, profiles: Profiles, **headers: str) -> TestResponse:
    data, content_type = encode_form(profiles)
    return api.client.post(BATCH_PATH, data=data, headers={"Content-Type": content_type, **headers})


def codes(response: TestResponse) -> list[str | int]:
    """Return the error code of each part, or 200."""
    assert response.json is not None
    return [part.get("error_code", part["code"]) for part in response.json["body"]]


class TestParts:
    def test_each_part_is_stored_as_if_it_were_posted_alone(self, api: Api) -> None:
        alone = [api.post(data, **parameters) for parameters, data in GOOD]
        again = Api(Storage(MemoryBucket(), MemoryIndex()))
        response = send(again, GOOD)
        assert response.status_code == 200
        assert body(response) == [answer.json for answer in alone]
        for (_, data), part in zip(GOOD, body(response), strict=True):
            assert again.get(f"/api/0/profiles/{part['body']['id']}").data == data

    def test_a_repeated_batch_and_repeated_posts_store_nothing_twice(self, api: Api) -> None:
        first = body(send(api, GOOD))
        assert body(send(api, GOOD)) == first
        api.posted(GOOD[0][1], **GOOD[0][0])
        assert sorted(api.found()) == sorted(part["body"]["id"] for part in first[:2])

    def test_the_valid_parts_are_stored_and_the_others_are_named(self, api: Api) -> None:
        profiles = [BAD, GOOD[0], TOO_LONG, ({"type": "cpu"}, pprof()), ({**CPU, "from": "now"}, pprof()), GOOD[1]]
        response = send(api, profiles)
        assert response.status_code == 207
        missing, reserved = "missing_parameter", "reserved_parameter"
        assert codes(response) == ["invalid_protobuf", 200, "max_label_bytes_exceeded", missing, reserved, 200]
        assert [part.get("error", "")[:7] for part in body(response)] == [
            "part 1:",
            "",
            "part 3:",
            "part 4:",
            "part 5:",
            "",
        ]
        assert len(api.found()) == 2

    def test_a_batch_of_which_nothing_is_stored_has_the_status_of_the_worst_error(self, api: Api) -> None:
        response = send(api, [BAD, ({"type": "cpu"}, pprof())])
        assert response.status_code == 400
        assert codes(response) == ["invalid_protobuf", "missing_parameter"]
        assert response.json
        assert response.json["error_code"] == "invalid_protobuf"
        assert response.json["error"].startswith("2 of 2 profiles were not stored: part 1: ")

    def test_a_part_without_a_filename_lacks_its_parameters(self, api: Api) -> None:
        form = b'--b\r\nContent-Disposition: form-data; name="service=api&type=cpu"\r\n\r\nx\r\n--b--\r\n'
        response = api.client.post(BATCH_PATH, data=form, content_type="multipart/form-data; boundary=b")
        assert (response.status_code, codes(response)) == (400, ["missing_parameter"])

    @pytest.mark.parametrize(
        ("filename", "code"),
        [
            ("service=api&service=web&type=cpu", "repeated_parameter"),
            ("service=%FF&type=cpu", "invalid_parameter"),
            ("&".join(f"k{n}=1" for n in range(100)), "invalid_parameter"),
            ("x" * 20_000, "invalid_parameter"),
            ("service=api&type=cpu&labels=" + "".join(f"k{n}=," for n in range(100)), "max_labels_exceeded"),
            ("service=api&type=cpu&created_at=yesterday", "invalid_time"),
            ("service=api&type=C P U", "invalid_profile_type"),
        ],
    )
    def test_malformed_parameters_are_an_error_of_the_part(self, api: Api, filename: str, code: str) -> None:
        head = f'--b\r\nContent-Disposition: form-data; name="p"; filename="{filename}"\r\n\r\n'
        form = head.encode() + pprof() + b"\r\n--b--\r\n"
        response = api.client.post(BATCH_PATH, data=form, content_type="multipart/form-data; boundary=b")
        assert (response.status_code, codes(response)) == (400, [code])


class TestStorage:
    def test_a_failure_of_the_storage_is_retried_unless_some_parts_are_stored(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Failing(Storage):
            def write_batch(self, profiles: Sequence[tuple[Meta, bytes]]) -> None:
                if profiles[0][0].service == "api":
                    raise Unavailable("no network")
                super().write_batch(profiles)

        api = Api(Failing(MemoryBucket(), MemoryIndex()))
        response = send(api, [*GOOD[:2], BAD])
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert codes(response) == ["unavailable", "unavailable", "invalid_protobuf"]
        caplog.clear()
        response = send(api, GOOD)
        assert (response.status_code, codes(response)) == (207, ["unavailable", "unavailable", 200])
        assert "no network" in caplog.text

    def test_an_unexpected_error_is_logged_and_answered(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(Collector):
            def store_batch(self, uploads: object, *, has_deadline: bool = False) -> Any:
                raise RuntimeError("broken")

        storage = open_storage("memory:")
        api = Api(storage, collector=Broken(storage))
        with caplog.at_level(logging.ERROR):
            response = send(api, GOOD)
        assert (response.status_code, error_code(response)) == (500, "internal")
        assert f"POST {BATCH_PATH} failed" in caplog.text


class TestAccess:
    def test_a_key_is_checked_for_each_part(self) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), keys=KEYS)
        response = send(api, GOOD, **{"X-Api-Key": "a"})
        assert (response.status_code, codes(response)) == (207, [200, 200, "service_denied"])
        response = send(api, GOOD[2:], **{"X-Api-Key": "a"})
        assert (response.status_code, codes(response)) == (403, ["service_denied"])
        assert api.storage.index.services() == ["api"]

    @pytest.mark.parametrize(
        ("headers", "status", "code"),
        [
            ({}, 401, "missing_api_key"),
            ({"X-Api-Key": "x"}, 401, "unknown_api_key"),
            ({"X-Api-Key": "r"}, 403, "missing_scope"),
            ({"X-Api-Key": "a", "Origin": "https://example.com"}, 403, "cross_site_request"),
            ({"X-Api-Key": "a", "Sec-Fetch-Site": "cross-site"}, 403, "cross_site_request"),
        ],
    )
    def test_a_request_is_refused_as_a_post_is(self, headers: dict[str, str], status: int, code: str) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), keys=KEYS)
        response = send(api, GOOD, **headers)
        assert (response.status_code, error_code(response)) == (status, code)
        assert api.storage.index.services() == []

    @pytest.mark.parametrize("role", [Role.WRITE, Role.COLLECTOR])
    def test_the_roles_that_write_have_the_route(self, role: Role) -> None:
        assert send(Api(open_storage("memory:"), role=role), GOOD).status_code == 200

    def test_batches_are_counted_under_their_route(self, api: Api) -> None:
        send(api, GOOD)
        assert f'route="{BATCH_PATH}"' in api.get("/metrics").text


def form(*lines: bytes) -> bytes:
    return b"\r\n".join(lines)


HEAD = b'Content-Disposition: form-data; name="profile"; filename="service=api&type=cpu"'
FORM = {"Content-Type": "multipart/form-data; boundary=b"}

# Requests with a body that is no batch: their headers, body, status and code.
MALFORMED: dict[str, tuple[dict[str, str], bytes, int, str]] = {
    "no boundary": ({"Content-Type": "multipart/form-data"}, b"x", 400, "invalid_multipart"),
    "an empty boundary": ({"Content-Type": 'multipart/form-data; boundary=""'}, b"x", 400, "invalid_multipart"),
    "a boundary that is not ASCII": (
        {"Content-Type": "multipart/form-data; boundary=\xff"},
        b"x",
        400,
        "invalid_multipart",
    ),
    "another boundary": (FORM, form(b"--c", HEAD, b"", b"x", b"--c--", b""), 400, "invalid_multipart"),
    "another type": ({"Content-Type": "application/json"}, b"{}", 415, "unsupported_content_type"),
    "mixed": ({"Content-Type": "multipart/mixed; boundary=b"}, b"", 415, "unsupported_content_type"),
    "no type": ({}, b"x", 415, "unsupported_content_type"),
    "an empty body": (FORM, b"", 400, "invalid_multipart"),
    "no parts": (FORM, b"--b--\r\n", 400, "invalid_multipart"),
    "truncated in a part": (FORM, form(b"--b", HEAD, b"", pprof()), 400, "invalid_multipart"),
    "truncated after a part": (FORM, form(b"--b", HEAD, b"", pprof(), b"--b", b""), 400, "invalid_multipart"),
    "no disposition": (FORM, form(b"--b", b"X: y", b"", b"x", b"--b--", b""), 400, "invalid_multipart"),
    "no headers": (FORM, form(b"--b", b"", b"x", b"--b--", b""), 400, "invalid_multipart"),
    "headers that are not UTF-8": (
        FORM,
        form(b"--b", HEAD, b"X: \xff", b"", b"x", b"--b--", b""),
        400,
        "invalid_multipart",
    ),
    "endless headers": (FORM, form(b"--b", HEAD, b"X: " + b"y" * 200_000), 400, "invalid_multipart"),
    "a long preamble": (
        FORM,
        form(b"x" * 200_000, b"--b", HEAD, b"", pprof(), b"--b--"),
        400,
        "invalid_multipart",
    ),
    "an unknown encoding": ({**FORM, "Content-Encoding": "br"}, b"x", 415, "unsupported_content_encoding"),
    "not as encoded": ({**FORM, "Content-Encoding": "gzip"}, b"x", 415, "invalid_content_encoding"),
}


class TestMalformed:
    @pytest.mark.parametrize("name", MALFORMED)
    def test_a_malformed_request_is_refused_and_stores_nothing(self, api: Api, name: str) -> None:
        headers, data, status, code = MALFORMED[name]
        response = api.client.post(BATCH_PATH, data=data, headers=headers)
        assert (response.status_code, error_code(response)) == (status, code)
        assert api.storage.index.services() == []

    def test_a_parameter_of_the_url_is_refused(self, api: Api) -> None:
        data, content_type = encode_form(GOOD)
        response = api.client.post(f"{BATCH_PATH}?service=api", data=data, content_type=content_type)
        assert (response.status_code, error_code(response)) == (400, "reserved_parameter")

    def test_of_headers_that_are_given_twice_the_first_counts(self, api: Api) -> None:
        other = HEAD.replace(b"api", b"web")
        response = api.client.post(
            BATCH_PATH, data=form(b"--b", HEAD, other, b"", pprof(), b"--b--"), headers=FORM
        )
        assert body(response)[0]["body"]["service"] == "api"

    def test_a_nested_form_is_not_a_profile(self, api: Api) -> None:
        nested, content_type = encode_form(GOOD)
        part = f"Content-Type: {content_type}".encode()
        data = form(b"--b", HEAD, part, b"", nested, b"--b--")
        response = api.client.post(BATCH_PATH, data=data, headers=FORM)
        assert (response.status_code, codes(response)) == (400, ["invalid_protobuf"])

    @given(st.data())
    @settings(max_examples=30)
    def test_no_damage_makes_the_collector_fail(self, data: st.DataObject) -> None:
        api = Api(open_storage("memory:"))
        text, content_type = encode_form(GOOD[:2])
        for _ in range(data.draw(st.integers(1, 3))):
            begin = data.draw(st.integers(0, len(text)))
            end = data.draw(st.integers(begin, min(len(text), begin + 40)))
            new = st.binary(max_size=20) | st.sampled_from([b"\r\n", b"--", b'"', b"%", b"=", b";", b"\r\n\r\n"])
            text = text[:begin] + data.draw(new) + text[end:]
        response = api.client.post(BATCH_PATH, data=text, content_type=content_type)
        assert response.status_code in (200, 207, 400, 413)


class TestLimits:
    def test_the_number_of_parts_is_limited(self) -> None:
        api = Api(open_storage("memory:"), Limits(profiles=3))
        assert send(api, GOOD).status_code == 200
        response = send(api, [*GOOD, GOOD[0]])
        assert (response.status_code, error_code(response)) == (413, "max_profiles_exceeded")

    def test_the_size_is_that_of_a_post(self) -> None:
        data, content_type = encode_form(GOOD)
        api = Api(open_storage("memory:"), Limits(body_bytes=len(data) - 1))
        for sent, headers in ((data, {}), (gzip.compress(data), {"Content-Encoding": "gzip"})):
            response = api.client.post(BATCH_PATH, data=sent, content_type=content_type, headers=headers)
            assert (response.status_code, error_code(response)) == (413, "max_body_bytes_exceeded")

    def test_an_encoded_batch_is_decoded(self, api: Api) -> None:
        data, content_type = encode_form(GOOD)
        headers = {"Content-Encoding": "gzip"}
        response = api.client.post(
            BATCH_PATH, data=gzip.compress(data), content_type=content_type, headers=headers
        )
        assert (response.status_code, codes(response)) == (200, [200] * 3)

    def test_parts_with_many_labels_take_little_memory(self) -> None:
        """A label takes a hundred times what its letters take; a part is refused before the next is read."""
        text = many_headers(b"&labels=" + b"".join(b"%x=," % n for n in range(2500)), parts=20)
        api = Api(open_storage("memory:"))
        tracemalloc.start()
        response = api.client.post(BATCH_PATH, data=text, headers=FORM)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert set(codes(response)) == {"max_labels_exceeded"}
        assert peak < 10 * len(text)

    def test_the_headers_of_all_parts_are_limited(self, api: Api) -> None:
        text = many_headers(b"&zone=" + b"x" * 10_000, parts=220)
        response = api.client.post(BATCH_PATH, data=text, headers=FORM)
        assert (response.status_code, error_code(response)) == (400, "invalid_multipart")
        assert "the headers of all parts" in response.text


def many_headers(parameters: bytes, parts: int) -> bytes:
    """Return a form of *parts* that all have more *parameters* than :data:`HEAD`."""
    return (b"--b\r\n" + HEAD[:-1] + parameters + b'"\r\n\r\nx\r\n') * parts + b"--b--"


def environ(data: bytes, content_type: str) -> dict[str, Any]:
    return EnvironBuilder(BATCH_PATH, method="POST", data=data, content_type=content_type).get_environ()


@pytest.mark.parametrize("profiles", [GOOD, [*GOOD, BAD], [BAD, BAD]], ids=["all", "some", "none"])
def test_the_answer_is_that_of_flask(profiles: Profiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a batch does not pass through its dispatch."""
    api = Api(open_storage("memory:"))
    data, content_type = encode_form(profiles)
    with api.app.request_context(environ(data, content_type)):
        response = api.app.full_dispatch_request()
    monkeypatch.setattr(Flask, "full_dispatch_request", None)
    head: list[Any] = []
    chunks = api.app.wsgi_app(environ(data, content_type), lambda *arguments: head.extend(arguments))  # type: ignore[arg-type]
    assert (head[0], sorted(head[1])) == (response.status, sorted(response.headers.to_wsgi_list()))
    assert b"".join(chunks) == response.get_data()


@pytest.fixture(scope="module", params=["profbucket", "functions-framework"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a collector in a process of its own."""
    folder = tmp_path_factory.mktemp("batches")
    with served(f"file://{folder}/profiles", folder / "log", program=request.param) as url:
        yield url


class TestProcesses:
    def test_batches_are_stored_and_refused(self, url: str) -> None:
        with urllib3.PoolManager(retries=False, timeout=60) as pool:
            for profiles, status in ((GOOD, 200), ([*GOOD, BAD], 207), ([BAD], 400)):
                data, content_type = encode_form(profiles)
                response = pool.request(
                    "POST", f"{url}{BATCH_PATH}", body=data, headers={"Content-Type": content_type}
                )
                assert (response.status, len(response.json()["body"])) == (status, len(profiles))
            found = pool.request("GET", f"{url}/api/0/profiles?service=~api|web&from=0")
            assert len(found.json()["body"]) == len(GOOD)

    @pytest.mark.parametrize("name", [name for name in MALFORMED if "ASCII" not in name])
    def test_a_malformed_request_is_refused(self, url: str, name: str) -> None:
        headers, data, status, _ = MALFORMED[name]
        with urllib3.PoolManager(retries=False, timeout=60) as pool:
            assert pool.request("POST", f"{url}{BATCH_PATH}", body=data, headers=headers).status == status

    def test_a_large_batch_is_checked_before_its_body_is_received(self, url: str) -> None:
        """A larger one than the server receives without a check."""
        data, content_type = encode_form([(CPU, pprof(number)) for number in range(150)])
        for content, status in ((content_type, 200), ("text/plain", 415)):
            response = requests.post(
                f"{url}{BATCH_PATH}", data=data, headers={"Content-Type": content}, timeout=60
            )
            assert response.status_code == status

    def test_requests_posts_files(self, url: str) -> None:
        files = [("profile", ("service=requests&type=cpu&version=1%2B", pprof())) for _ in range(2)]
        [first, _] = requests.post(f"{url}{BATCH_PATH}", files=files, timeout=60).json()["body"]
        assert first["body"]["labels"] == [{"key": "version", "value": "1+"}]

    def test_curl_posts_files(self, url: str, tmp_path: Path) -> None:
        files = [DATA / "shop-0.0.1" / name for name in ("cpu-1.pb.gz", "heap-1.pb.gz")]
        parts = [
            f'profile=@{file};filename="service=curl&type={file.name[:-8]}&labels=a%3D1,b%3D%252C"'
            for file in files
        ]
        command = ["curl", "-s", *(text for part in parts for text in ("-F", part)), f"{url}{BATCH_PATH}"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        assert [part["body"]["type"] for part in answer["body"]] == ["cpu", "heap"]
        assert answer["body"][0]["body"]["labels"][1] == {"key": "b", "value": ","}


@given(st.lists(st.integers(0, 5)), st.integers(1, 4), st.integers(1, 8))
def test_batches_are_as_large_as_they_may_be(sizes: list[int], max_items: int, max_bytes: int) -> None:
    batches = list(split_by_size(sizes, int, max_items=max_items, max_bytes=max_bytes))
    assert [size for batch in batches for size in batch] == sizes
    assert all(len(batch) == 1 or (len(batch) <= max_items and sum(batch) <= max_bytes) for batch in batches)
    for batch, following in pairwise(batches):
        assert len(batch) == max_items or sum(batch) + following[0] > max_bytes
