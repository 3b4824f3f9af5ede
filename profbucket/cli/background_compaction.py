"""Compaction beside a collector that no scheduler looks after.

Each run is a process of its own: it takes neither time nor memory from requests, its failure is no failure of the
collector, and it can be ended anywhere, because what it does is done in whole steps.
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

COMPACT = (sys.executable, "-m", "profbucket", "compact")

_NICENESS = 10  # requests go first

_log = logging.getLogger("profbucket")


def upkeep(config: Config, settings: Mapping[str, str]) -> AbstractContextManager[object]:
    """What compacts the storage of *config* while it is entered, if that is a directory and this is wanted.

    Other storages have a scheduler, or many collectors; the memory of one process is seen by no other.
    """
    if config.periods.every and urlsplit(config.storage_url).scheme == "file":
        return Upkeep(config.periods.every, settings)
    return nullcontext()


class Upkeep:
    """While it is entered, *command* runs with the environment *settings*: now, and *every* so many seconds.

    It says on stdout what it has done, if anything, and on stderr how it ended, behind what it could not do.
    """

    def __init__(self, every: float, settings: Mapping[str, str], command: Sequence[str] = COMPACT) -> None:
        self._every = every
        self._settings = settings
        self._command = command
        self._over = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="upkeep")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Return as soon as a run that is under way has been ended."""
        self._over.set()
        with self._starting:  # one that is about to begin has begun, or does not
            if self._process is not None:
                self._process.terminate()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._once()
            except OSError as error:  # there is no memory for a process, or no room for its files
                _log.error("compaction cannot be started: %s", error.strerror)
            self._over.wait(self._every)

    def _once(self) -> None:
        with self._starting:
            if self._over.is_set():
                return
            self._process = process = subprocess.Popen(  # noqa: S603 - ourselves
                self._command,
                env=self._settings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        done, said = process.communicate()
        *before, last = said.strip().split("\n")
        if process.returncode == 0:
            for line in before:
                _log.error("compaction: %s", line)
            _log.log(logging.INFO if done else logging.DEBUG, "compaction: %s", last)
        elif not self._over.is_set():
            sentence = last.removeprefix("profbucket: ") or f"it ended with code {process.returncode}"
            _log.error("compaction failed: %s", sentence)
