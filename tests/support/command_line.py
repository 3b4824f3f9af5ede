"""The program ``profbucket`` as a process, and one on a terminal."""

import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.go_tool import Run
from tests.support.serving import SCRIPTS, TIMEOUT_SECONDS

PROGRAM = str(SCRIPTS / "profbucket")

_SETTINGS = ("PROFBUCKET_", "FUNCTION_", "K_", "STORAGE_URL", "THREADS", "PORT")


def clean_environment(**settings: str) -> dict[str, str]:
    """Return the environment of the tests without settings of a collector, and with *settings*."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith(_SETTINGS)}, **settings}


def profbucket(*args: str | Path, stdin: str = "", program: str = PROGRAM, **settings: str) -> Run:
    """Run a command with *stdin* as its standard input."""
    command = (program, *map(str, args))
    process = subprocess.run(
        command,
        input=stdin.encode(),
        env=clean_environment(**settings),
        capture_output=True,
        check=False,
        timeout=300,
    )
    return Run(command, process.returncode, process.stdout, process.stderr.decode(errors="replace"))


@dataclass
class Terminal:
    """A terminal with a process on it."""

    process: subprocess.Popen[bytes]
    master: int
    output: bytes = b""

    def read_until(self, text: bytes) -> None:
        """Read the output until *text* has appeared."""
        while text not in self.output:
            self.output += os.read(self.master, 4096)

    def write(self, text: str) -> None:
        """Type *text*."""
        os.write(self.master, text.encode())

    def wait(self) -> int:
        """Read the rest of the output; return the exit code."""
        with suppress(OSError):  # Linux reports the end of a terminal's output as an I/O error
            while chunk := os.read(self.master, 4096):
                self.output += chunk
        return self.process.wait(TIMEOUT_SECONDS)


@contextmanager
def on_terminal(
    *args: str | Path,
    program: str = PROGRAM,
    environment: dict[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[Terminal]:
    """Run a command with a terminal as stdin, stdout and stderr, by default in the environment of the tests."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [program, *map(str, args)],
        env=environment or clean_environment(),
        cwd=directory,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait(TIMEOUT_SECONDS)
        os.close(master)
