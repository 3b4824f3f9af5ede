"""Grafana's own flame graph, drawn from the answer to its data source."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from profbucket.pprof import decode
from tests.support.browser import WatchedPage, wait_for_colors
from tests.support.cache import cached, run
from tests.support.go_tool import GoPprof
from tests.support.paths import DATA, ROOT
from tests.ui.conftest import SLOW_FUNCTION

SOURCES = ROOT / "tests" / "ui" / "grafana"
FILES = sorted(DATA.glob("shop-*/cpu-[123].pb.gz"))
_TIMEOUT_MILLISECONDS = 120_000  # for Grafana to start: it is 6 MB of scripts
HTML = (
    '<!doctype html><link rel="stylesheet" href="/grafana/bundle.css"><title>Grafana</title>'
    '<body><div id="root"></div><script src="/grafana/bundle.js"></script>'
)


@pytest.fixture(scope="module")
def bundle() -> Path:
    """Return the directory with Grafana's component, which the first call installs from npm."""

    def install(directory: Path) -> None:
        for name in ("package.json", ".npmrc"):
            shutil.copy(SOURCES / name, directory)
        run("npm", "install", "--silent", "--prefix", str(directory))

    modules = cached("grafana-flamegraph", (SOURCES / "package.json").read_text(), install)
    sources = shutil.copytree(SOURCES, modules / "sources", dirs_exist_ok=True)
    run("node", str(sources / "build.mjs"), str(modules / "out"))
    return modules / "out"


@pytest.fixture
def page(browser: Browser, shop_url: str, bundle: Path) -> Iterator[Page]:
    """Yield a page of the collector's origin that has Grafana's component."""

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name == "grafana":
            route.fulfill(body=HTML, content_type="text/html")
        else:
            route.fulfill(path=bundle / name)

    watched = WatchedPage.open(browser, shop_url)
    watched.page.route(f"{shop_url}/grafana*", answer)
    watched.page.route(f"{shop_url}/grafana/*", answer)
    watched.page.goto(f"{shop_url}/grafana", timeout=_TIMEOUT_MILLISECONDS)
    yield watched.page
    watched.context.close()


def show(page: Page, **fields: Any) -> list[dict[str, Any]]:
    """Draw the flame graph of the shop's CPU time and return its nodes."""
    times = [decode(file.read_bytes()).time_nanos // 10**6 for file in FILES]
    request = {
        "profileTypeID": "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
        "labelSelector": '{service_name="shop"}',
        "start": min(times) - 1,
        "end": max(times) + 1,
        **fields,
    }
    nodes: list[dict[str, Any]] = page.evaluate("request => window.showFlameGraph(request)", request)
    return nodes


def test_the_flame_graph_and_its_table(page: Page, go_pprof: GoPprof, tmp_path: Path) -> None:
    nodes = show(page)
    root = nodes[0]
    assert (root["level"], root["label"]) == (0, "total")
    assert sum(node["self"] for node in nodes) == root["value"]
    # The table has the flat and the cumulative value of each function, as pprof.
    row = page.get_by_role("row").filter(has_text=SLOW_FUNCTION).first
    expect(row).to_be_visible()
    top = go_pprof("-top", "-unit=s", f"-focus={SLOW_FUNCTION}", *FILES).check().text
    [line] = [line for line in top.splitlines() if line.endswith(f" {SLOW_FUNCTION}")]
    flat, _, _, cum, *_ = line.split()
    for text in (flat, cum):
        expect(row).to_contain_text(text.removesuffix("s").rstrip("0").rstrip("."))
    wait_for_colors(page.locator("canvas").first, 10)
    page.screenshot(path=tmp_path / "grafana.png")
    assert (tmp_path / "grafana.png").stat().st_size > 20_000


def test_folded_frames(page: Page) -> None:
    nodes = show(page, maxNodes=5)
    assert "other" in {node["label"] for node in nodes}
    expect(page.get_by_role("row").filter(has_text="other").first).to_be_visible()
