"""What the agent costs: a Flask application under gunicorn and load, with it and without."""

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from bench.profiles import OUT
from bench.rows import Measure, Row, bench
from tests.support.serving import SCRIPTS, free_port, served

ROUNDS = 7
EVERY = 60.0  # seconds: the agent's own
_HERE = Path(__file__).parent


@bench("agent")
def agent() -> Iterator[Row]:
    """Two servers, one under the agent, under the same load at the same time, for some of the agent's periods.

    Not in turns, because a turn is a minute: what else is done on the machine has to hit both.
    """
    OUT.mkdir(exist_ok=True)
    with (
        served(f"file://{OUT / 'agent'}", OUT / "collector.log", PROFBUCKET_ANONYMOUS="1") as collector,
        _serving(None) as without,
        _serving(collector) as under,
    ):
        _load([without, under], 3.0)
        turns = [_load([under, without], EVERY) for _ in range(ROUNDS)]
        memory = under.memory(), without.memory()
    ours, theirs = ([pair[i] for pair in turns] for i in (0, 1))
    rates = sorted(a.rate / b.rate for a, b in turns)
    yield Row(
        "requests to Flask, with the agent",
        Measure(statistics.median(one.seconds for one in ours), memory[0]),
        Measure(statistics.median(one.seconds for one in theirs), memory[1]),
        f"time of one, CPU-bound, gunicorn with a worker under load, {ROUNDS} minutes; peer: without, at the same "
        f"time; throughput with it by that without: {_each(rates)}",
    )
    ratios = sorted(b.cpu / a.cpu for a, b in turns)
    yield Row(
        "- of it CPU time of the worker",
        Measure(statistics.median(one.cpu for one in ours)),
        Measure(statistics.median(one.cpu for one in theirs)),
        f"the same minutes; what others do on the machine counts less; by minute: {_each(ratios)}",
    )


def _each(ratios: list[float]) -> str:
    return f"{', '.join(f'{one:.3f}' for one in ratios)}, median {statistics.median(ratios):.3f}"


class _Turn(NamedTuple):
    """Seconds that a request took, and of CPU time, and how many there were in a second."""

    seconds: float
    cpu: float
    rate: float


class _Server:
    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port = port
        self._process = process

    def memory(self) -> float:
        """MB that the worker holds, of what is shared its part."""
        [worker] = self._children()
        lines = Path(f"/proc/{worker}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def _children(self) -> list[int]:
        text = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="utf-8")
        return [int(one) for one in text.split()]

    def cpu(self) -> float:
        """CPU seconds that the worker has spent."""
        ticks = 0
        for process in self._children():
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _serving(collector: str | None) -> Iterator[_Server]:
    port = free_port()
    command = [str(SCRIPTS / "gunicorn"), "--workers=1", f"--bind=127.0.0.1:{port}", "bench.flask_app:app"]
    if collector:
        command = [str(SCRIPTS / "profbucket"), "run", "--url", collector, "--service", "bench", "--", *command]
    with (OUT / "gunicorn.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=_HERE.parent, stdout=log, stderr=log)
        try:
            _wait(port)
            yield _Server(port, process)
        finally:
            process.terminate()
            process.wait(60)


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            _ask(port)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the application does not answer: {OUT / 'gunicorn.log'} says why")


def _ask(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/")
        assert connection.getresponse().read()
    finally:
        connection.close()


def _load(servers: Sequence[_Server], seconds: float) -> list[_Turn]:
    """Keep all *servers* busy, with two clients each; what their requests took."""
    begin = time.monotonic()
    before = [one.cpu() for one in servers]
    counts = [0] * len(servers)

    def client(number: int) -> None:
        while time.monotonic() < begin + seconds:
            _ask(servers[number].port)
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(len(servers)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.monotonic() - begin
    spent = [one.cpu() - cpu for one, cpu in zip(servers, before, strict=True)]
    return [_Turn(passed / n, cpu / n, n / passed) for n, cpu in zip(counts, spent, strict=True)]
