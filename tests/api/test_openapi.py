"""The OpenAPI document matches the API: schemathesis fuzzes the API with it and validates every response."""

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

from profbucket.api.app import create_app
from profbucket.api.openapi import render
from profbucket.api.routes import ROUTES, Role
from profbucket.auth import ApiKeys, Scope, hash_secret
from profbucket.config import Config
from profbucket.errors import ProfbucketError
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.model.form import PROFILES_PATH
from profbucket.model.labels import Labels
from profbucket.model.profile_type import COMMON_TYPES, ProfileType
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from tests.support.agents import push
from tests.support.api import TRACE, LinkedBucket, pprof
from tests.support.otlp import cpu_request

SECRET = "the-secret"
KEYS = ApiKeys.parse(json.dumps([{"name": "all", "sha256": hash_secret(SECRET).hex(), "scopes": list(Scope)}]))
DOCUMENT = "/api/0/openapi.json"

# A schema of the parameters cannot say that the body must be a pprof or that `from` is not after `to`. These two
# checks expect that it does.
INEXPRESSIBLE: list[CheckFunction] = [positive_data_acceptance, negative_data_rejection]

schemathesis.openapi.media_type(
    "application/octet-stream",
    st.sampled_from([pprof(), gzip.decompress(pprof(2)), pprof()[:-9], TRACE, b"", b"\x1f\x8b"]) | st.binary(),
)


schemathesis.openapi.media_type(
    "application/proto", st.sampled_from([push("api", "process_cpu", pprof()), b""]) | st.binary()
)

schemathesis.openapi.media_type(
    "application/x-protobuf", st.sampled_from([cpu_request({("a",): 1}).encode(), b""]) | st.binary()
)


def make_app(keys: ApiKeys | None = None, role: Role = Role.COLLECTOR) -> Flask:
    """Return a collector with profiles of the service ``api``; it answers large ones with a redirect."""
    limits = Limits(answer_bytes=400)
    storage = Storage(LinkedBucket(), open_storage("memory:").index)
    collector = Collector(storage, limits)
    for value in range(1, 4):
        collector.collect("api", ProfileType.CPU, Labels(), pprof(value, name="f" * 200 * value))
    return create_app(
        Config("memory:", limits, keys=keys),
        role,
        collector=collector,
        querier=Querier(storage, limits),
        compactor=Compactor(storage, limits),
    )


def document(config: Config, role: Role = Role.COLLECTOR) -> Any:
    return json.loads(render(config, ROUTES[role]))


PLAIN = {"Accept-Encoding": "identity"}  # schemathesis asks a WSGI application for gzip, but cannot read it

FUZZING = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)

anonymous = schemathesis.openapi.from_wsgi(DOCUMENT, make_app())
with_keys = schemathesis.openapi.from_wsgi(DOCUMENT, make_app(KEYS))
compaction = schemathesis.openapi.from_wsgi(DOCUMENT, make_app(role=Role.COMPACT))


