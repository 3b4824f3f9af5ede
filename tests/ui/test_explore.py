"""What people do with the page, in a real browser, with real profiles of two versions of a Go program."""

import re

import pytest
from playwright.sync_api import Page, expect

from profbucket.pprof import decode
from profbucket.pprof.merge import merge
from profbucket.pprof.report.top import TopRow, build_top_report
from tests.support.browser import Watched
from tests.ui.conftest import DATA, Opener, everything

SLOW = "main.priceCart"  # what version 0.0.2 made slow


def report(*versions: str, kind: str = "cpu") -> tuple[dict[str, TopRow], int]:
    """The functions of all profiles of *versions*, and their total."""
    files = [
        file for version in versions for file in sorted((DATA / f"shop-{version}").glob(f"{kind}-[123].pb.gz"))
    ]
    found = build_top_report(decode(merge([file.read_bytes() for file in files])), fraction=0)
    return {row.name: row for row in found.rows}, found.total


def rows(page: Page) -> list[list[str]]:
    """The table's first rows: the texts of their cells."""
    expect(page.locator("tbody tr").first).to_be_visible()
    return [row.locator("td").all_inner_texts() for row in page.locator("tbody tr").all()[:12]]


def drawn(page: Page) -> None:
    """Wait until the graph is that of what is asked for."""
    expect(page.locator(".graph")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".flame canvas").first).to_be_visible()


def colors(page: Page) -> int:
    """How many colours the graph has: whether something is drawn."""
    return int(
        page.locator(".flame canvas").first.evaluate(
            """canvas => {
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return new Set(new Uint32Array(data.buffer)).size;
            }"""
        )
    )


def color(page: Page, y: int) -> list[int]:
    """Red, green and blue of the graph at *y*, on the right, where no text is."""
    found = page.locator(".flame canvas").evaluate(
        """(canvas, y) => {
            const at = [canvas.width - 30, Math.round(y * devicePixelRatio), 1, 1];
            return [...canvas.getContext("2d").getImageData(...at).data];
        }""",
        y,
    )
    return list(map(int, found[:3]))


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def zoom_to(page: Page, name: str) -> None:
    """Go to a function by the keyboard, along the widest frames, and zoom."""
    page.locator(".flame canvas").first.focus()
    press(page, "Home")
    for _ in range(40):
        press(page, "ArrowDown")
        if page.locator(".picked-frame .name").inner_text() == name:
            press(page, "Enter")
            return
    raise AssertionError(f"no way down to {name}")


# Explore


def test_a_service_is_picked_and_its_timeline_and_graph_are_there(look: Opener, shop_url: str) -> None:
    one = look(shop_url)
    page = one.page
    expect(page.get_by_role("heading", name="Which service?")).to_be_visible()
    one.shoot("services")
    page.get_by_role("button", name="shop").click()
    expect(page.get_by_label("Type", exact=True)).to_have_value("cpu")
    expect(page.get_by_role("alert")).to_contain_text("No profiles here")
    one.shoot("empty")
    page.get_by_role("button", name="Show all there is").click()
    drawn(page)
    _, total = report("0.0.1", "0.0.2")
    expect(page.locator(".sums")).to_have_text(f"{total / 1e9:.2f} s in 6 profiles")
    expect(page.get_by_role("img", name=re.compile("^Timeline"))).to_have_attribute(
        "aria-label", re.compile(f"{total / 1e9:.2f} s in all")
    )
    assert colors(page) > 10
    one.shoot("explore")


def test_only_what_exists_is_offered(shop: Watched) -> None:
    drawn(shop.page)
    offered = {
        name: shop.page.get_by_label(name, exact=True).locator("option").all_inner_texts()
        for name in ("Service", "Type", "Sample", "Group by")
    }
    assert offered == {
        "Service": ["python", "shop"],
        "Type": ["cpu", "heap", "mutex"],
        "Sample": ["samples", "cpu"],
        "Group by": ["none", "version"],
    }


def test_the_table_is_that_of_the_report(shop: Watched) -> None:
    drawn(shop.page)
    expected, total = report("0.0.1", "0.0.2")
    first = rows(shop.page)[0]
    row = expected[SLOW]
    assert first[2].split("\n")[0] == SLOW
    assert first[0].split() == [*f"{row.flat / 1e9:.2f} s".split(), f"{100 * row.flat / total:.1f}%"]
    assert first[1].split() == [*f"{row.cum / 1e9:.2f} s".split(), f"{100 * row.cum / total:.1f}%"]
    shop.page.get_by_role("columnheader", name="Cum").get_by_role("button").click()
    most = max(row.cum for row in expected.values())
    assert rows(shop.page)[0][1].startswith(f"{most / 1e9:.2f} s")
    shop.page.get_by_role("columnheader", name="Function").get_by_role("button").click()
    names = [row[2].split("\n")[0] for row in rows(shop.page)]
    assert names == sorted(names)


