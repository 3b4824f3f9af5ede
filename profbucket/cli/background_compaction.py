"""Periodic compaction next to a collector that has no scheduler.

Each run is a process of its own: it takes neither time nor memory from requests, its failure does not affect the
collector, and it can be terminated at any point.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from profbucket.config import Config

COMPACT_COMMAND = (sys.executable, "-m", "profbucket", "compact")

_NICENESS = 10  # requests have priority

_log = logging.getLogger(__name__)


def background_compaction(config: Config, environment: Mapping[str, str]) -> AbstractContextManager[object]:
    """Return a context in which the storage of *config* is compacted periodically, unless that is turned off.

    Several collectors of one storage share the work. No other process sees the memory of this one.
    """
    if config.periods.every and urlsplit(config.storage_url).scheme != "memory":
        return BackgroundCompaction(config.periods.every, environment)
    return nullcontext()


class BackgroundCompaction:
    """A context in which *command* runs with *environment*: at once, and then every *interval_seconds*.

    The command prints what it did on stdout, and on stderr problems and, as the last line, a summary.
    """

    def __init__(
        self,
        interval_seconds: float,
        environment: Mapping[str, str],
        command: Sequence[str] = COMPACT_COMMAND,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._environment = environment
        self._command = command
        self._stopped = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="background-compaction")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Terminate a run that is in progress."""
        self._stopped.set()
        with self._starting:  # a run has started by now, or never will
            if self._process is not None:
                self._process.terminate()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._run_once()
            except OSError as error:  # no memory for a process, or no file descriptors
                _log.error("compaction could not be started: %s", error.strerror)
            self._stopped.wait(self._interval_seconds)

    def _run_once(self) -> None:
        with self._starting:
            if self._stopped.is_set():
                return
            self._process = process = subprocess.Popen(  # noqa: S603 - this program
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for the parent, which terminates this process
            )
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        steps, messages = process.communicate()
        *problems, summary = messages.strip().split("\n")
        if process.returncode and self._stopped.is_set():
            return
        if not process.returncode or not summary.startswith(
            "profbucket: "
        ):  # else these are one error's traceback
            for problem in problems:
                _log.error("compaction: %s", problem)
        if process.returncode == 0:
            _log.log(logging.INFO if steps else logging.DEBUG, "compaction: %s", summary)
        else:
            reason = summary.removeprefix("profbucket: ") or f"exited with code {process.returncode}"
            _log.error("compaction failed: %s", reason)
