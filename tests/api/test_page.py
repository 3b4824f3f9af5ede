"""The page's files as they are served: by whom, with which headers, and nothing beside them."""

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
from tests.support.serving import served
from tests.test_functions import ask

UI = ROOT / "profbucket" / "ui"
NAMES = sorted(path.relative_to(UI).as_posix() for path in UI.rglob("*") if path.is_file())


def app(role: Role = Role.COLLECTOR, names: frozenset[str] = frozenset()) -> Flask:
    storage = open_storage("memory:")
    return create_app(
        Config("memory:", function_names=names), role, collector=Collector(storage), querier=Querier(storage)
    )


def policy(text: str) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in text.split("; "))


def test_all_files_are_text_of_a_known_type() -> None:
    """Others would not be served, and terraform's archive could not hold them."""
    assert {Path(name).suffix for name in NAMES} == {".html", ".js", ".css", ".svg"}
    for name in NAMES:
        (UI / name).read_text(encoding="utf-8")
    assert set(NAMES) == set(page.files())


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_sent_as_it_is_and_compressed(name: str) -> None:
    client = app().test_client()
    path = "/" if name == "index.html" else f"/ui/{name}"
    plain = client.get(path)
    assert plain.data == (UI / name).read_bytes()
    small = client.get(path, headers={"Accept-Encoding": "gzip, br"})
    assert gzip.decompress(small.data) == plain.data
    assert plain.headers["ETag"] != small.headers["ETag"]
    for answer in (plain, small):
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_known_is_not_sent_again(name: str) -> None:
    client = app().test_client()
    first = client.get(f"/ui/{name}")
    again = client.get(f"/ui/{name}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get(f"/ui/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


def test_what_the_pages_refer_to_is_theirs_and_may_be_kept_for_ever() -> None:
    """All are named with the digest of their content: another content has another name."""
    client = app().test_client()
    for path, least in (("/", 3), ("/ui/speedscope/index.html", 2)):
        html = client.get(path).text
        named = re.findall(r'(?:href|src)="([^"]*)"', html)
        assert len(named) == least
        for name in named:
            answer = client.get(f"{path.rpartition('/')[0]}/{name}")
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        stale = client.get(f"{path.rpartition('/')[0]}/{named[0].partition('?')[0]}?v=0123456789abcdef")
        assert stale.headers["Cache-Control"] == "no-cache"


def test_nothing_runs_but_what_we_ship_and_nothing_is_sent_elsewhere() -> None:
    client = app().test_client()
    strict = policy(client.get("/").headers["Content-Security-Policy"])
    assert strict["default-src"] == "'none'"
    assert strict["frame-ancestors"] == strict["base-uri"] == strict["form-action"] == "'none'"
    assert {strict[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    for name in NAMES:
        text = client.get(f"/ui/{name}").headers["Content-Security-Policy"]
        assert "http" not in text
        assert ("unsafe" in text) == name.startswith("speedscope/")
        assert policy(text)["script-src"] in ("'self'", "'self' 'wasm-unsafe-eval'")


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
def test_there_is_nothing_else_there(name: str) -> None:
    answer = app().test_client().get(f"/ui/{name}")
    assert answer.status_code == 404
    assert answer.json is not None


def test_a_functions_name_without_a_slash_is_led_to_one() -> None:
    """What the page refers to is relative; it would be looked for beside the function."""
    wrapped = app(names=frozenset({"query"}))
    for raw, location in (
        ("/query", "./query/"),
        ("/query?service=a", "./query/?service=a"),
        ("/query/", None),
        ("/query/?service=a/b", None),
        ("/", None),
    ):
        environ = EnvironBuilder(path=raw.partition("?")[0]).get_environ()
        environ["RAW_URI"] = raw
        _, status, headers = run_wsgi_app(wrapped, environ)
        assert (status[:3], headers.get("Location")) == ("308" if location else "200", location), raw


def test_functions_that_do_another_job_have_no_page(tmp_path: Path) -> None:
    """The merge function's bare URL stays what `go tool pprof` is pointed at."""
    for role, status in ((Role.MERGE, 400), (Role.WRITE, 405)):
        client = app(role).test_client()
        assert client.get("/").status_code == status
        assert client.get("/ui/app.js").status_code == 404
    storage = f"file://{tmp_path}/profiles"
    for target in ("query", "collector"):
        with served(storage, tmp_path / "log", target=target) as url:
            status, html = ask(f"{url}/")
            assert (status, html) == (200, (UI / "index.html").read_bytes())
            assert ask(f"{url}/{target}/ui/app.js")[0] == 200


def test_the_page_weighs_little() -> None:
    """Compressed, and without speedscope, which is fetched when it is asked for."""
    own = [file.gzipped for name, file in page.files().items() if not name.startswith("speedscope/")]
    assert sum(map(len, own)) <= 300_000
