"""For everyone, in both themes, whatever strangers put into their profiles."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from profbucket.times import SECOND, parse_time
from tests.api.test_page import NAMES
from tests.support.api import pprof
from tests.support.browser import post
from tests.support.serving import served
from tests.ui.conftest import Opener, everything
from tests.ui.test_explore import SLOW, drawn, press

NOON = parse_time("2026-11-23T12:00:00", 0)
THEN = "&from=2026-11-23T11:00:00&to=2026-11-23T13:00:00"

STATES = {
    "services": "/",
    "empty": "/?service=shop&type=cpu",
    "explore": everything("cpu"),
    "picked": everything("cpu") + "&sel=2026-11-23T01:23:06~2026-11-23T01:23:07&labels=version%3D0.0.1",
    "searched": everything("cpu") + "&search=main&group=version",
    "sandwich": everything("cpu") + f"&focus={SLOW}",
    "difference": everything("cpu") + "&labels=version%3D0.0.2&base_labels=version%3D0.0.1",
    "difference-safe": everything("cpu") + "&labels=version%3D0.0.2&base_labels=version%3D0.0.1&safe=1&absolute=1",
    "table": everything("heap") + "&view=table",
    "error": everything("cpu") + "&sample=nonsense",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious(look: Opener, shop_url: str, state: str, scheme: str) -> None:
    one = look(shop_url, STATES[state], color_scheme=scheme)
    expect(one.page.locator("main")).not_to_be_empty()
    one.page.wait_for_load_state("networkidle")
    assert one.faults() == []
    one.shoot(f"{state}-{scheme}")


@pytest.mark.parametrize("width", [390, 900])
def test_a_narrow_window_has_it_below_each_other(look: Opener, shop_url: str, width: int) -> None:
    one = look(shop_url, everything("cpu"))
    one.page.set_viewport_size({"width": width, "height": 800})
    drawn(one.page)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    one.shoot(f"narrow-{width}")


def test_all_of_it_is_reached_by_the_keyboard(look: Opener, shop_url: str) -> None:
    """Tab reaches the pickers, the buttons, the table and the graph; the graph says where one is."""
    one = look(shop_url, everything("cpu"))
    page = one.page
    drawn(page)
    reached = set()
    for _ in range(400):
        press(page, "Tab")
        reached.add(
            page.evaluate("document.activeElement.tagName + ' ' + (document.activeElement.ariaLabel ?? '')")
        )
        if page.evaluate("document.activeElement.tagName") == "CANVAS":
            break
    tags = {one.split()[0] for one in reached if one.strip()}
    assert {"A", "SELECT", "INPUT", "BUTTON", "DIV", "CANVAS"} <= tags
    press(page, "ArrowDown")
    expect(page.locator(".spoken")).to_have_text(
        page.locator(".picked-frame .name").inner_text() + ", " + spoken(page)
    )


def spoken(page: Page) -> str:
    text = page.locator(".picked-frame .numbers span").first.inner_text()
    value, _, share = text.removeprefix("total ").rpartition(" ")
    return f"{value}, {share}"


def test_a_theme_is_chosen_and_stays(look: Opener, shop_url: str) -> None:
    one = look(shop_url, "/", color_scheme="light")
    root = one.page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    one.page.get_by_label("Theme", exact=True).select_option("dark")
    expect(root).to_have_attribute("data-theme", "dark")
    one.page.reload()
    expect(root).to_have_attribute("data-theme", "dark")


# What strangers send

MARKUP = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
TURNED = "main.\u202egnp.exe\u202c"
HEBREW = "שלום.פונקציה"
LONG = "a::b<" + "very, " * 2000 + ">"
HOSTILE = [
    MARKUP,
    IMAGE,
    TURNED,
    HEBREW,
    LONG,
    "${7*7}{{7*7}}",
    "\x00\x07\x1b[31mred",
    "",
    "__proto__",
    "constructor",
]


@pytest.fixture(scope="module")
def hostile_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("hostile")
    with served(f"file://{directory}/profiles", directory / "log") as url:
        for number, name in enumerate(HOSTILE):
            post(
                url,
                pprof(number + 1, at=NOON + number * SECOND, name=name),
                service="<b>shop</b>",
                type="cpu",
                **{"<i>label</i>": f"{IMAGE}{number % 2}"},
            )
        yield url


def test_hostile_names_are_harmless(look: Opener, hostile_url: str) -> None:
    """They are shown as text: none of them runs, none is an element, none turns around what stands beside it."""
    one = look(hostile_url, f"/?service=%3Cb%3Eshop%3C%2Fb%3E&type=cpu{THEN}&group=%3Ci%3Elabel%3C%2Fi%3E")
    page = one.page
    drawn(page)
    elements = "document.querySelectorAll('script:not([src]), img, b > b, i:not([class]):not([style])').length"
    assert page.evaluate(elements) == 0
    shown = page.locator("td.name .link").all_inner_texts()
    assert {MARKUP, IMAGE, HEBREW, "__proto__", "constructor"} <= set(shown)
    assert "main.\ufffdgnp.exe\ufffd" in shown
    assert max(map(len, shown)) < 500
    for number in range(len(HOSTILE)):  # each is found again by its name
        page.locator(".flame canvas").focus()
        press(page, "Home", "ArrowDown", *["ArrowRight"] * number, "s")
        expect(page.locator(".flame canvas")).to_have_count(2)
        page.get_by_role("button", name="Back to the whole graph").click()
        expect(page.locator(".flame canvas")).to_have_count(1)
        drawn(page)
    assert one.faults() == []
    one.shoot("hostile")
    page.get_by_role("button", name="Compare").click()
    drawn(page)
    assert page.evaluate(elements) == 0


@pytest.mark.parametrize(
    "query", ["service=%00&type=%ff", "service=shop&type=<script>", "zoom=zzzz&sel=~&labels=%25", "from='"]
)
def test_whatever_stands_in_the_url_is_harmless(look: Opener, shop_url: str, query: str) -> None:
    one = look(shop_url, f"/?{query}")
    one.page.wait_for_load_state("networkidle")
    expect(one.page.locator("main")).not_to_be_empty()


# What may go wrong


def test_an_empty_collector_says_how_to_begin(look: Opener, tmp_path: Path) -> None:
    with served(f"file://{tmp_path}/profiles", tmp_path / "log") as url:
        one = look(url)
        expect(one.page.get_by_role("alert")).to_contain_text("Nothing is stored yet")
        expect(one.page.get_by_role("alert")).to_contain_text(f"{url}/api/0/profiles?service=api&type=cpu")
        one.shoot("nothing")


def test_too_many_profiles_are_merged_in_part_when_asked(look: Opener, tmp_path: Path) -> None:
    with served(f"file://{tmp_path}/profiles", tmp_path / "log", PROFBUCKET_MAX_MERGE="100") as url:
        for number in range(101):
            post(url, pprof(1, at=NOON + number * SECOND), service="many", type="cpu")
        one = look(url, f"/?service=many&type=cpu{THEN}")
        expect(one.page.get_by_role("alert")).to_contain_text("has more than 100 profiles to merge")
        one.shoot("too-many")
        one.page.get_by_role("button", name="Merge 100 of them").click()
        drawn(one.page)
        expect(one.page.locator(".sums")).to_contain_text("in 100 of 101 profiles")


def test_a_collector_that_is_gone_is_said_so(look: Opener, tmp_path: Path) -> None:
    with served(f"file://{tmp_path}/profiles", tmp_path / "log") as url:
        post(url, pprof(1, at=NOON), service="api", type="cpu")
        one = look(url, f"/?service=api&type=cpu{THEN}")
        drawn(one.page)
    one.page.get_by_role("button", name="15 min").click()
    expect(one.page.get_by_role("alert")).to_contain_text("did not answer")
    one.wrong.clear()  # the browser, too, says that nobody answered


def test_a_part_of_the_page_that_is_not_there_is_noticed(look: Opener, shop_url: str) -> None:
    """Otherwise the tests above might look at nothing."""
    one = look(shop_url)
    one.page.evaluate("fetch('https://example.org/').catch(() => 0)")
    one.page.evaluate("document.body.append(document.createElement('img'))")
    assert [wrong for wrong in one.wrong if "example.org" in wrong]
    assert [fault for fault in one.faults() if "image-alt" in fault]
    assert len(NAMES) > 5
    one.wrong.clear()
