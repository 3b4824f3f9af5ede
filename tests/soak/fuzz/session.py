"""A collector and commands over one directory: what they are sent, how much they take, and what they do wrong."""

import json
import re
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from tests.soak.collector import CollectorProcess
from tests.soak.commands import Commands
from tests.soak.fuzz.checks import Finding
from tests.soak.fuzz.questions import SINCE, Question, route_of
from tests.soak.http import Answer, request_bytes, send
from tests.soak.numbered import numbers_in

_MEMORY_BYTES = 700 << 20
_COMMAND_TIMEOUT_SECONDS = 90.0
_HEALTH_TIMEOUT_SECONDS = 10.0

_DAMAGE_CODES = ("damaged", "unavailable")  # of answers over damaged objects
_FROM_SERVER = (501, 505)  # gunicorn's answers to framings and versions of HTTP that it does not support

_EXCEPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(: |$)")
_PLACE = re.compile(r'/((?:profbucket|storage_[a-z0-9]+|functions)/[^"]*)", line \d+, in (.*)')


@dataclass
class Report:
    """Requests, notes and findings of a round."""

    findings: list[Finding] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Session:
    """A collector over a storage in *directory*, and commands over the same storage.

    ``report`` gets what is sent and found, until it is replaced. ``step`` tells what is being done. ``damaged`` is
    set while some answers may be errors, because something in the storage is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "profiles"
        self.url = f"file://{self.root}"
        self.collector = CollectorProcess(self.url, directory / "log", PROFBUCKET_MAX_INFLIGHT_SECONDS="5")
        self.kept = directory / "kept"
        self.counts = Counter[str]()
        self.slowest_health = 0.0
        self.report = Report()
        self.step = ""
        self.damaged = False
        self._copy = directory / "copy"
        self._commands = Commands(directory / "commands", {"STORAGE_URL": self.url})
        self._health = threading.Thread(target=self._watch_health, daemon=True)
        self._over = threading.Event()
        self._is_serving = threading.Event()
        self._silences: list[str] = []
        self._log_position = 0
        self._resident_bytes = 0

    @contextmanager
    def running(self) -> Iterator["Session"]:
        """Start the collector, and end everything behind the block."""
        try:
            self.collector.start()
            self._is_serving.set()
            self._health.start()
            yield self
        finally:
            self._over.set()
            self._is_serving.clear()
            self.collector.kill()
            self._commands.close()
            self._health.join()

    def restart(self) -> None:
        """Start the collector again, so that its peak memory is counted from now on."""
        self._is_serving.clear()
        self.collector.kill()
        self.collector.start()
        self._is_serving.set()

    def fail(self, signature: str, detail: str) -> None:
        """Add a finding about the current step."""
        self.report.findings.append(Finding(signature, self.step, detail))

    # Requests and commands.

    def ask_all(self, questions: Sequence[Question], stage: str) -> dict[str, Answer]:
        """Return the answers to *questions* by their names."""
        answers = {}
        for name, path, parameters in questions:
            self.step = f"{name} {stage}: {path}?{urlencode(parameters)}"
            answers[name] = self.ask(name, path, parameters)
        return answers

    def ask(self, name: str, path: str, parameters: Mapping[str, object]) -> Answer:
        """Return the answer to one question."""
        self.counts["reads"] += 1
        return self.send(request_bytes("GET", f"{path}?{urlencode(parameters)}"), name)

    def send(
        self, data: bytes, name: str = "post", *, truncated: bool = False, well_formed: bool = True
    ) -> Answer:
        """Send a request and return its answer, which must not be a 5xx that no damage explains."""
        self.report.requests.append(data)
        answer = send(self.collector.port, data, truncated=truncated)
        if answer.status == 0 and well_formed:
            self.fail(f"{route_of(name)}: no answer", f"{answer}")
        if answer.status >= 500 and answer.status not in _FROM_SERVER:
            code = answer.error_code
            if not (self.damaged and code in _DAMAGE_CODES) and code != "internal":  # the log says more of these
                self.fail(f"{route_of(name)}: {answer.status} {code}", f"{answer}")
        self.check_process()
        return answer

    def command(self, *arguments: str, codes: Sequence[int]) -> None:
        """Run a command, which must exit with one of *codes*."""
        self.step = " ".join(arguments)
        self.counts["commands"] += 1
        result = self._commands.run(*arguments, seconds=_COMMAND_TIMEOUT_SECONDS)
        shown = f"exit {result.code} after {result.seconds:.1f} s, {result.peak_bytes >> 20} MB"
        shown = f"{shown}: {result.stderr[-3000:]}"
        if result.has_traceback:
            self.fail(f"{arguments[0]}: {_traceback_signature(result.stderr)}", shown)
        elif result.code < 0:
            self.fail(f"{arguments[0]}: does not end within {_COMMAND_TIMEOUT_SECONDS:.0f} s", shown)
        elif result.code not in codes:
            self.fail(f"{arguments[0]}: exit {result.code} without damage", f"{shown}\n{result.stdout[:1000]}")
        if result.peak_bytes > _MEMORY_BYTES:
            self.fail(f"{arguments[0]}: memory", shown)
        odd = sorted({char for char in result.stdout + result.stderr if not char.isprintable()} - set("\n\r"))
        if odd and arguments[0] in ("find", "top", "services"):
            self.fail(f"{arguments[0]}: prints control characters", f"{odd}")

    def read_by_commands(self, service: str, types: Sequence[str]) -> None:
        """Read the profiles of *service* by commands over HTTP and over the storage."""
        for profile_type in types:
            range_options = ("--service", service, "--type", profile_type, "--from", SINCE)
            self.command("find", "--url", self.collector.url, *range_options, codes=(0, 1))
            self.command("top", "--url", self.collector.url, *range_options, codes=(0, 1))
            self.command("top", "--storage", self.url, *range_options, "--delta", codes=(0, 1))

    # The collector's process.

    def check_process(self) -> None:
        """Check the collector's log, its memory and its health."""
        with self.collector.log.open("rb") as log:
            log.seek(self._log_position)
            text = log.read().decode(errors="replace")
            self._log_position = log.tell()
        if "Traceback" in text or "CRITICAL" in text:
            self.fail(f"log: {_traceback_signature(text)}", text[-6000:])
        if not self.collector.is_running():
            self.fail("the collector has ended", text[-2000:])
            self.restart()
        if (peak := self.collector.peak_bytes()) > _MEMORY_BYTES:
            before = self._resident_bytes >> 20
            self.fail(f"memory at {self.step.split()[0]}", f"{peak >> 20} MB, {before} MB before the step")
            self.restart()
        self._resident_bytes = self.collector.resident_bytes()
        self.counts["memory between steps, MB"] = max(
            self.counts["memory between steps, MB"], self._resident_bytes >> 20
        )
        self.counts["peak memory, MB"] = max(self.counts["peak memory, MB"], peak >> 20)
        while self._silences:
            self.fail("health", self._silences.pop())

    def _watch_health(self) -> None:
        while not self._over.wait(0.5):
            begin = time.monotonic()
            answer = send(self.collector.port, request_bytes("GET", "/healthz"))
            seconds = time.monotonic() - begin
            if self._is_serving.is_set():
                self.slowest_health = max(self.slowest_health, seconds)
                if answer.status != 200 or seconds > _HEALTH_TIMEOUT_SECONDS:
                    self._silences.append(f"/healthz answered {answer} after {seconds:.1f} s")

    # The storage.

    def clear(self, services: Iterable[str]) -> None:
        """Remove everything of *services* from the storage."""
        self.step = "cleaning up"
        for service in services:
            shutil.rmtree(self.root / service, ignore_errors=True)
            shutil.rmtree(self.root / "_" / "blocks" / service, ignore_errors=True)
            self.command("reindex", "--storage", self.url, "--service", service, codes=(0,))
            answer = self.ask("find", "/api/0/profiles", {"service": service, "from": 0})
            if answer.error_code != "not_found":
                self.fail("entries outlive their objects and a reindex", f"{answer}")

    @contextmanager
    def copy_storage(self) -> Iterator[Path]:
        """Yield a copy of the storage with its index, and remove it behind the block."""
        shutil.rmtree(self._copy, ignore_errors=True)  # of a round that failed
        shutil.copytree(self.root, self._copy, ignore=shutil.ignore_patterns(".index.sqlite*"))
        with (
            closing(sqlite3.connect(self.root / ".index.sqlite")) as source,
            closing(sqlite3.connect(self._copy / ".index.sqlite")) as target,
        ):
            source.backup(target)
        yield self._copy
        shutil.rmtree(self._copy)

    def merge_copy(self, copy: Path, service: str) -> set[int]:
        """Return the numbers of the profiles of *service* in *copy*."""
        file = copy / ".merged"
        file.unlink(missing_ok=True)
        options = ("--service", service, "--type", "cpu", "--from", SINCE, "-o", str(file))
        self.command("merge", "--storage", f"file://{copy}", *options, codes=(0,))
        return numbers_in(file.read_bytes()) if file.exists() else set()

    def keep_storage(self, service: str) -> None:
        """Keep the files of *service* for the reproducer, if there is something to reproduce."""
        if self.report.findings:
            shutil.rmtree(self.kept, ignore_errors=True)
            for folder in (Path(service), Path("_/blocks") / service):
                if (self.root / folder).exists():
                    shutil.copytree(self.root / folder, self.kept / folder)


def _traceback_signature(text: str) -> str:
    """Return the exception of the first traceback in *text* and the last function of the project on its stack."""
    for line in text.splitlines():
        if line.startswith("{") and "Traceback" in line:
            with suppress(ValueError):
                text = json.loads(line).get("stack_trace", text)
                break
    lines = text[text.find("Traceback") :].splitlines()
    error = next((line for line in lines if _EXCEPTION.match(line)), "?")
    places = [match for line in lines if (match := _PLACE.search(line))]
    place = f"{places[-1][1]} {places[-1][2]}" if places else "?"
    return f"{error.partition(':')[0].rpartition('.')[2]} in {place}"
