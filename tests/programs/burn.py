"""A program with three threads that use 60, 30 and 10 percent of its CPU time, and one that sleeps.

The third thread also sleeps between its rounds. With --turns, only one thread works at a time, so that wall time
is CPU time. At exit, the program prints the CPU time of each thread by its own clock, in nanoseconds, as JSON.
"""

import json
import sys
import threading
import time
from contextlib import nullcontext

ROUNDS = 50
_SPENT: dict[str, int] = {}
_DONE = threading.Event()
_TURN = threading.Lock()


def spin(nanoseconds: int) -> None:
    with _TURN if "--turns" in sys.argv else nullcontext():
        burn(nanoseconds)


def burn(nanoseconds: int) -> None:
    end = time.thread_time_ns() + nanoseconds
    while time.thread_time_ns() < end:
        sum(range(5000))


def sixty(unit: int) -> None:
    for _ in range(ROUNDS):
        spin(unit * 6)


def thirty(unit: int) -> None:
    for _ in range(ROUNDS):
        spin(unit * 3)


def ten(unit: int) -> None:
    for _ in range(ROUNDS):
        spin(unit)
        time.sleep(0.02)


def asleep(_: int) -> None:
    _DONE.wait()


def main() -> None:
    seconds = float(sys.argv[1])

    def measure(work: object) -> None:
        start = time.thread_time_ns()
        work(int(seconds * 1e9 / ROUNDS / 10))  # type: ignore[operator]
        _SPENT[work.__name__] = time.thread_time_ns() - start  # type: ignore[attr-defined]

    threads = [threading.Thread(target=measure, args=(work,), name=work.__name__) for work in (sixty, thirty, ten)]
    sleeper = threading.Thread(target=measure, args=(asleep,), name="asleep")
    for thread in (*threads, sleeper):
        thread.start()
    for thread in threads:
        thread.join()
    _DONE.set()
    sleeper.join()
    print(json.dumps(_SPENT))


if __name__ == "__main__":
    main()
