"""Taking the selected profiles elsewhere: by a link, a command, a download, in speedscope."""

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Page, Route, expect

from profbucket.pprof import decode
from profbucket.pprof.merge import merge
from profbucket.times import SECOND, parse_time
from tests.support.browser import WatchedPage, copied, wait_until_drawn
from tests.support.go_tool import GoPprof, Run
from tests.support.paths import DATA
from tests.ui.conftest import SLOW_FUNCTION, OpenPage
from tests.ui.table import shop_report


def export(page: Page, name: str) -> None:
    """Choose *name* in the menu of exports."""
    page.locator(".export summary").click()
    page.locator(".export .menu").get_by_text(name).click()


def run_in_shell(go_pprof: GoPprof, directory: Path, command: str, *lines: str, **environment: str) -> Run:
    """Run *command* in a shell, with *lines* as its input."""
    path = f"{go_pprof.go.path.parent}{os.pathsep}{os.environ['PATH']}"
    pprof_directories = {"PPROF_TMPDIR": str(directory), "PPROF_BINARY_PATH": str(directory)}
    result = subprocess.run(
        ["bash", "-c", command],
        env={**go_pprof.go.environment, **pprof_directories, "PATH": path, **environment},
        input="\n".join(lines).encode(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    return Run(("bash", command), result.returncode, result.stdout, result.stderr.decode())


def test_the_command_opens_the_same_merge_in_pprof(
    shop_page: WatchedPage, go_pprof: GoPprof, tmp_path: Path
) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    command = copied(page, "Copy go tool pprof command")
    expect(page.get_by_text("Command copied")).to_be_visible()
    run = run_in_shell(go_pprof, tmp_path, command, "top 1", "comments").check()
    assert SLOW_FUNCTION in run.text
    assert "merged 6 profiles" in run.text


def test_the_command_of_a_diff_has_a_base(shop_page: WatchedPage, go_pprof: GoPprof, tmp_path: Path) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Compare").click()
    wait_until_drawn(page)
    command = copied(page, "Copy go tool pprof command")
    assert command.startswith("go tool pprof -sample_index=cpu -base 'http")
    assert command.count("http") == 2
    run = run_in_shell(go_pprof, tmp_path, command, "top 1", "comments").check()
    assert SLOW_FUNCTION in run.text
    assert "version=0.0.1 merged 3" in run.text
    assert "version=0.0.2 merged 3" in run.text


def test_a_link_is_copied(shop_page: WatchedPage) -> None:
    wait_until_drawn(shop_page.page)
    link = urlsplit(copied(shop_page.page, "Copy link"))
    assert {**parse_qs(link.query), "sample": None} == {
        **parse_qs(urlsplit(shop_page.page.url).query),
        "sample": None,
    }


def test_a_link_keeps_its_meaning_and_copying_it_moves_nothing(open_page: OpenPage, shop_url: str) -> None:
    page = open_page(shop_url, "/?service=shop&type=cpu&from=now-2h").page
    expect(page.get_by_role("alert")).to_be_visible()
    page.wait_for_load_state("networkidle")
    before = page.locator(".toolbar").bounding_box()
    query = parse_qs(urlsplit(copied(page, "Copy link")).query)
    expect(page.get_by_text("Link copied")).to_be_visible()
    assert page.locator(".toolbar").bounding_box() == before
    first, last = (parse_time(query[name][0], 0) for name in ("from", "to"))
    assert last - first == 2 * 3600 * SECOND


def test_the_download_is_the_merge(shop_page: WatchedPage, tmp_path: Path) -> None:
    wait_until_drawn(shop_page.page)
    with shop_page.page.expect_download() as download:
        export(shop_page.page, "Download pprof")
    download.value.save_as(tmp_path / "downloaded.pb.gz")
    files = [file.read_bytes() for file in DATA.glob("shop-*/cpu-[123].pb.gz")]
    assert decode((tmp_path / "downloaded.pb.gz").read_bytes()).totals == decode(merge(files)).totals
    assert download.value.suggested_filename == "shop-cpu.pb.gz"


@pytest.mark.parametrize(
    ("name", "suffix", "content"),
    [
        ("Collapsed stacks", ".collapsed.txt", SLOW_FUNCTION),
        ("speedscope file", ".speedscope.json", '"$schema"'),
        ("Flame graph, offline page", ".html", "<html"),
    ],
)
def test_the_merge_is_exported(
    shop_page: WatchedPage, tmp_path: Path, name: str, suffix: str, content: str
) -> None:
    wait_until_drawn(shop_page.page)
    with shop_page.page.expect_download() as download:
        export(shop_page.page, name)
    download.value.save_as(tmp_path / "downloaded")
    assert download.value.suggested_filename == f"shop-cpu{suffix}"
    assert content in (tmp_path / "downloaded").read_text()


def save_image(page: Page, name: str, directory: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save {name}").click()
    file = directory / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_the_flame_graph_is_saved_as_images(shop_page: WatchedPage, tmp_path: Path) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    png, svg = (save_image(page, name, tmp_path) for name in ("PNG", "SVG"))
    assert (png.name, svg.name) == ("shop-cpu.png", "shop-cpu.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    texts, titles = read_svg(svg)
    assert texts[0] == "shop cpu cpu"
    assert texts[1].startswith("5.94 s, sum of 6 profiles, 2026-11-23T01:23:06 to ")
    assert f"{SLOW_FUNCTION}, 3.13 s, 52.7%" in titles


@pytest.mark.parametrize("side_by_side", [False, True])
def test_images_of_a_comparison_hold_both_sides(
    shop_page: WatchedPage, tmp_path: Path, side_by_side: bool
) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Compare").click()
    if side_by_side:
        page.get_by_role("button", name="Side by side").click()
    wait_until_drawn(page)
    assert save_image(page, "PNG", tmp_path).read_bytes().startswith(b"\x89PNG")
    texts, titles = read_svg(save_image(page, "SVG", tmp_path))
    assert [text.partition(":")[0] for text in texts[1:3]] == ["comparison", "base"]
    assert "version=0.0.2" in texts[1]
    assert "version=0.0.1" in texts[2]
    assert ("Base" in texts, "Comparison" in texts) == (side_by_side, side_by_side)
    reports = [shop_report(version) for version in ("0.0.2", "0.0.1")]
    slow = next(title for title in titles if title.startswith(f"{SLOW_FUNCTION}, "))
    assert re.findall(r"[\d.]+%", slow) == [
        f"{100 * rows[SLOW_FUNCTION].cum / total:.1f}%" for rows, total in reports
    ]


def read_svg(file: Path) -> tuple[list[str], list[str]]:
    """Return the texts and the tooltips of an image."""
    root = ElementTree.parse(file).getroot()
    texts, titles = (list(root.iter(f"{{http://www.w3.org/2000/svg}}{tag}")) for tag in ("text", "title"))
    return [text.text or "" for text in texts], [title.text or "" for title in titles]


def test_a_comparison_is_exported_by_side_and_as_both(shop_page: WatchedPage, tmp_path: Path) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Compare").click()
    wait_until_drawn(page)
    totals = []
    for side in ("Comparison", "Base"):
        page.locator(".export summary").click()
        shop_page.screenshot("export-of-comparison")
        with page.expect_download() as download:
            page.get_by_role("group", name=side, exact=True).get_by_text("Download pprof").click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
        totals.append(decode((tmp_path / download.value.suggested_filename).read_bytes()).totals)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["shop-cpu-base.pb.gz", "shop-cpu.pb.gz"]
    for version, total in zip(("0.0.2", "0.0.1"), totals, strict=True):
        files = [file.read_bytes() for file in DATA.glob(f"shop-{version}/cpu-[123].pb.gz")]
        assert total == decode(merge(files)).totals
    with page.expect_download() as download:
        export(page, "Collapsed stacks, two values")
    assert download.value.suggested_filename == "shop-cpu-both.collapsed.txt"
    download.value.save_as(tmp_path / "both")
    lines = [line.rsplit(" ", 2) for line in (tmp_path / "both").read_text().splitlines()]
    slow = [(int(base), int(comparison)) for stack, base, comparison in lines if stack.endswith(SLOW_FUNCTION)]
    (after, _), (before, _) = shop_report("0.0.2"), shop_report("0.0.1")
    assert [sum(side) for side in zip(*slow, strict=True)] == [
        before[SLOW_FUNCTION].flat,
        after[SLOW_FUNCTION].flat,
    ]


def test_speedscope_opens_the_merge_without_requests_to_other_hosts(shop_page: WatchedPage) -> None:
    wait_until_drawn(shop_page.page)
    with shop_page.context.expect_page() as opened:
        export(shop_page.page, "Open in speedscope")
    speedscope = opened.value
    expect(speedscope.get_by_text("Left Heavy")).to_be_visible()
    speedscope.get_by_text("Sandwich").click()
    expect(speedscope.get_by_text(SLOW_FUNCTION).first).to_be_visible()
    page = f"{shop_page.url}/ui/speedscope/index.html#view=left-heavy&profileURL=blob"
    expect(speedscope).to_have_url(re.compile(re.escape(page)))


@pytest.mark.parametrize(
    "value", ["it's", 'a "quote"', "$HOME `id` \\", "!bang*", "~tilde", "100%", "a,b=c", "größe"]
)
def test_a_shell_does_not_change_a_label(
    shop_page: WatchedPage, go_pprof: GoPprof, tmp_path: Path, value: str
) -> None:
    """No profile has the label, and the collector's error names it, on the page and in pprof's output."""
    page = shop_page.page
    page.get_by_role("button", name="+ label: Labels").click()
    page.get_by_label("Value", exact=True).fill(value)
    page.get_by_role("button", name="Add", exact=True).click()
    label = f"version={value}".replace("%", "\N{FULLWIDTH PERCENT SIGN}")
    expect(page.get_by_role("alert")).to_contain_text(label)
    run = run_in_shell(go_pprof, tmp_path, copied(page, "Copy go tool pprof command"), "top 1")
    assert json.dumps(label).strip('"') in run.stderr


def test_labels_can_be_added_once_their_keys_are_known(shop_page: WatchedPage) -> None:
    """The editor begins with the service's first label, however late the collector answers."""
    page = shop_page.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/0/labels*", hold)
    with page.expect_request("**/api/0/labels*"):
        page.reload()
    button = page.get_by_role("button", name="+ label: Labels")
    expect(button).to_be_disabled()
    held.pop().continue_()
    button.click()
    expect(page.get_by_label("Label", exact=True)).to_have_value("version")
