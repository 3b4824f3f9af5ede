"""The OpenAPI document says what the API does, and the API does nothing else: schemathesis fuzzes it by that."""

import gzip
import json
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from profbucket.api.app import PROFILES, STATUS, create_app
from profbucket.auth import ApiKeys, Scope, hash_secret
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from tests.api.test_app import TRACE, LinkedBucket, pprof

SECRET = "the-key-that-opens"
KEYS = ApiKeys.parse(json.dumps([{"name": "all", "sha256": hash_secret(SECRET).hex(), "scopes": list(Scope)}]))
DOCUMENT = "/api/0/openapi.json"

# What makes a request valid, a schema of its parameters does not say: a body that is a pprof, a range that does
# not end before it begins. These two hold answers against it.
NOT_SAID: list[CheckFunction] = [positive_data_acceptance, negative_data_rejection]

schemathesis.openapi.media_type(
    "application/octet-stream",
    st.sampled_from([pprof(), gzip.decompress(pprof(2)), pprof()[:-9], TRACE, b"", b"\x1f\x8b"]) | st.binary(),
)


def make(keys: ApiKeys | None = None, bare: str | None = None) -> Flask:
    """A collector that holds profiles of the service ``api``, and has links for those that are large."""
    limits = Limits(answer_bytes=400)
    storage = Storage(LinkedBucket(), open_storage("memory:").index)
    collector = Collector(storage, limits)
    for value in range(1, 4):
        collector.collect("api", ProfileType.CPU, Labels(), pprof(value, name="f" * 200 * value))
    return create_app(
        Config("memory:", limits, keys=keys),
        collector=collector if bare != "merge" else None,
        querier=Querier(storage, limits) if bare != "write" else None,
        bare=bare,
    )


PLAIN = {"Accept-Encoding": "identity"}  # schemathesis asks a WSGI application for gzip, and cannot read it

OPEN, KEYED = make(), make(KEYS)
BOUNDED = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)

anyone = schemathesis.openapi.from_wsgi(DOCUMENT, OPEN)
keyed = schemathesis.openapi.from_wsgi(DOCUMENT, KEYED)


@anyone.parametrize()
@BOUNDED
def test_whatever_is_asked_is_answered_as_the_document_says(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(excluded_checks=NOT_SAID, headers=PLAIN)


@keyed.parametrize()
@BOUNDED
def test_so_it_is_with_a_key(case: schemathesis.Case[Any]) -> None:
    # The key is beside what is made up for an Authorization header, which would therefore seem to open, too.
    case.call_and_validate(excluded_checks=[*NOT_SAID, ignored_auth], headers={**PLAIN, "X-Api-Key": SECRET})


@keyed.parametrize()
@settings(BOUNDED, max_examples=10)
def test_without_a_key_it_is_401_or_open_to_all(case: schemathesis.Case[Any]) -> None:
    response = case.call(headers=PLAIN)
    case.validate_response(response, excluded_checks=[*NOT_SAID, ignored_auth])
    if case.method == case.operation.method.upper():  # it tries others, too: 405, and 200 for OPTIONS
        secured = case.operation.definition.raw.get("security") != []
        assert response.status_code in ((401,) if secured else (200, 404))  # a file of the page that is none


@pytest.fixture(scope="module")
def described() -> Any:
    return OPEN.test_client().get(DOCUMENT).json


def rules(app: Flask) -> set[tuple[str, str]]:
    """What *app* answers, as the document writes it."""
    return {
        (
            method.lower(),
            rule.rule.replace("<path:ids>", "{ids}")
            .replace("<path:_>", "{path}")
            .replace("<path:name>", "{name}"),
        )
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.mark.parametrize("bare", [None, "write", "merge"])
def test_every_route_is_described_and_no_other(bare: str | None) -> None:
    app = make(bare=bare)
    paths = app.test_client().get(DOCUMENT).get_json()["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} == rules(app)


def test_the_caps_and_types_are_those_in_force() -> None:
    told = create_app(Config("memory:", Limits(labels=3, body_bytes=77))).test_client().get(DOCUMENT).get_json()
    schemas = told["components"]["schemas"]
    assert schemas["Profile"]["properties"]["labels"]["maxItems"] == 3
    assert schemas["Profile"]["properties"]["size"]["maximum"] == 77
    assert schemas["ProfileType"]["enum"] == list(ProfileType)


def test_every_error_is_described_somewhere_by_its_status(described: Any) -> None:
    operations = [one for methods in described["paths"].values() for one in methods.values()]
    told = {status for operation in operations for status in operation["responses"]}
    assert told == {"200", "302", *(str(status) for status in STATUS.values())}


def test_keys_are_asked_for_where_there_are_some(described: Any) -> None:
    assert (described["security"], described["components"]["securitySchemes"]) == ([], {})
    told = KEYED.test_client().get(DOCUMENT).get_json()
    assert {name for one in told["security"] for name in one} == set(told["components"]["securitySchemes"])
    open_to_all = {
        path for path, methods in told["paths"].items() if next(iter(methods.values())).get("security") == []
    }
    assert {"/healthz", "/health", DOCUMENT, "/symbolz"} < open_to_all
    assert not {path for path in open_to_all if "profiles" in path and "{path}" not in path}


def test_examples_of_the_document_find_what_is_stored(described: Any) -> None:
    """Without them the fuzzing might see nothing but refusals."""
    client = OPEN.test_client()
    for path in (PROFILES, f"{PROFILES}/merge", "/merge", f"{PROFILES}/flame", "/api/0/labels", "/api/0/series"):
        parameters = described["paths"][path]["get"]["parameters"]
        query = {one["name"]: one["example"] for one in parameters if "example" in one}
        assert client.get(path, query_string={**query, "labels": ""}).status_code in (200, 302), query
