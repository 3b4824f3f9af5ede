"""Work for a profiler: seven tenths of the CPU time in ``hot``, three in ``cold``."""

import time


def hot(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def cold(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def work(seconds: float) -> None:
    """Use *seconds* of CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hot(0.07)
        cold(0.03)
