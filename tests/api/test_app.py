"""The HTTP API as its clients see it, over a storage in memory and with a fixed clock."""

import gzip
import re
from collections.abc import Mapping
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.errors import ProfbucketError, StoragePermissionError, Unavailable
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Action, Compactor
from profbucket.model.form import PROFILES_PATH
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import COMMON_TYPES, ProfileType
from profbucket.model.upload import Upload
from profbucket.pprof import decode
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage, Writer
from profbucket.times import SECOND
from tests.support.api import (
    MERGE,
    NOW,
    TRACE,
    Api,
    LinkedBucket,
    body,
    comments,
    error,
    error_code,
    pprof,
    total,
)
from tests.support.canonical import canonicalize


def post_environ(stream: BytesIO, **environ: str) -> dict[str, Any]:
    """Return the WSGI environment of a POST whose body is *stream*."""
    post = EnvironBuilder(f"{PROFILES_PATH}?service=a&type=cpu", method="POST").get_environ()
    return {**post, "REMOTE_ADDR": "127.0.0.1", "wsgi.input": stream, "wsgi.input_terminated": True, **environ}


@pytest.fixture
def api() -> Api:
    return Api(open_storage("memory:"))


class TestPost:
    def test_the_response_is_the_meta_in_profefes_format(self, api: Api) -> None:
        taken_at = NOW - 5 * SECOND + 123_456_789
        response = api.post(pprof(7, at=taken_at), labels="version=1.0,,env=a%2Cb", region="eu")
        assert response.content_type == "application/json"
        assert body(response) == {
            "id": body(response)["id"],
            "service": "api",
            "type": "cpu",
            "labels": [
                {"key": "env", "value": "a,b"},
                {"key": "region", "value": "eu"},
                {"key": "version", "value": "1.0"},
            ],
            "created_at": "2026-11-22T22:51:02Z",
            "size": len(pprof(7, at=taken_at)),
            "totals": [{"type": "cpu", "unit": "nanoseconds", "value": 7}],
        }

    def test_an_id_needs_no_escaping_anywhere(self, api: Api) -> None:
        profile_id = api.posted(pprof(), service="a/b c+d,e=ü🙂%")
        assert re.fullmatch(r"[A-Za-z0-9._~/-]+", profile_id)
        assert api.get(f"{PROFILES_PATH}/{profile_id}").data == pprof()

    def test_a_profile_posted_twice_is_stored_once(self, api: Api) -> None:
        assert api.posted(pprof(), version="1") == api.posted(pprof(), version="1")
        assert len(api.found()) == 1

    def test_profiles_with_other_labels_bytes_types_or_times_are_different(self, api: Api) -> None:
        api.posted(pprof())
        api.posted(pprof(), version="1")
        api.posted(pprof(2))
        api.posted(pprof(), type="heap")
        api.posted(pprof(), created_at="2026-11-22T22:00:00")
        assert len(api.found()) == 5

    @pytest.mark.parametrize(
        ("time_nanos", "created_at", "stored"),
        [
            (NOW - 60 * SECOND, "2026-11-22T22:00:00", "2026-11-22T22:50:07Z"),
            (0, "2026-11-22T22:00:00", "2026-11-22T22:00:00Z"),
            (0, "", "2026-11-22T22:51:07Z"),
        ],
    )
    def test_a_profiles_time_takes_precedence_over_created_at_and_that_over_the_clock(
        self, api: Api, time_nanos: int, created_at: str, stored: str
    ) -> None:
        assert body(api.post(pprof(at=time_nanos), created_at=created_at))["created_at"] == stored

    def test_uncompressed_protobuf_is_stored_unchanged(self, api: Api) -> None:
        raw = gzip.decompress(pprof())
        assert api.get(f"{PROFILES_PATH}/{api.posted(raw)}").data == raw

    def test_a_trace_is_stored_and_fetched_verbatim(self, api: Api) -> None:
        response = api.get(f"{PROFILES_PATH}/{api.posted(TRACE, type='trace')}")
        assert response.data == TRACE
        assert response.headers["Content-Disposition"] == 'attachment; filename="api-trace.trace"'

    @pytest.mark.parametrize(
        "profile_type", [*(name for name in COMMON_TYPES if name != "trace"), "alloc", "x", "a-b_1", "z" * 63]
    )
    def test_every_profile_type_is_accepted(self, api: Api, profile_type: str) -> None:
        api.posted(pprof(), type=profile_type)
        assert len(api.found(type=profile_type)) == 1

    @pytest.mark.parametrize(
        ("parameters", "code"),
        [
            ({"service": ""}, "missing_parameter"),
            ({"type": ""}, "missing_parameter"),
            ({"type": "unknown"}, "invalid_profile_type"),
            ({"type": "CPU"}, "invalid_profile_type"),
            ({"type": "1st"}, "invalid_profile_type"),
            ({"type": "a/b"}, "invalid_profile_type"),
            ({"type": "cpu\n"}, "invalid_profile_type"),
            ({"type": "z" * 64}, "invalid_profile_type"),
            ({"labels": "version"}, "invalid_label"),
            ({"labels": "=1"}, "invalid_label"),
            ({"labels": "a=1,a=2"}, "invalid_label"),
            ({"labels": "version=1", "version": "2"}, "invalid_label"),
            ({"labels": "a=%ff"}, "invalid_label"),
            ({"labels": "a=%00"}, "invalid_label"),
            ({"tab": "a\tb"}, "invalid_label"),
            ({"service": "a\nb"}, "invalid_service"),
            ({"service": "s" * 4096}, "max_service_bytes_exceeded"),
            ({"labels": ",".join(f"k{i}=" for i in range(10_000))}, "max_labels_exceeded"),
            ({"labels": "k=" + "v" * (1 << 20)}, "max_label_bytes_exceeded"),
            ({"created_at": "yesterday"}, "invalid_time"),
            ({"created_at": "-1"}, "invalid_time"),
            ({"created_at": "9999-01-01T00:00:00"}, "invalid_time"),
            ({"created_at": "1969-12-31T23:59:59"}, "invalid_time"),
            ({"created_at": "9" * 30}, "invalid_time"),
        ],
    )
    def test_with_an_invalid_parameter_nothing_is_stored(
        self, api: Api, parameters: dict[str, str], code: str
    ) -> None:
        response = api.post(pprof(), **parameters)
        assert (response.status_code, error_code(response)) == (400, code)
        assert not list(api.storage.bucket.list("", "\x7f"))
        assert not api.storage.index.services()

    def test_a_repeated_parameter_is_an_error(self, api: Api) -> None:
        response = api.client.post(f"{PROFILES_PATH}?service=a&service=b&type=cpu", data=pprof())
        assert (response.status_code, error_code(response)) == (400, "repeated_parameter")

    @pytest.mark.parametrize("name", ["a/b", "..", ".", "_", "-", " ", "a~2F", "sp ace", "ünï", "🙂", "a" * 200])
    def test_unusual_service_names_are_accepted(self, api: Api, name: str) -> None:
        profile_id = api.posted(pprof(), service=name)
        assert not profile_id.startswith(("_/", "/", "."))
        assert api.found(service=name) == [profile_id]
        assert body(api.get("/api/0/services")) == [name]

    @pytest.mark.parametrize(
        ("data", "profile_type", "code"),
        [
            (b"", "cpu", "empty_body"),
            (b"not a pprof", "cpu", "invalid_protobuf"),
            (gzip.compress(pprof()), "cpu", "compressed_twice"),
            (TRACE, "cpu", "invalid_protobuf"),
            (pprof(), "trace", "invalid_trace"),
            (b"", "trace", "invalid_trace"),
        ],
        ids=["nothing", "text", "a gzip in a gzip", "a trace for cpu", "a pprof for trace", "nothing for trace"],
    )
    def test_an_invalid_body_is_not_stored(self, api: Api, data: bytes, profile_type: str, code: str) -> None:
        response = api.post(data, type=profile_type)
        assert (response.status_code, error_code(response)) == (400, code)
        assert not list(api.storage.bucket.list("", "\x7f"))

    def test_a_profile_without_samples_is_an_error_as_in_profefe(self, api: Api) -> None:
        message = decode(pprof()).message
        del message.sample[:]
        response = api.post(message.SerializeToString())
        assert (response.status_code, error_code(response)) == (400, "empty_profile")

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_body_over_the_limit_is_413_and_names_limit_and_setting(self, chunked: bool) -> None:
        api = Api(open_storage("memory:"), Limits(body_bytes=1000))
        environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"} if chunked else {}
        response = api.client.post(
            f"{PROFILES_PATH}?service=a&type=cpu", data=bytes(1001), environ_overrides=environ
        )
        assert (response.status_code, error_code(response)) == (413, "max_body_bytes_exceeded")
        assert "1000" in error(response)
        assert "PROFBUCKET_MAX_BODY_BYTES" in error(response)

    def test_a_body_shorter_than_its_content_length_is_an_error(self, api: Api) -> None:
        """Even if the bytes are a valid profile: the connection broke, and the client has more to send."""
        environ: dict[str, object] = {"wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(pprof()) + 1)}
        response = api.client.post(f"{PROFILES_PATH}?service=a&type=cpu", data=pprof(), environ_overrides=environ)
        assert (response.status_code, error_code(response)) == (400, "incomplete_body")
        assert f"after {len(pprof())} of the {len(pprof()) + 1} bytes" in error(response)

    @pytest.mark.parametrize(
        ("error", "code"),
        [(OSError("no more data"), b"incomplete_body"), (KeyError("chunk"), b"malformed_body")],
    )
    def test_a_body_that_cannot_be_read_is_an_error(self, api: Api, error: Exception, code: bytes) -> None:
        """A server raises an error of its own for malformed chunks, also while the rest is drained."""

        class FailingStream(BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise error

        response, status, _ = run_wsgi_app(api.app, post_environ(FailingStream()))
        assert status.startswith("400")
        assert code in b"".join(response)

    def test_a_rejected_body_is_drained_up_to_a_limit(self) -> None:
        """A client that is still sending would not see the response."""
        api = Api(open_storage("memory:"), Limits(body_bytes=100_000))
        stream = BytesIO(bytes(500_000))
        environ = post_environ(stream, CONTENT_LENGTH="500000")
        assert run_wsgi_app(api.app, environ)[1].startswith("413")
        assert stream.tell() == 200_000

    def test_a_profile_that_inflates_over_the_limit_is_413(self) -> None:
        api = Api(open_storage("memory:"), Limits(inflated_bytes=1000))
        response = api.post(gzip.compress(bytes(1001)))
        assert (response.status_code, error_code(response)) == (413, "max_inflated_bytes_exceeded")

    @given(
        st.dictionaries(
            st.sampled_from(["service", "type", "labels", "created_at", "version", "x y"]),
            st.text(max_size=30) | st.sampled_from(["cpu", "api", "a=b", "now", "-1h", "a=%", "1" * 400]),
        ),
        st.sampled_from([b"", pprof(), pprof()[:-5], TRACE]),
    )
    def test_no_post_is_answered_with_a_5xx(self, parameters: dict[str, str], data: bytes) -> None:
        response = Api(open_storage("memory:")).client.post(PROFILES_PATH, query_string=parameters, data=data)
        assert response.status_code in (200, 400)
        if response.status_code == 400:
            error(response)


class TestFind:
    @pytest.fixture
    def api(self) -> Api:
        api = Api(open_storage("memory:"))
        for minute in range(10):
            version = "0.0.1" if minute < 5 else "0.0.2"
            api.posted(
                pprof(minute + 1, at=NOW - (10 - minute) * 60 * SECOND), version=version, zone=f"z{minute % 2}"
            )
        api.posted(pprof(100, at=NOW - 30 * SECOND), type="heap")
        return api

    def test_profiles_are_listed_oldest_first_and_of_all_types_by_default(self, api: Api) -> None:
        profiles = body(api.find())
        assert [p["created_at"] for p in profiles] == sorted(p["created_at"] for p in profiles)
        assert len(profiles) == 11
        assert len(api.found(type="cpu")) == 10

    def test_the_type_unknown_means_any(self, api: Api) -> None:
        assert api.found(type="unknown") == api.found()

    def test_the_range_includes_both_ends(self, api: Api) -> None:
        times = [p["created_at"] for p in body(api.find(type="cpu"))]
        assert len(api.found(type="cpu", **{"from": times[2], "to": times[4]})) == 3

    def test_a_range_that_ends_at_a_printed_time_contains_its_profile(self, api: Api) -> None:
        profile_id = api.posted(pprof(5, at=NOW - 90 * SECOND + 700_000_000))
        created_at = next(p["created_at"] for p in body(api.find()) if p["id"] == profile_id)
        assert profile_id in api.found(**{"from": created_at, "to": created_at})

    @pytest.mark.parametrize(
        ("labels", "count"),
        [
            ("", 11),
            (",,", 11),
            ("version=0.0.1", 5),
            (",zone=z1,version=0.0.2", 3),
            ("version=0.0", 0),
            ("version!=0.0.1", 6),
            ("version=~0.0.*", 10),
            ("version=~0", 0),
            ("version!~.*1", 6),
            ("version=~.*1,zone!=z0", 2),
            ("version=", 1),
            ("nothing=", 11),
        ],
    )
    def test_labels_match_by_equality_inequality_and_anchored_regexes(
        self, api: Api, labels: str, count: int
    ) -> None:
        assert len(api.found(labels=labels)) == count

    def test_a_plain_parameter_is_a_label(self, api: Api) -> None:
        assert api.found(version="0.0.2") == api.found(labels="version=0.0.2")
        assert api.found(version="0.0.2", labels="zone=z0") == api.found(labels="version=0.0.2,zone=z0")

    def test_the_pages_list_every_profile_once(self, api: Api) -> None:
        ids, page = [], ""
        while True:
            response = api.find(limit="3", page=page)
            ids += [p["id"] for p in body(response)]
            assert response.json is not None
            page = response.json.get("next", "")
            if not page:
                break
        assert ids == api.found()
        assert len(set(ids)) == 11

    def test_the_last_page_has_no_next(self, api: Api) -> None:
        assert "next" not in (api.find(limit="11").json or {})
        assert "next" in (api.find(limit="10").json or {})

    def test_a_limit_over_the_maximum_gives_a_page_of_the_maximum_size(self, api: Api) -> None:
        response = Api(api.storage, Limits(find=4)).find(limit="100")
        assert len(body(response)) == 4
        assert "next" in (response.json or {})

    @pytest.mark.parametrize("method", ["find", "merge"])
    @pytest.mark.parametrize(
        ("parameters", "code"),
        [
            ({"service": ""}, "missing_parameter"),
            ({"service": "s" * 201}, "max_service_bytes_exceeded"),
            ({"from": ""}, "missing_parameter"),
            ({"from": "now", "to": "now-1h"}, "invalid_time_range"),
            ({"from": "2026-02-30T00:00:00"}, "invalid_time"),
            ({"limit": "0"}, "invalid_parameter"),
            ({"limit": "-1"}, "invalid_parameter"),
            ({"limit": "ten"}, "invalid_parameter"),
            ({"limit": "9" * 400}, "invalid_parameter"),
            ({"labels": "version=~("}, "invalid_regex"),
            ({"labels": "version"}, "invalid_matcher"),
            ({"page": "../../etc/passwd"}, "invalid_profile_id"),
            ({"labels": ",".join(f"k{i}=" for i in range(65))}, "max_labels_exceeded"),
            ({"labels": ",".join(["k=~("] * 65)}, "max_labels_exceeded"),  # none is compiled
        ],
    )
    def test_an_invalid_parameter_is_an_error(
        self, api: Api, method: str, parameters: dict[str, str], code: str
    ) -> None:
        response = getattr(api, method)(**parameters)
        assert (response.status_code, error_code(response)) == (400, code)

    def test_a_message_names_the_parameter_and_its_value(self, api: Api) -> None:
        assert "'service'" in error(api.find(service=""))
        assert "limit='ten'" in error(api.find(limit="ten"))

    def test_an_invalid_type_is_an_error_that_names_it(self, api: Api) -> None:
        response = api.find(type="CPU")
        assert (response.status_code, error_code(response)) == (400, "invalid_profile_type")
        assert "'CPU'" in error(response)
        assert api.find(type="never-stored").status_code == 404

    def test_nothing_found_names_the_selection(self, api: Api) -> None:
        response = api.find(type="mutex", version="9%")
        assert (response.status_code, error_code(response)) == (404, "not_found")
        assert "service=api type=mutex version=9\uff05 from 2026-11-22T21:51:07Z to 2026" in error(response)

    def test_a_regex_with_exponential_backtracking_is_matched_in_linear_time(self, api: Api) -> None:
        api.posted(pprof(), evil="a" * 1000 + "!")
        assert len(api.found(labels="evil=~(a%2B)%2B(a%2B)%2B(a%2B)%2B.")) == 1
        assert api.find(labels="version=~((a{1000}){1000}){1000}").status_code == 400

    @given(
        st.dictionaries(
            st.sampled_from(["service", "type", "labels", "from", "to", "limit", "page", "x y"]),
            st.text(max_size=30)
            | st.sampled_from(["cpu", "api", "a=~(", "now", "-1h", "a=%", "1" * 400, "api/cpu/1-2"]),
        ),
        st.sampled_from([PROFILES_PATH, MERGE, "/api/0/services", f"{PROFILES_PATH}/a/cpu/x"]),
    )
    def test_no_read_is_answered_with_a_5xx(self, parameters: dict[str, str], path: str) -> None:
        response = Api(open_storage("memory:")).get(path, **parameters)
        assert response.status_code in (400, 404, 405)
        error(response)


class TestServicesAndVersion:
    def test_services_are_sorted(self, api: Api) -> None:
        for service in ("web", "api", "Ünï"):
            api.posted(pprof(), service=service)
        assert body(api.get("/api/0/services")) == ["api", "web", "Ünï"]

    def test_no_services_are_a_404(self, api: Api) -> None:
        response = api.get("/api/0/services")
        assert (response.status_code, error_code(response)) == (404, "not_found")

    def test_the_version_names_commit_and_build_time(self, api: Api) -> None:
        version = body(api.get("/api/0/version"))
        assert version["version"]
        assert (version["commit"], version["build_time"]) == ("abc", "now")


class TestMerge:
    def test_a_merge_adds_up_what_matches_and_describes_itself_in_a_comment(self, api: Api) -> None:
        for minute in range(1, 4):
            api.posted(pprof(minute, at=NOW - minute * 60 * SECOND), version="1")
        api.posted(pprof(1000), version="2")
        response = api.merge(version="1")
        assert total(response) == 6
        assert comments(response) == [
            "service=api type=cpu version=1 merged 3 profiles from 2026-11-22T22:48:07Z to 2026-11-22T22:50:07Z"
        ]
        assert response.content_type == "application/octet-stream"
        assert response.headers["Content-Disposition"] == 'attachment; filename="api-cpu.pb.gz"'
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Content-Encoding" not in response.headers

    def test_a_merge_over_the_limit_is_an_error_that_says_how_to_narrow_it(self, api: Api) -> None:
        for value in range(1, 6):
            api.posted(pprof(value))
        assert total(Api(api.storage, Limits(merge=5)).merge()) == 15
        response = Api(api.storage, Limits(merge=4)).merge()
        assert (response.status_code, error_code(response)) == (422, "max_merge_exceeded")
        for hint in ("more than 4 profiles", "narrow the range", "limit=", "PROFBUCKET_MAX_MERGE"):
            assert hint in error(response)

    def test_a_limit_merges_that_many_profiles_evenly_spread_over_the_range(self, api: Api) -> None:
        for minute in range(50):
            api.posted(pprof(1, at=NOW - minute * 60 * SECOND, name=f"f{minute}"))
        response = api.merge(limit="10")
        assert total(response) == 10
        assert "merged 10 of 50 profiles" in comments(response)[0]
        message = decode(response.data).message
        minutes = sorted(int(message.string_table[f.name][1:]) for f in message.function)
        assert all(3 <= later - earlier <= 8 for earlier, later in pairwise(minutes))

    def test_a_limit_that_is_not_reached_merges_all(self, api: Api) -> None:
        for value in (1, 2):
            api.posted(pprof(value))
        response = api.merge(limit="2")
        assert total(response) == 3
        assert "merged 2 profiles" in comments(response)[0]

    def test_a_limit_over_the_maximum_is_an_error(self, api: Api) -> None:
        response = api.merge(limit="10001")
        assert (response.status_code, error_code(response)) == (422, "max_merge_exceeded")

    @pytest.mark.parametrize(
        ("profile_type", "code"),
        [
            ("trace", "not_mergeable"),
            ("", "not_mergeable"),
            ("unknown", "invalid_profile_type"),
            ("Nonsense", "invalid_profile_type"),
        ],
    )
    def test_a_type_that_cannot_be_merged_is_405(self, api: Api, profile_type: str, code: str) -> None:
        response = api.merge(type=profile_type)
        assert (response.status_code, error_code(response)) == (405, code)
        assert response.headers["Allow"]

    def test_different_sample_types_are_an_error_that_names_both(self, api: Api) -> None:
        api.posted(pprof(sample_type="cpu"))
        api.posted(pprof(sample_type="wall"))
        response = api.merge()
        assert response.status_code == 400
        assert "cpu/nanoseconds" in error(response)
        assert "wall/nanoseconds" in error(response)

    def test_expired_profiles_are_skipped_and_counted_in_the_comment(self, api: Api) -> None:
        ids = [api.posted(pprof(value)) for value in (1, 2, 4)]
        api.storage.bucket.delete(f"{ids[1]}.pb.gz")
        response = api.merge()
        assert total(response) == 5
        assert comments(response)[0].startswith("service=api type=cpu merged 2 of 3 profiles")
        assert comments(response)[0].endswith(", 1 had expired")

    def test_a_merge_of_only_expired_profiles_is_a_404(self, api: Api) -> None:
        api.storage.bucket.delete(f"{api.posted(pprof())}.pb.gz")
        response = api.merge()
        assert response.status_code == 404
        assert "expired" in error(response)

    def test_nothing_found_is_a_404_that_pprof_prints(self, api: Api) -> None:
        response = api.merge(version="3")
        assert response.status_code == 404
        assert response.headers["X-Go-Pprof"] == "1"
        assert response.content_type.startswith("application/json")
        assert "text/plain" in response.content_type
        assert "service=api type=cpu version=3" in error(response)


class TestLimits:
    """Requests over a limit: an error that names the limit, or a redirect."""

    @pytest.fixture
    def api(self) -> Api:
        api = Api(open_storage("memory:"))
        for value in range(1, 6):
            api.posted(pprof(value))
        return api

    def test_a_merge_of_too_many_bytes_is_an_error(self, api: Api) -> None:
        size = sum(profile["size"] for profile in body(api.find()))
        assert total(Api(api.storage, Limits(merge_bytes=size)).merge()) == 15
        response = Api(api.storage, Limits(merge_bytes=size - 1)).merge()
        assert (response.status_code, error_code(response)) == (422, "max_merge_bytes_exceeded")
        assert str(size) in error(response)

    def test_a_merge_that_takes_too_long_ends_before_the_client_times_out(self, api: Api) -> None:
        seconds = iter(range(0, 1000, 15))  # at the start, when profiles are found, and before each is merged
        querier = Querier(api.storage, timer=lambda: next(seconds))
        response = Api(api.storage, querier=querier).merge()
        assert (response.status_code, error_code(response)) == (422, "max_merge_seconds_exceeded")
        assert "2 of 5 profiles" in error(response)

    def test_a_large_merge_is_stored_under_results_and_answered_with_a_redirect(self, api: Api) -> None:
        bucket = LinkedBucket()
        storage = Storage(bucket, api.storage.index)
        for stored in api.storage.bucket.list("", "\x7f"):
            bucket.put(stored.key, api.storage.bucket.get(stored.key), stored.metadata or {})
        response = Api(storage, Limits(answer_bytes=10)).merge()
        assert response.status_code == 302
        key = response.headers["Location"].removeprefix("https://bucket.example/").partition("?")[0]
        assert key.startswith("_/results/")
        assert decode(bucket.get(key)).totals[0].value == 15
        assert "filename=api-cpu.pb.gz" in response.headers["Location"]
        assert total(Api(storage, Limits(answer_bytes=10_000)).merge()) == 15

    def test_a_large_profile_is_answered_with_a_redirect_to_its_object(self, api: Api) -> None:
        storage = Storage(LinkedBucket(), api.storage.index)
        api = Api(storage, Limits(answer_bytes=10))
        profile_id = api.posted(pprof(9))
        response = api.get(f"{PROFILES_PATH}/{profile_id}")
        assert response.status_code == 302
        assert response.headers["Location"].startswith(f"https://bucket.example/{profile_id}.pb.gz?")

    def test_a_large_profile_in_a_batch_is_answered_with_a_redirect_to_a_copy(self) -> None:
        bucket = LinkedBucket()
        storage = Storage(bucket, MemoryIndex())
        uploads = [Upload("api", ProfileType.CPU, Labels(), pprof(number, at=NOW)) for number in (8, 9)]
        _, meta = Collector(storage).store_batch(uploads)
        assert isinstance(meta, Meta)
        response = Api(storage, Limits(answer_bytes=10)).get(f"{PROFILES_PATH}/{meta.id}")
        assert response.status_code == 302
        key = response.headers["Location"].removeprefix("https://bucket.example/").partition("?")[0]
        assert key.startswith("_/results/")
        assert bucket.get(key) == uploads[1].data
        assert "filename=api-cpu.pb.gz" in response.headers["Location"]

    def test_a_large_expired_profile_is_rebuilt_and_answered_with_a_redirect(self) -> None:
        bucket = LinkedBucket()
        storage = Storage(bucket, MemoryIndex())
        profile_id = Api(storage).posted(pprof(9, at=NOW - 86_400 * SECOND))
        assert [step.action for step in Compactor(storage, clock=lambda: NOW).run()] == [Action.COMPACTED]
        bucket.delete(f"{profile_id}.pb.gz")
        assert total(Api(storage).get(f"{PROFILES_PATH}/{profile_id}")) == 9
        response = Api(storage, Limits(answer_bytes=10)).get(f"{PROFILES_PATH}/{profile_id}")
        assert response.status_code == 302
        key = response.headers["Location"].removeprefix("https://bucket.example/").partition("?")[0]
        assert key.startswith("_/results/")
        assert decode(bucket.get(key)).totals[0].value == 9
        assert "filename=api-cpu.pb.gz" in response.headers["Location"]

    def test_without_permission_to_write_results_the_response_is_direct(self, api: Api) -> None:
        class ReadOnly(LinkedBucket):
            def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
                if key.startswith("_/"):
                    raise StoragePermissionError("grant a role")
                return super().put(key, data, metadata)

        bucket = ReadOnly()
        for stored in api.storage.bucket.list("", "\x7f"):
            bucket.put(stored.key, api.storage.bucket.get(stored.key), stored.metadata or {})
        assert total(Api(Storage(bucket, api.storage.index), Limits(answer_bytes=10)).merge()) == 15

    def test_without_permission_to_sign_the_response_is_direct_and_the_log_names_the_permission(
        self, api: Api, caplog: pytest.LogCaptureFixture
    ) -> None:
        class CannotSign(MemoryBucket):
            def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
                raise StoragePermissionError("grant signBlob")

        api = Api(Storage(CannotSign(), api.storage.index), Limits(answer_bytes=10))
        profile_id = api.posted(pprof(9))
        assert total(api.get(f"{PROFILES_PATH}/{profile_id}")) == 9
        assert total(api.get(f"{PROFILES_PATH}/{profile_id}+{api.posted(pprof(1))}")) == 10
        assert caplog.text.count("grant signBlob") == 2

    def test_a_response_that_the_platform_does_not_transmit_is_an_error(self, api: Api) -> None:
        config = Config("memory:", anonymous=True, max_response_bytes=600)
        app = create_app(config, Role.QUERY, querier=Querier(api.storage))
        response = app.test_client().get(f"{PROFILES_PATH}?service=api&type=cpu&from=0")
        assert (response.status_code, error_code(response)) == (422, "response_too_large")
        assert "the platform transmits 600" in error(response)

    def test_a_bucket_without_links_gives_a_direct_response(self, api: Api) -> None:
        assert total(Api(api.storage, Limits(answer_bytes=10)).merge()) == 15

    def test_posts_over_the_bytes_in_flight_are_503(self) -> None:
        storage = open_storage("memory:")
        data = pprof()
        limits = Limits(inflight_bytes=len(data) + 10, inflight_seconds=0)
        rejected: list[TestResponse] = []

        class PostingStorage(Writer):
            """Posts a second profile while it writes the first."""

            def write(self, meta: Meta, data: bytes) -> bool:
                if not rejected:
                    rejected.append(busy.post(pprof(2)))
                return storage.write(meta, data)

        busy = Api(storage, limits, collector=Collector(PostingStorage(), limits))
        assert busy.post(data).status_code == 200
        assert (rejected[0].status_code, error_code(rejected[0])) == (503, "too_many_posts_in_flight")
        assert rejected[0].headers["Retry-After"]
        assert busy.post(pprof(2)).status_code == 200

    def test_a_lone_post_is_admitted_whatever_the_limit(self) -> None:
        assert Api(open_storage("memory:"), Limits(inflight_bytes=1)).post(pprof()).status_code == 200


class TestIds:
    def test_an_id_gives_the_stored_bytes(self, api: Api) -> None:
        response = api.get(f"{PROFILES_PATH}/{api.posted(pprof(3))}")
        assert response.data == pprof(3)
        assert response.content_type == "application/octet-stream"
        assert response.headers["Content-Disposition"] == 'attachment; filename="api-cpu.pb.gz"'

    def test_several_ids_give_their_merge(self, api: Api) -> None:
        ids = [api.posted(pprof(value), service=f"s{value}") for value in (1, 2, 4)]
        response = api.get(f"{PROFILES_PATH}/{'+'.join(ids)}")
        assert total(response) == 7
        assert comments(response) == ["service=s1,s2,s4 type=cpu merged 3 profiles by id"]

    @pytest.mark.parametrize(
        "parameters",
        [
            {"format": "collapsed"},
            {"format": "collapsed", "focus": "b"},
            {"format": "collapsed", "hide": "^a$"},
            {"format": "svg", "max_nodes": "2"},
            {"sample_type": "cpu"},
            {"keep_labels": "1"},
            {"service_label": "1", "tagroot": "service", "format": "collapsed"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("is_compacted", [False, True], ids=["head", "block"])
    def test_ids_take_the_options_of_a_merge(self, parameters: dict[str, str], is_compacted: bool) -> None:
        api = Api(open_storage("memory:"))
        times = NOW - 2 * SECOND, NOW - SECOND
        ids = [api.posted(pprof(5, at=times[0], name="a")), api.posted(pprof(3, at=times[1], name="b"))]
        if is_compacted:
            assert list(Compactor(api.storage, clock=lambda: NOW + 3600 * SECOND).run())
            for one in ids:
                api.storage.bucket.delete(ProfileId.parse(one).object_key)
        for path, end in (("+".join(ids), times[1]), (ids[1], times[1]), (ids[0], times[0])):
            start = times[0] if "+" in path else end
            merged = api.get(f"{PROFILES_PATH}/{path}", **parameters)
            expected = api.merge(**{"from": str(start // SECOND), "to": str(end // SECOND)}, **parameters)
            assert (merged.status_code, merged.content_type) == (expected.status_code, expected.content_type)
            if merged.status_code != 200 or parameters.get("format") == "collapsed":
                assert merged.data == expected.data
            elif "format" not in parameters:
                assert canonicalize(merged.data).samples == canonicalize(expected.data).samples

    @pytest.mark.parametrize(
        ("parameters", "status", "code"),
        [
            ({"format": "x"}, 400, "invalid_parameter"),
            ({"focus": "("}, 400, "invalid_regex"),
            ({"aggregate": "average"}, 400, "invalid_parameter"),
            ({"delta": "1"}, 400, "invalid_parameter"),
            ({"sample_type": "wall"}, 400, "unknown_sample_type"),
            ({"format": "svg", "max_nodes": "50001"}, 422, "max_flame_nodes_exceeded"),
        ],
    )
    def test_invalid_options_of_a_merge_by_id(
        self, api: Api, parameters: dict[str, str], status: int, code: str
    ) -> None:
        ids = [api.posted(pprof(value)) for value in (1, 2)]
        for path in (ids[0], "+".join(ids)):
            response = api.get(f"{PROFILES_PATH}/{path}", **parameters)
            assert (response.status_code, error_code(response)) == (status, code)
        trace = api.posted(TRACE, type="trace")
        assert api.get(f"{PROFILES_PATH}/{trace}", focus="a").status_code == 405

    def test_the_error_names_a_missing_id(self, api: Api) -> None:
        stored = api.posted(pprof())
        missing = stored[:-1] + ("0" if stored[-1] != "0" else "1")
        response = api.get(f"{PROFILES_PATH}/{stored}+{missing}")
        assert (response.status_code, error_code(response)) == (404, "not_found")
        assert missing in error(response)

    def test_ids_of_different_profile_types_are_an_error(self, api: Api) -> None:
        response = api.get(f"{PROFILES_PATH}/{api.posted(pprof())}+{api.posted(pprof(), type='heap')}")
        assert (response.status_code, error_code(response)) == (400, "profile_types_differ")

    def test_traces_are_not_merged(self, api: Api) -> None:
        ids = [api.posted(TRACE + bytes(i), type="trace") for i in (1, 2)]
        response = api.get(f"{PROFILES_PATH}/{'+'.join(ids)}")
        assert (response.status_code, error_code(response)) == (405, "not_mergeable")

    def test_a_repeated_id_is_an_error(self, api: Api) -> None:
        profile_id = api.posted(pprof())
        assert error_code(api.get(f"{PROFILES_PATH}/{profile_id}+{profile_id}")) == "duplicate_id"

    @pytest.mark.parametrize(
        "path",
        [
            "../../etc/passwd",
            "..%2f..%2fetc%2fpasswd",
            "%2e%2e/%2e%2e/etc/passwd",
            "api/cpu/20261122T225107.000000000Z-0123456789abcdef",
            "api/cpu/20261122T225107.000000000Z-0123456789ABCDEF",
            "api/cpu/../cpu/20261122T225107.000000000Z-0123456789abcdef",
            "_/blocks/x",
            "x",
            "+",
            "a+b",
            "%00",
            "🙂",
            "x" * 5000,
            "api/nope/20261122T225107.000000000Z-0123456789abcdef",
            "api/cpu/99999999T999999.000000000Z-0123456789abcdef",
            "a%257Eb/cpu/20261122T225107.000000000Z-0123456789abcdef",
        ],
    )
    def test_a_malformed_or_missing_id_is_a_404(self, api: Api, path: str) -> None:
        api.posted(pprof())
        response = api.get(f"{PROFILES_PATH}/{path}")
        assert (response.status_code, error_code(response)) == (404, "not_found")


class TestProtocol:
    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    @pytest.mark.parametrize(
        "path", [PROFILES_PATH, MERGE, f"{PROFILES_PATH}/a/cpu/b", "/api/0/services", "/api/0/version"]
    )
    def test_other_methods_are_405_with_the_allowed_ones(self, api: Api, method: str, path: str) -> None:
        response = api.client.open(path, method=method)
        assert (response.status_code, error_code(response)) == (405, "method_not_allowed")
        assert "GET" in response.headers["Allow"]
        assert method in error(response)

    def test_an_unknown_path_is_a_404_with_a_hint(self, api: Api) -> None:
        response = api.get("/nope")
        assert (response.status_code, error_code(response)) == (404, "unknown_route")
        assert PROFILES_PATH in error(response)

    @pytest.mark.parametrize(
        "path", ["/symbolz", "/symbol", f"{PROFILES_PATH}/symbolz", f"{PROFILES_PATH}/symbol", "/merge/symbolz"]
    )
    def test_symbolz_answers_that_there_are_no_symbols(self, api: Api, path: str) -> None:
        response = api.client.post(path, data=b"0x1234+0x5678")
        assert (response.status_code, response.data) == (200, b"num_symbols: 0\n")
        assert response.content_type.startswith("text/plain")

    @pytest.mark.parametrize(
        "storage_error", [Unavailable("the bucket is unreachable"), StoragePermissionError("grant role x")]
    )
    def test_a_failing_storage_is_a_503_with_retry_after(self, storage_error: ProfbucketError) -> None:
        class FailingStorage(Writer):
            def write(self, meta: Meta, data: bytes) -> bool:
                raise storage_error

        failing: Writer = FailingStorage()
        api = Api(open_storage("memory:"), collector=Collector(failing))
        response = api.post(pprof())
        assert (response.status_code, error_code(response)) == (503, storage_error.code)
        assert int(response.headers["Retry-After"]) > 0
        assert error(response) == str(storage_error)

    def test_an_internal_error_reveals_no_details(self) -> None:
        class FailingStorage(Writer):
            def write(self, meta: Meta, data: bytes) -> bool:
                raise RuntimeError("secret")

        response = Api(open_storage("memory:"), collector=Collector(FailingStorage())).post(pprof())
        assert (response.status_code, error_code(response)) == (500, "internal")
        assert "secret" not in response.text

    def test_a_head_request_has_no_body(self, api: Api) -> None:
        api.posted(pprof())
        response = api.client.head(MERGE, query_string={"service": "api", "type": "cpu", "from": "now-1h"})
        assert (response.status_code, response.data) == (200, b"")

    @pytest.mark.parametrize(
        "path", ["/shop-write/api/0/version", "/api/0/version", "//api/0/version", "/write/api/0/version"]
    )
    def test_a_function_name_in_front_of_the_path_is_ignored(self, path: str) -> None:
        api = Api(open_storage("memory:"), names=frozenset({"shop-write", "write"}))
        assert (
            api.client.get("/", base_url="http://localhost", environ_overrides={"PATH_INFO": path}).status_code
            == 200
        )

    def test_write_and_merge_answer_at_their_own_url(self) -> None:
        storage = open_storage("memory:")
        write = Api(storage, role=Role.WRITE).client
        assert write.post("/?service=api&type=cpu", data=pprof()).status_code == 200
        merge = Api(storage, role=Role.MERGE, names=frozenset({"merge"})).client
        for path in ("/", "/merge", MERGE):
            assert total(merge.get(f"{path}?service=api&type=cpu&from=now-1h")) == 1

    @pytest.mark.parametrize(("role", "method"), [(Role.WRITE, "GET"), (Role.QUERY, "POST")])
    def test_a_role_has_no_routes_of_another(self, role: Role, method: str) -> None:
        api = Api(open_storage("memory:"), role=role)
        response = api.client.open(f"{PROFILES_PATH}?service=a&type=cpu&from=now-1h", method=method, data=pprof())
        assert (response.status_code, error_code(response)) == (405, "method_not_allowed")
