"""A cache between test runs for what is slow to build, mostly virtual environments."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from tests.support.paths import ROOT

CACHE = ROOT / ".cache"  # not in git; make clean removes it


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the directory that *build* filled for this *key*, built once and replacing older ones."""
    CACHE.mkdir(exist_ok=True)
    directory = CACHE / f"{name}-{sha256(key.encode()).hexdigest()[:12]}"
    marker = directory / ".done"
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be building it
        if not marker.exists():
            for old in CACHE.glob(f"{name}-{'?' * 12}"):
                shutil.rmtree(old)
            directory.mkdir()
            build(directory)
            marker.touch()
    return directory


def make_environment(directory: Path, *packages: str) -> None:
    """Create a virtual environment in *directory* with exactly *packages*, requirements for pip."""
    run(sys.executable, "-m", "venv", "--without-pip", str(directory))
    python = str(directory / "bin" / "python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", *packages)


def run(*command: str) -> None:
    """Run *command*; on failure raise an error that contains its output."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
