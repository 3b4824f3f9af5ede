"""The profiles that benchmarks merge, and the tools that they run."""

import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.support.go_tool import Go, find_go
from tests.support.paths import CORPUS, DATA, ROOT

OUTPUT = ROOT / "bench" / "out"
PYTHON = sys.executable
PROFBUCKET = str(Path(sys.executable).parent / "profbucket")


@cache
def list_corpus() -> list[str]:
    """Return the files of the Go compiler's CPU profiles that have samples; none if the corpus is missing."""
    files = sorted(map(str, CORPUS.glob("*.pb.gz")))
    done = subprocess.run(
        [PYTHON, "-m", "bench.list_nonempty", *files], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def list_sets() -> dict[str, list[str]]:
    """Return sets of files by name: the corpus, and profiles of the test programs, repeated to about 120 files."""
    patterns = {
        "Go heap": "shop-*/heap-*.pb.gz",
        "Go CPU with labels": "shop-*/cpu-[123].pb.gz",
        "Python, sparse ids, packed": "python/python-cpu.pb.gz",
    }
    sets = {"Go compiler CPU": list_corpus()}
    for name, pattern in patterns.items():
        files = sorted(map(str, DATA.glob(pattern)))
        sets[name] = files * (120 // len(files))
    return {name: files for name, files in sets.items() if files}


def list_service_profiles() -> dict[str, list[str]]:
    """Return sets of 60 files by name, with the sizes of services' CPU profiles."""
    shop = sorted(map(str, DATA.glob("shop-*/cpu-[123].pb.gz"))) * 10
    corpus = sorted(sorted(list_corpus(), key=lambda file: Path(file).stat().st_size)[-62:-2])
    sets = {"Go CPU": shop, "Go compiler CPU": corpus}
    return {f"{name}, {_mean_size(files) / 1000:.0f} KB": files for name, files in sets.items() if files}


def _mean_size(files: Sequence[str]) -> float:
    return sum(Path(file).stat().st_size for file in files) / len(files)


def prepare_go() -> Go:
    OUTPUT.mkdir(exist_ok=True)
    return find_go()
