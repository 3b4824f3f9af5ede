"""Authentication and authorization of every route, for every scope."""

import base64
import json
import logging
from itertools import product
from typing import Any

import pytest
from flask.testing import FlaskClient
from urllib3 import encode_multipart_formdata
from werkzeug.test import TestResponse

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.auth import ApiKeys, Authenticator, Scope, generate_secret, hash_secret
from profbucket.config import Config
from profbucket.errors import Misconfigured
from profbucket.ingest.collector import Collector
from profbucket.model.form import BATCH_PATH, PROFILES_PATH, encode_form
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.support.agents import push
from tests.support.api import pprof

SECRETS = {name: f"secret-of-{name}" for name in (*Scope, "all", "other", "expired")}
SERVICE = "shop-api"
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
REMOTE = {"REMOTE_ADDR": "203.0.113.7"}


def entry(name: str, scopes: list[str], services: list[str] | None = None) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": name, "sha256": hash_secret(SECRETS.get(name, name)).hex(), "scopes": scopes}
    return fields if services is None else {**fields, "services": services}


# "expired" is no longer in the list; "other" has every scope for another team's services.
KEYS = ApiKeys.parse(
    json.dumps(
        [
            *(entry(scope, [scope], ["shop-*"]) for scope in Scope),
            entry("all", list(Scope)),
            entry("other", list(Scope), ["billing-*"]),
        ]
    )
)


@pytest.fixture(scope="module")
def stored() -> tuple[FlaskClient, str]:
    """Return a collector with keys and one profile each of shop-api and billing-api, and the id of the former."""
    storage = open_storage("memory:")
    collector = Collector(storage)
    app = create_app(Config("memory:", keys=KEYS), collector=collector, querier=Querier(storage))
    client = app.test_client()
    ids = []
    for service in (SERVICE, "billing-api"):
        response = client.post(
            f"{PROFILES_PATH}?service={service}&type=cpu", data=pprof(), headers={"X-Api-Key": SECRETS["all"]}
        )
        ids.append(response.json["body"]["id"])  # type: ignore[index]
    return client, ids[0]


CPU_OF_SERVICE = f"process_cpu:cpu:nanoseconds:cpu:nanoseconds{{service_name='{SERVICE}'}}"


def method_and_path(route: str, profile_id: str) -> tuple[str, str]:
    """Return a request for data of shop-api."""
    query = f"service={SERVICE}&type=cpu&from=0"
    return {
        "post": ("POST", f"{PROFILES_PATH}?service={SERVICE}&type=cpu"),
        "batch": ("POST", BATCH_PATH),
        "ingest": ("POST", f"/ingest?name={SERVICE}&format=pprof"),
        "push": ("POST", "/push.v1.PusherService/Push"),
        "datadog": ("POST", "/profiling/v1/input"),
        "otlp": ("POST", "/v1development/profiles"),
        "datadog info": ("GET", "/info"),
        "cloud create": ("POST", "/v2/projects/p/profiles"),
        "cloud offline": ("POST", "/v2/projects/p/profiles:createOffline"),
        "cloud patch": ("PATCH", "/v2/projects/p/profiles/18ec242a69086e17"),
        "cloud list": ("GET", "/v2/projects/p/profiles"),
        "discovery": ("GET", "/$discovery/rest"),
        "find": ("GET", f"{PROFILES_PATH}?{query}"),
        "merge": ("GET", f"{PROFILES_PATH}/merge?{query}"),
        "short merge": ("GET", f"/merge?{query}"),
        "flame": ("GET", f"{PROFILES_PATH}/flame?{query}"),
        "labels": ("GET", f"/api/0/labels?{query}"),
        "tags": ("GET", f"/api/0/tags?{query}"),
        "series": ("GET", f"/api/0/series?{query}"),
        "id": ("GET", f"{PROFILES_PATH}/{profile_id}"),
        "ids": ("GET", f"{PROFILES_PATH}/{profile_id}+{profile_id}"),
        "services": ("GET", "/api/0/services"),
        "grafana": ("POST", "/querier.v1.QuerierService/ProfileTypes"),
        "grafana settings": ("POST", "/settings.v1.SettingsService/Get"),
        "render": ("GET", f"/pyroscope/render?query={CPU_OF_SERVICE}&from=now-1h&until=now"),
        "render diff": (
            "GET",
            "/pyroscope/render-diff?leftFrom=now-1h&leftUntil=now&rightFrom=now-1h&rightUntil=now"
            f"&leftQuery={CPU_OF_SERVICE}&rightQuery={CPU_OF_SERVICE}",
        ),
        "version": ("GET", "/api/0/version"),
        "metrics": ("GET", "/metrics"),
        "healthz": ("GET", "/healthz"),
        "health": ("GET", "/health"),
        "openapi": ("GET", "/api/0/openapi.json"),
        "page": ("GET", "/"),
        "page file": ("GET", "/ui/app.js"),
    }[route]


