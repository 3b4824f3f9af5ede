"""Print the names of the profiles that have samples: ``python -m bench.list_nonempty FILE…``."""

import sys
from pathlib import Path

from profbucket.pprof import decode


def main() -> None:
    for name in sys.argv[1:]:
        if decode(Path(name).read_bytes()).message.sample:
            print(name)


if __name__ == "__main__":
    main()
