"""Merge files for each line of input, as bench/golib does: ``python -m bench.merge_repeatedly FILE…``."""

import sys
import time
from pathlib import Path

from profbucket.pprof.merge import merge


def main() -> None:
    files = [Path(name).read_bytes() for name in sys.argv[1:]]
    for _ in sys.stdin:
        begin = time.perf_counter_ns()
        merge(files)
        print(time.perf_counter_ns() - begin, flush=True)


if __name__ == "__main__":
    main()
