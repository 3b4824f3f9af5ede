"""The profiles that benchmarks merge, and the tools that they run."""

import subprocess
import sys
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


def prepare_go() -> Go:
    OUTPUT.mkdir(exist_ok=True)
    return find_go()


def find_go_pprof() -> str:
    """Return the path of the binary that ``go tool pprof`` runs."""
    return prepare_go().run("tool", "-n", "pprof").check().text.strip()
