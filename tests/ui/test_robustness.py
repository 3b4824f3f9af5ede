"""The page with hostile profiles and URLs, and with a collector that is empty, limited or down."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from profbucket.times import SECOND, parse_time
from tests.support.api import pprof
from tests.support.browser import WIDTHS, post, press, wait_until_drawn
from tests.support.serving import served
from tests.ui.conftest import OpenPage, shop_path

NOON = parse_time("2026-11-23T12:00:00", 0)
RANGE = "&from=2026-11-23T11:00:00&to=2026-11-23T13:00:00"

MARKUP = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
BIDI = "main.\u202egnp.exe\u202c"
HEBREW = "שלום.פונקציה"
LONG = "a::b<" + "very, " * 2000 + ">"
HOSTILE_NAMES = [
    MARKUP,
    IMAGE,
    BIDI,
    HEBREW,
    LONG,
    "${7*7}{{7*7}}",
    "\x00\x07\x1b[31mred",
    "",
    "__proto__",
    "constructor",
]
# Elements that the page itself never creates.
INJECTED = "document.querySelectorAll('script:not([src]), img, b > b, i:not([class]):not([style])').length"


@pytest.fixture(scope="module")
def hostile_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a collector with hostile names; it merges at most 100 profiles."""
    directory = tmp_path_factory.mktemp("hostile")
    with served(f"file://{directory}/profiles", directory / "log", PROFBUCKET_MAX_MERGE="100") as url:
        for number, name in enumerate(HOSTILE_NAMES):
            post(
                url,
                pprof(number + 1, at=NOON + number * SECOND, name=name),
                service="<b>shop</b>",
                type="cpu",
                **{"<i>label</i>": f"{IMAGE}{number % 2}"},
            )
        yield url


def test_hostile_names_are_text(open_page: OpenPage, hostile_url: str) -> None:
    """Hostile names do not run, do not become elements and do not reorder the text around them."""
    watched = open_page(
        hostile_url, f"/?service=%3Cb%3Eshop%3C%2Fb%3E&type=cpu{RANGE}&group=%3Ci%3Elabel%3C%2Fi%3E"
    )
    page = watched.page
    wait_until_drawn(page)
    assert page.evaluate(INJECTED) == 0
    names = page.locator("td.name .link").evaluate_all("links => links.map(link => link.ariaLabel)")
    assert {MARKUP, IMAGE, HEBREW, "__proto__", "constructor"} <= set(names)
    assert "main.\ufffdgnp.exe\ufffd" in names
    assert max(map(len, names)) < 500
    for number in range(len(HOSTILE_NAMES)):  # the server finds each function by its unsanitized name
        page.locator(".flame canvas").focus()
        press(page, "Home", "ArrowDown", *["ArrowRight"] * number, "s")
        page.get_by_role("application", name="Callees, downwards").wait_for()
        page.get_by_role("button", name="Show the whole graph").click()
        page.get_by_role("application", name="Flame graph").wait_for()
        wait_until_drawn(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("html")).to_have_attribute("data-theme", scheme)
            assert watched.accessibility_violations() == []
            assert watched.layout_faults() == []
            watched.screenshot(f"hostile-{width}-{scheme}")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("application", name="Diff flame graph").wait_for()
    assert page.evaluate(INJECTED) == 0


@pytest.mark.parametrize(
    "query", ["service=%00&type=%ff", "service=shop&type=<script>", "zoom=zzzz&sel=~&labels=%25", "from='"]
)
def test_a_malformed_url_is_harmless(open_page: OpenPage, shop_url: str, query: str) -> None:
    page = open_page(shop_url, f"/?{query}").page
    page.locator("main > *").first.wait_for()
    page.wait_for_load_state("networkidle")  # nothing fails later, either
    expect(page.locator("main")).not_to_be_empty()


def test_an_empty_collector_says_how_to_begin(open_page: OpenPage, tmp_path: Path) -> None:
    with served(f"file://{tmp_path}/profiles", tmp_path / "log") as url:
        watched = open_page(url)
        alert = watched.page.get_by_role("alert")
        expect(alert).to_contain_text("No profiles yet")
        expect(alert).to_contain_text(f"{url}/api/0/profiles?service=api&type=cpu")
        watched.screenshot("no-profiles")


