"""Finding profiles with the page: service, type, labels, time range."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from profbucket.ingest.collector import Collector
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.storage.open import open_storage
from profbucket.times import SECOND, parse_time
from tests.support.api import pprof
from tests.support.browser import WIDTHS, WatchedPage, drag, wait_until_drawn
from tests.support.serving import served
from tests.ui.conftest import HOUR_PATH, OpenPage, shop_path
from tests.ui.table import shop_report

MIXED_PATH = "/?service=mixed&type=cpu&from=1970-01-02T00:00:00&to=2100-01-01T00:00:00"
GROUPS_NOON = parse_time("2026-11-23T12:00:00", 0)
GROUPS_RANGE = "&from=2026-11-23T11:30:00&to=2026-11-23T12:30:00"

CHOOSE_LOCAL_TIMES = """async select => {
    select.value = "local";
    select.dispatchEvent(new Event("change", { bubbles: true }));
    await new Promise(requestAnimationFrame);
    return [document.querySelector(".timeline .zone").textContent, document.querySelector(".time input").value];
}"""


@pytest.fixture(scope="module")
def groups_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a collector with a service of 40 pods with long names; the largest has no name."""
    directory = tmp_path_factory.mktemp("groups")
    storage = f"file://{directory}/profiles"
    collector = Collector(open_storage(storage))
    for number in range(40):
        at = GROUPS_NOON + number % 5 * 60 * SECOND
        pods = {} if number == 39 else {"pod": f"production-{'very-long-' * 20}pod-של-{number:02}"}
        profile = pprof((number + 1) * SECOND, at=at)
        collector.collect("api", ProfileType.CPU, Labels.from_pairs(pods.items()), profile, at)
    with served(storage, directory / "log") as url:
        yield url


def test_a_service_has_a_timeline_and_a_flame_graph(open_page: OpenPage, shop_url: str) -> None:
    watched = open_page(shop_url)
    page = watched.page
    expect(page.get_by_role("heading", name="Services")).to_be_visible()
    watched.screenshot("services")
    page.get_by_role("link", name="shop", exact=True).click()
    expect(page.get_by_label("Type", exact=True)).to_have_value("cpu")
    expect(page.get_by_role("alert")).to_contain_text("No profiles found")
    watched.screenshot("empty")
    page.get_by_role("button", name="Show all profiles").click()
    wait_until_drawn(page)
    _, total = shop_report("0.0.1", "0.0.2")
    expect(page.locator(".totals")).to_have_text(f"{total / 1e9:.2f} s in 6 profiles")
    expect(page.get_by_role("img", name=re.compile("^Timeline"))).to_have_attribute(
        "aria-label", re.compile(f"{total / 1e9:.2f} s in total")
    )
    watched.screenshot("explore")


def test_lists_offer_what_exists(shop_page: WatchedPage) -> None:
    wait_until_drawn(shop_page.page)
    for name, options in {
        "Service": ["python", "shop"],
        "Type": ["cpu", "heap", "mutex"],
        "Sample": ["samples", "cpu"],
        "Group by": ["none", "version"],
    }.items():
        expect(shop_page.page.get_by_label(name, exact=True).locator("option")).to_have_text(options)


def test_a_service_whose_agents_measure_different_things_is_shown(open_page: OpenPage, mixed_url: str) -> None:
    """One agent sends CPU time alone, the other samples, CPU time and wall time."""
    watched = open_page(mixed_url, MIXED_PATH)
    page = watched.page
    wait_until_drawn(page)
    expect(page.get_by_label("Sample", exact=True).locator("option")).to_have_text(["samples", "cpu"])
    expect(page.locator(".totals")).to_contain_text("in 2 profiles")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_service_is_switched(shop_page: WatchedPage) -> None:
    """The type is one of the new service's, although the old one's types are known first."""
    page = shop_page.page
    page.get_by_label("Type", exact=True).select_option("heap")
    wait_until_drawn(page)
    page.get_by_label("Service", exact=True).select_option("python")
    expect(page.get_by_label("Type", exact=True).locator("option")).to_have_text(["cpu"])
    expect(page.get_by_label("Type", exact=True)).to_have_value("cpu")
    expect(page).to_have_url(re.compile("service=python&type=cpu&"))


