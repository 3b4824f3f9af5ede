"""A post is answered without Flask's dispatch, as Flask would answer it."""

import gzip
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from profbucket.api.routes import Role
from profbucket.auth import ApiKey, ApiKeys, Scope, hash_secret
from profbucket.limits import Limits
from profbucket.model.form import PROFILES_PATH
from profbucket.storage.open import open_storage
from tests.support.api import Api, pprof

KEYS = ApiKeys(
    (
        ApiKey("writer", hash_secret("w"), frozenset({Scope.WRITE}), ("api",)),
        ApiKey("reader", hash_secret("r"), frozenset({Scope.READ})),
    )
)
QUERY = {"service": "api", "type": "cpu", "labels": "v=1"}
KEY = {"X-Api-Key": "w"}

# Requests: their query, headers and body.
REQUESTS: dict[str, tuple[Mapping[str, str], Mapping[str, str], bytes]] = {
    "valid": (QUERY, KEY, pprof()),
    "bearer": (QUERY, {"Authorization": "Bearer w"}, pprof()),
    "basic": (QUERY, {"Authorization": "Basic eDp3"}, pprof()),
    "encoded": (QUERY, {**KEY, "Content-Encoding": "gzip"}, gzip.compress(pprof())),
    "with a time": ({**QUERY, "created_at": "now-5m"}, KEY, pprof()),
    "no key": (QUERY, {}, pprof()),
    "another scope": (QUERY, {"X-Api-Key": "r"}, pprof()),
    "another service": ({**QUERY, "service": "web"}, KEY, pprof()),
    "another site": (QUERY, {**KEY, "Origin": "https://example.com"}, pprof()),
    "no service": ({"type": "cpu"}, KEY, pprof()),
    "a reserved parameter": ({**QUERY, "from": "now"}, KEY, pprof()),
    "an invalid type": ({**QUERY, "type": "CPU!"}, KEY, pprof()),
    "an unknown encoding": (QUERY, {**KEY, "Content-Encoding": "br"}, pprof()),
    "not a pprof": (QUERY, KEY, b"hello"),
    "empty": (QUERY, KEY, b""),
    "too large": (QUERY, KEY, bytes(3000)),
}


def environ(name: str, path: str = PROFILES_PATH) -> dict[str, Any]:
    query, headers, data = REQUESTS[name]
    return EnvironBuilder(
        path, query_string=query, method="POST", headers=[*headers.items()], data=data
    ).get_environ()


def answer(app: Flask, name: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return the response of the whole application."""
    head: list[Any] = []
    chunks = app.wsgi_app(environ(name), lambda *arguments: head.extend(arguments))  # type: ignore[arg-type]
    return head[0], sorted(head[1]), b"".join(chunks)


@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_that_of_flask(name: str) -> None:
    api = Api(open_storage("memory:"), Limits(body_bytes=2000), keys=KEYS)
    status, headers, data = answer(api.app, name)
    with api.app.request_context(environ(name)):
        response = api.app.full_dispatch_request()
    assert (status, headers, data) == (
        response.status,
        sorted(response.headers.to_wsgi_list()),
        response.get_data(),
    )


def test_no_other_request_is_answered_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(open_storage("memory:"))
    dispatched = []
    dispatch = Flask.full_dispatch_request

    def note(app: Flask) -> Any:
        dispatched.append(1)
        return dispatch(app)

    monkeypatch.setattr(Flask, "full_dispatch_request", note)
    assert api.post(pprof()).status_code == 200
    assert not dispatched
    for method, path in [
        ("GET", PROFILES_PATH),
        ("PUT", PROFILES_PATH),
        ("POST", f"{PROFILES_PATH}/"),
        ("POST", "/"),
    ]:
        api.client.open(path, method=method)
    assert len(dispatched) == 4


def test_the_write_function_answers_posts_to_its_own_path() -> None:
    api = Api(open_storage("memory:"), role=Role.WRITE)
    assert api.client.post("/", query_string=QUERY, data=pprof()).status_code == 200


def test_an_unexpected_error_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def collect(self, *arguments: object) -> None:
            raise RuntimeError("broken")

    api = Api(open_storage("memory:"), collector=Broken())
    with caplog.at_level(logging.ERROR):
        response = api.post(pprof())
    assert (response.status_code, response.json and response.json["error_code"]) == (500, "internal")
    assert "POST /api/0/profiles failed" in caplog.text


def test_posts_are_counted_under_their_route() -> None:
    api = Api(open_storage("memory:"))
    api.post(pprof())
    api.post(b"hello")
    text = api.get("/metrics").text
    assert 'route="/api/0/profiles"' in text
    assert 'status="400"' in text
