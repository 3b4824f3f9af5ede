"""Web pages of other origins: which may read, and what they can read."""

import pytest
from werkzeug.test import TestResponse

from profbucket.api.app import create_app
from profbucket.config import Config
from profbucket.errors import Misconfigured
from profbucket.ingest.collector import Collector
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.api.test_services import KEYS
from tests.support.api import pprof

PAGE = "https://www.speedscope.app"
NOTEBOOK = "http://localhost:8888"
ORIGINS = frozenset({PAGE, NOTEBOOK})
PATHS = [
    "/merge?service=api&type=cpu&from=0",
    "/api/0/profiles?service=api&from=0",
    "/api/0/profiles?service=none&from=0",
    "/api/0/profiles?service=api",
    "/api/0/services",
    "/api/0/nothing",
    "/healthz",
    "/",
]


def request(
    path: str, method: str = "GET", *, key: str = "all", origins: frozenset[str] = ORIGINS, **headers: str
) -> TestResponse:
    storage = open_storage("memory:")
    config = Config("memory:", keys=KEYS, cors_origins=origins)
    client = create_app(config, collector=Collector(storage), querier=Querier(storage)).test_client()
    assert (
        client.post(
            f"{PATHS[1]}&type=cpu".replace("&from=0", ""), data=pprof(), headers={"X-Api-Key": "all"}
        ).status_code
        == 200
    )
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.open(path, method=method, headers={"Authorization": f"Bearer {key}", **names})


def cors_headers(response: TestResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("Access-Control-")}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("key", ["all", "unknown"])
def test_a_page_of_a_listed_origin_reads_answers_and_errors(path: str, method: str, key: str) -> None:
    plain = request(path, method, key=key, origins=frozenset())
    for origin in ORIGINS:
        response = request(path, method, key=key, Origin=origin)
        assert response.status_code == plain.status_code
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert "X-Profbucket-Damaged" in response.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "*", f"{PAGE}.evil.example", f"{PAGE}:444", ""]
)
def test_a_page_of_another_origin_reads_nothing(path: str, origin: str) -> None:
    assert not cors_headers(request(path, Origin=origin))
    preflight = request(path, "OPTIONS", Origin=origin, Access_Control_Request_Method="GET")
    assert not cors_headers(preflight)


@pytest.mark.parametrize("path", PATHS)
def test_responses_vary_by_origin(path: str) -> None:
    for origin in ("", PAGE, "https://evil.example"):
        response = request(path, Origin=origin) if origin else request(path)
        assert len(response.headers.getlist("Vary")) == 1
        assert "origin" in response.vary
    page = request("/", Accept_Encoding="gzip", Origin=PAGE)
    assert page.headers["Vary"] == "Accept-Encoding, Origin"


@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_needs_no_key_and_allows_keys_in_headers(path: str) -> None:
    response = request(
        path,
        "OPTIONS",
        key="",
        Origin=PAGE,
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="authorization",
    )
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert {"authorization", "x-api-key"} <= set(
        response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    )
    assert "origin" in response.vary


def test_posts_of_a_listed_origin_are_still_refused() -> None:
    response = request("/api/0/profiles?service=api&type=cpu", "POST", Origin=PAGE)
    assert response.status_code == 403
    assert not cors_headers(response)


@pytest.mark.parametrize("path", PATHS)
def test_without_the_setting_nothing_changes(path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        response = request(path, method, origins=frozenset(), Origin=PAGE, Access_Control_Request_Method="GET")
        assert not cors_headers(response)
        assert "origin" not in response.vary


def test_the_setting_is_a_list_of_origins() -> None:
    config = Config.from_env(
        {"STORAGE_URL": "memory:", "PROFBUCKET_CORS_ORIGINS": f" {PAGE}/, HTTP://LOCALHOST:8888,http://[::1]:80,,"}
    )
    assert config.cors_origins == ORIGINS | {"http://[::1]:80"}
    assert Config.from_env({"STORAGE_URL": "memory:"}).cors_origins == frozenset()


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "speedscope.app",
        "https://",
        "https://a/b",
        "ftp://a",
        "https://u@a",
        "https://*.a",
        "https://a:port",
    ],
)
def test_anything_else_is_not_an_origin(origin: str) -> None:
    with pytest.raises(Misconfigured, match="PROFBUCKET_CORS_ORIGINS"):
        Config.from_env({"STORAGE_URL": "memory:", "PROFBUCKET_CORS_ORIGINS": origin})
