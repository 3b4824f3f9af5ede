"""The web page's files: which roles serve them, with which headers, and nothing else."""

import gzip
import re
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from profbucket.api import page
from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.support.paths import ROOT
from tests.support.serving import send, served

UI = ROOT / "profbucket" / "ui"
NAMES = sorted(path.relative_to(UI).as_posix() for path in UI.rglob("*") if path.is_file())


def make_app(role: Role = Role.COLLECTOR, function_names: frozenset[str] = frozenset()) -> Flask:
    storage = open_storage("memory:")
    config = Config("memory:", function_names=function_names)
    return create_app(config, role, collector=Collector(storage), querier=Querier(storage))


def parse_policy(text: str) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in text.split("; "))


def test_all_files_are_text_of_a_known_type() -> None:
    """Files of other types would not be served, and terraform's archive can only hold text."""
    assert {Path(name).suffix for name in NAMES} == {".html", ".js", ".css", ".svg"}
    for name in NAMES:
        (UI / name).read_text(encoding="utf-8")
    assert set(NAMES) == set(page.files())


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_sent_unchanged_or_compressed(name: str) -> None:
    client = make_app().test_client()
    path = "/" if name == "index.html" else f"/ui/{name}"
    plain = client.get(path)
    assert plain.data == (UI / name).read_bytes()
    compressed = client.get(path, headers={"Accept-Encoding": "gzip, br"})
    assert gzip.decompress(compressed.data) == plain.data
    assert plain.headers["ETag"] != compressed.headers["ETag"]
    for response in (plain, compressed):
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", NAMES)
def test_a_cached_file_is_not_sent_again(name: str) -> None:
    client = make_app().test_client()
    etag = client.get(f"/ui/{name}").headers["ETag"]
    response = client.get(f"/ui/{name}", headers={"If-None-Match": etag})
    assert (response.status_code, response.data) == (304, b"")
    assert client.get(f"/ui/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_files_that_a_page_links_to_are_cached_forever() -> None:
    """Each link contains a digest of the content, so changed content has another URL."""
    client = make_app().test_client()
    for path, link_count in (("/", 3), ("/ui/speedscope/index.html", 2)):
        links = re.findall(r'(?:href|src)="([^"]*)"', client.get(path).text)
        assert len(links) == link_count
        directory = path.rpartition("/")[0]
        for link in links:
            response = client.get(f"{directory}/{link}")
            assert response.status_code == 200
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        outdated = client.get(f"{directory}/{links[0].partition('?')[0]}?v=0123456789abcdef")
        assert outdated.headers["Cache-Control"] == "no-cache"


def test_only_shipped_code_runs_and_nothing_is_sent_to_other_hosts() -> None:
    client = make_app().test_client()
    policy = parse_policy(client.get("/").headers["Content-Security-Policy"])
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    for name in NAMES:
        text = client.get(f"/ui/{name}").headers["Content-Security-Policy"]
        assert "http" not in text
        assert ("unsafe" in text) == name.startswith("speedscope/")
        assert parse_policy(text)["script-src"] in ("'self'", "'self' 'wasm-unsafe-eval'")


@pytest.mark.parametrize(
    "name",
    [
        "nope.js",
        "../api.py",
        "..%2fapi.py",
        "%2e%2e/page.py",
        "speedscope",
        "speedscope/",
        "APP.JS",
        "/etc/passwd",
    ],
)
def test_no_other_file_is_served(name: str) -> None:
    response = make_app().test_client().get(f"/ui/{name}")
    assert (response.status_code, response.get_json()["error_code"]) == (404, "unknown_route")


def test_a_function_name_without_a_slash_is_redirected() -> None:
    """The page's links are relative: without the slash they would point next to the function."""
    app = make_app(function_names=frozenset({"query"}))
    for uri, location in (
        ("/query", "./query/"),
        ("/query?service=a", "./query/?service=a"),
        ("/query/", None),
        ("/query/?service=a/b", None),
        ("/", None),
    ):
        environ = EnvironBuilder(path=uri.partition("?")[0]).get_environ()
        environ["RAW_URI"] = uri
        _, status, headers = run_wsgi_app(app, environ)
        assert (status[:3], headers.get("Location")) == ("308" if location else "200", location), uri


def test_only_query_and_collector_serve_the_page(tmp_path: Path) -> None:
    """The merge function's own URL is for `go tool pprof`, the write function's for agents."""
    for role, status in ((Role.MERGE, 400), (Role.WRITE, 405)):
        client = make_app(role).test_client()
        assert client.get("/").status_code == status
        assert client.get("/ui/app.js").status_code == 404
    storage_url = f"file://{tmp_path}/profiles"
    for target in ("query", "collector"):
        with served(storage_url, tmp_path / "log", target=target) as url:
            assert send(f"{url}/") == (200, (UI / "index.html").read_bytes())
            assert send(f"{url}/{target}/ui/app.js")[0] == 200


def test_the_page_is_small() -> None:
    """The limit is for compressed files without speedscope, which the page loads on demand."""
    sizes = [len(file.gzipped) for name, file in page.files().items() if not name.startswith("speedscope/")]
    assert sum(sizes) <= 300_000
