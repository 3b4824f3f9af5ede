"""Keys: what is answered to whom, for every route and every scope."""

import base64
import json
import logging
from itertools import product
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from profbucket.api.app import create_app
from profbucket.api.routes import PROFILES, Role
from profbucket.auth import ApiKeys, Authenticator, Scope, generate_secret, hash_secret
from profbucket.config import Config
from profbucket.errors import Misconfigured
from profbucket.ingest.collector import Collector
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.support.api import pprof

SECRETS = {name: f"secret-of-{name}" for name in (*Scope, "all", "other", "expired")}
SERVICE = "shop-api"
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
AFAR = {"REMOTE_ADDR": "203.0.113.7"}


def entry(name: str, scopes: list[str], services: list[str] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "sha256": hash_secret(SECRETS.get(name, name)).hex(), "scopes": scopes}
    return made if services is None else {**made, "services": services}


# "expired" was once in the list; "other" has every scope for another team's services.
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
    """A collector with keys that holds one profile of shop-api and one of billing-api, and the first one's id."""
    storage = open_storage("memory:")
    collector = Collector(storage)
    app = create_app(Config("memory:", keys=KEYS), collector=collector, querier=Querier(storage))
    client = app.test_client()
    ids = []
    for service in (SERVICE, "billing-api"):
        response = client.post(
            f"{PROFILES}?service={service}&type=cpu", data=pprof(), headers={"X-Api-Key": SECRETS["all"]}
        )
        ids.append(response.json["body"]["id"])  # type: ignore[index]
    return client, ids[0]


def question(route: str, profile_id: str) -> tuple[str, str]:
    """Method and path of a request for what belongs to shop-api."""
    asked = f"service={SERVICE}&type=cpu&from=0"
    return {
        "post": ("POST", f"{PROFILES}?service={SERVICE}&type=cpu"),
        "find": ("GET", f"{PROFILES}?{asked}"),
        "merge": ("GET", f"{PROFILES}/merge?{asked}"),
        "short merge": ("GET", f"/merge?{asked}"),
        "flame": ("GET", f"{PROFILES}/flame?{asked}"),
        "labels": ("GET", f"/api/0/labels?{asked}"),
        "series": ("GET", f"/api/0/series?{asked}"),
        "id": ("GET", f"{PROFILES}/{profile_id}"),
        "ids": ("GET", f"{PROFILES}/{profile_id}+{profile_id}"),
        "services": ("GET", "/api/0/services"),
        "version": ("GET", "/api/0/version"),
        "metrics": ("GET", "/metrics"),
        "healthz": ("GET", "/healthz"),
        "health": ("GET", "/health"),
        "openapi": ("GET", "/api/0/openapi.json"),
        "page": ("GET", "/"),
        "page file": ("GET", "/ui/app.js"),
    }[route]


# Route → what is needed, and what a key of another team gets.
ROUTES: dict[str, tuple[Scope | None, int]] = {
    "post": (Scope.WRITE, 403),
    "find": (Scope.READ, 403),
    "merge": (Scope.READ, 403),
    "short merge": (Scope.READ, 403),
    "flame": (Scope.READ, 403),
    "labels": (Scope.READ, 403),
    "series": (Scope.READ, 403),
    "id": (Scope.READ, 404),
    "ids": (Scope.READ, 404),
    "services": (Scope.READ, 200),
    "version": (None, 200),
    "metrics": (Scope.ADMIN, 200),  # they name no service
}

OPEN = ["healthz", "health", "openapi", "page", "page file"]  # to those without a key, too


def answered(client: FlaskClient, route: str, profile_id: str, headers: dict[str, str]) -> TestResponse:
    method, path = question(route, profile_id)
    return client.open(path, method=method, data=pprof() if method == "POST" else None, headers=headers)


def test_every_route_of_the_api_is_in_the_matrix(stored: tuple[FlaskClient, str]) -> None:
    covered = {
        stored[0].application.url_map.bind("localhost").match(path.partition("?")[0], method)[0]
        for method, path in (question(route, stored[1]) for route in [*ROUTES, *OPEN])
    }
    silent = {"symbolize"}  # they say nothing to anyone
    assert {rule.endpoint for rule in stored[0].application.url_map.iter_rules()} == covered | silent


@pytest.mark.parametrize("who", [*Scope, "all", "other", "expired", "wrong", "nobody"])
@pytest.mark.parametrize("route", ROUTES)
def test_nothing_is_answered_that_should_not_be(stored: tuple[FlaskClient, str], route: str, who: str) -> None:
    client, profile_id = stored
    secret = SECRETS.get(who, "a wrong key")
    response = answered(client, route, profile_id, {} if who == "nobody" else {"X-Api-Key": secret})
    scope, foreign = ROUTES[route]
    if who in ("expired", "wrong", "nobody"):
        expected = 401
    elif who == "other":
        expected = foreign
    else:
        # The same id twice is refused, but only to who may see it.
        expected = (400 if route == "ids" else 200) if scope is None or who in (scope, "all") else 403
    assert response.status_code == expected
    assert secret.encode() not in response.data
    if expected == 401:
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
        assert "https://x:KEY@host/" in response.json["error"]  # type: ignore[index]
    if expected == 403 and who != "other":
        assert f"has not the scope '{scope}'" in response.json["error"]  # type: ignore[index]
    if expected in (401, 403) and route not in ("post",):
        assert response.headers["X-Go-Pprof"] == "1"


