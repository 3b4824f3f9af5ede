"""The HTTP API as its clients see it, over a storage in memory and a clock that stands still."""

import gzip
import re
from collections.abc import Mapping
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from profbucket.api.routes import PROFILES, Role
from profbucket.errors import StoragePermissionError, Unavailable
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Action, Compactor
from profbucket.model.meta import Meta
from profbucket.pprof import decode
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryIndex
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


def sent(stream: BytesIO, **environ: str) -> dict[str, Any]:
    """A POST whose body is *stream*, as a server gives it to us."""
    post = EnvironBuilder(f"{PROFILES}?service=a&type=cpu", method="POST").get_environ()
    return {**post, "REMOTE_ADDR": "127.0.0.1", "wsgi.input": stream, "wsgi.input_terminated": True, **environ}


@pytest.fixture
def api() -> Api:
    return Api(open_storage("memory:"))


class TestPost:
    def test_the_answer_is_the_meta_in_profefes_form(self, api: Api) -> None:
        taken = NOW - 5 * SECOND + 123_456_789
        response = api.post(pprof(7, at=taken), labels="version=1.0,,env=a%2Cb", region="eu")
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
            "size": len(pprof(7, at=taken)),
            "totals": [{"type": "cpu", "unit": "nanoseconds", "value": 7}],
        }

    def test_an_id_needs_no_escaping_anywhere(self, api: Api) -> None:
        profile_id = api.posted(pprof(), service="a/b c+d,e=ü🙂%")
        assert re.fullmatch(r"[A-Za-z0-9._~/-]+", profile_id)
        assert api.get(f"{PROFILES}/{profile_id}").data == pprof()

    def test_the_same_profile_posted_again_is_stored_once(self, api: Api) -> None:
        assert api.posted(pprof(), version="1") == api.posted(pprof(), version="1")
        assert len(api.found()) == 1

    def test_other_labels_bytes_types_and_times_are_other_profiles(self, api: Api) -> None:
        api.posted(pprof())
        api.posted(pprof(), version="1")
        api.posted(pprof(2))
        api.posted(pprof(), type="heap")
        api.posted(pprof(), created_at="2026-11-22T22:00:00")
        assert len(api.found()) == 5

    @pytest.mark.parametrize(
        ("own", "created_at", "stored"),
        [
            (NOW - 60 * SECOND, "2026-11-22T22:00:00", "2026-11-22T22:50:07Z"),
            (0, "2026-11-22T22:00:00", "2026-11-22T22:00:00Z"),
            (0, "", "2026-11-22T22:51:07Z"),
        ],
    )
    def test_a_profiles_own_time_wins_over_created_at_and_that_over_the_clock(
        self, api: Api, own: int, created_at: str, stored: str
    ) -> None:
        assert body(api.post(pprof(at=own), created_at=created_at))["created_at"] == stored

    def test_raw_protobuf_is_stored_as_it_came(self, api: Api) -> None:
        raw = gzip.decompress(pprof())
        assert api.get(f"{PROFILES}/{api.posted(raw)}").data == raw

    def test_a_trace_is_stored_and_fetched_verbatim(self, api: Api) -> None:
        response = api.get(f"{PROFILES}/{api.posted(TRACE, type='trace')}")
        assert response.data == TRACE
        assert response.headers["Content-Disposition"] == 'attachment; filename="api-trace.trace"'

    @pytest.mark.parametrize("kind", ["cpu", "heap", "block", "mutex", "goroutine", "threadcreate", "other"])
    def test_every_type_of_the_contract_is_taken(self, api: Api, kind: str) -> None:
        api.posted(pprof(), type=kind)
        assert len(api.found(type=kind)) == 1

    @pytest.mark.parametrize(
        ("parameters", "sentence"),
        [
            ({"service": ""}, "parameter 'service' is missing or empty"),
            ({"type": ""}, "parameter 'type' is missing or empty"),
            ({"type": "unknown"}, "unknown profile type 'unknown'; known types: cpu, heap"),
            ({"type": "CPU"}, "unknown profile type"),
            ({"labels": "version"}, "label without '=': 'version'"),
            ({"labels": "=1"}, "label without a key"),
            ({"labels": "a=1,a=2"}, "label 'a' is given twice"),
            ({"labels": "version=1", "version": "2"}, "label 'version' is given twice"),
            ({"labels": "a=%ff"}, "not UTF-8"),
            ({"labels": "a=%00"}, "control character"),
            ({"tab": "a\tb"}, "control character"),
            ({"service": "a\nb"}, "control character"),
            ({"service": "s" * 4096}, "4096 bytes, escaped; the limit is 200 (PROFBUCKET_MAX_SERVICE_BYTES)"),
            ({"labels": ",".join(f"k{i}=" for i in range(10_000))}, "the limit is 64 (PROFBUCKET_MAX_LABELS)"),
            ({"labels": "k=" + "v" * (1 << 20)}, "the limit is 1200 (PROFBUCKET_MAX_LABEL_BYTES)"),
            ({"created_at": "yesterday"}, "invalid time 'yesterday'; write it as"),
            ({"created_at": "-1"}, "invalid time"),
            ({"created_at": "9999-01-01T00:00:00"}, "it must be from 1970 to 2262"),
            ({"created_at": "1969-12-31T23:59:59"}, "it must be from 1970 to 2262"),
            ({"created_at": "9" * 30}, "invalid time"),
        ],
    )
    def test_bad_parameters_are_named_and_nothing_is_stored(
        self, api: Api, parameters: dict[str, str], sentence: str
    ) -> None:
        response = api.post(pprof(), **parameters)
        assert response.status_code == 400
        assert sentence in error(response)
        assert not list(api.storage.bucket.list("", "\x7f"))
        assert not api.storage.index.services()

    def test_a_repeated_parameter_is_refused(self, api: Api) -> None:
        response = api.client.post(f"{PROFILES}?service=a&service=b&type=cpu", data=pprof())
        assert (response.status_code, error_code(response)) == (400, "repeated_parameter")

    @pytest.mark.parametrize("name", ["a/b", "..", ".", "_", "-", " ", "~2F", "sp ace", "ünï", "🙂", "a" * 200])
    def test_a_strange_name_is_a_service_like_any_other(self, api: Api, name: str) -> None:
        profile_id = api.posted(pprof(), service=name)
        assert not profile_id.startswith(("_/", "/", "."))
        assert api.found(service=name) == [profile_id]
        assert body(api.get("/api/0/services")) == [name]

    @pytest.mark.parametrize(
        ("data", "kind", "sentence"),
        [
            (b"", "cpu", "no bytes were sent"),
            (b"not a pprof", "cpu", "not a pprof"),
            (gzip.compress(pprof()), "cpu", "compressed twice"),
            (TRACE, "cpu", "not a pprof"),
            (pprof(), "trace", "not a Go execution trace"),
            (b"", "trace", "not a Go execution trace"),
        ],
        ids=["nothing", "text", "a gzip in a gzip", "a trace for cpu", "a pprof for trace", "nothing for trace"],
    )
    def test_a_bad_body_is_refused_and_nothing_is_stored(
        self, api: Api, data: bytes, kind: str, sentence: str
    ) -> None:
        response = api.post(data, type=kind)
        assert response.status_code == 400
        assert sentence in error(response)
        assert not list(api.storage.bucket.list("", "\x7f"))

    def test_a_profile_without_samples_is_refused_as_profefe_does(self, api: Api) -> None:
        message = decode(pprof()).message
        del message.sample[:]
        response = api.post(message.SerializeToString())
        assert (response.status_code, error(response)) == (400, "the profile is empty: it has no samples")

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_body_over_the_cap_is_413_and_names_cap_and_setting(self, chunked: bool) -> None:
        api = Api(open_storage("memory:"), Limits(body_bytes=1000))
        environ: dict[str, object] = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""} if chunked else {}
        response = api.client.post(f"{PROFILES}?service=a&type=cpu", data=bytes(1001), environ_overrides=environ)
        assert response.status_code == 413
        assert "the limit is 1000 (PROFBUCKET_MAX_BODY_BYTES)" in error(response)

    def test_a_body_that_ends_before_it_should_is_refused(self, api: Api) -> None:
        """... though what came is a whole profile: its sender was cut off, and knows it has more."""
        environ: dict[str, object] = {"wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(pprof()) + 1)}
        response = api.client.post(f"{PROFILES}?service=a&type=cpu", data=pprof(), environ_overrides=environ)
        assert response.status_code == 400
        assert error_code(response) == "incomplete_body"
        assert f"after {len(pprof())} of the {len(pprof()) + 1} bytes" in error(response)

    def test_a_body_whose_chunks_make_no_sense_is_refused(self, api: Api) -> None:
        class Torn(BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise OSError("no more data")

        answer, status, _ = run_wsgi_app(api.app, sent(Torn()))
        assert status.startswith("400")
        assert b"incomplete_body" in b"".join(answer)

    def test_what_is_refused_is_read_on_up_to_a_bound(self) -> None:
        """... because a client that still sends would not see the answer."""
        api = Api(open_storage("memory:"), Limits(body_bytes=100_000))
        body = BytesIO(bytes(500_000))
        environ = sent(body, CONTENT_LENGTH="500000")
        assert run_wsgi_app(api.app, environ)[1].startswith("413")
        assert body.tell() == 200_000

    def test_a_profile_that_inflates_over_the_cap_is_413(self) -> None:
        api = Api(open_storage("memory:"), Limits(inflated_bytes=1000))
        response = api.post(gzip.compress(bytes(1001)))
        assert response.status_code == 413
        assert "PROFBUCKET_MAX_INFLATED_BYTES" in error(response)

    @given(
        st.dictionaries(
            st.sampled_from(["service", "type", "labels", "created_at", "version", "x y"]),
            st.text(max_size=30) | st.sampled_from(["cpu", "api", "a=b", "now", "-1h", "a=%", "1" * 400]),
        ),
        st.sampled_from([b"", pprof(), pprof()[:-5], TRACE]),
    )
    def test_no_request_is_answered_with_a_5xx(self, parameters: dict[str, str], data: bytes) -> None:
        response = Api(open_storage("memory:")).client.post(PROFILES, query_string=parameters, data=data)
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

    def test_profiles_come_oldest_first_and_of_all_types_unless_one_is_asked_for(self, api: Api) -> None:
        profiles = body(api.find())
        assert [p["created_at"] for p in profiles] == sorted(p["created_at"] for p in profiles)
        assert len(profiles) == 11
        assert len(api.found(type="cpu")) == 10

    def test_the_type_unknown_means_any(self, api: Api) -> None:
        assert api.found(type="unknown") == api.found()

    def test_both_ends_of_the_range_are_in_it(self, api: Api) -> None:
        times = [p["created_at"] for p in body(api.find(type="cpu"))]
        assert len(api.found(type="cpu", **{"from": times[2], "to": times[4]})) == 3

    def test_a_range_that_ends_with_a_time_shown_contains_its_profile(self, api: Api) -> None:
        profile_id = api.posted(pprof(5, at=NOW - 90 * SECOND + 700_000_000))
        shown = next(p["created_at"] for p in body(api.find()) if p["id"] == profile_id)
        assert profile_id in api.found(**{"from": shown, "to": shown})

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
    def test_labels_match_by_equality_inequality_and_anchored_expressions(
        self, api: Api, labels: str, count: int
    ) -> None:
        assert len(api.found(labels=labels)) == count

    def test_a_plain_parameter_is_a_label(self, api: Api) -> None:
        assert api.found(version="0.0.2") == api.found(labels="version=0.0.2")
        assert api.found(version="0.0.2", labels="zone=z0") == api.found(labels="version=0.0.2,zone=z0")

    def test_pages_give_every_profile_once(self, api: Api) -> None:
        found, page = [], ""
        while True:
            response = api.find(limit="3", page=page)
            found += [p["id"] for p in body(response)]
            assert response.json is not None
            page = response.json.get("next", "")
            if not page:
                break
        assert found == api.found()
        assert len(set(found)) == 11

    def test_there_is_no_next_where_a_limit_takes_just_all(self, api: Api) -> None:
        assert "next" not in (api.find(limit="11").json or {})
        assert "next" in (api.find(limit="10").json or {})

    def test_a_limit_over_the_cap_gives_as_many_as_the_cap_and_says_that_there_is_more(self, api: Api) -> None:
        response = Api(api.storage, Limits(find=4)).find(limit="100")
        assert len(body(response)) == 4
        assert "next" in (response.json or {})

    @pytest.mark.parametrize("method", ["find", "merge"])
    @pytest.mark.parametrize(
        ("parameters", "sentence"),
        [
            ({"service": ""}, "parameter 'service' is missing or empty"),
            ({"service": "s" * 201}, "PROFBUCKET_MAX_SERVICE_BYTES"),
            ({"from": ""}, "parameter 'from' is missing or empty"),
            ({"from": "now", "to": "now-1h"}, "from is after to"),
            ({"from": "2026-02-30T00:00:00"}, "no such day"),
            ({"limit": "0"}, "limit='0' is not a whole number"),
            ({"limit": "-1"}, "limit='-1'"),
            ({"limit": "ten"}, "limit='ten'"),
            ({"limit": "9" * 400}, "limit='999"),
            ({"labels": "version=~("}, "invalid regular expression"),
            ({"labels": "version"}, "label matcher without '='"),
            ({"page": "../../etc/passwd"}, "invalid profile id"),
            ({"labels": ",".join(f"k{i}=" for i in range(65))}, "PROFBUCKET_MAX_LABELS"),
        ],
    )
    def test_bad_parameters_are_named(
        self, api: Api, method: str, parameters: dict[str, str], sentence: str
    ) -> None:
        response = getattr(api, method)(**parameters)
        assert response.status_code == 400
        assert sentence in error(response)

    def test_a_type_that_does_not_exist_is_named(self, api: Api) -> None:
        response = api.find(type="cpuu")
        assert response.status_code == 400
        assert "'cpuu'" in error(response)

    def test_nothing_found_says_what_was_asked_for(self, api: Api) -> None:
        response = api.find(type="mutex", version="9%")
        assert response.status_code == 404
        assert "service=api type=mutex version=9\uff05 from 2026-11-22T21:51:07Z to 2026" in error(response)

    def test_an_expression_that_would_take_forever_elsewhere_is_answered(self, api: Api) -> None:
        api.posted(pprof(), evil="a" * 1000 + "!")
        assert len(api.found(labels="evil=~(a%2B)%2B(a%2B)%2B(a%2B)%2B.")) == 1
        assert api.find(labels="version=~((a{1000}){1000}){1000}").status_code == 400

    @given(
        st.dictionaries(
            st.sampled_from(["service", "type", "labels", "from", "to", "limit", "page", "x y"]),
            st.text(max_size=30)
            | st.sampled_from(["cpu", "api", "a=~(", "now", "-1h", "a=%", "1" * 400, "api/cpu/1-2"]),
        ),
        st.sampled_from([PROFILES, MERGE, "/api/0/services", f"{PROFILES}/a/cpu/x"]),
    )
    def test_no_question_is_answered_with_a_5xx(self, parameters: dict[str, str], path: str) -> None:
        response = Api(open_storage("memory:")).get(path, **parameters)
        assert response.status_code in (400, 404, 405)
        error(response)


class TestServicesAndVersion:
    def test_services_are_sorted(self, api: Api) -> None:
        for service in ("web", "api", "Ünï"):
            api.posted(pprof(), service=service)
        assert body(api.get("/api/0/services")) == ["api", "web", "Ünï"]

    def test_no_services_are_a_404_with_a_sentence(self, api: Api) -> None:
        response = api.get("/api/0/services")
        assert (response.status_code, error(response)) == (
            404,
            "there are no services: nothing has been stored yet",
        )

    def test_the_version_says_what_runs(self, api: Api) -> None:
        version = body(api.get("/api/0/version"))
        assert version["version"]
        assert (version["commit"], version["build_time"]) == ("abc", "now")


class TestMerge:
    def test_a_merge_adds_up_what_matches_and_says_so_in_its_comment(self, api: Api) -> None:
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

    def test_over_the_cap_it_says_what_to_narrow_instead_of_cutting(self, api: Api) -> None:
        for value in range(1, 6):
            api.posted(pprof(value))
        assert total(Api(api.storage, Limits(merge=5)).merge()) == 15
        response = Api(api.storage, Limits(merge=4)).merge()
        assert response.status_code == 422
        assert re.search(
            r"more than 4 profiles .* narrow the range.* limit=.*PROFBUCKET_MAX_MERGE", error(response)
        )

    def test_a_limit_merges_that_many_spread_over_the_range_and_says_n_of_m(self, api: Api) -> None:
        for minute in range(50):
            api.posted(pprof(1, at=NOW - minute * 60 * SECOND, name=f"f{minute}"))
        response = api.merge(limit="10")
        assert total(response) == 10
        assert "merged 10 of 50 profiles" in comments(response)[0]
        message = decode(response.data).message
        minutes = sorted(int(message.string_table[f.name][1:]) for f in message.function)
        assert all(3 <= later - earlier <= 8 for earlier, later in pairwise(minutes))

    def test_a_limit_that_is_enough_merges_all_and_does_not_say_of(self, api: Api) -> None:
        for value in (1, 2):
            api.posted(pprof(value))
        response = api.merge(limit="2")
        assert total(response) == 3
        assert "merged 2 profiles" in comments(response)[0]

    def test_a_limit_over_the_cap_is_refused(self, api: Api) -> None:
        response = api.merge(limit="10001")
        assert response.status_code == 422
        assert "the limit is 10000 (PROFBUCKET_MAX_MERGE)" in error(response)

    @pytest.mark.parametrize("kind", ["trace", "", "unknown", "nonsense"])
    def test_what_cannot_be_merged_is_405_with_the_types_that_can_or_none(self, api: Api, kind: str) -> None:
        response = api.merge(type=kind)
        assert response.status_code == 405
        assert response.headers["Allow"]
        assert "cannot be merged" in error(response)

    def test_different_sample_types_are_refused_by_both_names(self, api: Api) -> None:
        api.posted(pprof(sample_type="cpu"))
        api.posted(pprof(sample_type="wall"))
        response = api.merge()
        assert response.status_code == 400
        assert "cpu/nanoseconds" in error(response)
        assert "wall/nanoseconds" in error(response)

    def test_expired_objects_are_skipped_and_counted_in_the_comment(self, api: Api) -> None:
        ids = [api.posted(pprof(value)) for value in (1, 2, 4)]
        api.storage.bucket.delete(f"{ids[1]}.pb.gz")
        response = api.merge()
        assert total(response) == 5
        assert comments(response)[0].startswith("service=api type=cpu merged 2 of 3 profiles")
        assert comments(response)[0].endswith(", 1 had expired")

    def test_a_merge_of_nothing_but_expired_objects_is_a_404(self, api: Api) -> None:
        api.storage.bucket.delete(f"{api.posted(pprof())}.pb.gz")
        response = api.merge()
        assert response.status_code == 404
        assert "have expired" in error(response)

    def test_nothing_found_is_a_404_that_pprof_prints(self, api: Api) -> None:
        response = api.merge(version="3")
        assert response.status_code == 404
        assert response.headers["X-Go-Pprof"] == "1"
        assert response.content_type.startswith("application/json")
        assert "text/plain" in response.content_type
        assert "nothing found: service=api type=cpu version=3" in error(response)


class TestBounds:
    """What is over a bound is refused by its name, or answered in another way."""

    @pytest.fixture
    def api(self) -> Api:
        api = Api(open_storage("memory:"))
        for value in range(1, 6):
            api.posted(pprof(value))
        return api

    def test_a_merge_of_too_many_bytes_is_refused(self, api: Api) -> None:
        size = sum(profile["size"] for profile in body(api.find()))
        assert total(Api(api.storage, Limits(merge_bytes=size)).merge()) == 15
        response = Api(api.storage, Limits(merge_bytes=size - 1)).merge()
        assert response.status_code == 422
        assert f"has {size} bytes to merge in 5 profiles; narrow" in error(response)
        assert "PROFBUCKET_MAX_MERGE_BYTES" in error(response)

    def test_a_merge_that_takes_too_long_is_given_up_before_the_client_does(self, api: Api) -> None:
        seconds = iter(range(0, 1000, 20))
        querier = Querier(api.storage, timer=lambda: next(seconds))
        response = Api(api.storage, querier=querier).merge()
        assert response.status_code == 422
        assert "the merge timed out after 2 of 5 profiles" in error(response)
        assert "PROFBUCKET_MAX_MERGE_SECONDS" in error(response)

    def test_a_large_merge_is_put_under_results_and_answered_by_a_link(self, api: Api) -> None:
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

    def test_a_large_profile_is_answered_by_a_link_to_its_object(self, api: Api) -> None:
        storage = Storage(LinkedBucket(), api.storage.index)
        api = Api(storage, Limits(answer_bytes=10))
        profile_id = api.posted(pprof(9))
        response = api.get(f"{PROFILES}/{profile_id}")
        assert response.status_code == 302
        assert response.headers["Location"].startswith(f"https://bucket.example/{profile_id}.pb.gz?")

    def test_of_a_large_profile_that_has_expired_the_link_is_to_what_its_block_knows(self) -> None:
        bucket = LinkedBucket()
        storage = Storage(bucket, MemoryIndex())
        posted = Api(storage).posted(pprof(9, at=NOW - 86_400 * SECOND))
        assert [step.action for step in Compactor(storage, clock=lambda: NOW).run()] == [Action.COMPACTED]
        bucket.delete(f"{posted}.pb.gz")
        assert total(Api(storage).get(f"{PROFILES}/{posted}")) == 9
        response = Api(storage, Limits(answer_bytes=10)).get(f"{PROFILES}/{posted}")
        assert response.status_code == 302
        key = response.headers["Location"].removeprefix("https://bucket.example/").partition("?")[0]
        assert key.startswith("_/results/")
        assert decode(bucket.get(key)).totals[0].value == 9
        assert "filename=api-cpu.pb.gz" in response.headers["Location"]

    def test_a_function_that_may_not_write_results_answers_directly(self, api: Api) -> None:
        class ReadOnly(LinkedBucket):
            def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
                if key.startswith("_/"):
                    raise StoragePermissionError("grant a role")
                return super().put(key, data, metadata)

        bucket = ReadOnly()
        for stored in api.storage.bucket.list("", "\x7f"):
            bucket.put(stored.key, api.storage.bucket.get(stored.key), stored.metadata or {})
        assert total(Api(Storage(bucket, api.storage.index), Limits(answer_bytes=10)).merge()) == 15

    def test_where_a_bucket_has_no_links_a_large_answer_is_given_directly(self, api: Api) -> None:
        assert total(Api(api.storage, Limits(answer_bytes=10)).merge()) == 15

    def test_posts_beyond_the_bytes_in_flight_are_asked_to_come_again(self) -> None:
        storage = open_storage("memory:")
        data = pprof()
        limits = Limits(inflight_bytes=len(data) + 10, inflight_seconds=0)
        inner: list[int] = []

        class Busy:
            """While it writes the first profile, a second is posted."""

            def write(self, meta: Meta, data: bytes) -> bool:
                if not inner:
                    inner.append(0)
                    response = busy.post(pprof(2))
                    assert "PROFBUCKET_MAX_INFLIGHT_BYTES" in error(response)
                    assert response.headers["Retry-After"]
                    inner.append(response.status_code)
                return storage.write(meta, data)

        busy = Api(storage, limits, collector=Collector(Busy(), limits))
        assert busy.post(data).status_code == 200
        assert inner[1] == 503
        assert busy.post(pprof(2)).status_code == 200

    def test_a_single_post_has_room_however_small_the_budget(self) -> None:
        assert Api(open_storage("memory:"), Limits(inflight_bytes=1)).post(pprof()).status_code == 200


class TestIds:
    def test_one_id_gives_the_stored_bytes(self, api: Api) -> None:
        response = api.get(f"{PROFILES}/{api.posted(pprof(3))}")
        assert response.data == pprof(3)
        assert response.content_type == "application/octet-stream"
        assert response.headers["Content-Disposition"] == 'attachment; filename="api-cpu.pb.gz"'

    def test_several_ids_give_their_merge(self, api: Api) -> None:
        ids = [api.posted(pprof(value), service=f"s{value}") for value in (1, 2, 4)]
        response = api.get(f"{PROFILES}/{'+'.join(ids)}")
        assert total(response) == 7
        assert comments(response) == ["service=s1,s2,s4 type=cpu merged 3 profiles by id"]

    def test_a_missing_id_among_several_is_named(self, api: Api) -> None:
        there = api.posted(pprof())
        missing = there[:-1] + ("0" if there[-1] != "0" else "1")
        response = api.get(f"{PROFILES}/{there}+{missing}")
        assert response.status_code == 404
        assert missing in error(response)

    def test_ids_of_different_types_are_refused(self, api: Api) -> None:
        response = api.get(f"{PROFILES}/{api.posted(pprof())}+{api.posted(pprof(), type='heap')}")
        assert response.status_code == 400
        assert "cpu and heap" in error(response)

    def test_traces_are_not_merged(self, api: Api) -> None:
        one, two = (api.posted(TRACE + bytes(i), type="trace") for i in (1, 2))
        assert api.get(f"{PROFILES}/{one}+{two}").status_code == 405

    def test_an_id_given_twice_is_refused(self, api: Api) -> None:
        one = api.posted(pprof())
        assert "more than once" in error(api.get(f"{PROFILES}/{one}+{one}"))

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
    def test_what_is_no_id_or_not_there_is_a_404_with_a_sentence(self, api: Api, path: str) -> None:
        api.posted(pprof())
        response = api.get(f"{PROFILES}/{path}")
        assert response.status_code == 404
        error(response)


class TestManners:
    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    @pytest.mark.parametrize("path", [PROFILES, MERGE, f"{PROFILES}/a/cpu/b", "/api/0/services", "/api/0/version"])
    def test_other_methods_are_405_and_say_what_is_allowed(self, api: Api, method: str, path: str) -> None:
        response = api.client.open(path, method=method)
        assert response.status_code == 405
        assert "GET" in response.headers["Allow"]
        assert method in error(response)

    def test_an_unknown_path_is_a_404_in_the_envelope(self, api: Api) -> None:
        assert "/api/0/profiles" in error(api.get("/nope"))

    @pytest.mark.parametrize(
        "path", ["/symbolz", "/symbol", f"{PROFILES}/symbolz", f"{PROFILES}/symbol", "/merge/symbolz"]
    )
    def test_symbolz_knows_no_symbols_and_says_so(self, api: Api, path: str) -> None:
        response = api.client.post(path, data=b"0x1234+0x5678")
        assert (response.status_code, response.data) == (200, b"num_symbols: 0\n")
        assert response.content_type.startswith("text/plain")

    @pytest.mark.parametrize(
        ("error_", "sentence"),
        [(Unavailable("the bucket is away"), "away"), (StoragePermissionError("role x"), "role x")],
    )
    def test_a_storage_that_fails_is_a_503_that_asks_to_try_again(self, error_: Exception, sentence: str) -> None:
        class Broken:
            def write(self, meta: Meta, data: bytes) -> bool:
                raise error_

        broken: Writer = Broken()
        api = Api(open_storage("memory:"), collector=Collector(broken))
        response = api.post(pprof())
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert sentence in error(response)

    def test_an_error_of_ours_shows_nothing_of_its_inside(self) -> None:
        class Broken:
            def write(self, meta: Meta, data: bytes) -> bool:
                raise RuntimeError("secret")

        response = Api(open_storage("memory:"), collector=Collector(Broken())).post(pprof())
        assert response.status_code == 500
        assert "secret" not in response.text
        error(response)

    def test_a_head_request_has_the_headers_and_no_body(self, api: Api) -> None:
        api.posted(pprof())
        response = api.client.head(MERGE, query_string={"service": "api", "type": "cpu", "from": "now-1h"})
        assert (response.status_code, response.data) == (200, b"")

    @pytest.mark.parametrize(
        "path", ["/shop-write/api/0/version", "/api/0/version", "//api/0/version", "/write/api/0/version"]
    )
    def test_a_functions_name_in_front_of_the_path_makes_no_difference(self, path: str) -> None:
        api = Api(open_storage("memory:"), names=frozenset({"shop-write", "write"}))
        assert (
            api.client.get("/", base_url="http://localhost", environ_overrides={"PATH_INFO": path}).status_code
            == 200
        )

    def test_a_function_of_one_job_answers_at_its_bare_url(self) -> None:
        storage = open_storage("memory:")
        write = Api(storage, role=Role.WRITE).client
        assert write.post("/?service=api&type=cpu", data=pprof()).status_code == 200
        merge = Api(storage, role=Role.MERGE, names=frozenset({"merge"})).client
        for path in ("/", "/merge", MERGE):
            assert total(merge.get(f"{path}?service=api&type=cpu&from=now-1h")) == 1

    @pytest.mark.parametrize(("role", "method", "status"), [(Role.WRITE, "GET", 405), (Role.QUERY, "POST", 405)])
    def test_a_role_serves_nothing_of_the_other(self, role: Role, method: str, status: int) -> None:
        api = Api(open_storage("memory:"), role=role)
        response = api.client.open(f"{PROFILES}?service=a&type=cpu&from=now-1h", method=method, data=pprof())
        assert response.status_code == status