# The scope that each route requires, and the status that a key of another team gets.
ROUTES: dict[str, tuple[Scope | None, int]] = {
    "post": (Scope.WRITE, 403),
    "batch": (Scope.WRITE, 403),
    "ingest": (Scope.WRITE, 403),
    "push": (Scope.WRITE, 403),
    "datadog": (Scope.WRITE, 403),
    "otlp": (Scope.WRITE, 403),
    "cloud create": (Scope.WRITE, 403),
    "cloud offline": (Scope.WRITE, 403),
    "cloud patch": (Scope.WRITE, 403),
    "cloud list": (Scope.READ, 200),
    "find": (Scope.READ, 403),
    "merge": (Scope.READ, 403),
    "short merge": (Scope.READ, 403),
    "flame": (Scope.READ, 403),
    "labels": (Scope.READ, 403),
    "tags": (Scope.READ, 403),
    "series": (Scope.READ, 403),
    "id": (Scope.READ, 404),
    "ids": (Scope.READ, 404),
    "services": (Scope.READ, 200),
    "grafana": (Scope.READ, 200),  # empty
    "grafana settings": (Scope.READ, 200),
    "render": (Scope.READ, 200),
    "render diff": (Scope.READ, 200),
    "version": (None, 200),
    "metrics": (Scope.ADMIN, 200),  # not specific to a service
}

OPEN = ["healthz", "health", "openapi", "discovery", "datadog info", "page", "page file"]  # these require no key


WITH_CONTENT_TYPE = ("batch", "push", "datadog", "otlp", "grafana", "grafana settings")


def send(client: FlaskClient, route: str, profile_id: str, headers: dict[str, str]) -> TestResponse:
    method, path = method_and_path(route, profile_id)
    deployment = {"target": SERVICE}
    encoded = base64.b64encode(pprof()).decode()
    profile = json.dumps({"profileType": "CPU", "deployment": deployment, "profileBytes": encoded}).encode()
    attributes = [{"key": "service.name", "value": {"stringValue": SERVICE}}]
    payload = {"originalPayloadFormat": "pprof", "originalPayload": encoded}
    resource = {"resource": {"attributes": attributes}, "scopeProfiles": [{"profiles": [payload]}]}
    bodies = {
        "otlp": json.dumps({"resourceProfiles": [resource]}).encode(),
        "push": push(SERVICE, "process_cpu", pprof()),
        "grafana": b"",
        "grafana settings": b"",
        "cloud create": json.dumps({"profileType": ["CPU"], "deployment": deployment}).encode(),
        "cloud offline": profile,
        "cloud patch": profile,
    }
    data = bodies.get(route, pprof() if method == "POST" else b"")
    event = json.dumps({"start": "2026-11-22T22:25:33Z", "tags_profiler": f"service:{SERVICE}"}).encode()
    content_type = "application/json" if route == "otlp" else "application/proto"
    if route == "batch":
        data, content_type = encode_form([({"service": SERVICE, "type": "cpu"}, pprof())])
    if route == "datadog":
        data, content_type = encode_multipart_formdata(
            {"event": ("event.json", event), "cpu.pprof": ("cpu.pprof", pprof())}
        )
    headers = {"Content-Type": content_type, **headers} if route in WITH_CONTENT_TYPE else headers
    return client.open(path, method=method, data=data, headers=headers)


