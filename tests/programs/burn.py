"""A program whose threads spend 60, 30 and 10 hundredths of its CPU time, the last one with naps; a fourth sleeps.

With --turns only one of them spends at a time, so that time that passes is CPU time. At its end it says in JSON
how much each has spent, by its own clock, in nanoseconds.
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


def sixty(round_of: int) -> None:
    for _ in range(ROUNDS):
        spin(round_of * 6)


def thirty(round_of: int) -> None:
    for _ in range(ROUNDS):
        spin(round_of * 3)


def ten(round_of: int) -> None:
    for _ in range(ROUNDS):
        spin(round_of)
        time.sleep(0.02)


def asleep(_: int) -> None:
    _DONE.wait()


def main() -> None:
    seconds = float(sys.argv[1])

    def measured(work: object) -> None:
        begin = time.thread_time_ns()
        work(int(seconds * 1e9 / ROUNDS / 10))  # type: ignore[operator]
        _SPENT[work.__name__] = time.thread_time_ns() - begin  # type: ignore[attr-defined]

    threads = [
        threading.Thread(target=measured, args=(work,), name=work.__name__) for work in (sixty, thirty, ten)
    ]
    sleeper = threading.Thread(target=measured, args=(asleep,), name="asleep")
    for thread in (*threads, sleeper):
        thread.start()
    for thread in threads:
        thread.join()
    _DONE.set()
    sleeper.join()
    print(json.dumps(_SPENT))


if __name__ == "__main__":
    main()
