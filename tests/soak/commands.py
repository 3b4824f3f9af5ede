"""The command line without the time that its imports take: each command runs in a fork of a process that has them.

``python -m tests.soak.commands`` is that process. It reads one JSON line a command and prints two lines for each:
the child's process id, then its wait status and its peak memory.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from select import select

from tests.support.paths import ROOT


@dataclass(frozen=True, slots=True)
class Result:
    """A command that has ended. *code* is negative for the signal that ended it."""

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    peak_bytes: int
    seconds: float

    @property
    def has_traceback(self) -> bool:
        return "Traceback" in self.stderr


class Commands:
    """Runs one command at a time; their outputs are files in *directory*."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PROFBUCKET_")}
        # google-cloud-storage and gRPC are imported before the fork and used behind it.
        own = {"OPENBLAS_NUM_THREADS": "1", "GRPC_ENABLE_FORK_SUPPORT": "0", "MALLOC_ARENA_MAX": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.commands"],
            cwd=ROOT,
            env={**inherited, **own, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._buffer = b""
        self._arguments: tuple[str, ...] = ()
        self._begin = 0.0
        self._pid = 0

    def start(self, *arguments: str) -> None:
        """Start a command; the one before must have ended."""
        assert self._process.stdin
        assert not self._pid, f"{self._arguments} is still running"
        self._arguments, self._begin = arguments, time.monotonic()
        for name in _OUTPUTS:  # a command may be killed before it opens them
            (self._directory / name).write_bytes(b"")
        self._process.stdin.write(json.dumps([str(self._directory), arguments]).encode() + b"\n")
        self._process.stdin.flush()
        self._pid = int(self._line(None) or 0)

    def wait(self, seconds: float | None = None) -> Result | None:
        """Return the result, or ``None`` if the command still runs after *seconds*."""
        line = self._line(seconds)
        if line is None:
            return None
        status, peak = map(int, line.split())
        self._pid = 0
        output, errors = ((self._directory / name).read_bytes().decode(errors="replace") for name in _OUTPUTS)
        code = os.waitstatus_to_exitcode(status)
        return Result(self._arguments, code, output, errors, peak, time.monotonic() - self._begin)

    def interrupt(self) -> bool:
        """Kill the running command, if any, from another thread than the one that waits for it."""
        pid = self._pid
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pid)

    def kill(self) -> Result:
        """Kill the command with SIGKILL."""
        self.interrupt()
        result = self.wait()
        assert result
        return result

    def run(self, *arguments: str, seconds: float) -> Result:
        """Run a command; kill it after *seconds*."""
        self.start(*arguments)
        return self.wait(seconds) or self.kill()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def _line(self, seconds: float | None) -> bytes | None:
        assert self._process.stdout
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select([self._process.stdout], [], [], left)[0]:
                return None
            data = os.read(self._process.stdout.fileno(), 1 << 12)
            if not data:
                raise RuntimeError("the process that runs commands has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


_OUTPUTS = ("stdout", "stderr")


_IMPORTED = (
    *("profbucket.cli.commands", "profbucket.cli.http_client", "profbucket.cli.local_client"),
    *("profbucket.maintenance.compactor", "profbucket.maintenance.repair", "profbucket.pprof.block.build"),
    *("profbucket.pprof.report.top", "profbucket.query.flamegraph", "storage_gcs", "storage_local"),
)


def _serve() -> None:
    for name in _IMPORTED:
        import_module(name)
    for line in sys.stdin:
        directory, arguments = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(Path(directory), arguments)
        print(pid, flush=True)
        _, status, usage = os.wait4(pid, 0)
        print(status, usage.ru_maxrss << 10, flush=True)


def _become(directory: Path, arguments: Sequence[str]) -> None:
    from profbucket.cli import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(_OUTPUTS, 1):
        os.dup2(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.stdin.close()
    sys.argv = ["profbucket", *arguments]
    try:
        main()
    except Exception:  # noqa: BLE001 - as the interpreter does at its end
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    os._exit(1)  # a command that succeeds has left already


if __name__ == "__main__":
    _serve()
