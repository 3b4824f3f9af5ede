"""Debian's Chromium, and a page in it that is watched: what it asks for, what it complains of."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, ViewportSize, sync_playwright

from tests.support.paths import ROOT

SHOTS = ROOT / "tests" / "ui" / "screenshots"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
SIZE: ViewportSize = {"width": 1440, "height": 900}

# What a browser says of an answer that is an error (the page shows its sentence), and where there is no GPU.
_EXPECTED = re.compile(
    r"Failed to load resource: the server responded with a status of 4\d\d|.*GPU stall|Canvas2D: Multiple readback"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. `make test-ui` installs what it needs."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        raise FileNotFoundError("there is no chromium: install Debian's package (`make test-ui` does, as root)")
    with sync_playwright() as playwright:
        # Its sandbox does not run as root, and here it is shown our own page only.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and what is wrong with it: errors, and requests to other hosts than that of *url*."""

    context: BrowserContext
    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser: Browser, url: str, **options: Any) -> "Watched":
        context = browser.new_context(viewport=SIZE, reduced_motion="reduce", accept_downloads=True, **options)
        context.set_default_timeout(20_000)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
        watched = cls(context, context.new_page(), url)
        watched.watch(watched.page)
        context.on("page", watched.watch)
        context.on("request", lambda request: watched.check(request.url))
        return watched

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", self.dismiss)
        page.on("console", lambda said: self.hear(said.type, said.text))

    def dismiss(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not _EXPECTED.match(text):
            self.wrong.append(f"{kind}: {text}")

    def check(self, url: str) -> None:
        if not url.startswith((f"{self.url}/", f"blob:{self.url}/", "data:")):
            self.wrong.append(f"asked {urlsplit(url).netloc or url[:80]}")

    def faults(self) -> list[str]:
        """What axe-core finds that is serious or critical, of the page as it is shown now."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:3]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def shoot(self, name: str) -> None:
        """Write a screenshot for people to look at."""
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")


def post(url: str, data: bytes, secret: str = "", **parameters: str) -> None:
    """Post a profile."""
    headers = {"X-Api-Key": secret} if secret else {}
    query = urlencode(parameters)
    answer = urllib3.request("POST", f"{url}/api/0/profiles?{query}", body=data, headers=headers)
    assert answer.status == 200, answer.data
