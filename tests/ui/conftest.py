"""A collector with profiles of two versions of a program, and a browser that opens its page."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from profbucket.pprof import decode
from profbucket.times import format_time
from tests.support.browser import WatchedPage, chromium, post
from tests.support.hour_of_heap import hour_of_heap
from tests.support.paths import DATA
from tests.support.serving import served

SLOW_FUNCTION = "main.priceCart"  # slower in the shop's version 0.0.2

OpenPage = Callable[..., WatchedPage]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def shop_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a collector with the services "shop", in two versions, and "python"."""
    directory = tmp_path_factory.mktemp("ui")
    with served(f"file://{directory / 'profiles'}", directory / "log") as url:
        for version in ("0.0.1", "0.0.2"):
            for profile_type in ("cpu", "heap", "mutex"):
                for file in sorted((DATA / f"shop-{version}").glob(f"{profile_type}-[123].pb.gz")):
                    post(url, file.read_bytes(), service="shop", type=profile_type, version=version)
        post(url, (DATA / "python" / "python-cpu.pb.gz").read_bytes(), service="python", type="cpu")
        yield url


@pytest.fixture(scope="session")
def mixed_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a collector with a service that has CPU profiles of Go and of Python."""
    directory = tmp_path_factory.mktemp("mixed")
    with served(f"file://{directory / 'profiles'}", directory / "log") as url:
        for file in (DATA / "shop-0.0.1" / "cpu-1.pb.gz", DATA / "python" / "python-cpu.pb.gz"):
            post(url, file.read_bytes(), service="mixed", type="cpu")
        yield url


HOUR_PATH = "/?service=api&type=heap&from=2027-01-15T08:00:00&to=2027-01-15T08:59:59"


@pytest.fixture(scope="session")
def hour_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a collector with an hour of heap profiles of one process."""
    directory = tmp_path_factory.mktemp("hour")
    with served(f"file://{directory / 'profiles'}", directory / "log") as url:
        for data in hour_of_heap():
            post(url, data, service="api", type="heap")
        yield url


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Return a function that opens a collector's page. After the test, no page may have had problems."""
    pages: list[WatchedPage] = []

    def open_page(url: str, path: str = "/", **options: Any) -> WatchedPage:
        watched = WatchedPage.open(browser, url, **options)
        pages.append(watched)
        watched.page.goto(url + path)
        return watched

    yield open_page
    problems = [problem for watched in pages for problem in watched.unexpected_problems()]
    for watched in pages:
        watched.context.close()
    assert problems == []


@pytest.fixture
def shop_page(open_page: OpenPage, shop_url: str) -> WatchedPage:
    """Return the page with all CPU profiles of the shop."""
    return open_page(shop_url, shop_path("cpu"))


def shop_path(profile_type: str) -> str:
    """Return the page's path for all profiles of a type of the shop."""
    times = [decode(file.read_bytes()).time_nanos for file in DATA.glob(f"shop-*/{profile_type}-[123].pb.gz")]
    first, last = (format_time(time).removesuffix("Z") for time in (min(times), max(times)))
    return f"/?service=shop&type={profile_type}&from={first}&to={last}"
