"""Files of pinned packages, and environments that hold what they pin and nothing else."""

import sys
import sysconfig
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.cache import cached, make_environment
from tests.support.paths import ROOT

FUNCTIONS = ROOT / "functions" / "requirements.txt"
CONTAINER = ROOT / "requirements.txt"


def read_pins(file: Path) -> list[Requirement]:
    """The requirements in *file* that are for this machine."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    pins = [Requirement(line) for line in lines if line]
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]


def pinned_environment(file: Path) -> Path:
    """A virtual environment with what *file* pins. Made once: the first time takes a minute, and PyPI."""
    name = "functions" if file == FUNCTIONS else "container"
    key = f"{sys.version} {sysconfig.get_platform()} {file.read_text()}"
    return cached(name, key, lambda directory: make_environment(directory, "--requirement", str(file)))
