"""The page in Debian's Chromium with a merge of 20,000 distinct stacks."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, Route, expect

from bench.measure import Measure, Row, bench, take_median
from profbucket.api import page as files
from profbucket.ingest.collector import Collector
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import encode, profile_pb2
from profbucket.storage.open import open_storage
from profbucket.times import SECOND
from tests.support.browser import SIZE, chromium
from tests.support.serving import served

STACKS, DEPTH, FUNCTIONS, PROFILES = 20_000, 30, 3_000, 20
ROUNDS = 7

_SHOW_HOUR = """async () => {
    const drawn = new Promise(resolve => new PerformanceObserver(
        list => resolve(list.getEntriesByName("flame:draw")[0])).observe({ type: "measure" }));
    const begin = performance.now();
    [...document.querySelectorAll(".presets button")].find(button => button.textContent === "1 h").click();
    const first = await drawn;
    return first.startTime + first.duration - begin;
}"""

# The longest frame during a zoom, and the longest drawing of one.
_ZOOM = """async () => {
    const canvas = document.querySelector(".flame canvas");
    const drawn = [];
    const watch = list => drawn.push(...list.getEntriesByName("flame:draw"));
    new PerformanceObserver(watch).observe({ type: "measure" });
    let last = await new Promise(requestAnimationFrame), longest = 0, count = 0;
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    for (const end = last + 260; last < end; count++) {
        const now = await new Promise(requestAnimationFrame);
        longest = Math.max(longest, now - last);
        last = now;
    }
    await new Promise(resolve => setTimeout(resolve, 50)); // observers are called with a delay
    return { longest, drawn: Math.max(...drawn.map(entry => entry.duration)), count: drawn.length };
}"""

# The times between frames while the pointer moves over the flame graph: in each frame to another place.
_HOVER = """async frames => {
    const canvas = document.querySelector(".flame canvas");
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const times = [];
    let last = await new Promise(requestAnimationFrame), hovered = 0;
    for (let i = 0; i < frames; i++) {
        const x = left + ((i * 37) % 997) / 997 * width;
        const y = top + ((i * 53) % 991) / 991 * Math.min(height, 500);
        canvas.dispatchEvent(new MouseEvent("mousemove", { clientX: x, clientY: y, bubbles: true }));
        const now = await new Promise(requestAnimationFrame);
        times.push(now - last);
        last = now;
        hovered += document.querySelector(".flame .tooltip") !== null;
    }
    times.sort((a, b) => a - b);
    return { median: times[frames >> 1], p99: times[Math.floor(frames * 0.99)], longest: times.at(-1), hovered };
}"""
_HOVER_FRAMES = 300


@bench("ui")
def ui() -> Iterator[Row]:
    """Measure from a click to the first flame graph, and the frames of a zoom and of hovering."""
    own = sum(len(file.gzipped) for name, file in files.files().items() if not name.startswith("speedscope/"))
    with _serve_profiles() as url, chromium() as browser:
        content = f"{PROFILES} profiles with {STACKS:,} distinct stacks of {DEPTH} frames"
        context = browser.new_context(viewport=SIZE)
        page = context.new_page()
        firsts: list[Measure] = []
        for turn in range(ROUNDS + 1):
            page.goto(f"{url}/?service=wide&type=cpu&from=now-1s")
            expect(page.get_by_role("alert")).to_be_visible()
            seconds = page.evaluate(_SHOW_HOUR) / 1000
            if turn:
                firsts.append(Measure(seconds))
        weight = f"the page weighs {own / 1000:.0f} KB, compressed"
        yield Row(
            "first flame graph after a click",
            take_median(firsts),
            note=f"{content}, functions-framework; {weight}",
        )
        for nodes in (20_000, 50_000):
            page.route("**/flame?*", _with_nodes(nodes))
            page.goto(f"{url}/?service=wide&type=cpu&view=flame")
            zooms = [_zoom(page, turn) for turn in range(ROUNDS + 1)][1:]
            longest, drawn = (
                take_median([Measure(zoom[k] / 1000) for zoom in zooms]) for k in ("longest", "drawn")
            )
            yield Row(f"longest frame of a zoom, {nodes:,} nodes", longest, note=f"drawing: {drawn}")
            hovers = [page.evaluate(_HOVER, _HOVER_FRAMES) for _ in range(ROUNDS + 1)][1:]
            assert all(hover["hovered"] > _HOVER_FRAMES / 2 for hover in hovers), hovers
            median, p99, longest = (
                take_median([Measure(hover[k] / 1000) for hover in hovers]) for k in ("median", "p99", "longest")
            )
            yield Row(
                f"frame while the pointer moves, {nodes:,} nodes", median, note=f"99%: {p99}, longest: {longest}"
            )


def _with_nodes(count: int) -> Callable[[Route], None]:
    """Return a route handler that requests *count* nodes instead of the page's number."""

    def rewrite(route: Route) -> None:
        route.continue_(url=route.request.url.replace("max_nodes=20000", f"max_nodes={count}"))

    return rewrite


def _zoom(page: Page, turn: int) -> dict[str, float]:
    """Zoom to the widest frame some levels down, and in the next turn back to the root."""
    expect(page.locator(".graph")).to_have_attribute("aria-busy", "false")
    page.locator(".flame canvas").focus()
    page.keyboard.press("Home")
    for _ in range(0 if turn % 2 else 4):
        page.keyboard.press("ArrowDown")
    measures: dict[str, float] = page.evaluate(_ZOOM)
    assert measures["count"] > 3, measures
    return measures


@contextmanager
def _serve_profiles() -> Iterator[str]:
    with TemporaryDirectory() as directory:
        storage = f"file://{directory}/profiles"
        collector = Collector(open_storage(storage))
        now = time.time_ns()
        for number in range(PROFILES):
            at = now - (number + 1) * 60 * SECOND
            collector.collect("wide", ProfileType.CPU, Labels(), _make_profile(number), at)
        with served(storage, Path(directory) / "log") as url:
            yield url


def _make_profile(number: int) -> bytes:
    """Return a profile with some of the stacks; all profiles together have each stack, many in several."""
    message = profile_pb2.Profile(
        string_table=[
            b"",
            b"cpu",
            b"nanoseconds",
            *(b"example.org/p%d.f%d" % (i % 60, i) for i in range(FUNCTIONS)),
        ],
        sample_type=[{"type": 1, "unit": 2}],
        location=[{"id": i + 1, "line": [{"function_id": i + 1, "line": i}]} for i in range(FUNCTIONS)],
        function=[{"id": i + 1, "name": i + 3, "system_name": i + 3} for i in range(FUNCTIONS)],
        period_type={"type": 1, "unit": 2},
    )
    for stack in range(STACKS):
        if stack % PROFILES == number or stack % 7 == number % 7:
            message.sample.add(location_id=reversed(_make_stack(stack)), value=[10_000_000])
    return encode(message)


def _make_stack(number: int) -> list[int]:
    """Return location ids, root first; as in programs, stacks share their beginnings and diverge with depth."""
    frames = []
    for depth in range(DEPTH):
        ways = 1 + number % min(STACKS, 2 ** (1 + depth // 2))
        frames.append(1 + random.Random(depth * 1_000_003 + ways).randrange(FUNCTIONS))
    return [*frames, 1 + number % FUNCTIONS, 1 + number // FUNCTIONS]
