"""Requests about several services: ``service=~shop-.*`` on every route that takes a service."""

import json

import pytest
from werkzeug.test import TestResponse

from profbucket.auth import ApiKeys, hash_secret
from profbucket.limits import Limits
from profbucket.storage.open import open_storage
from profbucket.times import SECOND, parse_time
from tests.support.api import MERGE, NOW, Api, body, comments, error, error_code, pprof, total
from tests.support.canonical import canonicalize

SERVICES = ["billing", "shop-api", "shop-web"]
FLAME = "/api/0/profiles/flame"
SERIES = "/api/0/series"
LABELS = "/api/0/labels"
FIND = "/api/0/profiles"
ROUTES = [FIND, MERGE, FLAME, SERIES, LABELS]
KEYS = ApiKeys.parse(
    json.dumps(
        [
            {"name": "all", "sha256": hash_secret("all").hex(), "scopes": ["read", "write"]},
            {"name": "shop", "sha256": hash_secret("shop").hex(), "scopes": ["read"], "services": ["shop-*"]},
            {"name": "agent", "sha256": hash_secret("agent").hex(), "scopes": ["write"]},
        ]
    )
)


@pytest.fixture
def api() -> Api:
    """Return a collector with keys and four profiles each of three services."""
    api = Api(open_storage("memory:"), Limits(services=3), keys=KEYS)
    for number in range(4):
        for offset, service in enumerate(SERVICES):
            at = NOW - (100 - 10 * number - offset) * SECOND
            data = pprof(10**offset, at=at, name=f"main of {service}")
            response = api.client.post(
                f"{FIND}?service={service}&type=cpu&zone={service[-1]}", data=data, headers={"X-Api-Key": "all"}
            )
            assert response.status_code == 200
    return api


def get(api: Api, path: str, service: str, key: str = "all", **parameters: str) -> TestResponse:
    query = {"service": service, "type": "cpu", **({} if path == LABELS else {"from": "now-1h"}), **parameters}
    return api.client.get(path, query_string=query, headers={"X-Api-Key": key})


def test_a_find_lists_the_profiles_of_all_in_order_of_time_page_by_page(api: Api) -> None:
    listed, page = [], ""
    while True:
        response = get(api, FIND, "~shop-.*", limit="3", page=page)
        listed += [(profile["service"], profile["id"]) for profile in body(response)]
        assert response.json is not None
        if not (page := response.json.get("next", "")):
            break
    assert [service for service, _ in listed] == ["shop-api", "shop-web"] * 4
    assert len(set(listed)) == 8


def test_a_merge_adds_up_all(api: Api) -> None:
    assert total(get(api, MERGE, "~.*")) == 4 * 111
    assert total(get(api, MERGE, "!~shop-.*")) == 4
    merged = get(api, MERGE, "~shop-.*")
    assert total(merged) == 4 * 110
    [comment] = comments(merged)
    assert comment.startswith("service=~shop-.* type=cpu merged 8 profiles of 2 services from ")
    assert merged.headers["Content-Disposition"] == 'attachment; filename="services-cpu.pb.gz"'


def test_a_merge_has_the_service_as_a_label_of_samples_on_request(api: Api) -> None:
    merged = canonicalize(get(api, MERGE, "~shop-.*", service_label="1").data)
    labels = [
        (label.key, label.text, values)
        for (_, sample_labels), values in merged.samples.items()
        for label in sample_labels
    ]
    assert sorted(labels) == [(b"service", b"shop-api", (40,)), (b"service", b"shop-web", (400,))]
    graph = body(get(api, FLAME, "~shop-.*", service_label="1", tagroot="service"))
    assert {"shop-api", "shop-web"} < set(graph["functions"]["name"])


def test_aggregates_have_the_service_as_a_label_too(api: Api) -> None:
    merged = canonicalize(get(api, MERGE, "~shop-.*", service_label="1", aggregate="latest").data)
    labels = {label.text: values for (_, own), values in merged.samples.items() for label in own}
    assert labels == {b"shop-api": (10,), b"shop-web": (100,)}


def test_a_flame_graph_has_the_functions_of_all(api: Api) -> None:
    graph = body(get(api, FLAME, "~shop-.*", base_labels="zone=i"))
    assert sorted(graph["functions"]["name"]) == ["main of shop-api", "main of shop-web"]
    assert graph["totals"] == [440, 40]