@pytest.mark.parametrize("who", [*Scope, "all", "other", "expired", "wrong", "nobody"])
@pytest.mark.parametrize("route", OPEN)
def test_what_is_open_to_all_asks_nobody_for_a_key(stored: tuple[FlaskClient, str], route: str, who: str) -> None:
    headers = {} if who == "nobody" else {"X-Api-Key": SECRETS.get(who, "a wrong key")}
    response = answered(stored[0], route, stored[1], headers)
    assert response.status_code == 200
    assert SERVICE not in response.text


def test_services_lists_only_what_a_key_may_see(stored: tuple[FlaskClient, str]) -> None:
    client, _ = stored

    def seen(who: str) -> Any:
        return client.get("/api/0/services", headers={"X-Api-Key": SECRETS[who]}).json["body"]  # type: ignore[index]

    assert seen("read") == [SERVICE]
    assert seen("other") == ["billing-api"]
    assert seen("all") == ["billing-api", SERVICE]


def test_a_foreign_id_and_one_that_never_was_get_the_same_answer(stored: tuple[FlaskClient, str]) -> None:
    client, profile_id = stored
    headers = {"X-Api-Key": SECRETS["other"]}
    never = profile_id[:-4] + "0000"
    texts = {
        client.get(f"{PROFILES}/{one}", headers=headers).text.replace(one, "ID") for one in (profile_id, never)
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
def test_a_key_is_taken_in_each_of_its_places(stored: tuple[FlaskClient, str], headers: dict[str, str]) -> None:
    assert answered(stored[0], "find", stored[1], headers).status_code == 200


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
def test_nothing_else_opens(stored: tuple[FlaskClient, str], headers: dict[str, str]) -> None:
    assert answered(stored[0], "find", stored[1], headers).status_code == 401


def test_a_key_in_the_url_is_no_key(stored: tuple[FlaskClient, str]) -> None:
    assert stored[0].get(f"/api/0/services?key={SECRETS['all']}").status_code == 401


def test_no_key_appears_in_a_log(stored: tuple[FlaskClient, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for route, who in product(ROUTES, SECRETS):
            answered(stored[0], route, stored[1], {"Authorization": f"Bearer {SECRETS[who]}"})
    assert not [secret for secret in SECRETS.values() if secret in caplog.text]


class TestWithoutKeys:
    def ask(self, gate: Authenticator, environ: dict[str, str], host: str = "localhost", **headers: str) -> int:
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
    def test_the_machine_itself_is_served(self, host: str, remote: str) -> None:
        assert self.ask(Authenticator(), {"REMOTE_ADDR": remote}, host) == 200

    @pytest.mark.parametrize("remote", ["203.0.113.7", "10.0.0.1", "::ffff:10.0.0.1", "", "nonsense"])
    def test_others_are_not(self, remote: str) -> None:
        assert self.ask(Authenticator(), {"REMOTE_ADDR": remote}) == 401

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
    def test_nor_are_others_behind_a_proxy_on_the_machine(self, header: str) -> None:
        assert self.ask(Authenticator(), LOCAL, **{header: "203.0.113.7"}) == 401

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "2130706433"])
    def test_nor_is_a_page_in_the_machines_browser_that_gave_it_another_name(self, host: str) -> None:
        assert self.ask(Authenticator(), LOCAL, host) == 401

    def test_anyone_is_served_where_that_is_said(self) -> None:
        assert self.ask(Authenticator(anonymous=True), AFAR, "profiles.example") == 200


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", "not JSON at character 1"),
        ("{}", "not a list of keys"),
        ("[]", "not a list of keys"),
        ('["secret"]', "key 0: it needs a name"),
        (
            json.dumps([{"name": "a", "sha256": "00", "scopes": ["read"]}]),
            "key 0 (a): sha256 is not 64 hex digits",
        ),
        (json.dumps([{"name": "a", "sha256": 5, "scopes": ["read"]}]), "sha256 is not 64 hex digits"),
        (json.dumps([entry("a", [])]), "scopes is a list of write, read, admin"),
        (json.dumps([entry("a", ["root"])]), "scopes is a list of"),
        (json.dumps([entry("a", ["read"], [])]), "services is a list of patterns"),
        (json.dumps([entry("a", ["read"]), entry("a", ["write"])]), "two keys have one name"),
        (json.dumps([{**entry("a", ["read"]), "key": "secret"}]), "no such field: key"),
        (json.dumps([{**entry("a", ["read"]), "name": "a\nb"}]), "the name is not a text"),
    ],
)
def test_a_list_of_keys_that_makes_no_sense_is_refused_without_showing_it(text: str, sentence: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        ApiKeys.parse(text)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_new_secret_is_long_different_each_time_and_needs_no_escaping() -> None:
    secrets = {generate_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) > 40 and secret.replace("_", "").replace("-", "").isalnum() for secret in secrets)


def test_a_key_shows_neither_secret_nor_hash() -> None:
    assert hash_secret(SECRETS["read"]).hex() not in repr(KEYS)
    assert "sha256" not in repr(KEYS)
