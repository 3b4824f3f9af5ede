"""Rows of the table: what is measured, how often, and against whom."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROUNDS = 7


# Started from a small process of its own: a process is charged for the memory of the one that it was forked from.
_LAUNCHER = """
import os, sys, time
begin = time.perf_counter()
nothing = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=nothing), 0)
cpu = usage.ru_utime + usage.ru_stime
print(time.perf_counter() - begin, cpu, os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


@dataclass(frozen=True)
class Measure:
    """Medians of some rounds: seconds; where they are known, those of all processors, and the peak in MB.

    The peak is that of the largest process.
    """

    seconds: float
    peak: float | None = None
    cpu: float | None = None

    def __str__(self) -> str:
        text = f"{self.seconds * 1000:.0f} ms" if self.seconds >= 0.01 else f"{self.seconds * 1000:.1f} ms"
        if self.cpu is not None:
            text += f" ({self.cpu * 1000:.0f} CPU)"
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
    """Run a process to its end: its time and its peak of memory. Raise ``RuntimeError`` if it fails.

    The time of processors is that of its children, too.
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


def median(measures: Sequence[Measure]) -> Measure:
    peaks = [m.peak for m in measures if m.peak is not None]
    cpus = [m.cpu for m in measures if m.cpu is not None]
    return Measure(
        statistics.median(m.seconds for m in measures),
        statistics.median(peaks) if peaks else None,
        statistics.median(cpus) if cpus else None,
    )


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
        before = self._cpu()
        self.child.stdin.write("go\n")
        answer = self.child.stdout.readline()
        cpu = self._cpu() - before
        peak = None
        status = Path(f"/proc/{self.child.pid}/status")
        if status.exists():
            [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            peak = int(line.split()[1]) / 1024
        return Measure(int(answer) / 1e9, peak, cpu or None)

    def _cpu(self) -> float:
        """The seconds that its threads have had of all processors; 0 where the system does not say."""
        threads = Path(f"/proc/{self.child.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
