"""Run all benchmarks, or those named, and print a table.

With ``--write``, the table also replaces that of the same benchmarks in bench/RESULTS.md.

The arguments ``cost`` and ``agents`` print the tables of :mod:`bench.cost` and :mod:`bench.agents` instead.
"""

import compileall
import datetime
import os
import platform
import re
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from bench.measure import BENCHES, ROUNDS, Row

# Modules that register benchmarks.
_MODULES = (
    "bench.merges",
    "bench.imports",
    "bench.storage",
    "bench.writes",
    "bench.http",
    "bench.week",
    "bench.fleet",
    "bench.samples",
    "bench.year",
    "bench.lookups",
    "bench.grafana",
    "bench.load",
    "bench.ui",
    "bench.agent",
)
_RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> None:
    # Deployed code has bytecode; the environment may keep Python from writing it.
    for package in ("profbucket", "storage_local", "functions"):
        compileall.compile_dir(_RESULTS.parents[1] / package, quiet=1)
    for module in _MODULES:
        import_module(module)
    arguments = sys.argv[1:]
    known = [*BENCHES, "cost", "agents"]
    if "--help" in arguments:
        print(f"{__doc__}\nBenchmarks: {', '.join(known)}")
        return
    if unknown := set(arguments) - {*known, "--write"}:
        sys.exit(f"unknown benchmark {', '.join(sorted(unknown))}; known benchmarks: {', '.join(known)}")
    # These count, which needs no rounds and no peer.
    if "cost" in arguments:
        import_module("bench.cost").print_costs(write="--write" in arguments)
        return
    if "agents" in arguments:
        import_module("bench.agents").print_requests(write="--write" in arguments)
        return
    names = [name for name in arguments if name != "--write"] or list(BENCHES)
    lines = _format_head(names)
    for line in lines:
        print(line)
    for name in names:
        lines.extend(map(_print_row, BENCHES[name]()))
    if "--write" in arguments:
        results = _replace_table(_RESULTS.read_text(encoding="utf-8"), names, "\n".join(lines))
        _RESULTS.write_text(results, encoding="utf-8")


def _replace_table(results: str, names: list[str], table: str) -> str:
    """Return *results* with *table*, and what is said about it, as that of the benchmarks *names*."""
    command = re.escape(" ".join(names))
    known = re.compile(rf"^`make bench ARGS='?{command}'?`.*?^\|.*?(?=\n\n|\n\Z)", re.MULTILINE | re.DOTALL)
    replaced, count = known.subn(lambda _: table, results)
    return replaced if count else f"{results.rstrip()}\n\n{table}\n"


def _print_row(row: Row) -> str:
    line = row.format()
    print(line, flush=True)
    return line


def _format_head(names: list[str]) -> list[str]:
    now = datetime.datetime.now(datetime.UTC)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"`make bench ARGS='{' '.join(names)}'`, {now:%Y-%m-%d %H:%M} UTC, load before {load}. "
        f"Medians of {ROUNDS} rounds that alternate between profbucket and its peer; a ratio above 1 means that "
        f"profbucket is faster.",
        "",
        f"{_processor_name()}, {os.cpu_count()} processors; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}, numpy {version('numpy')}, "
        f"protobuf {version('protobuf')}.",
        "",
        "| what | profbucket | peer | ratio | how |",
        "|---|---|---|---|---|",
    ]


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


if __name__ == "__main__":
    main()