def test_types_and_sample_types_are_changed(shop: Watched) -> None:
    page = shop.page
    page.get_by_label("Type", exact=True).select_option("heap")
    expect(page.get_by_label("Sample", exact=True)).to_have_value("inuse_space")
    page.get_by_label("Sample", exact=True).select_option("alloc_space")
    drawn(page)
    expect(page.locator(".sums")).to_have_text(re.compile("[MG]B in 6 profiles"))
    shop.shoot("heap")


def test_labels_narrow_what_is_seen(shop: Watched) -> None:
    page = shop.page
    page.get_by_role("button", name="+ label: Labels").click()
    assert page.locator("datalist option").evaluate_all("all => all.map(one => one.value)") == [
        "version",
        "0.0.1",
        "0.0.2",
    ]
    page.get_by_label("Value", exact=True).fill("0.0.2")
    shop.shoot("label")
    page.get_by_role("button", name="Add", exact=True).click()
    drawn(page)
    _, total = report("0.0.2")
    expect(page.locator(".sums")).to_have_text(f"{total / 1e9:.2f} s in 3 profiles")
    page.get_by_role("button", name="Remove version=0.0.2").click()
    expect(page.locator(".sums")).to_contain_text("in 6 profiles")


def test_a_group_is_a_line_each(shop: Watched) -> None:
    page = shop.page
    page.get_by_label("Group by", exact=True).select_option("version")
    expect(page.get_by_role("list", name="Groups").get_by_role("listitem")).to_have_text(["0.0.1", "0.0.2"])
    assert page.locator("path.line").count() == 2
    shop.shoot("groups")


