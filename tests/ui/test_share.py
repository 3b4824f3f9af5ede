"""Leaving with what is looked at: a link, a command, a file, speedscope."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from profbucket.pprof import decode
from profbucket.pprof.merge import merge
from tests.support.browser import Watched
from tests.support.go_tool import GoPprof, Run
from tests.ui.conftest import DATA
from tests.ui.test_explore import SLOW, drawn


def copied(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def typed(go_pprof: GoPprof, directory: Path, command: str, *lines: str, **environment: str) -> Run:
    """Type *command* into a shell, and *lines* into the tool that it starts."""
    path = f"{go_pprof.go.path.parent}{os.pathsep}{os.environ['PATH']}"
    settings = {**go_pprof.go.environment, "PATH": path, "PPROF_TMPDIR": str(directory), **environment}
    settings["PPROF_BINARY_PATH"] = str(directory)
    done = subprocess.run(
        ["bash", "-c", command],
        env=settings,
        input="\n".join(lines).encode(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    return Run(("bash", command), done.returncode, done.stdout, done.stderr.decode())


def test_the_command_shows_the_same_in_gos_tool(shop: Watched, go_pprof: GoPprof, tmp_path: Path) -> None:
    page = shop.page
    drawn(page)
    page.get_by_role("button", name="Copy go tool pprof command").click()
    expect(page.get_by_text("The command copied")).to_be_visible()
    done = typed(go_pprof, tmp_path, copied(page), "top 1", "comments").check()
    assert SLOW in done.text
    assert "merged 6 profiles" in done.text


def test_the_command_of_a_difference_has_a_base(shop: Watched, go_pprof: GoPprof, tmp_path: Path) -> None:
    page = shop.page
    drawn(page)
    page.get_by_role("button", name="Compare").click()
    drawn(page)
    page.get_by_role("button", name="Copy go tool pprof command").click()
    command = copied(page)
    assert command.startswith("go tool pprof -sample_index=cpu -base 'http")
    assert command.count("http") == 2
    done = typed(go_pprof, tmp_path, command, "top 1", "comments").check()
    assert SLOW in done.text
    assert "version=0.0.1 merged 3" in done.text
    assert "version=0.0.2 merged 3" in done.text


def test_a_link_is_copied(shop: Watched) -> None:
    drawn(shop.page)
    shop.page.get_by_role("button", name="Copy link").click()
    expect(shop.page.get_by_text("The link copied")).to_be_visible()
    assert copied(shop.page) == shop.page.url


def test_the_download_is_the_merge(shop: Watched, tmp_path: Path) -> None:
    drawn(shop.page)
    with shop.page.expect_download() as started:
        shop.page.get_by_role("link", name="Download pprof").click()
    started.value.save_as(tmp_path / "got.pb.gz")
    files = [file.read_bytes() for file in DATA.glob("shop-*/cpu-[123].pb.gz")]
    assert decode((tmp_path / "got.pb.gz").read_bytes()).totals == decode(merge(files)).totals
    assert started.value.suggested_filename == "shop-cpu.pb.gz"


def test_speedscope_opens_with_the_merge_and_asks_no_other_host(shop: Watched) -> None:
    drawn(shop.page)
    with shop.context.expect_page() as opened:
        shop.page.get_by_role("button", name="Open in speedscope").click()
    other = opened.value
    expect(other.get_by_text("Left Heavy")).to_be_visible()
    other.get_by_text("Sandwich").click()
    expect(other.get_by_text(SLOW).first).to_be_visible()
    shop.page.wait_for_timeout(0)
    other.screenshot(path=str(Path(__file__).parent / "screenshots" / "speedscope.png"))
    assert other.url.startswith(f"{shop.url}/ui/speedscope/index.html#profileURL=blob")


@pytest.mark.parametrize(
    "value", ["it's", 'a "quote"', "$HOME `id` \\", "!bang*", "~tilde", "100%", "a,b=c", "größe"]
)
def test_any_label_gets_through_a_shell(shop: Watched, go_pprof: GoPprof, tmp_path: Path, value: str) -> None:
    """What is not there is a sentence of the collector's, which names it as it was typed."""
    page = shop.page
    page.get_by_role("button", name="+ label: Labels").click()
    page.get_by_label("Value", exact=True).fill(value)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text(
        f"version={value}".replace("%", "\N{FULLWIDTH PERCENT SIGN}")
    )
    page.get_by_role("button", name="Copy go tool pprof command").click()
    done = typed(go_pprof, tmp_path, copied(page), "top 1")
    told = json.dumps(f"version={value} ".replace("%", "\N{FULLWIDTH PERCENT SIGN}")).strip('"')
    assert told in done.stderr
