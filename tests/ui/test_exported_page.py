"""A merge as a page and as an image, in a browser."""

from contextlib import closing
from pathlib import Path

from playwright.sync_api import Browser, expect

from profbucket.model.merge_format import MergeFormat
from profbucket.pprof.export.convert import convert
from tests.support.paths import DATA
from tests.ui.conftest import SLOW_FUNCTION, OpenPage

MERGE = "/api/0/profiles/merge?service=shop&type=cpu&from=0"


def test_the_page_searches_and_zooms(shop_url: str, open_page: OpenPage) -> None:
    watched = open_page(shop_url, f"{MERGE}&format=html")
    page = watched.page
    boxes = page.locator("svg g:visible")
    whole = boxes.count()
    assert whole > 50
    watched.screenshot("exported-page")
    page.get_by_label("Search").fill(SLOW_FUNCTION.upper())
    expect(page.locator("#matched")).not_to_have_text("0 frames")
    expect(page.locator("g.found").first).to_contain_text(SLOW_FUNCTION)
    box = page.locator("g.found").first
    box.click()
    expect(box.locator("rect")).to_have_attribute("width", "1200.00")
    assert 1 < boxes.count() < whole
    page.get_by_role("button", name="Whole graph").click()
    expect(boxes).to_have_count(whole)


def test_the_page_works_as_a_file_without_a_network(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "shop.html"
    file.write_bytes(convert((DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes(), MergeFormat.HTML, 5000))
    with closing(browser.new_context(offline=True)) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        page.get_by_label("Search").fill("main")
        expect(page.locator("g.found").first).to_be_visible()


def test_an_image_is_shown(shop_url: str, open_page: OpenPage) -> None:
    page = open_page(shop_url, f"{MERGE}&format=svg").page
    expect(page.locator("g", has_text="(all): ").first).to_be_visible()
