"""A collector in a process group that a soak test can kill and start again."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.support.serving import MAIN, SCRIPTS, free_port, wait_until_up

_EXIT_TIMEOUT_SECONDS = 60.0


class CollectorProcess:
    """functions-framework serving functions/main.py over *storage_url*.

    It keeps its port when it is started again. The process and its workers append to *log*.
    """

    def __init__(self, storage_url: str, log: Path, **settings: str) -> None:
        self.log = log
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [str(SCRIPTS / "functions-framework"), "--target", "collector", "--source", str(MAIN)]
        self._command += ["--host", "127.0.0.1", "--port", str(self.port)]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PROFBUCKET_", "FUNCTION_", "K_"))}
        defaults = {"MALLOC_ARENA_MAX": "1", "THREADS": "8"}
        self._environment = {**inherited, **defaults, **settings, "STORAGE_URL": storage_url}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=MAIN.parent,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until_up(self._process, self.port, self.log)

    def kill(self) -> None:
        """Kill the process and its workers with SIGKILL."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> int:
        """Terminate the process and return its exit code; kill it after a minute."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(_EXIT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def peak_bytes(self) -> int:
        """Return the largest resident size that one of the processes has had."""
        assert self._process is not None
        return max((_status_bytes(pid, "VmHWM") for pid in _with_children(self._process.pid)), default=0)

    def resident_bytes(self) -> int:
        """Return the resident size of the largest process, and count their peaks from now on."""
        assert self._process is not None
        pids = _with_children(self._process.pid)
        for pid in pids:
            with suppress(OSError):  # has ended
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        return max((_status_bytes(pid, "VmRSS") for pid in pids), default=0)


def _with_children(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(descendant for child in children for descendant in _with_children(int(child)))]


def _status_bytes(pid: int, field: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(field)), 0)
