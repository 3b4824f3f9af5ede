"""The profiles that are merged, and the tools of the virtual environment."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.go_tool import Go, find_go
from tests.support.paths import ROOT

DATA = ROOT / "tests" / "data"
CORPUS = ROOT.parent / "shared" / "corpus" / "go-compiler-cpu"
OUT = ROOT / "bench" / "out"
PYTHON = sys.executable
PROFBUCKET = str(Path(sys.executable).parent / "profbucket")


@cache
def corpus() -> list[str]:
    """CPU profiles of the Go compiler, those with samples; none if they are not beside the repository."""
    files = sorted(map(str, CORPUS.glob("*.pb.gz")))
    done = subprocess.run([PYTHON, "-m", "bench.sampled", *files], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def sets() -> dict[str, list[str]]:
    """Files by what they are: the corpus and profiles of our own programs, these several times."""
    own = {
        "Go heap": "shop-*/heap-*.pb.gz",
        "Go CPU with labels": "shop-*/cpu-[123].pb.gz",
        "Python, sparse ids, packed": "python/python-cpu.pb.gz",
    }
    found = {"Go compiler CPU": corpus()}
    for name, pattern in own.items():
        files = sorted(map(str, DATA.glob(pattern)))
        found[name] = files * (120 // len(files))
    return {name: files for name, files in found.items() if files}


def go() -> Go:
    OUT.mkdir(exist_ok=True)
    return find_go()


def go_pprof() -> str:
    """The binary that ``go tool pprof`` runs."""
    return go().run("tool", "-n", "pprof").check().text.strip()