def test_the_timeline_begins_with_the_measure_of_the_flame_graph(shop_page: WatchedPage) -> None:
    """The timeline is often there first, and samples would be shown before CPU time."""
    page = shop_page.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/flame?*", hold)
    for profile_type, sample_type, value in (
        ("cpu", "cpu", r"\d s in total"),
        ("heap", "inuse_space", r"\d [kM]B at most"),
    ):
        with page.expect_request("**/flame?*"):
            page.get_by_label("Type", exact=True).select_option(profile_type) if held else page.reload()
        expect(page.get_by_label("Sample", exact=True)).to_have_value(sample_type)
        timeline = page.get_by_role("img", name=re.compile("^Timeline"))
        expect(timeline).to_have_attribute("aria-label", re.compile(value))
        held[-1].continue_()
        wait_until_drawn(page)


def test_types_and_sample_types_are_switched(shop_page: WatchedPage) -> None:
    page = shop_page.page
    page.get_by_label("Type", exact=True).select_option("heap")
    expect(page.get_by_label("Sample", exact=True)).to_have_value("inuse_space")
    page.get_by_label("Sample", exact=True).select_option("alloc_space")
    wait_until_drawn(page)
    expect(page.locator(".totals")).to_have_text(re.compile(r"[kMG]B, increase over .+ in 2 series, added up$"))
    shop_page.screenshot("heap")


def test_memory_in_use_is_an_average(open_page: OpenPage, hour_url: str) -> None:
    """An hour of a process that has 50 MB in use, with 52 profiles."""
    watched = open_page(hour_url, HOUR_PATH)
    page = watched.page
    wait_until_drawn(page)
    expect(page.locator(".totals")).to_have_text("50 MB, average of 52 profiles")
    timeline = page.get_by_role("img", name=re.compile("^Timeline"))
    expect(timeline).to_have_attribute("aria-label", re.compile(r"50\.\d+ MB at most"))
    expect(page.locator(".plot .caption")).to_have_text("average per step")
    watched.screenshot("average")
    page.get_by_label("Sample", exact=True).select_option("alloc_space")
    wait_until_drawn(page)
    expect(page.locator(".totals")).to_have_text("4.98 MB, increase over 51 min")
    expect(page.locator(".plot .caption")).to_have_text("increase per step")


def test_each_step_of_the_timeline_has_a_profile_or_a_gap(open_page: OpenPage, hour_url: str) -> None:
    """With a profile a minute no step is shorter; the minutes without a profile have no column."""
    page = open_page(hour_url, HOUR_PATH + "&sample=inuse_space").page
    wait_until_drawn(page)
    columns = page.locator(".timeline rect.column")
    expect(columns).to_have_count(52)
    heights: list[float] = columns.evaluate_all("columns => columns.map(column => column.height.baseVal.value)")
    assert min(heights) > max(heights) / 2


def test_many_groups_with_long_names_leave_room(open_page: OpenPage, groups_url: str) -> None:
    """The largest groups have lines, all others share one; the legend stays small."""
    watched = open_page(groups_url, f"/?service=api&type=cpu{GROUPS_RANGE}&group=pod")
    page = watched.page
    wait_until_drawn(page)
    items = page.get_by_role("list", name="Groups").get_by_role("listitem")
    expect(items).to_have_count(8)
    expect(items.last).to_have_text("33 others")
    expect(items.filter(has_text="(none)")).to_have_count(1)
    expect(items.filter(has_text="production-")).to_have_text([re.compile(f"….*-{n}$") for n in range(33, 39)])
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert watched.layout_faults() == []
        legend = page.get_by_role("list", name="Groups").bounding_box()
        assert legend
        assert legend["height"] <= 200
        watched.screenshot(f"many-groups-{width}")
    page.locator(".plot").hover(position={"x": 120, "y": 40})
    watched.screenshot("many-groups-tooltip")
    assert watched.layout_faults() == []


