"""Rows of the table: what is measured, how often, and against whom."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROUNDS = 7


@dataclass(frozen=True)
class Measure:
    """Medians of some rounds: seconds, and the peak of a process's memory in MB where it is known."""

    seconds: float
    peak: float | None = None

    def __str__(self) -> str:
        text = f"{self.seconds * 1000:.0f} ms" if self.seconds >= 0.01 else f"{self.seconds * 1000:.1f} ms"
        return text if self.peak is None else f"{text}, {self.peak:.0f} MB"


@dataclass(frozen=True)
class Row:
    """One line: ours beside a peer, both measured in the same run; *note* says what was done, by which command."""

    name: str
    ours: Measure
    peer: Measure | None = None
    note: str = ""

    @property
    def ratio(self) -> str:
        return f"{self.peer.seconds / self.ours.seconds:.2f}" if self.peer else ""

    def line(self) -> str:
        return f"| {self.name} | {self.ours} | {self.peer or ''} | {self.ratio} | {self.note} |"


Bench = Callable[[], Iterable[Row]]
BENCHES: dict[str, Bench] = {}


def bench(name: str) -> Callable[[Bench], Bench]:
    """Register rows under *name*, by which ``make bench ARGS=name`` asks for them."""

    def register(function: Bench) -> Bench:
        BENCHES[name] = function
        return function

    return register


def process(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Measure:
    """Run a process to its end: its wall time and its peak of memory. Raise ``RuntimeError`` if it fails."""
    begin = time.perf_counter()
    child = subprocess.Popen(
        arguments, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:200]}: exit code {child.returncode}")
    return Measure(seconds, usage.ru_maxrss / 1024)


def median(measures: Sequence[Measure]) -> Measure:
    peaks = [m.peak for m in measures if m.peak is not None]
    return Measure(statistics.median(m.seconds for m in measures), statistics.median(peaks) if peaks else None)


def in_turns(*runs: Callable[[], Measure], rounds: int = ROUNDS) -> list[Measure]:
    """The median of each of *runs*, which take turns, so that a busy moment hits all; one round warms up."""
    found: list[list[Measure]] = [[] for _ in runs]
    for turn in range(rounds + 1):
        for run, measures in zip(runs, found, strict=True):
            measure = run()
            if turn:
                measures.append(measure)
    return [median(measures) for measures in found]


@dataclass
class Repeater:
    """A process that does its work once for each line it is sent, and answers with the nanoseconds it took."""

    arguments: Sequence[str]
    child: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> "Repeater":
        self.child = subprocess.Popen(
            self.arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.child.stdin
        self.child.stdin.close()
        self.child.wait(timeout=60)

    def __call__(self) -> Measure:
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write("go\n")
        answer = self.child.stdout.readline()
        peak = None
        status = Path(f"/proc/{self.child.pid}/status")
        if status.exists():
            [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            peak = int(line.split()[1]) / 1024
        return Measure(int(answer) / 1e9, peak)
