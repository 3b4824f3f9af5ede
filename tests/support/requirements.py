"""Files of pinned packages, and environments with exactly those packages."""

import re
import sys
import sysconfig
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.cache import cached, make_environment
from tests.support.paths import ROOT

FUNCTIONS = ROOT / "functions" / "requirements.txt"
CONTAINER = ROOT / "requirements.txt"


def read_pins(file: Path) -> list[Requirement]:
    """Return the requirements in *file* whose markers match this machine."""
    text = re.sub(r"\\\n\s+--hash=sha256:[0-9a-f]{64}", "", re.sub(r" *#.*", "", file.read_text()))
    pins = [Requirement(line) for line in text.splitlines() if line.strip()]
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]


def pinned_environment(file: Path) -> Path:
    """Return a virtual environment with the pins of *file*. Cached: the first call takes a minute, and PyPI."""
    name = "functions" if file == FUNCTIONS else "container"
    key = f"{sys.version} {sysconfig.get_platform()} {file.read_text()}"
    return cached(name, key, lambda directory: make_environment(directory, "--requirement", str(file)))
