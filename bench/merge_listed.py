"""Merge the files whose names are in a file, one after the other: ``python -m bench.merge_listed LIST``."""

import sys
from pathlib import Path

from profbucket.pprof.merge import Merger


def main() -> None:
    merger = Merger()
    for name in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        merger.add(Path(name).read_bytes())
    merger.result()


if __name__ == "__main__":
    main()
