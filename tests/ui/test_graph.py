"""The table and the flame graph of a merge: zoom, search, callers and callees."""

import re

import pytest
from playwright.sync_api import Page, Position, expect

from tests.support.browser import WatchedPage, press, wait_for_colors, wait_until_drawn
from tests.ui.conftest import SLOW_FUNCTION, OpenPage, shop_path
from tests.ui.table import first_rows, shop_report


def zoom_to(page: Page, name: str) -> None:
    """Move down along the widest frames to a function, and zoom to it."""
    page.locator(".flame canvas").first.focus()
    press(page, "Home")
    for _ in range(40):
        press(page, "ArrowDown")
        if page.locator(".selected-frame .name").inner_text() == name:
            press(page, "Enter")
            return
    raise AssertionError(f"{name} is not among the widest frames")


def test_the_table_equals_the_report(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    report, total = shop_report("0.0.1", "0.0.2")
    row = report[SLOW_FUNCTION]
    self_cell, total_cell, name_cell = first_rows(page)[0]
    assert name_cell == SLOW_FUNCTION
    assert self_cell.split() == [*f"{row.flat / 1e9:.2f} s".split(), f"{100 * row.flat / total:.1f}%"]
    assert total_cell.split() == [*f"{row.cum / 1e9:.2f} s".split(), f"{100 * row.cum / total:.1f}%"]
    page.get_by_role("columnheader", name="Total").get_by_role("button").click()
    largest = max(row.cum for row in report.values())
    expect(page.locator("tbody tr").first.locator("td").nth(1)).to_contain_text(f"{largest / 1e9:.2f} s")
    by_name = page.get_by_role("columnheader", name="Function")
    by_name.get_by_role("button").click()
    expect(by_name).to_have_attribute("aria-sort", "ascending")
    names = [cells[2] for cells in first_rows(page)]
    assert names == sorted(names)


def test_a_zoom_is_undone(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    wait_for_colors(page.locator(".flame canvas"), 10)
    zoom_to(page, SLOW_FUNCTION)
    row = shop_report("0.0.1", "0.0.2")[0][SLOW_FUNCTION]
    expect(page.locator(".selected-frame")).to_contain_text(f"total {row.cum / 1e9:.2f} s")
    expect(page.locator(".selected-frame .source")).to_have_text(re.compile(r"shop/shop\.go:\d+"))
    expect(page).to_have_url(re.compile("zoom="))
    shop_page.screenshot("zoom")
    page.get_by_role("button", name="Reset zoom").click()
    expect(page).not_to_have_url(re.compile("zoom="))
    page.go_back()
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()


def test_the_mouse_shows_a_tooltip_and_zooms(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    canvas = page.locator(".flame canvas")
    second_row: Position = {"x": 40, "y": 9 + 19}
    canvas.hover(position=second_row)
    tooltip = page.locator(".flame .tooltip")
    expect(tooltip).to_contain_text("total")
    name = tooltip.locator(".name").inner_text()
    shop_page.screenshot("tooltip")
    canvas.click(position=second_row)
    expect(page.locator(".selected-frame .name")).to_have_text(name)
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()


def test_a_search_shows_its_percentage_and_filters_the_table(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    row_count = page.locator("tbody tr").count()
    search, matched = page.get_by_label("Search", exact=True), page.get_by_label("Matched percent")
    report, total = shop_report("0.0.1", "0.0.2")
    press(page, "/")
    expect(search).to_be_focused()
    page.keyboard.type("pricecart")
    expect(matched).to_have_text(f"{100 * report[SLOW_FUNCTION].cum / total:.1f}% matched")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name=SLOW_FUNCTION, exact=True)).to_be_visible()
    shop_page.screenshot("search")
    search.fill(r"/^main\.(sign|common)$/")
    expect(page.locator("tbody tr")).to_have_count(2)
    search.fill("main.sign")  # recursive, and counted once
    expect(matched).to_have_text(f"{100 * report['main.sign'].cum / total:.1f}% matched")
    search.fill("/main(/")
    expect(page.get_by_text("not a regular expression")).to_be_visible()
    search.fill("no such function")
    expect(page.get_by_text("No function matches")).to_be_visible()
    search.fill("")
    expect(page.locator("tbody tr")).to_have_count(row_count)


def test_a_row_of_the_table_is_highlighted_in_the_graph(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name=SLOW_FUNCTION, exact=True).click()
    expect(page.get_by_label("Search", exact=True)).to_have_value(SLOW_FUNCTION)
    expect(page.get_by_label("Matched percent")).to_contain_text("matched")


def test_a_function_has_callers_and_callees(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name=f"Callers and callees of {SLOW_FUNCTION}").click()
    expect(page.get_by_role("heading", name=SLOW_FUNCTION)).to_be_visible()
    expect(page.locator(".flame canvas")).to_have_count(2)
    page.get_by_label("Callers, upwards").focus()
    press(page, "Home", "ArrowUp")
    expect(page.locator(".selected-frame .name")).to_have_text("main.(*shop).handle.func1")
    shop_page.screenshot("callers-and-callees")
    page.get_by_role("button", name="Show the whole graph").click()
    expect(page.locator(".flame canvas")).to_have_count(1)
    wait_until_drawn(page)
    zoom_to(page, SLOW_FUNCTION)
    press(page, "s")
    expect(page.get_by_role("heading", name=SLOW_FUNCTION)).to_be_visible()


def peek_rows(page: Page) -> list[list[str]]:
    """Return the values and the names of the rows in the table of callers and callees."""
    rows: list[list[str]] = page.locator(".peek tbody tr:has(td.name)").evaluate_all(
        """rows => rows.map(row => [...row.cells].map(
            cell => cell.querySelector(".link")?.ariaLabel ?? cell.innerText))"""
    )
    return rows


@pytest.mark.parametrize("view", ["both", "table"])
def test_callers_and_callees_are_listed_with_their_calls(open_page: OpenPage, shop_url: str, view: str) -> None:
    """As pprof's peek does. A caller in the list leads to its own callers."""
    watched = open_page(shop_url, shop_path("cpu") + f"&view={view}")
    page = watched.page
    page.get_by_role("button", name=f"Callers and callees of {SLOW_FUNCTION}").click()
    table = page.get_by_role("region", name="Callers and callees")
    expect(table).to_be_visible()
    report, total = shop_report("0.0.1", "0.0.2")
    row = report[SLOW_FUNCTION]
    caller, function, self, *callees = peek_rows(page)
    assert caller == [f"{row.cum / 1e9:.2f} s", "100%", "main.(*shop).handle.func1"]
    assert function == [f"{row.cum / 1e9:.2f} s", f"{100 * row.cum / total:.1f}%", SLOW_FUNCTION]
    assert self[:2] == [f"{row.flat / 1e9:.2f} s", f"{100 * row.flat / row.cum:.1f}%"]
    assert [name for *_, name in callees] == ["runtime.asyncPreempt"]
    watched.screenshot(f"peek-{view}")
    assert watched.accessibility_violations() == []
    page.get_by_role("button", name="main.(*shop).handle.func1", exact=True).click()
    expect(page.get_by_role("heading", name="main.(*shop).handle.func1")).to_be_visible()
    expect(table.get_by_role("button", name=SLOW_FUNCTION, exact=True)).to_be_visible()
    page.get_by_role("button", name="Show the whole graph").click()
    expect(table).to_have_count(0)


def test_the_root_can_be_at_the_bottom(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Root at bottom").click()
    page.get_by_role("button", name="Flame graph").click()
    wait_until_drawn(page)
    wait_for_colors(page.locator(".flame canvas"), 10)
    shop_page.screenshot("flame-graph")


@pytest.mark.parametrize("profile_type", ["heap", "mutex"])
def test_cumulative_types_have_a_flame_graph(open_page: OpenPage, shop_url: str, profile_type: str) -> None:
    page = open_page(shop_url, shop_path(profile_type)).page
    wait_until_drawn(page)
    wait_for_colors(page.locator(".flame canvas"), 3)