def error_of(response: TestResponse) -> tuple[str, str]:
    """Return the code and the message of an error, in the form of its route."""
    answer = response.json
    assert answer is not None
    if isinstance(answer.get("error"), dict):
        return answer["error"]["details"][0]["reason"].lower(), answer["error"]["message"]
    if "details" in answer:
        return answer["details"][0]["reason"].lower(), answer["message"]
    return answer["error_code"], answer.get("error") or answer["message"]


def test_every_route_of_the_api_is_in_the_matrix(stored: tuple[FlaskClient, str]) -> None:
    covered = {
        stored[0].application.url_map.bind("localhost").match(path.partition("?")[0], method)[0]
        for method, path in (method_and_path(route, stored[1]) for route in [*ROUTES, *OPEN])
    }
    empty = {"symbolize"}  # its response is constant
    assert {rule.endpoint for rule in stored[0].application.url_map.iter_rules()} == covered | empty


@pytest.mark.parametrize("who", [*Scope, "all", "other", "expired", "wrong", "nobody"])
@pytest.mark.parametrize("route", ROUTES)
def test_each_route_requires_its_scope_and_a_key_for_the_service(
    stored: tuple[FlaskClient, str], route: str, who: str
) -> None:
    client, profile_id = stored
    secret = SECRETS.get(who, "a wrong key")
    response = send(client, route, profile_id, {} if who == "nobody" else {"X-Api-Key": secret})
    scope, foreign = ROUTES[route]
    if who in ("expired", "wrong", "nobody"):
        expected = 401
    elif who == "other":
        expected = foreign
    else:
        # The route "ids" has a duplicate id, which is an error, but not for a key without access.
        expected = (400 if route == "ids" else 200) if scope is None or who in (scope, "all") else 403
    if route == "cloud create" and expected == 200:
        assert response.status_code in (200, 409)  # 409: no profile is due
    else:
        assert response.status_code == expected
    assert secret.encode() not in response.data
    if expected == 401:
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
        assert "https://x:KEY@host/" in error_of(response)[1]
        code = "missing_api_key" if who == "nobody" else "unknown_api_key"
        assert error_of(response)[0] == code
    if expected == 403:
        code = "service_denied" if who == "other" else "missing_scope"
        assert error_of(response)[0] == code
    if expected in (401, 403) and method_and_path(route, profile_id)[0] == "GET":
        assert response.headers["X-Go-Pprof"] == "1"


@pytest.mark.parametrize("who", [*Scope, "all", "other", "expired", "wrong", "nobody"])
@pytest.mark.parametrize("route", OPEN)
def test_open_routes_require_no_key(stored: tuple[FlaskClient, str], route: str, who: str) -> None:
    headers = {} if who == "nobody" else {"X-Api-Key": SECRETS.get(who, "a wrong key")}
    response = send(stored[0], route, stored[1], headers)
    assert response.status_code == 200
    assert SERVICE not in response.text


def test_services_lists_only_those_the_key_is_valid_for(stored: tuple[FlaskClient, str]) -> None:
    client, _ = stored

    def services(who: str) -> Any:
        return client.get("/api/0/services", headers={"X-Api-Key": SECRETS[who]}).json["body"]  # type: ignore[index]

    assert services("read") == [SERVICE]
    assert services("other") == ["billing-api"]
    assert services("all") == ["billing-api", SERVICE]


