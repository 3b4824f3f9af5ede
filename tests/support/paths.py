"""Folders that tests and benchmarks read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
PROGRAMS = ROOT / "tests" / "programs"
CORPUS = ROOT.parent / "shared" / "corpus" / "go-compiler-cpu"  # optional: real CPU profiles of the Go compiler
