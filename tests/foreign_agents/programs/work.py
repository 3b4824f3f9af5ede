"""Work for a profiler: seven tenths of the CPU time in ``hot``, three in ``cold``."""

import os
import random
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
    """Use *seconds* of CPU time, or WORK_SECONDS, and of a processor the share WORK_SHARE, by default all."""
    share = float(os.environ.get("WORK_SHARE", "1"))
    end = time.thread_time() + float(os.environ.get("WORK_SECONDS", seconds))
    while time.thread_time() < end:
        # Short, so that few seconds are enough on a busy machine; random, so that no sampler is in step with it.
        cycle = random.uniform(0.005, 0.015)
        hot(0.7 * cycle)
        cold(0.3 * cycle)
        time.sleep(cycle * (1 / share - 1))
