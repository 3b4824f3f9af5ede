"""The report equals that of ``go tool pprof -top``, to the last blank."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.model.refinement import Refinement
from profbucket.pprof import decode
from profbucket.pprof.report.refiner import Refiner
from profbucket.pprof.report.top import TopReport, build_top_report, collect_node_stacks
from profbucket.pprof.report.units import format_value
from tests.support.go_tool import GoPprof
from tests.support.paths import CORPUS, DATA
from tests.support.profiles import (
    Function,
    Label,
    Line,
    Location,
    Mapping,
    Profile,
    Sample,
    encode,
    profile_sets,
    stack,
)
from tests.support.property_tests import examples

VARIANTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "default": ([], {}),
    "everything": (["-nodefraction=0"], {"fraction": 0}),
    "by cum": (["-cum", "-nodecount=7"], {"by_cum": True, "count": 7}),
    "first sample type": (["-sample_index=0", "-nodecount=3"], {"sample_type": "0", "count": 3}),
}


def format_report(data: bytes, **options: Any) -> list[str]:
    return "".join(f"{line}\n" for line in build_top_report(decode(data), **options).lines()).split("\n")


def format_report_with_go(go_pprof: GoPprof, source: Path | bytes, *flags: str) -> list[str]:
    if isinstance(source, bytes):
        with tempfile.NamedTemporaryFile(dir=go_pprof.directory, suffix=".pb.gz") as file:
            file.write(source)
            file.flush()
            return format_report_with_go(go_pprof, Path(file.name), *flags)
    return go_pprof("-top", *flags, source).check().stdout.decode(errors="replace").split("\n")


def of(*samples: tuple[str, int], **changes: Any) -> Profile:
    """Return a profile of these stacks and values, as in ``("main work leaf", 7)``, root first."""
    return replace(
        Profile(tuple(Sample(stack(*reversed(names.split())), (1, value)) for names, value in samples)), **changes
    )


def list_values(report: TopReport) -> dict[str, tuple[int, int]]:
    return {row.name: (row.flat, row.cum) for row in report.rows}


def has_distinct_names(profile: Profile) -> bool:
    """Return whether all functions of *profile* have different names."""
    nodes, _ = collect_node_stacks(decode(encode(profile)).message, 0)
    return len({node.name.decode(errors="replace") for node in nodes}) == len(nodes)


# Comparison with pprof


@pytest.mark.parametrize(
    "profile_type", ["cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "python", "unsymbolized"]
)
def test_reports_of_real_profiles_equal_those_of_pprof(go_pprof: GoPprof, profile_type: str) -> None:
    """All profile types of Go, with and without symbols, and CPU and heap of Python."""
    sources = [
        *DATA.glob(f"shop-0.0.1/{profile_type}-1.pb.gz"),
        *DATA.glob(f"*/*-{profile_type}.pb.gz"),
        *DATA.glob(f"{profile_type}/*.pb*"),
    ]
    assert sources
    for source in sources:
        for flags, options in VARIANTS.values() if profile_type in ("cpu", "heap") else [VARIANTS["default"]]:
            assert format_report(source.read_bytes(), **options) == format_report_with_go(
                go_pprof, source, *flags
            ), source.name


def test_reports_of_the_corpus_equal_those_of_pprof(go_pprof: GoPprof) -> None:
    """Profiles of the Go compiler: deep recursion, inlining and generic functions."""
    sources = sorted(CORPUS.glob("*.pb.gz"))[::75]
    if not sources:
        pytest.skip("the corpus of Go CPU profiles is missing: see tests/support/paths.py")
    for source in sources:
        assert format_report(source.read_bytes(), count=40) == format_report_with_go(
            go_pprof, source, "-nodecount=40"
        ), source.name


INNER, MIDDLE, OUTER = (Line(Function(name, name, b"x.go", 3), 7) for name in (b"inner", b"middle", b"outer"))
SHOP = Mapping(0x1000, 0x9000, 0, b"/usr/bin/shop", b"abc")
NAMELESS = Line(Function(b"", b"", b"x.go", 3), 7)
CRAFTED = {
    "recursion": of(("main a b a b", 500), ("main a", 20)),
    "nothing": of(),
    "cancelled": of(("main a", 7), ("main b", 7), ("main a", -7)),
    "a difference": of(("main a", 700), ("main b", -90), ("main", -300)),
    "mangled and plain": of(
        *(
            (name, 10 + i)
            for i, name in enumerate(
                (
                    "<module>",
                    "std::vector<int,(anonymous)>::push(int)",
                    "f(g(h))::x",
                    "a)b::c(d)",
                    "a::b(c",
                    "Foo.<init>",
                    "main.(*Bar[...]).Method",
                    "main.Map[go.shape.func(int)]",
                    "größe",
                )
            )
        )
    ),
    "inlined": Profile(
        (
            Sample((Location(SHOP, 0x1100, (INNER, MIDDLE, OUTER)),), (1, 70)),
            Sample((Location(SHOP, 0x1200, (MIDDLE,)), Location(SHOP, 0x1300, (OUTER,))), (1, 30)),
        )
    ),
    "without symbols": Profile(
        (
            Sample(
                (Location(SHOP, 0x1100), Location(Mapping(0x20000, 0x30000, 0, b"/lib/libc.so.6"), 0x21000)),
                (1, 7),
            ),
            Sample((Location(None, 0x99),), (1, 5)),
            Sample((Location(SHOP, 0x1300, (NAMELESS, OUTER)),), (1, 3)),
            Sample((Location(None, 0x1300, (NAMELESS, INNER)),), (1, 2)),
            Sample((), (1, 1)),
        )
    ),
    "comments and a link": of(
        ("main", 1), comments=(b"of the night", b"# hidden"), doc_url=b"https://example.org/"
    ),
    "in base": Profile(
        (Sample(stack("a"), (1, 700)), Sample(stack("b"), (1, -50), (Label(b"pprof::base", b"true"),)))
    ),
    "default sample type": of(("main", 1), default_sample_type=b"samples"),
    "unknown default": of(("main", 1), default_sample_type=b"brightness"),
    "no duration": of(("main", 1), duration_nanos=0, time_nanos=0),
    "frames to drop": of(
        ("main a malloc sample record", 10),
        ("main malloc(int)", 20),
        ("malloc sample", 30),
        ("main b keepalloc c", 40),
        ("main operator()(int) .malloc x", 50),
        drop_frames=rb".*alloc|operator\(\)",
        keep_frames=b"keep.*",
    ),
    "frames to drop, inlined": Profile(
        (
            Sample((Location(SHOP, 0x1100, (INNER, MIDDLE, OUTER)), *stack("main")), (1, 70)),
            Sample((Location(SHOP, 0x1200, (INNER, MIDDLE)), *stack("main")), (1, 30)),
            Sample((Location(SHOP, 0x1100, (INNER, MIDDLE, OUTER)),), (1, 5)),
        ),
        drop_frames=b"middle",
    ),
    "an unreadable pattern": of(("main a", 10), drop_frames=b"a("),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_reports_of_crafted_profiles_equal_those_of_pprof(go_pprof: GoPprof, case: str) -> None:
    data = encode(CRAFTED[case])
    assert format_report(data, fraction=0.01, count=30) == format_report_with_go(
        go_pprof, data, "-nodefraction=0.01", "-nodecount=30"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"focus": "handle", "hide": "runtime"},
        {"ignore": "main", "show": "r"},
        {"show_from": "search", "tagignore": "pool=payments"},
        {"tagroot": "endpoint,pool", "tagfocus": "endpoint=/search,/cart"},
        {"tagleaf": "endpoint"},
        {"focus": "nothing" * 12},
    ],
    ids=str,
)
def test_refined_reports_equal_those_of_pprof(go_pprof: GoPprof, options: dict[str, str]) -> None:
    """Shares are of the whole profile."""
    source = DATA / "shop-0.0.1" / "cpu-1.pb.gz"
    flags = [f"-{name}={value}" for name, value in options.items()]
    refiner = Refiner(Refinement(**options))
    assert format_report(source.read_bytes(), refiner=refiner) == format_report_with_go(go_pprof, source, *flags)


@pytest.mark.parametrize(
    "unit",
    [
        "nanoseconds",
        "us",
        "ms",
        "Seconds",
        "hr",
        "bytes",
        "kB",
        "GB",
        "count",
        "sample",
        "widgets",
        "",
        "milligcu",
    ],
)
def test_values_are_formatted_as_by_pprof(go_pprof: GoPprof, unit: str) -> None:
    """The unit is one in which the smallest value is not rounded to 0."""
    for scale in (1, 10**10 + 977):
        content = of(("main a", 3 * scale), ("main b", 4000 * scale), ("main", 100_000 * scale))
        data = encode(replace(content, sample_types=((b"x", b"y"), (b"z", unit.encode()))))
        assert format_report(data, fraction=0) == format_report_with_go(go_pprof, data, "-nodefraction=0")


@examples(15)
@given(profile_sets(columns=False, headers=False), st.sampled_from(sorted(VARIANTS)))
@example([CRAFTED["inlined"]], "by cum")
def test_reports_of_any_profiles_equal_those_of_pprof(
    go_pprof: GoPprof, profiles: list[Profile], variant: str
) -> None:
    data = encode(profiles[0])
    is_order_defined = has_distinct_names(profiles[0])
    # pprof orders different functions of the same name randomly: compare all of them, without the running sum.
    flags, options = VARIANTS[variant if is_order_defined else "everything"]
    reports = [format_report(data, **options), format_report_with_go(go_pprof, data, *flags)]
    if not is_order_defined:
        reports = [[re.sub(r"^( *\S+ +\S+%) +\S+%", r"\1", line) for line in report] for report in reports]
    assert sorted(reports[0]) == sorted(reports[1])


# Without Go


def test_recursion_counts_once() -> None:
    """A function that is in a stack several times has that sample once in its cumulative value."""
    report = build_top_report(decode(encode(of(("main f f f", 500), ("main f g f", 20)))))
    assert list_values(report) == {"main": (0, 520), "f": (520, 520), "g": (0, 20)}


@pytest.mark.parametrize(
    ("sample_type", "value"), [("", 7), ("cpu", 7), ("1", 7), ("samples", 1), ("0", 1)], ids=str
)
def test_a_sample_type_is_selected_by_name_or_number(sample_type: str, value: int) -> None:
    report = build_top_report(decode(encode(of(("main", 7)))), sample_type)
    assert list_values(report) == {"main": (value, value)}


@pytest.mark.parametrize("wanted", ["brightness", "2", "-1", "²", "9" * 5000])
def test_an_unknown_sample_type_is_rejected(wanted: str) -> None:
    """The error names the known ones."""
    with pytest.raises(Invalid, match="samples, cpu") as caught:
        build_top_report(decode(encode(of(("main", 7)))), wanted)
    assert caught.value.code == "unknown_sample_type"


def test_a_count_keeps_the_first_functions() -> None:
    """The rows are the first of the whole report, with the same values."""
    data = decode((DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes())
    whole, part = build_top_report(data), build_top_report(data, count=5)
    assert [(row.name, row.flat, row.cum) for row in part.rows] == [
        (row.name, row.flat, row.cum) for row in whole.rows[:5]
    ]
    assert f"Showing top 5 nodes out of {len(whole.rows)}" in part.header


def test_the_most_negative_value_is_shown_in_the_smallest_unit() -> None:
    """As by pprof, which cannot negate it to choose a unit."""
    assert format_value(-(2**63), "bytes") == "-9223372036854775808B"
    assert format_value(-(2**63) + 1, "bytes") == "-8192PB"