def test_values_become_one_as_chosen(open_page: OpenPage, hour_url: str) -> None:
    """The choice holds for the timeline, the flame graph and links, until another type is chosen."""
    watched = open_page(hour_url, HOUR_PATH)
    page = watched.page
    values = page.get_by_label("Values", exact=True)
    expect(values.locator("option")).to_have_text(["usual: average", "sum", "average", "latest", "increase"])
    for name, total, caption in (
        ("sum", re.compile(r"2\.\d+ GB in 52 profiles"), []),
        ("latest", re.compile(r"MB, latest of 52 profiles"), ["latest per step"]),
    ):
        values.select_option(name)
        wait_until_drawn(page)
        expect(page.locator(".totals")).to_have_text(total)
        expect(page.locator(".plot .caption")).to_have_text(caption)
        expect(page).to_have_url(re.compile(f"aggregate={name}"))
    watched.screenshot("values")
    page.get_by_label("Sample", exact=True).select_option("alloc_space")
    values.select_option("increase")
    wait_until_drawn(page)
    expect(page.locator(".totals")).to_have_text("4.98 MB, increase over 51 min")
    expect(page).to_have_url(re.compile("aggregate=delta"))


def test_values_without_an_increase_are_reported(shop_page: WatchedPage) -> None:
    page = shop_page.page
    page.get_by_label("Values", exact=True).select_option("increase")
    expect(page.get_by_role("heading")).to_have_text("There is no increase")
    shop_page.screenshot("no-increase")
    page.get_by_role("button", name="Show the usual values").click()
    wait_until_drawn(page)
    expect(page).not_to_have_url(re.compile("aggregate="))


def test_labels_select_profiles(shop_page: WatchedPage) -> None:
    page = shop_page.page
    page.get_by_role("button", name="+ label: Labels").click()
    suggestions = page.locator("datalist option")
    expect(suggestions).to_have_count(3)
    values = suggestions.evaluate_all("options => options.map(option => option.value)")
    assert values == ["version", "0.0.1", "0.0.2"]
    page.get_by_label("Value", exact=True).fill("0.0.2")
    shop_page.screenshot("label")
    page.get_by_role("button", name="Add", exact=True).click()
    wait_until_drawn(page)
    _, total = shop_report("0.0.2")
    expect(page.locator(".totals")).to_have_text(f"{total / 1e9:.2f} s in 3 profiles")
    page.get_by_role("button", name="version=0.0.2", exact=True).click()
    page.get_by_label("Value", exact=True).fill("0.0.1")
    page.get_by_role("button", name="Apply").click()
    wait_until_drawn(page)
    expect(page).to_have_url(re.compile("version%3D0.0.1"))
    page.get_by_role("button", name="Remove version=0.0.1").click()
    expect(page.locator(".totals")).to_contain_text("in 6 profiles")


def test_a_condition_on_a_label_with_an_invalid_pattern_is_reported(open_page: OpenPage, shop_url: str) -> None:
    page = open_page(shop_url, shop_path("cpu") + "&labels=version%3D~(").page
    alert = page.get_by_role("alert")
    expect(alert).to_have_count(1)
    expect(alert).to_contain_text("nvalid regular expression")
    page.get_by_role("button", name="version=~(", exact=True).click()
    page.get_by_label("Value", exact=True).fill("0.*2")
    page.get_by_role("button", name="Apply").click()
    wait_until_drawn(page)
    expect(page.locator(".totals")).to_contain_text("in 3 profiles")


