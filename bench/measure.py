"""Measure processes and calls, alternating with peers, and format the results as rows of a table."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROUNDS = 7


# Starts the measured process from a small one: a process inherits the peak of memory of the one that forks it.
_LAUNCHER = """
import os, sys, time
begin = time.perf_counter()
discard = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=discard), 0)
cpu = usage.ru_utime + usage.ru_stime
print(time.perf_counter() - begin, cpu, os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


@dataclass(frozen=True)
class Measure:
    """Medians of some rounds."""

    seconds: float
    peak_mb: float | None = None  # of the largest process
    cpu_seconds: float | None = None

    def __str__(self) -> str:
        text = f"{self.seconds * 1000:.0f} ms" if self.seconds >= 0.01 else f"{self.seconds * 1000:.1f} ms"
        if self.cpu_seconds is not None:
            text += f" ({self.cpu_seconds * 1000:.0f} CPU)"
        return text if self.peak_mb is None else f"{text}, {self.peak_mb:.0f} MB"


@dataclass(frozen=True)
class Row:
    """One line of the table: profbucket and a peer, measured in the same run; *note* says how."""

    name: str
    measure: Measure
    peer: Measure | None = None
    note: str = ""

    @property
    def ratio(self) -> str:
        return f"{self.peer.seconds / self.measure.seconds:.2f}" if self.peer else ""

    def format(self) -> str:
        return f"| {self.name} | {self.measure} | {self.peer or ''} | {self.ratio} | {self.note} |"


Bench = Callable[[], Iterable[Row]]
BENCHES: dict[str, Bench] = {}


def bench(name: str) -> Callable[[Bench], Bench]:
    """Register a benchmark, which ``make bench ARGS=name`` runs."""

    def register(function: Bench) -> Bench:
        BENCHES[name] = function
        return function

    return register


def run_process(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Measure:
    """Run a process and return its time, its CPU time with that of its children, and its peak of memory.

    Raise ``RuntimeError`` if it fails.
    """
    launched = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    seconds, cpu, code, peak = launched.stdout.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(arguments)[:200]}: exit code {code}")
    return Measure(float(seconds), int(peak) / 1024, float(cpu))


def take_median(measures: Sequence[Measure]) -> Measure:
    peaks = [m.peak_mb for m in measures if m.peak_mb is not None]
    cpus = [m.cpu_seconds for m in measures if m.cpu_seconds is not None]
    return Measure(
        statistics.median(m.seconds for m in measures),
        statistics.median(peaks) if peaks else None,
        statistics.median(cpus) if cpus else None,
    )


def alternate(*runs: Callable[[], Measure], rounds: int = ROUNDS) -> list[Measure]:
    """Return the median of each of *runs*, which alternate, so that other load affects all; one round warms up."""
    rounds_of_run: list[list[Measure]] = [[] for _ in runs]
    for turn in range(rounds + 1):
        for run, measures in zip(runs, rounds_of_run, strict=True):
            measure = run()
            if turn:
                measures.append(measure)
    return [take_median(measures) for measures in rounds_of_run]


@dataclass
class Repeater:
    """A process that repeats its work for each line of input, and prints how many nanoseconds it took."""

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
        before = self._cpu_seconds()
        self.child.stdin.write("go\n")
        answer = self.child.stdout.readline()
        cpu = self._cpu_seconds() - before
        peak = None
        status = Path(f"/proc/{self.child.pid}/status")
        if status.exists():
            [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            peak = int(line.split()[1]) / 1024
        return Measure(int(answer) / 1e9, peak, cpu or None)

    def _cpu_seconds(self) -> float:
        """Return the CPU time of its threads; 0 if the system does not report it."""
        threads = Path(f"/proc/{self.child.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
