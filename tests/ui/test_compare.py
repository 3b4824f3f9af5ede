"""Comparing two versions or two time ranges."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import WIDTHS, WatchedPage, drag, press, wait_for_frames, wait_until_drawn
from tests.ui.conftest import SLOW_FUNCTION, OpenPage
from tests.ui.table import first_rows, shop_report
from tests.ui.test_graph import zoom_to


def color_at(page: Page, y: int) -> tuple[int, int, int]:
    """Return red, green and blue of the flame graph in the row at *y*, at its right end, beyond any text."""
    red, green, blue, _ = page.locator(".flame canvas").evaluate(
        """(canvas, y) => {
            const pixel = [canvas.width - 30, Math.round(y * devicePixelRatio), 1, 1];
            return [...canvas.getContext("2d").getImageData(...pixel).data];
        }""",
        y,
    )
    return red, green, blue


def test_a_comparison_of_two_versions_shows_the_slower_function_first(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_label("Diff flame graph")).to_be_visible()
    wait_until_drawn(page)
    shop_page.screenshot("comparison")  # docs/page.png
    (after, total), (before, base_total) = shop_report("0.0.2"), shop_report("0.0.1")
    percent, base_percent = (
        100 * after[SLOW_FUNCTION].flat / total,
        100 * before[SLOW_FUNCTION].flat / base_total,
    )
    row = first_rows(page)[0]
    assert (row[4], row[0]) == (SLOW_FUNCTION, f"+{percent - base_percent:.1f}%")
    assert row[2:4] == [f"{base_percent:.1f}%", f"{percent:.1f}%"]
    zoom_to(page, SLOW_FUNCTION)
    expect(page.locator(".selected-frame")).to_contain_text("change")
    shop_page.screenshot("diff")
    y = page.locator(".outline.cursor").evaluate("outline => outline.offsetTop") + 9
    red, green, blue = color_at(page, y)
    assert red > max(green, blue) + 20
    page.get_by_role("button", name="Color-blind safe").click()
    expect(page.locator("tbody tr").first.locator(".bar").first).to_have_css(
        "background-color", "rgb(247, 220, 184)"
    )
    red, green, blue = color_at(page, y)
    assert red > green > blue + 20  # orange
    page.get_by_role("button", name="Absolute").click()
    page.get_by_role("button", name="Reset zoom").click()
    difference = after[SLOW_FUNCTION].flat - before[SLOW_FUNCTION].flat
    expect(page.locator("tbody tr").first.locator("td").first).to_have_text(f"+{difference / 1e6:.0f} ms")
    shop_page.screenshot("diff-color-blind-safe")
    page.get_by_role("button", name="Compare", exact=True).click()
    wait_until_drawn(page)
    expect(page.get_by_label("Diff flame graph")).to_have_count(0)
    expect(page.locator(".totals")).to_contain_text("in 6 profiles")
    expect(page.get_by_label("Group by", exact=True)).to_have_value("")
    expect(page).not_to_have_url(re.compile("labels="))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_has_room_for_names_in_every_window(shop_page: WatchedPage, width: int) -> None:
    page = shop_page.page
    page.set_viewport_size({"width": width, "height": 800})
    wait_until_drawn(page)
    page.get_by_role("button", name="Compare").click()
    wait_until_drawn(page)
    table, name = page.locator(".table"), page.locator("tbody td.name").first
    expect(page.get_by_role("columnheader", name="Function")).to_be_visible()
    wait_for_frames(page)
    assert name.evaluate("cell => cell.offsetWidth") >= 100
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth")
    shop_page.screenshot(f"comparison-{width}")


def test_two_graphs_are_side_by_side(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Side by side").click()
    base, comparison = (page.get_by_role("application", name=name) for name in ("Base", "Comparison"))
    expect(base).to_be_visible()
    comparison.focus()
    press(page, "Home", "ArrowDown", "ArrowDown", "Enter")
    expect(page).to_have_url(re.compile("zoom="))
    expect(page.locator(".selected-frame")).to_contain_text("of the zoomed frame")
    shop_page.screenshot("side-by-side")
    assert shop_page.accessibility_violations() == []
    expect(page).to_have_url(re.compile("side=1"))


def test_two_time_ranges_are_compared(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Remove version=0.0.1").click()
    page.get_by_role("button", name="Remove version=0.0.2").click()
    page.get_by_role("radio", name="base").check()
    drag(page, ".plot", 70, 80)
    page.mouse.up()
    expect(page.locator(".band.base rect")).to_be_visible()
    wait_until_drawn(page)
    expect(page.locator(".totals > span").first).to_contain_text("in 6 profiles")
    expect(page.locator(".totals > span").nth(1)).not_to_contain_text("in 6 profiles")
    shop_page.screenshot("comparison-of-times")


def test_the_url_restores_the_page(shop_page: WatchedPage, open_page: OpenPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Compare").click()
    wait_until_drawn(page)
    page.get_by_label("Search", exact=True).fill("main")
    for name in ("Color-blind safe", "Absolute", "Root at bottom"):
        page.get_by_role("button", name=name).click()
    page.locator(".flame canvas").focus()
    press(page, "Home", "ArrowUp", "Enter")
    expect(page).to_have_url(re.compile("zoom="))
    copy = open_page(shop_page.url, page.url.removeprefix(shop_page.url)).page
    wait_until_drawn(copy)
    expect(copy).to_have_url(page.url)
    for shown in (page, copy):
        expect(shown.get_by_label("Search", exact=True)).to_have_value("main")
        expect(shown.get_by_label("Matched percent")).to_contain_text("matched")
        expect(shown.get_by_role("button", name="Reset zoom")).to_be_visible()
        for name in ("Color-blind safe", "Absolute", "Root at bottom"):
            expect(shown.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
    assert first_rows(page) == first_rows(copy)