def test_mangled_names_are_readable(open_page: OpenPage, hostile_url: str) -> None:
    """The page shows, finds and colors functions by readable names, and requests them by their own."""
    name = "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE"
    post(hostile_url, pprof(SECOND, at=NOON, name=name), service="rust", type="cpu")
    page = open_page(hostile_url, f"/?service=rust&type=cpu{RANGE}&search=formatter").page
    wait_until_drawn(page)
    page.get_by_role("button", name="core::fmt::Formatter::pad", exact=True).click()
    page.get_by_role("button", name="Callers and callees of core::fmt::Formatter::pad").click()
    expect(page.get_by_role("heading", name="core::fmt::Formatter::pad")).to_be_visible()
    page.get_by_role("button", name="Show the whole graph").click()
    page.get_by_role("application", name="Flame graph").focus()
    press(page, "Home", "ArrowDown", "m")
    page.get_by_role("menuitem", name="Focus", exact=True).click()
    wait_until_drawn(page)
    expect(page.locator(".totals")).to_contain_text("1 s")


def test_an_unknown_service_is_reported_once(open_page: OpenPage, shop_url: str) -> None:
    page = open_page(shop_url, "/?service=nobody&type=cpu").page
    expect(page.get_by_role("heading", name="Unknown service")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(1)
    expect(page.get_by_text("nobody has no profiles")).to_have_count(0)
    page.get_by_role("link", name="All services").click()
    expect(page.get_by_role("link", name="shop", exact=True)).to_be_visible()


def test_a_link_to_an_empty_range_is_reported_once(open_page: OpenPage, shop_url: str) -> None:
    page = open_page(shop_url, "/?service=shop&type=cpu").page
    expect(page.get_by_role("alert")).to_contain_text("No profiles found")
    expect(page.locator("main")).to_have_text(re.compile("has no profiles"))
    expect(page.locator(".timeline")).to_have_text("")


def test_blocked_storage_does_not_stop_the_page(open_page: OpenPage, shop_url: str) -> None:
    watched = open_page(shop_url)
    watched.page.add_init_script(
        """for (const name of ["localStorage", "sessionStorage"])
            Object.defineProperty(window, name, { get() { throw new DOMException("", "SecurityError"); } });"""
    )
    watched.page.goto(shop_url + shop_path("cpu"))
    wait_until_drawn(watched.page)
    watched.page.get_by_label("Theme", exact=True).select_option("dark")
    expect(watched.page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_page_of_a_proxy_is_not_shown_as_text(open_page: OpenPage, shop_url: str) -> None:
    watched = open_page(shop_url)
    body = "<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
    watched.page.route("**/flame?*", lambda route: route.fulfill(status=502, content_type="text/html", body=body))
    watched.provoked = "status of 502"
    watched.page.goto(shop_url + shop_path("cpu"))
    expect(watched.page.get_by_role("alert")).to_contain_text("A proxy answered with status 502: 502 Bad Gateway.")


def test_too_many_profiles_can_be_merged_in_part(open_page: OpenPage, hostile_url: str) -> None:
    for number in range(101):
        post(hostile_url, pprof(1, at=NOON + number * SECOND), service="many", type="cpu")
    watched = open_page(hostile_url, f"/?service=many&type=cpu{RANGE}")
    expect(watched.page.get_by_role("alert")).to_contain_text("more than 100 profiles")
    expect(watched.page.get_by_role("heading")).to_have_text("These are too many profiles to merge at once")
    watched.screenshot("too-many")
    watched.page.get_by_role("button", name="Only the last 30 min").click()
    expect(watched.page.get_by_role("heading")).to_have_text("No profiles found")
    expect(watched.page).to_have_url(re.compile("sel=2026-11-23T12%3A30%3A00%7E2026-11-23T13%3A00%3A00"))
    watched.page.go_back()
    watched.page.get_by_role("button", name="Merge 100 profiles").click()
    wait_until_drawn(watched.page)
    expect(watched.page.locator(".totals")).to_contain_text("in 100 of 101 profiles")


def test_a_stopped_collector_is_reported(open_page: OpenPage, tmp_path: Path) -> None:
    with served(f"file://{tmp_path}/profiles", tmp_path / "log") as url:
        post(url, pprof(1, at=NOON), service="api", type="cpu")
        watched = open_page(url, f"/?service=api&type=cpu{RANGE}")
        wait_until_drawn(watched.page)
    watched.provoked = "ERR_CONNECTION_REFUSED"
    watched.page.get_by_role("button", name="15 min").click()
    expect(watched.page.get_by_role("alert")).to_contain_text("did not respond")


def test_requests_to_other_hosts_are_problems(open_page: OpenPage, shop_url: str) -> None:
    """Show that the other tests would notice such a request."""
    watched = open_page(shop_url)
    watched.provoked = ""  # all
    with watched.page.expect_console_message(lambda message: "example.org" in message.text):
        watched.page.evaluate("fetch('https://example.org/').catch(() => 0)")
    assert [problem for problem in watched.problems if "example.org" in problem]
