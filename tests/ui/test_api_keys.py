"""The page of a collector with API keys: it asks once, keeps the key in its tabs and sends it as a header only."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from profbucket.auth import hash_secret
from profbucket.pprof import decode
from tests.support.browser import WatchedPage, copied, post, wait_until_drawn
from tests.support.go_tool import GoPprof
from tests.support.paths import DATA
from tests.support.serving import served
from tests.ui.conftest import SLOW_FUNCTION, OpenPage, shop_path
from tests.ui.test_share import export, run_in_shell

READ_KEY, WRITE_KEY, SHOP_KEY = "pb_reads-everything", "pb_writes-only", "pb_reads-the-shop"
KEYS = [
    {"name": "reader", "sha256": hash_secret(READ_KEY).hex(), "scopes": ["read"]},
    {"name": "shop", "sha256": hash_secret(SHOP_KEY).hex(), "scopes": ["read"], "services": ["shop"]},
    {"name": "writer", "sha256": hash_secret(WRITE_KEY).hex(), "scopes": ["write"]},
]


@pytest.fixture(scope="module")
def keyed_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a collector with API keys and CPU profiles of the shop."""
    directory = tmp_path_factory.mktemp("keyed")
    with served(f"file://{directory}/profiles", directory / "log", PROFBUCKET_KEYS=json.dumps(KEYS)) as url:
        for file in DATA.glob("shop-*/cpu-[123].pb.gz"):
            version = file.parent.name.removeprefix("shop-")
            post(url, file.read_bytes(), WRITE_KEY, service="shop", type="cpu", version=version)
        yield url


def enter(watched: WatchedPage, api_key: str) -> None:
    watched.page.get_by_label("API key with the scope").fill(api_key)
    watched.page.get_by_role("button", name="Continue").click()


def test_a_key_is_asked_for_once_and_is_in_no_url(open_page: OpenPage, keyed_url: str) -> None:
    watched = open_page(keyed_url, shop_path("cpu"))
    page = watched.page
    urls: list[str] = []
    watched.context.on("request", lambda request: urls.append(request.url))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("requires an API key")
    watched.screenshot("api-key")
    assert watched.accessibility_violations() == []
    enter(watched, "wrong")
    expect(dialog).to_contain_text("unknown or was revoked")
    enter(watched, READ_KEY)
    expect(dialog).to_have_count(0)
    wait_until_drawn(page)
    page.reload()
    wait_until_drawn(page)
    expect(dialog).to_have_count(0)
    assert not [url for url in [*urls, page.url] if READ_KEY in url]
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"
    other_tab = watched.context.new_page()
    other_tab.goto(page.url)
    wait_until_drawn(other_tab)  # with the key of the first tab
    page.get_by_role("button", name="Forget API key").click()
    for tab in (page, other_tab):
        expect(tab.get_by_role("dialog")).to_be_visible()


def test_a_key_outside_of_its_services_is_refused_once(open_page: OpenPage, keyed_url: str) -> None:
    watched = open_page(keyed_url, "/?service=bank&type=cpu")
    enter(watched, SHOP_KEY)
    expect(watched.page.get_by_role("heading", name="Not allowed")).to_be_visible()
    expect(watched.page.get_by_role("alert")).to_have_count(1)
    expect(watched.page.get_by_role("link", name="All services")).to_be_visible()


def test_a_key_without_the_scope_is_reported(open_page: OpenPage, keyed_url: str) -> None:
    watched = open_page(keyed_url, shop_path("cpu"))
    enter(watched, WRITE_KEY)
    expect(watched.page.get_by_role("alert").first).to_contain_text("the scope 'read'")
    expect(watched.page.get_by_role("button", name="Forget API key")).to_be_visible()


def test_the_command_has_a_variable_for_the_key(
    open_page: OpenPage, keyed_url: str, go_pprof: GoPprof, tmp_path: Path
) -> None:
    watched = open_page(keyed_url, shop_path("cpu"))
    enter(watched, READ_KEY)
    wait_until_drawn(watched.page)
    command = copied(watched.page, "Copy go tool pprof command")
    assert READ_KEY not in command
    assert '"http://x:$PROFBUCKET_KEY@' in command
    run = run_in_shell(go_pprof, tmp_path, command, "top 1", PROFBUCKET_KEY=READ_KEY).check()
    assert SLOW_FUNCTION in run.text


def test_download_and_speedscope_send_the_key(open_page: OpenPage, keyed_url: str, tmp_path: Path) -> None:
    watched = open_page(keyed_url, shop_path("cpu"))
    enter(watched, READ_KEY)
    wait_until_drawn(watched.page)
    with watched.page.expect_download() as download:
        export(watched.page, "Download pprof")
    download.value.save_as(tmp_path / "downloaded.pb.gz")
    assert decode((tmp_path / "downloaded.pb.gz").read_bytes()).totals
    with watched.context.expect_page() as speedscope:
        export(watched.page, "Open in speedscope")
    speedscope.value.get_by_text("Sandwich").click()
    expect(speedscope.value.get_by_text(SLOW_FUNCTION).first).to_be_visible()