def test_a_timeline_has_a_group_for_each_service(api: Api) -> None:
    timeline = body(get(api, SERIES, "~shop-.*", group_by="service", step="1h"))
    assert [
        (group["labels"], sum(group["profiles"]), sum(group["values"][0])) for group in timeline["groups"]
    ] == [
        ([{"key": "service", "value": "shop-api"}], 4, 40),
        ([{"key": "service", "value": "shop-web"}], 4, 400),
    ]


def test_labels_are_those_of_all(api: Api) -> None:
    assert body(get(api, LABELS, "~shop-.*")) == {
        "types": ["cpu"],
        "labels": [{"key": "zone", "values": ["b", "i"]}],
        "complete": True,
    }


@pytest.mark.parametrize("path", ROUTES)
def test_a_key_reads_only_its_services(api: Api, path: str) -> None:
    everything, own = get(api, path, "~.*", "shop"), get(api, path, "~shop-.*")
    assert everything.status_code == own.status_code == 200
    if path != MERGE:
        assert everything.data == own.data
    else:
        assert total(everything) == total(own)


@pytest.mark.parametrize("path", ROUTES)
def test_a_service_that_the_key_may_not_read_is_as_if_it_were_missing(api: Api, path: str) -> None:
    answers = [get(api, path, f"~{pattern}", "shop") for pattern in ("bil+ing", "mis+ing")]
    assert [(answer.status_code, error_code(answer)) for answer in answers] == [(404, "not_found")] * 2
    assert error(answers[0]).replace("bil+ing", "mis+ing") == error(answers[1])


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("service", "key", "answer"),
    [
        ("~(", "all", (400, "invalid_regex")),
        ("~a\n", "all", (400, "invalid_matcher")),
        ("~.*", "agent", (403, "missing_scope")),
        ("~.*", "unknown", (401, "unknown_api_key")),
        ("~" + "(a{1000}){1000}", "all", (400, "invalid_regex")),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    api: Api, path: str, service: str, key: str, answer: tuple[int, str]
) -> None:
    response = get(api, path, service, key)
    assert (response.status_code, error_code(response)) == answer


@pytest.mark.parametrize("path", ROUTES)
def test_too_many_services_are_refused(api: Api, path: str) -> None:
    response = api.client.post(f"{FIND}?service=d&type=cpu", data=pprof(), headers={"X-Api-Key": "all"})
    assert response.status_code == 200
    response = get(api, path, "~.*")
    assert (response.status_code, error_code(response)) == (422, "max_services_exceeded")
    assert "PROFBUCKET_MAX_SERVICES" in error(response)
    assert "422" in api.get("/api/0/openapi.json").json["paths"][path]["get"]["responses"]  # type: ignore[index]
    assert get(api, path, "~shop-.*").status_code == 200


@pytest.mark.parametrize("service", ["~shop", "!~shop"])
def test_a_profile_is_not_stored_under_a_name_that_is_a_condition(api: Api, service: str) -> None:
    response = api.client.post(
        FIND, query_string={"service": service, "type": "cpu"}, data=pprof(), headers={"X-Api-Key": "all"}
    )
    assert (response.status_code, error_code(response)) == (400, "invalid_service")


def test_the_list_of_services_has_types_and_times_of_those_that_a_key_may_read(api: Api) -> None:
    answer = api.client.get("/api/0/services?details=1", headers={"X-Api-Key": "shop"})
    summaries = body(answer)
    assert [(summary["service"], summary["types"]) for summary in summaries] == [
        ("shop-api", ["cpu"]),
        ("shop-web", ["cpu"]),
    ]
    for summary in summaries:
        assert 0 <= parse_time(summary["last_seen"], 0) - (NOW - 70 * SECOND) < 86_400 * SECOND
    assert body(api.client.get("/api/0/services?details=0", headers={"X-Api-Key": "shop"})) == [
        "shop-api",
        "shop-web",
    ]
    wrong = api.client.get("/api/0/services?details=yes", headers={"X-Api-Key": "shop"})
    assert (wrong.status_code, error_code(wrong)) == (400, "invalid_parameter")
