"""Run all benches, or those that are named, and print the table; with ``--write`` into bench/RESULTS.md."""

import compileall
import datetime
import os
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from bench.rows import BENCHES, ROUNDS, Row

# A further module of rows is named here.
_MODULES = (
    "bench.merging",
    "bench.starting",
    "bench.storage",
    "bench.http",
    "bench.week",
    "bench.ui",
    "bench.agent",
)
_RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> None:
    # As it is deployed and installed, even where the environment keeps Python from writing bytecode.
    for package in ("profbucket", "storage_local", "functions"):
        compileall.compile_dir(_RESULTS.parents[1] / package, quiet=1)
    for module in _MODULES:
        import_module(module)
    arguments = sys.argv[1:]
    names = [name for name in arguments if not name.startswith("-")] or list(BENCHES)
    if unknown := set(names) - set(BENCHES):
        sys.exit(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    lines = [*_head(names)]
    for line in lines:
        print(line)
    for name in names:
        lines.extend(map(_shown, BENCHES[name]()))
    if "--write" in arguments:
        _RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _shown(row: Row) -> str:
    print(row.line(), flush=True)
    return row.line()


def _head(names: list[str]) -> list[str]:
    now = datetime.datetime.now(datetime.UTC)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        "# Measurements",
        "",
        f"`make bench ARGS='{' '.join(names)} --write'`, {now:%Y-%m-%d %H:%M} UTC, load before {load}. "
        f"Medians of {ROUNDS} rounds in which ours and the peer took turns; a ratio above 1: ours is faster.",
        "",
        f"{_processor()}, {os.cpu_count()} processors; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}, numpy {version('numpy')}, "
        f"protobuf {version('protobuf')}.",
        "",
        "| what | ours | peer | ratio | how |",
        "|---|---|---|---|---|",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


if __name__ == "__main__":
    main()
