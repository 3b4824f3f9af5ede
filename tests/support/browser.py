"""Debian's Chromium, and pages in it whose errors and requests are watched."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Dialog,
    Locator,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.support.paths import ROOT

SCREENSHOTS = ROOT / "tests" / "ui" / "screenshots"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
SIZE: ViewportSize = {"width": 1440, "height": 900}

WIDTHS = (1440, 1024, 390)  # pixels: a desktop, a small laptop, a phone

_TIMEOUT_MILLISECONDS = 20_000
expect.set_options(timeout=_TIMEOUT_MILLISECONDS)

# A field in a label is reached by clicking the label. Links in running text may be as small as the text.
_FIND_LAYOUT_FAULTS = """() => {
    const faults = [];
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth > clientWidth) faults.push(`the page is ${scrollWidth} pixels wide instead of ${clientWidth}`);
    for (const element of document.querySelectorAll("a, button, input, select, summary")) {
        const target = element.closest("label") ?? element;
        const { width, height } = target.getBoundingClientRect();
        if (!width || (element.tagName === "A" && element.closest("p"))) continue;
        if (width < 23.9 || height < 23.9) {
            const name = element.getAttribute("aria-label") ?? element.textContent;
            faults.push(`${element.tagName} ${name.slice(0, 40)}: ${width.toFixed(1)} x ${height.toFixed(1)}`);
        }
    }
    return faults;
}"""

# Console messages about error answers, whose message the page shows, and about a missing GPU.
_EXPECTED = re.compile(
    r"Failed to load resource: the server responded with a status of 4\d\d|.*GPU stall|Canvas2D: Multiple readback"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless browser; raise ``FileNotFoundError`` if Chromium is not installed."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        raise FileNotFoundError("chromium is not installed; run `make test-ui` as root, or install the package")
    with sync_playwright() as playwright:
        # Chromium's sandbox does not run as root, and these tests open profbucket's own page only.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class WatchedPage:
    """A page of the collector at *url*.

    ``problems`` lists errors, dialogs and requests to other hosts. Those with ``provoked`` in them are meant.
    """

    context: BrowserContext
    page: Page
    url: str
    problems: list[str] = field(default_factory=list)
    provoked: str | None = None

    @classmethod
    def open(cls, browser: Browser, url: str, **options: Any) -> "WatchedPage":
        """Open an empty page in a new browser context, to which *options* are passed."""
        context = browser.new_context(viewport=SIZE, reduced_motion="reduce", accept_downloads=True, **options)
        context.set_default_timeout(_TIMEOUT_MILLISECONDS)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
        watched = cls(context, context.new_page(), url)
        if slowdown := os.environ.get("SLOWDOWN"):
            devtools = context.new_cdp_session(watched.page)
            devtools.send("Emulation.setCPUThrottlingRate", {"rate": float(slowdown)})
        watched._watch(watched.page)
        context.on("page", watched._watch)
        context.on("request", lambda request: watched._check_request(request.url))
        return watched

    def accessibility_violations(self, *rules: str) -> list[str]:
        """Return the serious and critical violations that axe-core finds, of all rules or of *rules* only."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
        results = self.page.evaluate("options => axe.run(document, options)", options)
        return [
            f"{violation['id']}: {violation['help']}: {[node['target'] for node in violation['nodes']][:3]}"
            for violation in results["violations"]
            if violation["impact"] in ("serious", "critical")
        ]

    def layout_faults(self) -> list[str]:
        """Return the faults of the layout: a page that scrolls sideways, targets of less than 24 pixels."""
        wait_for_frames(self.page)
        faults: list[str] = self.page.evaluate(_FIND_LAYOUT_FAULTS)
        return faults

    def unexpected_problems(self) -> list[str]:
        """Return the problems that the test did not provoke."""
        return [problem for problem in self.problems if self.provoked is None or self.provoked not in problem]

    def screenshot(self, name: str) -> None:
        """Write a screenshot for people to look at, if the environment variable SCREENSHOTS is set."""
        if os.environ.get("SCREENSHOTS"):
            SCREENSHOTS.mkdir(exist_ok=True)
            self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def _watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("dialog", self._dismiss)
        page.on("console", lambda message: self._check_console(message.type, message.text))

    def _dismiss(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _check_console(self, level: str, text: str) -> None:
        if level in ("error", "warning") and not _EXPECTED.match(text):
            self.problems.append(f"{level}: {text}")

    def _check_request(self, url: str) -> None:
        if not url.startswith((f"{self.url}/", f"blob:{self.url}/", "data:")):
            self.problems.append(f"request to {urlsplit(url).netloc or url[:80]}")


def wait_until_drawn(page: Page) -> None:
    """Wait until the flame graph shows the selected profiles."""
    page.locator('.graph[aria-busy="false"] .flame canvas').first.wait_for()


def wait_for_frames(page: Page) -> None:
    """Wait until sizes follow the window and their columns, which takes a frame."""
    page.evaluate("async () => { for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame); }")


def wait_for_colors(canvas: Locator, minimum: int) -> None:
    """Wait until more than *minimum* colors are drawn; an empty canvas has one."""
    canvas.page.wait_for_function(
        """([canvas, minimum]) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size > minimum;
        }""",
        arg=[canvas.element_handle(), minimum],
    )


def drag(page: Page, selector: str, start: int, end: int) -> None:
    """Move the mouse from *start* to *end*, pixels from an element's left side, and leave its button pressed."""
    target = page.locator(selector)
    target.hover(position={"x": start, "y": 40})  # waits until the element no longer moves
    page.mouse.down()
    target.hover(position={"x": end, "y": 40})


def copied(page: Page, name: str) -> str:
    """Press the button *name*, and return the text that it copies."""
    page.evaluate("navigator.clipboard.writeText('')")
    page.get_by_role("button", name=name).click()
    return clipboard_text(page)


def clipboard_text(page: Page) -> str:
    """Wait until the clipboard has a text, and return it."""
    return str(page.wait_for_function("() => navigator.clipboard.readText()").json_value())


def press(page: Page, *keys: str) -> None:
    """Press *keys* one after the other."""
    for key in keys:
        page.keyboard.press(key)


def post(url: str, data: bytes, api_key: str = "", **parameters: str) -> None:
    """Post the profile *data* to the collector at *url*."""
    headers = {"X-Api-Key": api_key} if api_key else {}
    response = urllib3.request("POST", f"{url}/api/0/profiles?{urlencode(parameters)}", body=data, headers=headers)
    assert response.status == 200, response.data