def test_dragging_on_the_timeline_takes_a_part_of_it(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    box = page.locator(".plot").bounding_box()
    assert box
    page.mouse.move(box["x"] + 70, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 40)
    shop.shoot("dragging")
    page.mouse.up()
    expect(page.locator(".band.now rect")).to_be_visible()
    expect(page.locator(".sums")).not_to_contain_text("in 6 profiles")
    drawn(page)
    shop.shoot("part")
    page.get_by_role("button", name="Whole range").click()
    expect(page.locator(".sums")).to_contain_text("in 6 profiles")


def test_a_time_is_typed_in_any_form(shop: Watched) -> None:
    page = shop.page
    page.get_by_label("From", exact=True).fill("now-2m")
    page.get_by_label("From", exact=True).press("Enter")
    page.get_by_label("To", exact=True).fill("now")
    page.get_by_label("To", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("has no profiles")
    page.get_by_label("From", exact=True).fill("yesterday")
    page.get_by_label("From", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Not a time: 'yesterday'")
    shop.shoot("not-a-time")


# The graph


def test_a_frame_is_zoomed_to_and_back(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    zoom_to(page, SLOW)
    row = report("0.0.1", "0.0.2")[0][SLOW]
    expect(page.locator(".picked-frame")).to_contain_text(f"total {row.cum / 1e9:.2f} s")
    expect(page.locator(".picked-frame .where")).to_have_text(re.compile(r"shop/shop\.go:\d+"))
    assert "zoom=" in page.url
    shop.shoot("zoomed")
    page.get_by_role("button", name="Reset zoom").click()
    assert "zoom=" not in page.url
    page.go_back()
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()


def test_the_mouse_shows_and_zooms(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    canvas = page.locator(".flame canvas")
    canvas.hover(position={"x": 40, "y": 9 + 19})
    tip = page.locator(".flame .tip")
    expect(tip).to_contain_text("total")
    name = tip.locator(".name").inner_text()
    shop.shoot("hovered")
    canvas.click(position={"x": 40, "y": 9 + 19})
    expect(page.locator(".picked-frame .name")).to_have_text(name)
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()


def test_a_search_says_its_share_and_narrows_the_table(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    rows_before = page.locator("tbody tr").count()
    page.get_by_label("Search", exact=True).fill("pricecart")
    expected, total = report("0.0.1", "0.0.2")
    expect(page.get_by_label("Matched share")).to_have_text(f"{100 * expected[SLOW].cum / total:.1f}% matched")
    assert [row[2].split("\n")[0] for row in rows(page)] == [SLOW]
    shop.shoot("searched")
    page.get_by_label("Search", exact=True).fill(r"/^main\.(sign|common)$/")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Search", exact=True).fill("main.sign")  # it calls itself, and counts once
    share = f"{100 * expected['main.sign'].cum / total:.1f}%"
    expect(page.get_by_label("Matched share")).to_have_text(f"{share} matched")
    page.get_by_label("Search", exact=True).fill("no such function")
    expect(page.get_by_text("No function matches")).to_be_visible()
    page.get_by_label("Search", exact=True).fill("")
    expect(page.locator("tbody tr")).to_have_count(rows_before)


def test_a_row_of_the_table_is_found_in_the_graph(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    page.get_by_role("button", name=SLOW, exact=True).click()
    expect(page.get_by_label("Search", exact=True)).to_have_value(SLOW)
    expect(page.get_by_label("Matched share")).to_contain_text("matched")


def test_a_function_stands_between_its_callers_and_callees(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    page.get_by_role("button", name=f"Callers and callees of {SLOW}").click()
    expect(page.get_by_role("heading", name=SLOW)).to_be_visible()
    drawn(page)
    assert page.locator(".flame canvas").count() == 2
    upper = page.get_by_label("Callers, upwards")
    upper.focus()
    press(page, "Home", "ArrowUp")
    expect(page.locator(".picked-frame .name")).to_have_text("main.(*shop).handle.func1")
    shop.shoot("sandwich")
    page.get_by_role("button", name="Back to the whole graph").click()
    drawn(page)
    expect(page.locator(".flame canvas")).to_have_count(1)
    zoom_to(page, SLOW)
    press(page, "s")
    expect(page.get_by_role("heading", name=SLOW)).to_be_visible()


def test_the_root_may_be_below(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    page.get_by_role("button", name="Root below").click()
    page.get_by_role("button", name="Flame graph").click()
    drawn(page)
    assert colors(page) > 10
    shop.shoot("flame")


# Two versions


def test_two_versions_are_compared_and_what_got_slower_is_first(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_label("Difference flame graph")).to_be_visible()
    drawn(page)
    (now, total), (base, base_total) = report("0.0.2"), report("0.0.1")
    change = 100 * (now[SLOW].flat / total - base[SLOW].flat / base_total)
    first = rows(page)[0]
    assert (first[4].split("\n")[0], first[0]) == (SLOW, f"+{change:.1f}%")
    assert first[2:4] == [f"{100 * base[SLOW].flat / base_total:.1f}%", f"{100 * now[SLOW].flat / total:.1f}%"]
    zoom_to(page, SLOW)
    expect(page.locator(".picked-frame")).to_contain_text("change")
    shop.shoot("difference")
    slow = page.locator(".outline.cursor").evaluate("one => one.offsetTop") + 9
    red, green, blue = color(page, slow)
    assert red > max(green, blue) + 20
    page.get_by_role("button", name="Colour-blind safe").click()
    red, green, blue = color(page, slow)
    assert red > green > blue + 20  # orange
    page.get_by_role("button", name="Absolute").click()
    page.get_by_role("button", name="Reset zoom").click()
    assert rows(page)[0][0] == f"+{(now[SLOW].flat - base[SLOW].flat) / 1e6:.0f} ms"
    shop.shoot("difference-safe")
    page.get_by_role("button", name="Compare", exact=True).first.click()
    drawn(page)
    expect(page.get_by_label("Difference flame graph")).to_have_count(0)


def test_two_times_are_compared(shop: Watched) -> None:
    page = shop.page
    drawn(page)
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Remove version=0.0.1").click()
    page.get_by_role("button", name="Remove version=0.0.2").click()
    page.get_by_role("radio", name="base").check()
    box = page.locator(".plot").bounding_box()
    assert box
    page.mouse.move(box["x"] + 70, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 40)
    page.mouse.up()
    expect(page.locator(".band.base rect")).to_be_visible()
    drawn(page)
    expect(page.locator(".sums > span").first).to_contain_text("in 6 profiles")
    expect(page.locator(".sums > span").nth(1)).not_to_contain_text("in 6 profiles")
    shop.shoot("difference-times")


def test_all_of_it_is_in_the_url(shop: Watched, look: Opener) -> None:
    page = shop.page
    drawn(page)
    page.get_by_role("button", name="Compare").click()
    drawn(page)
    page.get_by_label("Search", exact=True).fill("main")
    page.get_by_role("button", name="Colour-blind safe").click()
    page.get_by_role("button", name="Absolute").click()
    page.get_by_role("button", name="Root below").click()
    zoom_to_first(page)
    other = look(shop.url, page.url.removeprefix(shop.url)).page
    drawn(other)
    assert other.url == page.url
    for one in (page, other):
        expect(one.get_by_label("Search", exact=True)).to_have_value("main")
        expect(one.get_by_label("Matched share")).to_contain_text("matched")
        expect(one.get_by_role("button", name="Reset zoom")).to_be_visible()
        for name in ("Colour-blind safe", "Absolute", "Root below"):
            expect(one.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
    assert rows(page) == rows(other)


def zoom_to_first(page: Page) -> None:
    page.locator(".flame canvas").focus()
    press(page, "Home", "ArrowUp", "Enter")


@pytest.mark.parametrize("kind", ["heap", "mutex"])
def test_cumulative_types_are_shown_as_well(look: Opener, shop_url: str, kind: str) -> None:
    one = look(shop_url, everything(kind))
    drawn(one.page)
    assert colors(one.page) > 3