@anonymous.parametrize()
@FUZZING
def test_every_response_matches_the_document(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(excluded_checks=INEXPRESSIBLE, headers=PLAIN)


@compaction.parametrize()
@settings(FUZZING, max_examples=5)
def test_every_response_of_compaction_matches_the_document(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(excluded_checks=INEXPRESSIBLE, headers=PLAIN)


@with_keys.parametrize()
@FUZZING
def test_every_response_to_a_key_matches_the_document(case: schemathesis.Case[Any]) -> None:
    # X-Api-Key is sent in addition to generated Authorization headers, which ignored_auth would take for accepted.
    case.call_and_validate(excluded_checks=[*INEXPRESSIBLE, ignored_auth], headers={**PLAIN, "X-Api-Key": SECRET})


@with_keys.parametrize()
@settings(FUZZING, max_examples=10)
def test_without_a_key_the_response_is_401_unless_the_operation_is_open(case: schemathesis.Case[Any]) -> None:
    response = case.call(headers=PLAIN)
    case.validate_response(response, excluded_checks=[*INEXPRESSIBLE, ignored_auth])
    if case.method == case.operation.method.upper():  # schemathesis tries others, too: 405, and 200 for OPTIONS
        secured = case.operation.definition.raw.get("security") != []
        assert response.status_code in ((401,) if secured else (200, 404))  # 404 for a missing file of the page


def rules(app: Flask) -> set[tuple[str, str]]:
    """Return the methods and paths of *app*'s routes, written as in the document."""
    return {
        (method.lower(), rule.rule.replace("<path:", "{").replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.mark.parametrize("role", Role)
def test_the_document_describes_exactly_the_routes_of_the_role(role: Role) -> None:
    app = make_app(role=role)
    paths = app.test_client().get(DOCUMENT).get_json()["paths"]
    assert {(method, path) for path, item in paths.items() for method in set(item) - {"parameters"}} == rules(app)


def test_the_bare_url_is_described_for_the_role_that_serves_it() -> None:
    summaries = {role: document(Config("memory:"), role)["paths"].get("/", {}) for role in Role}
    assert "Compact" in summaries[Role.COMPACT]["post"]["summary"]
    assert "Store" in summaries[Role.WRITE]["post"]["summary"]
    assert "Merge" in summaries[Role.MERGE]["get"]["summary"]
    assert "page" in summaries[Role.QUERY]["get"]["summary"]


def test_limits_and_types_are_filled_in() -> None:
    text = render(Config("memory:", Limits(labels=3, body_bytes=77)), ROUTES[Role.COLLECTOR])
    assert "${" not in text
    schemas = json.loads(text)["components"]["schemas"]
    assert schemas["Profile"]["properties"]["labels"]["maxItems"] == 3
    assert schemas["Profile"]["properties"]["size"]["maximum"] == 77
    assert ", ".join(COMMON_TYPES) in schemas["ProfileType"]["description"]


def test_the_status_of_every_error_is_documented() -> None:
    operations = [
        operation
        for item in document(Config("memory:"))["paths"].values()
        for name, operation in item.items()
        if name != "parameters"
    ]
    statuses = {status for operation in operations for status in operation["responses"]}
    assert statuses == {
        "200",
        "207",
        "302",
        "304",
        "409",
        *(str(cls.status) for cls in ProfbucketError.__subclasses__()),
    }


def test_security_is_documented_if_there_are_keys() -> None:
    without_keys = document(Config("memory:"))
    assert (without_keys["security"], without_keys["components"]["securitySchemes"]) == ([], {})
    with_keys = document(Config("memory:", keys=KEYS))
    schemes = {name for requirement in with_keys["security"] for name in requirement}
    assert schemes == set(with_keys["components"]["securitySchemes"])
    open_paths = {
        path
        for path, item in with_keys["paths"].items()
        if all(operation.get("security") == [] for name, operation in item.items() if name != "parameters")
    }
    assert {"/healthz", "/health", DOCUMENT, "/symbolz"} < open_paths
    assert not {path for path in open_paths if "profiles" in path and "{path}" not in path}


def test_the_examples_find_profiles() -> None:
    """Fuzzing starts from the examples, and would mostly see errors if they matched nothing."""
    app = make_app()
    described = document(Config("memory:"))
    shared = described["components"]["parameters"]
    for path in (
        PROFILES_PATH,
        f"{PROFILES_PATH}/merge",
        "/merge",
        f"{PROFILES_PATH}/flame",
        "/api/0/labels",
        "/api/0/series",
    ):
        listed = described["paths"][path]["get"]["parameters"]
        parameters = [shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in listed]
        query = {one["name"]: one["example"] for one in parameters if "example" in one}
        response = app.test_client().get(path, query_string={**query, "labels": ""})
        assert response.status_code in (200, 302), query