def test_a_denied_id_and_an_unknown_id_get_the_same_response(stored: tuple[FlaskClient, str]) -> None:
    client, profile_id = stored
    headers = {"X-Api-Key": SECRETS["other"]}
    unknown = profile_id[:-4] + "0000"
    texts = {
        client.get(f"{PROFILES_PATH}/{text}", headers=headers).text.replace(text, "ID")
        for text in (profile_id, unknown)
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {SECRETS['read']}"},
        {"Authorization": f"bearer {SECRETS['read']}"},
        {"Authorization": "Basic " + base64.b64encode(f"x:{SECRETS['read']}".encode()).decode()},
        {"X-Api-Key": SECRETS["read"]},
        {"X-Api-Key": SECRETS["read"], "Authorization": "Bearer the platform's own token"},
    ],
)
def test_all_ways_to_send_a_key(stored: tuple[FlaskClient, str], headers: dict[str, str]) -> None:
    assert send(stored[0], "find", stored[1], headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic " + base64.b64encode(f"{SECRETS['read']}:x".encode()).decode()},
        {"Authorization": "Basic not-base64"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Digest {SECRETS['read']}"},
        {"X-Api-Key": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")},
        {"X-Api-Key": hash_secret(SECRETS["read"]).hex()},
    ],
)
def test_no_other_way_to_send_a_key(stored: tuple[FlaskClient, str], headers: dict[str, str]) -> None:
    assert send(stored[0], "find", stored[1], headers).status_code == 401


def test_a_key_in_the_query_is_ignored(stored: tuple[FlaskClient, str]) -> None:
    assert stored[0].get(f"/api/0/services?key={SECRETS['all']}").status_code == 401


def test_keys_are_not_logged(stored: tuple[FlaskClient, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for route, who in product(ROUTES, SECRETS):
            send(stored[0], route, stored[1], {"Authorization": f"Bearer {SECRETS[who]}"})
    assert not [secret for secret in SECRETS.values() if secret in caplog.text]


class TestWithoutKeys:
    def status(self, gate: Authenticator, environ: dict[str, str], host: str = "localhost", **headers: str) -> int:
        app = create_app(
            Config("memory:", anonymous=gate.anonymous), Role.QUERY, querier=Querier(open_storage("memory:"))
        )
        client = app.test_client()
        response = client.get(
            "/api/0/version", base_url=f"http://{host}", environ_overrides=environ, headers=headers
        )
        return response.status_code

    @pytest.mark.parametrize("host", ["localhost", "localhost:10100", "127.0.0.1:10100", "[::1]:10100"])
    @pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.8.8", "::1"])
    def test_local_clients_are_served(self, host: str, remote: str) -> None:
        assert self.status(Authenticator(), {"REMOTE_ADDR": remote}, host) == 200

    @pytest.mark.parametrize("remote", ["203.0.113.7", "10.0.0.1", "::ffff:10.0.0.1", "", "nonsense"])
    def test_remote_clients_are_not(self, remote: str) -> None:
        assert self.status(Authenticator(), {"REMOTE_ADDR": remote}) == 401

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
    def test_clients_behind_a_local_proxy_are_not(self, header: str) -> None:
        assert self.status(Authenticator(), LOCAL, **{header: "203.0.113.7"}) == 401

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "2130706433"])
    def test_pages_of_other_sites_in_a_local_browser_are_not(self, host: str) -> None:
        assert self.status(Authenticator(), LOCAL, host) == 401

    def test_anyone_is_served_with_anonymous(self) -> None:
        assert self.status(Authenticator(anonymous=True), REMOTE, "profiles.example") == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not valid JSON at character 1"),
        ("{}", "must be a non-empty list of entries"),
        ("[]", "must be a non-empty list of entries"),
        ('["secret"]', "key 0: name, sha256 and scopes are required"),
        (
            json.dumps([{"name": "a", "sha256": "00", "scopes": ["read"]}]),
            "key 0 (a): sha256 must be 64 hex digits",
        ),
        (json.dumps([{"name": "a", "sha256": 5, "scopes": ["read"]}]), "sha256 must be 64 hex digits"),
        (json.dumps([entry("a", [])]), "scopes must be a list of write, read, admin"),
        (json.dumps([entry("a", ["root"])]), "scopes must be a list of"),
        (json.dumps([entry("a", ["read"], [])]), "services must be a list of patterns"),
        (json.dumps([entry("a", ["read"]), entry("a", ["write"])]), "key names must be unique"),
        (json.dumps([{**entry("a", ["read"]), "key": "secret"}]), "unknown field key; known fields:"),
        (json.dumps([{**entry("a", ["read"]), "name": "a\nb"}]), "name must be a printable string"),
    ],
)
def test_an_invalid_list_of_keys_is_an_error_that_does_not_show_it(text: str, message: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        ApiKeys.parse(text)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_generated_secrets_are_long_unique_and_url_safe() -> None:
    secrets = {generate_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) > 40 and secret.replace("_", "").replace("-", "").isalnum() for secret in secrets)


def test_repr_shows_neither_secret_nor_hash() -> None:
    assert hash_secret(SECRETS["read"]).hex() not in repr(KEYS)
    assert "sha256" not in repr(KEYS)
