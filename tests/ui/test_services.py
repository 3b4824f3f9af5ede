"""The start view: the list of services, its search, and their CPU time."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect

from profbucket.ingest.collector import Collector
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.storage.open import open_storage
from profbucket.times import SECOND
from tests.support.api import pprof
from tests.support.browser import WIDTHS, press, wait_until_drawn
from tests.support.serving import served
from tests.ui.conftest import OpenPage

MARKUP, HEBREW = "<img src=x onerror=alert(1)>", "שירות"


@pytest.fixture(scope="module")
def fleet_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a collector with 1,201 services, of which one was last seen two days ago."""
    directory = tmp_path_factory.mktemp("fleet")
    storage = f"file://{directory}/profiles"
    collector = Collector(open_storage(storage))
    now = time.time_ns()

    def collect(number: int, service: str) -> None:
        at = now - (2 * 86_400 if service == "shop-0001" else 300) * SECOND
        collector.collect(service, ProfileType.CPU, Labels(), pprof((number + 1) * SECOND, at=at), at)

    services = [MARKUP, HEBREW, *(f"shop-{number:04}" for number in range(1199))]
    with ThreadPoolExecutor(16) as executor:  # writes wait for the disk
        list(executor.map(collect, range(len(services)), services))
    collector.collect("shop-0002", ProfileType.HEAP, Labels(), pprof(1, at=now), now)
    with served(storage, directory / "log") as url:
        yield url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_is_usable_in_every_window(open_page: OpenPage, fleet_url: str, width: int, scheme: str) -> None:
    watched = open_page(fleet_url, color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 800})
    row = watched.page.get_by_role("row").filter(has_text="shop-0000")
    expect(row).to_contain_text("3 s")
    expect(row).to_contain_text("min ago")
    assert watched.layout_faults() == []
    assert watched.accessibility_violations() == []
    watched.screenshot(f"services-{width}-{scheme}")


def test_what_the_cpu_time_is(open_page: OpenPage, fleet_url: str) -> None:
    """The profiles cover a part of the time, and the list does not show all CPU time that a service used."""
    page = open_page(fleet_url).page
    header = page.get_by_role("columnheader", name="CPU profiled")
    expect(header).to_have_accessible_description(re.compile("the CPU time in the profiles of the time range"))
    expect(page.get_by_text("Agents profile a part of the time")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="shop-0000")
    expect(row.get_by_title("in 1 profile")).to_have_text("3 s")


def test_few_requests_show_the_services(open_page: OpenPage, fleet_url: str) -> None:
    """One lists all of them, and one has the CPU time of those that are shown."""
    watched = open_page(fleet_url)
    page = watched.page
    expect(page.get_by_text("1201 services")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="shop-0000")).to_contain_text("3 s")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.reload()
    expect(page.get_by_role("row").filter(has_text="shop-0000")).to_contain_text("3 s")
    assert len([url for url in requests if "/api/0/" in url]) == 2
    expect(page.get_by_role("row")).to_have_count(51)
    page.get_by_role("button", name="Show more (50 of 1201 shown)").click()
    expect(page.get_by_role("row")).to_have_count(101)
    expect(page.get_by_role("row").filter(has_text="shop-0080")).to_contain_text("1.38 min")
    assert len([url for url in requests if "/api/0/" in url]) == 3
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_a_search_is_in_the_address_and_finds_a_service(open_page: OpenPage, fleet_url: str) -> None:
    page = open_page(fleet_url).page
    expect(page.get_by_text("1201 services")).to_be_visible()
    press(page, "/")
    page.keyboard.type("shop 000")
    expect(page.get_by_text("11 of 1201 services")).to_be_visible()
    expect(page).to_have_url(re.compile(r"search=shop\+000"))
    expect(page.get_by_role("row").filter(has_text="shop-0001")).to_contain_text("\N{EN DASH}")
    page.get_by_role("button", name="Last seen").click()
    expect(page.get_by_role("row").last).to_contain_text("shop-0001")
    page.get_by_role("link", name="heap").click()
    expect(page.get_by_label("Type", exact=True)).to_have_value("heap")
    expect(page).to_have_url(re.compile("service=shop-0002&type=heap&"))
    page.go_back()
    page.get_by_role("link", name="shop-0003").click()
    wait_until_drawn(page)
    expect(page).to_have_url(re.compile("service=shop-0003&type=cpu&"))
    expect(page).not_to_have_url(re.compile("search="))
