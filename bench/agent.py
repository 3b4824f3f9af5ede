"""The cost of the agent: a Flask application under gunicorn and load, with the agent and without."""

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

from bench.measure import Measure, Row, bench
from bench.profiles import OUTPUT
from tests.support.serving import SCRIPTS, free_port, served

ROUNDS = 7
ROUND_SECONDS = 60.0  # the agent's period
WARM_UP_SECONDS = 3.0
_HERE = Path(__file__).parent


@bench("agent")
def agent() -> Iterator[Row]:
    """Put two servers, one with the agent, under the same load at the same time, for some of the agent's periods.

    They do not alternate: a round takes a minute, and other load on the machine must affect both.
    """
    OUTPUT.mkdir(exist_ok=True)
    with (
        served(f"file://{OUTPUT / 'agent'}", OUTPUT / "collector.log", PROFBUCKET_ANONYMOUS="1") as collector,
        _serve(None) as without,
        _serve(collector) as under,
    ):
        _load([without, under], WARM_UP_SECONDS)
        rounds = [_load([under, without], ROUND_SECONDS) for _ in range(ROUNDS)]
        memory = under.memory(), without.memory()
    with_agent, without_agent = ([pair[i] for pair in rounds] for i in (0, 1))
    rates = sorted(a.rate / b.rate for a, b in rounds)
    yield Row(
        "requests to Flask, with the agent",
        Measure(statistics.median(load.seconds for load in with_agent), memory[0]),
        Measure(statistics.median(load.seconds for load in without_agent), memory[1]),
        f"time of a CPU-bound request to one gunicorn worker, {ROUNDS} minutes; peer: without the agent, at the "
        f"same time; ratios of throughput with the agent to without: {_format_ratios(rates)}",
    )
    ratios = sorted(b.cpu_seconds / a.cpu_seconds for a, b in rounds)
    yield Row(
        "- CPU time of the worker",
        Measure(statistics.median(load.cpu_seconds for load in with_agent)),
        Measure(statistics.median(load.cpu_seconds for load in without_agent)),
        f"the same minutes, less affected by other load; by minute: {_format_ratios(ratios)}",
    )


def _format_ratios(ratios: list[float]) -> str:
    return f"{', '.join(f'{ratio:.3f}' for ratio in ratios)}, median {statistics.median(ratios):.3f}"


class _Load(NamedTuple):
    """The result of a round of load on one server."""

    seconds: float  # of a request
    cpu_seconds: float  # of a request
    rate: float  # requests a second


class _Server:
    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port = port
        self._process = process

    def memory(self) -> float:
        """Return the proportional set size of the worker, in MB."""
        [worker] = self._child_ids()
        lines = Path(f"/proc/{worker}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def _child_ids(self) -> list[int]:
        text = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="utf-8")
        return list(map(int, text.split()))

    def cpu_seconds(self) -> float:
        """Return the CPU time of the worker."""
        ticks = 0
        for process in self._child_ids():
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _serve(collector: str | None) -> Iterator[_Server]:
    port = free_port()
    command = [str(SCRIPTS / "gunicorn"), "--workers=1", f"--bind=127.0.0.1:{port}", "bench.flask_app:app"]
    if collector:
        command = [str(SCRIPTS / "profbucket"), "run", "--url", collector, "--service", "bench", "--", *command]
    with (OUTPUT / "gunicorn.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=_HERE.parent, stdout=log, stderr=log)
        try:
            _wait_until_ready(port)
            yield _Server(port, process)
        finally:
            process.terminate()
            process.wait(60)


def _wait_until_ready(port: int) -> None:
    for _ in range(300):
        try:
            _request(port)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the application does not answer; see {OUTPUT / 'gunicorn.log'}")


def _request(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/")
        assert connection.getresponse().read()
    finally:
        connection.close()


def _load(servers: Sequence[_Server], seconds: float) -> list[_Load]:
    """Keep all *servers* busy with two clients each, and return the result for each server."""
    begin = time.monotonic()
    before = [server.cpu_seconds() for server in servers]
    counts = [0] * len(servers)

    def client(number: int) -> None:
        while time.monotonic() < begin + seconds:
            _request(servers[number].port)
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(len(servers)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - begin
    spent = [server.cpu_seconds() - seconds for server, seconds in zip(servers, before, strict=True)]
    return [_Load(elapsed / n, cpu / n, n / elapsed) for n, cpu in zip(counts, spent, strict=True)]
