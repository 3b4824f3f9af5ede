"""A collector that holds two versions of the shop, and a browser that looks at it."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from profbucket.pprof import decode
from profbucket.times import format_time
from tests.support.browser import Watched, chromium, post
from tests.support.paths import ROOT
from tests.support.serving import served

DATA = ROOT / "tests" / "data"

Opener = Callable[..., Watched]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def shop_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a collector with the services shop, of two versions, and python."""
    directory = tmp_path_factory.mktemp("ui")
    with served(f"file://{directory / 'profiles'}", directory / "log") as url:
        for version in ("0.0.1", "0.0.2"):
            for kind in ("cpu", "heap", "mutex"):
                for file in sorted((DATA / f"shop-{version}").glob(f"{kind}-[123].pb.gz")):
                    post(url, file.read_bytes(), service="shop", type=kind, version=version)
        post(url, (DATA / "python" / "python-cpu.pb.gz").read_bytes(), service="python", type="cpu")
        yield url


@pytest.fixture
def look(browser: Browser) -> Iterator[Opener]:
    """Opens a page of a collector. In the end nothing may have been wrong with any of them."""
    opened: list[Watched] = []

    def look(url: str, path: str = "/", **options: object) -> Watched:
        watched = Watched.open(browser, url, **options)
        opened.append(watched)
        watched.page.goto(url + path)
        return watched

    yield look
    wrong = [one for watched in opened for one in watched.wrong]
    for watched in opened:
        watched.context.close()
    assert wrong == []


@pytest.fixture
def shop(look: Opener, shop_url: str) -> Watched:
    """The page at all profiles of the shop's CPU."""
    return look(shop_url, everything("cpu"))


def everything(kind: str) -> str:
    """The page's path at all profiles of the shop of a type."""
    times = [decode(file.read_bytes()).time_nanos for file in DATA.glob(f"shop-*/{kind}-[123].pb.gz")]
    first, last = (format_time(time).removesuffix("Z") for time in (min(times), max(times)))
    return f"/?service=shop&type={kind}&from={first}&to={last}"
