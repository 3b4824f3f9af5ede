"""Refining a merge as with pprof: by tags, and from the menu of a frame."""

import re

from playwright.sync_api import expect

from tests.support.browser import WIDTHS, WatchedPage, clipboard_text, copied, press, wait_until_drawn
from tests.ui.conftest import SLOW_FUNCTION, OpenPage, shop_path
from tests.ui.table import first_rows, shop_report
from tests.ui.test_graph import zoom_to


def test_tags_filter_and_break_down(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="Tags").click()
    tags = page.get_by_role("list", name="Tags")
    cart = tags.get_by_role("button", name="/cart")
    expect(cart).to_contain_text("%")
    shop_page.screenshot("tags")
    assert shop_page.accessibility_violations() == []
    before = page.locator(".totals").inner_text()
    cart.click()
    wait_until_drawn(page)
    expect(page.get_by_role("group", name="Filters")).to_contain_text("tagfocus endpoint=")
    expect(page.locator(".totals")).not_to_have_text(before)
    page.get_by_role("button", name=re.compile("^Remove tagfocus")).click()
    tags.get_by_role("button", name="Break down by endpoint").click()
    wait_until_drawn(page)
    page.locator(".flame canvas").focus()
    press(page, "Home", "ArrowDown")
    expect(page.locator(".selected-frame .name")).to_have_text("/cart")
    shop_page.screenshot("breakdown")
    page.go_back()
    expect(page.get_by_role("button", name="Remove tagroot endpoint")).to_have_count(0)


def test_the_menu_of_a_frame_refines(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    zoom_to(page, SLOW_FUNCTION)
    press(page, "m")
    menu = page.get_by_role("menu", name=SLOW_FUNCTION)
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    shop_page.screenshot("menu")
    assert shop_page.accessibility_violations() == []
    press(page, "Escape")
    expect(menu).to_have_count(0)
    page.locator(".flame canvas").click(position={"x": 40, "y": 9 + 19}, button="right")
    press(page, "ArrowDown", "ArrowUp", "ArrowUp")
    expect(page.get_by_role("menuitem", name="Copy name")).to_be_focused()
    page.evaluate("navigator.clipboard.writeText('')")
    press(page, "Enter")
    expect(page.locator(".selected-frame .name")).to_have_text(clipboard_text(page))
    page.locator(".flame canvas").focus()
    press(page, "Home")
    zoom_to(page, SLOW_FUNCTION)
    page.get_by_role("button", name="Ignore", exact=True).click()
    wait_until_drawn(page)
    report, total = shop_report("0.0.1", "0.0.2")
    rest = total - report[SLOW_FUNCTION].cum
    expect(page.locator(".totals")).to_have_text(f"{rest / 1e9:.2f} s in 6 profiles")
    assert SLOW_FUNCTION not in str(first_rows(page))


def test_a_filter_is_typed_changed_and_removed(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    page.get_by_role("button", name="+ filter").click()
    page.get_by_label("Filter", exact=True).select_option("focus")
    page.get_by_label("Pattern").fill("no such function")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("The filters leave no sample")).to_be_visible()
    page.get_by_role("button", name="focus no such function", exact=True).click()
    page.get_by_label("Pattern").fill("pricecart")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("The filters leave no sample")).to_be_visible()  # case counts, as in pprof
    page.get_by_role("button", name="focus pricecart", exact=True).click()
    page.get_by_label("Pattern").fill("priceCart")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("button", name=SLOW_FUNCTION, exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("pprof_focus=priceCart"))
    assert "focus=priceCart" in copied(page, "Copy go tool pprof command")
    page.get_by_role("button", name="+ filter").click()
    page.get_by_label("Pattern").fill("(")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("nvalid regular expression")
    page.get_by_role("button", name="Remove ignore (").click()
    wait_until_drawn(page)


def test_filters_are_usable_in_narrow_windows(open_page: OpenPage, shop_url: str) -> None:
    watched = open_page(
        shop_url, shop_path("cpu") + "&pprof_tagroot=endpoint&pprof_ignore=sign", color_scheme="dark"
    )
    wait_until_drawn(watched.page)
    watched.page.get_by_role("button", name="Tags").click()
    expect(watched.page.get_by_role("list", name="Tags")).to_be_visible()
    for width in WIDTHS:
        watched.page.set_viewport_size({"width": width, "height": 800})
        assert watched.accessibility_violations() == []
        assert watched.layout_faults() == []
        watched.screenshot(f"filters-{width}")


def test_the_table_and_percentages_follow_the_zoom(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    report, _ = shop_report("0.0.1", "0.0.2")
    zoom_to(page, SLOW_FUNCTION)
    expect(page.get_by_text(f"Within {SLOW_FUNCTION}")).to_be_visible()
    row = first_rows(page)[0]
    slow = report[SLOW_FUNCTION]
    assert (row[2], row[0].split()[-1]) == (SLOW_FUNCTION, f"{100 * slow.flat / slow.cum:.1f}%")
    expect(page.locator(".selected-frame")).to_contain_text("100% of the zoomed frame")
    page.get_by_role("button", name="Reset zoom").click()
    expect(page.get_by_text("Within")).to_have_count(0)
