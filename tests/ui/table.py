"""The top table of the page, and the report that it is compared with."""

from playwright.sync_api import Page, expect

from profbucket.pprof import decode
from profbucket.pprof.merge import merge
from profbucket.pprof.report.top import TopRow, build_top_report
from tests.support.paths import DATA


def shop_report(*versions: str) -> tuple[dict[str, TopRow], int]:
    """Return the functions in the CPU profiles of *versions* of the shop, and their total."""
    files = [file for version in versions for file in sorted((DATA / f"shop-{version}").glob("cpu-[123].pb.gz"))]
    report = build_top_report(decode(merge([file.read_bytes() for file in files])), fraction=0)
    return {row.name: row for row in report.rows}, report.total


def first_rows(page: Page) -> list[list[str]]:
    """Return the texts of the cells of the table's first rows; functions have their whole names."""
    expect(page.locator("tbody tr").first).to_be_visible()
    rows: list[list[str]] = page.locator("tbody tr").evaluate_all(
        """rows => rows.slice(0, 12).map(row => [...row.cells].map(
            cell => cell.querySelector(".link")?.ariaLabel ?? cell.innerText))"""
    )
    return rows
