"""The questions of docs/sql.md: DuckDB and ClickHouse give the numbers that the profiles themselves give."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import duckdb
import pytest

from tests.samples.conftest import read_section, read_statements
from tests.support.clickhouse import ClickHouse, Rows
from tests.support.sample_fleet import CPU, HEAP, Posted, Sample, read_samples

Answer = Callable[[list[Sample]], Rows]

WEEK = ("2026-11-16", "2026-11-22")
COLLECTION = {"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge"}


def select_cpu(samples: Iterable[Sample], first: str = WEEK[0], last: str = WEEK[1]) -> list[Sample]:
    """Return the samples of CPU time that were taken from the day *first* to the day *last*."""
    return [
        sample
        for sample in samples
        if (sample.profile.type, sample.sample_type) == (CPU, "cpu") and first <= sample.profile.date <= last
    ]


def select_heap(samples: Iterable[Sample], sample_type: str) -> list[Sample]:
    return [sample for sample in samples if (sample.profile.type, sample.sample_type) == (HEAP, sample_type)]


def add_up(pairs: Iterable[tuple[Any, float]]) -> dict[Any, float]:
    sums: dict[Any, float] = defaultdict(int)
    for key, value in pairs:
        sums[key] += value
    return sums


def sort_by_value(sums: Mapping[Any, float], limit: int | None = None) -> list[tuple[Any, float]]:
    """Return the items with the largest values first, and equal ones by key."""
    return list(islice(sorted(sums.items(), key=lambda item: (-item[1], item[0])), limit))


def top_functions(samples: list[Sample]) -> Rows:
    cpu = select_cpu(samples)
    flat = add_up((sample.function, sample.value) for sample in cpu)
    cumulative = add_up((function, sample.value) for sample in cpu for function in sample.functions)
    return [
        (function, value / 1e9, cumulative[function] / 1e9)
        for function, value in sort_by_value({function: flat.get(function, 0) for function in cumulative}, 10)
    ]


def cost_by_package(samples: list[Sample]) -> Rows:
    cpu = select_cpu(samples)
    total = sum(sample.value for sample in cpu)
    packages = add_up((name_package(sample.function), sample.value) for sample in cpu)
    return [(package, value / 1e9, 100 * value / total) for package, value in sort_by_value(packages, 10)]


def name_package(function: str) -> str:
    match = re.match(r"(?:.*/)?\w+(?=\.|::)", function)
    return match[0] if match else ""


def garbage_collection(samples: list[Sample]) -> Rows:
    cpu = select_cpu(samples)
    totals = add_up(((sample.profile.service, sample.profile.date), sample.value) for sample in cpu)
    collecting = add_up(
        ((sample.profile.service, sample.profile.date), sample.value)
        for sample in cpu
        if sample.functions & COLLECTION
    )
    assert len([value for value in collecting.values() if value]) > 2
    return [(*key, 100 * collecting.get(key, 0) / totals[key]) for key in sorted(totals)]


def dearer_functions(samples: list[Sample]) -> Rows:
    cpu = [sample for sample in select_cpu(samples) if sample.profile.labels.get("version") in ("0.0.1", "0.0.2")]
    totals = add_up(((sample.profile.service, sample.profile.labels["version"]), sample.value) for sample in cpu)
    services = sorted({sample.profile.service for sample in cpu})
    shares = add_up(
        (
            (sample.profile.service, sample.profile.labels["version"], sample.function),
            100 * sample.value / totals[sample.profile.service, sample.profile.labels["version"]],
        )
        for sample in cpu
    )
    dearer = {}
    for function in {sample.function for sample in cpu}:
        points = [
            shares.get((service, "0.0.2", function), 0) - shares.get((service, "0.0.1", function), 0)
            for service in services
        ]
        if min(points) > 0:
            dearer[function] = sum(points) / len(points)
    assert "main.priceCart" in dearer
    return sort_by_value(dearer, 10)


def allocations_by_path(samples: list[Sample]) -> Rows:
    heap = select_heap(samples, "alloc_space")
    paths = add_up(
        (sample.labels["endpoint"], sample.value / 1e6)
        for sample in heap
        if sample.profile.service == "shop/billing"
    )
    assert len(paths) == 2
    return sort_by_value(paths)


def year_of_a_package(samples: list[Sample]) -> Rows:
    cpu = select_cpu(samples, "2025-12-01", "2026-11-30")
    totals = add_up((sample.profile.date[:7], sample.value) for sample in cpu)
    runtime = add_up(
        (sample.profile.date[:7], sample.value) for sample in cpu if name_package(sample.function) == "runtime"
    )
    assert len(totals) == 4
    return [(f"{month}-01", 100 * runtime[month] / totals[month]) for month in sorted(totals)]


def deprecated_library(samples: list[Sample]) -> Rows:
    cpu = select_cpu(samples, "2026-11-01", "9999-12-31")
    calls = [
        ((sample.profile.service, function), sample)
        for sample in cpu
        for function in sample.functions
        if function.startswith("encoding/hex.")
    ]
    sums = add_up((key, sample.value) for key, sample in calls)
    assert len({service for service, _ in sums}) == 3
    return [
        (*key, max(sample.profile.date for own, sample in calls if own == key), sums[key] / 1e9)
        for key in sorted(sums)
    ]


def cost_by_team(samples: list[Sample]) -> Rows:
    cpu = select_cpu(samples)
    services = defaultdict(set)
    for sample in cpu:
        services[sample.profile.labels.get("team", "no team")].add(sample.profile.service)
    costs = add_up((sample.profile.labels.get("team", "no team"), sample.value) for sample in cpu)
    assert set(costs) == {"storefront", "payments", "no team"}
    return [(team, len(services[team]), value / 1e9) for team, value in sort_by_value(costs)]


def dear_lines(samples: list[Sample]) -> Rows:
    lines = add_up(
        (sample.stack[-1][1:], sample.value)
        for sample in select_cpu(samples)
        if sample.function == "main.priceCart"
    )
    assert len(lines) > 1
    return [(*key, value / 1e9) for key, value in sort_by_value(lines, 10)]


def average_memory(samples: list[Sample]) -> Rows:
    heap = [sample for sample in select_heap(samples, "inuse_space") if sample.profile.date == "2026-11-20"]
    profiles = defaultdict(set)
    for sample in heap:
        profiles[sample.profile.service].add(sample.profile.file)
    averages = add_up(
        (sample.profile.service, sample.value / len(profiles[sample.profile.service]) / 1e6) for sample in heap
    )
    return sort_by_value(averages)


ANSWERS: Mapping[str, Answer] = {
    "Which functions cost the whole fleet most?": top_functions,
    "What does each package cost?": cost_by_package,
    "Which share of its CPU time does each service spend on garbage collection, day by day?": garbage_collection,
    "Which functions did version 0.0.2 make dearer in all services?": dearer_functions,
    "What does each request path allocate?": allocations_by_path,
    "How did the cost of a package develop over a year?": year_of_a_package,
    "Which services still call a deprecated library?": deprecated_library,
    "What does each team cost?": cost_by_team,
    "Which lines of a function cost most?": dear_lines,
    "How much memory does each service use on average?": average_memory,
}


@pytest.fixture(scope="module")
def samples(fleet: list[Posted]) -> list[Sample]:
    return list(read_samples(fleet))


def test_every_question_has_an_answer() -> None:
    assert re.findall(r"^### (.*)$", read_section("## Questions"), re.M) == list(ANSWERS)


@pytest.mark.parametrize("question", ANSWERS)
def test_duckdb_answers(duckdb_views: duckdb.DuckDBPyConnection, samples: list[Sample], question: str) -> None:
    statement = read_statements(f"### {question}")[0]
    check_rows(duckdb_views.sql(statement).fetchall(), ANSWERS[question](samples))


@pytest.mark.parametrize("question", ANSWERS)
def test_clickhouse_answers(clickhouse_views: ClickHouse, samples: list[Sample], question: str) -> None:
    statement = read_statements(f"### {question}")[-1]
    check_rows(clickhouse_views.query(statement), ANSWERS[question](samples))


def check_rows(rows: Rows, expected: Rows) -> None:
    """Compare the texts and dates of *rows* exactly, and their numbers up to rounding."""
    assert expected
    assert [_texts(row) for row in rows] == [_texts(row) for row in expected]
    for row, expected_row in zip(rows, expected, strict=True):
        numbers = [value for value in row if isinstance(value, int | float)]
        assert numbers == pytest.approx([value for value in expected_row if isinstance(value, int | float)])


def _texts(row: tuple[Any, ...]) -> list[str]:
    return [str(value) for value in row if not isinstance(value, int | float)]