def test_a_label_may_be_missing(open_page: OpenPage, mixed_url: str) -> None:
    page = open_page(mixed_url, MIXED_PATH).page
    wait_until_drawn(page)
    page.get_by_role("button", name="+ label: Labels").click()
    page.get_by_label("Label", exact=True).fill("version")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("button", name='version=""', exact=True)).to_be_visible()
    wait_until_drawn(page)
    expect(page.locator(".totals")).to_contain_text("in 2 profiles")


def test_each_group_is_a_line(shop_page: WatchedPage) -> None:
    page = shop_page.page
    page.get_by_label("Group by", exact=True).select_option("version")
    expect(page.get_by_role("list", name="Groups").get_by_role("listitem")).to_have_text(["0.0.1", "0.0.2"])
    expect(page.locator("path.line")).to_have_count(2)
    shop_page.screenshot("groups")


def test_a_version_is_marked_where_it_is_first_seen(shop_page: WatchedPage) -> None:
    expect(shop_page.page.locator(".marker text")).to_have_text(["0.0.2"])


def test_times_are_local_or_utc(open_page: OpenPage, shop_url: str) -> None:
    watched = open_page(shop_url, shop_path("cpu"), timezone_id="Asia/Kolkata")
    page = watched.page
    wait_until_drawn(page)
    expect(page.locator(".timeline .zone")).to_have_text("UTC")
    start = page.get_by_label("From", exact=True)
    expect(start).to_have_value("2026-11-23T01:23:06")
    url = page.url
    # Read in the next frame: no frame has the axis in one zone and the inputs in the other.
    assert page.get_by_label("Times", exact=True).evaluate(CHOOSE_LOCAL_TIMES) == [
        "UTC+05:30",
        "2026-11-23T06:53:06+05:30",
    ]
    expect(page).to_have_url(url)
    watched.screenshot("local-times")
    page.reload()
    expect(page.get_by_label("Times", exact=True)).to_have_value("local")


def test_loading_can_be_cancelled(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/flame?*", hold)
    page.get_by_label("Type", exact=True).select_option("heap")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()
    page.unroute("**/flame?*")
    page.get_by_role("button", name="Load", exact=True).click()
    wait_until_drawn(page)


def test_a_live_page_refreshes_itself(open_page: OpenPage, shop_url: str) -> None:
    page = open_page(shop_url).page
    page.clock.install()
    page.goto(f"{shop_url}/?service=shop&type=cpu")
    expect(page.get_by_role("alert")).to_contain_text("No profiles found")
    page.get_by_role("button", name="Live").click()
    for _ in range(2):
        with page.expect_request("**/flame?*"):
            page.clock.run_for(31_000)  # also what starts the timer
    page.get_by_label("To", exact=True).fill("now-1m")
    page.get_by_label("To", exact=True).press("Enter")
    expect(page.get_by_role("button", name="Live")).to_be_disabled()


def test_dragging_on_the_timeline_selects_a_range(shop_page: WatchedPage) -> None:
    page = shop_page.page
    wait_until_drawn(page)
    drag(page, ".plot", 70, 90)
    shop_page.screenshot("dragging")
    page.mouse.up()
    expect(page.locator(".band.comparison rect")).to_be_visible()
    expect(page.locator(".totals")).not_to_contain_text("in 6 profiles")
    wait_until_drawn(page)
    shop_page.screenshot("selection")
    page.get_by_role("button", name="Whole range").click()
    expect(page.locator(".totals")).to_contain_text("in 6 profiles")


def test_a_time_is_typed_in_any_form(shop_page: WatchedPage) -> None:
    page = shop_page.page
    page.get_by_label("From", exact=True).fill("now-2m")
    page.get_by_label("From", exact=True).press("Enter")
    page.get_by_label("To", exact=True).fill("now")
    page.get_by_label("To", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("No profiles found")
    page.get_by_label("From", exact=True).fill("yesterday")
    page.get_by_label("From", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("'yesterday'")
    shop_page.screenshot("invalid-time")
