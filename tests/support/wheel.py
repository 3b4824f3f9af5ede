"""The project as a wheel: built, installed, and served from where it is installed."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.cache import cached, make_environment
from tests.support.command_line import clean_environment
from tests.support.go_tool import run
from tests.support.serving import TIMEOUT_SECONDS, free_port, wait_until_up


def build_wheel(source: Path, directory: Path) -> Path:
    """Build the project in *source*; return the wheel in *directory*."""
    builder = cached("builder", sys.version, lambda path: make_environment(path, "hatchling>=1.27"))
    python = str(builder / "bin" / "python")
    run(python, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory), cwd=source).check()
    (wheel,) = directory.glob("*.whl")
    return wheel


def install(environment: Path, *args: str | Path) -> None:
    """Run ``pip install`` for a virtual environment that has no pip."""
    python = str(environment / "bin" / "python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *map(str, args)).check()


@contextmanager
def serve_installed(
    environment: Path, target: Path, log: Path, command: Sequence[str], **settings: str
) -> Iterator[str]:
    """Run *command*, a program in *target* and its arguments, with the packages of *environment*; yield its URL.

    *target* is where ``pip install --target`` has put the project. The port is added to *command*.
    """
    port = free_port()
    program = [str(environment / "bin" / "python"), str(target / "bin" / command[0])]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, *command[1:], "--port", str(port)],
            cwd=log.parent,
            env=clean_environment(PYTHONPATH=str(target), **settings),
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_up(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()  # what a container's host does
        process.wait(TIMEOUT_SECONDS)
    assert process.returncode in (0, 143)
