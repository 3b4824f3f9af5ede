"""All interleavings of two actors on small histories of a storage, and of three that have few states.

``python -m tests.soak.interleavings [--max-states 20000] [--case TEXT]`` tries those whose name contains the text.
Three actors that lead to more states are tried in random interleavings.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations
from random import Random

from tests.support.storage.histories import ACTORS, CASES, HISTORIES, Case, Trial, is_possible, replayable

_THREE: list[Case] = [
    (history, actors)
    for history in HISTORIES
    for actors in combinations(ACTORS, 3)
    if is_possible(history, actors)
]
_SAMPLE = 100
_MAX_SCHEDULE = 60


def describe(case: Case, max_states: int | None) -> str:
    """Try a case in all interleavings, or in some if they lead to more than *max_states*; return how many."""
    trial = Trial(*case)
    if count := trial.explore(max_states):
        return f"all {count.interleavings:,} interleavings of {count.states:,} states"
    random = Random(str(case))
    for _ in range(_SAMPLE):
        trial.run(random.choices(range(len(case[1])), k=random.randrange(_MAX_SCHEDULE)))
    return f"{_SAMPLE} interleavings of more than {max_states:,} states"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-states", type=int, default=20_000, help="of three actors")
    parser.add_argument("--case", default="")
    options = parser.parse_args(arguments)
    wrong = 0
    with replayable():
        for case in (*CASES, *_THREE):
            name = f"{case[0]}: {' / '.join(case[1])}"
            if options.case in name:
                try:
                    result = describe(case, options.max_states if len(case[1]) > 2 else None)
                except AssertionError as error:
                    result = repr(error)
                    wrong += 1
                print(f"{name}: {result}", flush=True)
    print(f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
