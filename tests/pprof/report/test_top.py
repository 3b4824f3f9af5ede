"""The report against the real ``go tool pprof -top``: the same text, to the last blank."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.pprof import decode
from profbucket.pprof.report.top import TopReport, build_top_report
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

MANNERS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "as it is": ([], {}),
    "everything": (["-nodefraction=0"], {"fraction": 0}),
    "by cum": (["-cum", "-nodecount=7"], {"by_cum": True, "count": 7}),
    "first sample type": (["-sample_index=0", "-nodecount=3"], {"sample_type": "0", "count": 3}),
}


def report(data: bytes, **options: Any) -> list[str]:
    return "".join(f"{line}\n" for line in build_top_report(decode(data), **options).lines()).split("\n")


def report_of_go(go_pprof: GoPprof, source: Path | bytes, *flags: str) -> list[str]:
    if isinstance(source, bytes):
        with tempfile.NamedTemporaryFile(dir=go_pprof.directory, suffix=".pb.gz") as file:
            file.write(source)
            file.flush()
            return report_of_go(go_pprof, Path(file.name), *flags)
    return go_pprof("-top", *flags, source).check().stdout.decode(errors="replace").split("\n")


def of(*samples: tuple[str, int], **changes: Any) -> Profile:
    """A profile of stacks, as in ``("main work leaf", 7)``, root first."""
    return replace(
        Profile(tuple(Sample(stack(*reversed(names.split())), (1, value)) for names, value in samples)), **changes
    )


def names(found: TopReport) -> dict[str, tuple[int, int]]:
    return {row.name: (row.flat, row.cum) for row in found.rows}


# The real one


@pytest.mark.parametrize(
    "kind", ["cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "python", "unsymbolized"]
)
def test_reports_of_real_profiles_are_those_of_pprof(go_pprof: GoPprof, kind: str) -> None:
    """All kinds of Go, with and without symbols, and CPU and heap of Python."""
    sources = [
        *DATA.glob(f"shop-0.0.1/{kind}-1.pb.gz"),
        *DATA.glob(f"*/*-{kind}.pb.gz"),
        *DATA.glob(f"{kind}/*.pb*"),
    ]
    assert sources
    for source in sources:
        for flags, options in MANNERS.values() if kind in ("cpu", "heap") else [MANNERS["as it is"]]:
            assert report(source.read_bytes(), **options) == report_of_go(go_pprof, source, *flags), source.name


def test_reports_of_the_corpus_are_those_of_pprof(go_pprof: GoPprof) -> None:
    """Profiles of the Go compiler: deep recursion, inlining and generic functions."""
    sources = sorted(CORPUS.glob("*.pb.gz"))[::75]
    if not sources:
        pytest.skip("the corpus of Go CPU profiles is not beside this repository (shared/corpus)")
    for source in sources:
        assert report(source.read_bytes(), count=40) == report_of_go(go_pprof, source, "-nodecount=40"), (
            source.name
        )


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
def test_reports_of_crafted_profiles_are_those_of_pprof(go_pprof: GoPprof, case: str) -> None:
    data = encode(CRAFTED[case])
    assert report(data, fraction=0.01, count=30) == report_of_go(
        go_pprof, data, "-nodefraction=0.01", "-nodecount=30"
    )


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
def test_values_are_written_as_by_pprof(go_pprof: GoPprof, unit: str) -> None:
    """In the unit in which the smallest still shows, whatever unit the profile has."""
    for scale in (1, 10**10 + 977):
        content = of(("main a", 3 * scale), ("main b", 4000 * scale), ("main", 100_000 * scale))
        data = encode(replace(content, sample_types=((b"x", b"y"), (b"z", unit.encode()))))
        assert report(data, fraction=0) == report_of_go(go_pprof, data, "-nodefraction=0")


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(profile_sets(columns=False, headers=False), st.sampled_from(sorted(MANNERS)))
@example([CRAFTED["inlined"]], "by cum")
def test_reports_of_any_profiles_are_those_of_pprof(
    go_pprof: GoPprof, profiles: list[Profile], manner: str
) -> None:
    flags, options = MANNERS[manner]
    data = encode(profiles[0])
    assert sorted(report(data, **options)) == sorted(report_of_go(go_pprof, data, *flags))


# Without it


def test_recursion_counts_once(go_pprof: GoPprof) -> None:
    """A function that stands in a stack several times has that sample once in its cumulative value."""
    found = build_top_report(decode(encode(of(("main f f f", 500), ("main f g f", 20)))))
    assert names(found) == {"main": (0, 520), "f": (520, 520), "g": (0, 20)}


def test_a_sample_type_is_called_by_name_or_number() -> None:
    data = decode(encode(of(("main", 7))))
    assert (
        names(build_top_report(data))
        == names(build_top_report(data, "cpu"))
        == names(build_top_report(data, "1"))
        == {"main": (7, 7)}
    )
    assert names(build_top_report(data, "samples")) == names(build_top_report(data, "0")) == {"main": (1, 1)}


@pytest.mark.parametrize("wanted", ["brightness", "2", "-1", "²", "9" * 5000])
def test_a_sample_type_that_is_not_there_is_invalid(wanted: str) -> None:
    """The error names those that are."""
    with pytest.raises(Invalid, match="samples, cpu"):
        build_top_report(decode(encode(of(("main", 7)))), wanted)


def test_the_first_functions_are_kept() -> None:
    """With a count the rows are the first of the whole report, with the same values."""
    data = decode((DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes())
    whole, part = build_top_report(data), build_top_report(data, count=5)
    assert [(row.name, row.flat, row.cum) for row in part.rows] == [
        (row.name, row.flat, row.cum) for row in whole.rows[:5]
    ]
    assert f"Showing top 5 nodes out of {len(whole.rows)}" in part.header
