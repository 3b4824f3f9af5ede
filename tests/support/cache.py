"""What takes long to make and stays the same between runs: virtual environments, above all."""

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
    """The directory that *build* filled for this *key*; it is built once, and takes the place of an older one."""
    CACHE.mkdir(exist_ok=True)
    directory = CACHE / f"{name}-{sha256(key.encode()).hexdigest()[:12]}"
    done = directory / ".done"
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at it
        if not done.exists():
            for old in CACHE.glob(f"{name}-{'?' * 12}"):
                shutil.rmtree(old)
            directory.mkdir()
            build(directory)
            done.touch()
    return directory


def make_environment(directory: Path, *packages: str) -> None:
    """A virtual environment in *directory* with exactly *packages*, which are what pip install takes."""
    run(sys.executable, "-m", "venv", "--without-pip", str(directory))
    python = str(directory / "bin" / "python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *packages)


def run(*command: str) -> None:
    """Run a step of a build; its error says what it wrote."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
