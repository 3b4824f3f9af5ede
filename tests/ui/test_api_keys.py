"""With keys: asked for once, kept in the tab, sent as a header and nowhere else."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from profbucket.auth import hash_secret
from profbucket.pprof import decode
from tests.support.browser import Watched, post
from tests.support.go_tool import GoPprof
from tests.support.serving import served
from tests.ui.conftest import DATA, Opener, everything
from tests.ui.test_explore import SLOW, drawn
from tests.ui.test_leave import copied, typed

KEY, WRITER = "pb_reads-all-of-it", "pb_writes-only"
KEYS = [
    {"name": "reader", "sha256": hash_secret(KEY).hex(), "scopes": ["read"]},
    {"name": "writer", "sha256": hash_secret(WRITER).hex(), "scopes": ["write"]},
]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a collector with keys and the shop's CPU."""
    directory = tmp_path_factory.mktemp("keyed")
    with served(f"file://{directory}/profiles", directory / "log", PROFBUCKET_KEYS=json.dumps(KEYS)) as url:
        for file in DATA.glob("shop-*/cpu-[123].pb.gz"):
            version = file.parent.name.removeprefix("shop-")
            post(url, file.read_bytes(), WRITER, service="shop", type="cpu", version=version)
        yield url


def give(one: Watched, key: str) -> None:
    one.page.get_by_label("Key with the scope").fill(key)
    one.page.get_by_role("button", name="Look").click()


def test_a_key_is_asked_for_once_and_is_in_no_link(look: Opener, keyed: str) -> None:
    one = look(keyed, everything("cpu"))
    page = one.page
    asked: list[str] = []
    one.context.on("request", lambda request: asked.append(request.url))
    expect(page.get_by_role("dialog")).to_contain_text("asks for a key")
    one.shoot("key")
    assert one.faults() == []
    give(one, "wrong")
    expect(page.get_by_role("dialog")).to_contain_text("not known")
    give(one, KEY)
    expect(page.get_by_role("dialog")).to_have_count(0)
    drawn(page)
    page.reload()
    drawn(page)
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert not [url for url in [*asked, page.url] if KEY in url]
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"
    other = one.context.new_page()
    other.goto(page.url)
    expect(other.get_by_role("dialog")).to_be_visible()  # another tab asks again
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_key_for_something_else_is_told_what_it_lacks(look: Opener, keyed: str) -> None:
    one = look(keyed, everything("cpu"))
    give(one, WRITER)
    expect(one.page.get_by_role("alert").first).to_contain_text("has not the scope 'read'")
    expect(one.page.get_by_role("button", name="Forget key")).to_be_visible()


def test_the_command_names_a_variable_and_not_the_key(
    look: Opener, keyed: str, go_pprof: GoPprof, tmp_path: Path
) -> None:
    one = look(keyed, everything("cpu"))
    give(one, KEY)
    drawn(one.page)
    one.page.get_by_role("button", name="Copy go tool pprof command").click()
    command = copied(one.page)
    assert KEY not in command
    assert '"http://x:$PROFBUCKET_KEY@' in command
    assert SLOW in typed(go_pprof, tmp_path, command, "top 1", PROFBUCKET_KEY=KEY).check().text


def test_download_and_speedscope_bring_the_key(look: Opener, keyed: str, tmp_path: Path) -> None:
    one = look(keyed, everything("cpu"))
    give(one, KEY)
    drawn(one.page)
    with one.page.expect_download() as started:
        one.page.get_by_role("button", name="Download pprof").click()
    started.value.save_as(tmp_path / "got.pb.gz")
    assert decode((tmp_path / "got.pb.gz").read_bytes()).totals
    with one.context.expect_page() as opened:
        one.page.get_by_role("button", name="Open in speedscope").click()
    opened.value.get_by_text("Sandwich").click()
    expect(opened.value.get_by_text(SLOW).first).to_be_visible()
