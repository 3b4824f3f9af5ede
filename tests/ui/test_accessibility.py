"""The page in both themes, in narrow windows, by keyboard and for screen readers."""

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import SIZE, WIDTHS, press, wait_until_drawn
from tests.ui.conftest import SLOW_FUNCTION, OpenPage, shop_path

VERSIONS = "&labels=version%3D0.0.2&base_labels=version%3D0.0.1"
FLAME = ".flame canvas"
ALERT = "[role=alert]"

# Each state of the page: its path, and an element that is visible once it is loaded.
STATES = {
    "services": ("/", "h1"),
    "empty": ("/?service=shop&type=cpu", ALERT),
    "explore": (shop_path("cpu"), FLAME),
    "selection": (
        shop_path("cpu") + "&sel=2026-11-23T01:23:06~2026-11-23T01:23:07&labels=version%3D0.0.1",
        f"{FLAME}, {ALERT}",
    ),
    "search": (shop_path("cpu") + "&search=main&group=version", FLAME),
    "callers-and-callees": (shop_path("cpu") + f"&focus={SLOW_FUNCTION}", FLAME),
    "diff": (shop_path("cpu") + VERSIONS, FLAME),
    "peek-of-diff": (shop_path("cpu") + VERSIONS + f"&focus={SLOW_FUNCTION}", FLAME),
    "side-by-side": (shop_path("cpu") + VERSIONS + "&side=1", FLAME),
    "diff-color-blind-safe": (shop_path("cpu") + VERSIONS + "&safe=1&absolute=1", FLAME),
    "table": (shop_path("heap") + "&view=table", ".table"),
    "error": (shop_path("cpu") + "&sample=nonsense", ALERT),
}
COLOR_RULES = ("color-contrast", "link-in-text-block")  # the only ones that a theme can break


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_usable_in_every_window(open_page: OpenPage, shop_url: str, state: str) -> None:
    """Axe finds no serious violation, the page does not scroll sideways, and targets are large enough."""
    path, loaded = STATES[state]
    watched = open_page(shop_url, path, color_scheme="light")
    for width in WIDTHS:
        watched.page.set_viewport_size({"width": width, "height": 900})
        watched.page.locator(loaded).first.wait_for()
        expect(watched.page.locator("[aria-busy=true]")).to_have_count(0)
        assert watched.accessibility_violations() == []
        assert watched.layout_faults() == []
        watched.screenshot(f"{state}-{width}")
    watched.page.set_viewport_size(SIZE)
    watched.page.emulate_media(color_scheme="dark")
    expect(watched.page.locator("html")).to_have_attribute("data-theme", "dark")
    assert watched.accessibility_violations(*COLOR_RULES) == []
    watched.screenshot(f"{state}-dark")


def test_faults_are_found(open_page: OpenPage, shop_url: str) -> None:
    """Show that the test above fails on a page with faults."""
    watched = open_page(shop_url)
    watched.page.evaluate("document.body.append(document.createElement('img'))")
    watched.page.evaluate(
        """() => {
            const text = document.createElement("p");
            text.textContent = "text";
            text.style.color = "#777";
            text.style.background = "#888";
            const button = document.createElement("button");
            button.textContent = "small";
            button.style.minHeight = "0";
            button.style.height = "10px";
            document.body.append(text, button);
        }"""
    )
    assert "image-alt" in str(watched.accessibility_violations())
    assert "color-contrast" in str(watched.accessibility_violations(*COLOR_RULES))
    assert "BUTTON small" in str(watched.layout_faults())


def test_the_keyboard_reaches_every_control(open_page: OpenPage, shop_url: str) -> None:
    """Tab reaches lists, buttons, table and flame graph; the flame graph announces the frame at the cursor."""
    page = open_page(shop_url, shop_path("cpu")).page
    wait_until_drawn(page)
    reached = set()
    for _ in range(400):
        press(page, "Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
        if "CANVAS" in reached:
            break
    assert {"A", "SELECT", "INPUT", "BUTTON", "DIV", "CANVAS"} <= reached
    press(page, "ArrowDown")
    name = page.locator(".selected-frame .name").inner_text()
    expect(page.locator(".visually-hidden")).to_have_text(f"{name}, {_announced_value(page)}")


def _announced_value(page: Page) -> str:
    text = page.locator(".selected-frame .numbers span").first.inner_text()
    value, _, percent = text.removeprefix("total ").rpartition(" ")
    return f"{value}, {percent}"


def test_a_chosen_theme_is_kept(open_page: OpenPage, shop_url: str) -> None:
    page = open_page(shop_url, "/", color_scheme="light").page
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    page.get_by_label("Theme", exact=True).select_option("dark")
    expect(root).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(root).to_have_attribute("data-theme", "dark")
