"""All interleavings of two actors on small histories of a storage, and random ones of three.

``python -m tests.soak.interleavings [--limit 20000] [--case TEXT]`` takes an hour or more. It tries up to that
many of each pair, of those whose name contains the text.
"""

import argparse
import sys
from collections.abc import Sequence
from random import Random

from tests.support.storage.histories import ACTORS, CASES, HISTORIES, Trial, in_one_thread_each
from tests.support.storage.interleaving import Call, explore

_MAX_SCHEDULE = 60


class LimitReached(Exception):
    """As many interleavings of one pair were tried as were asked for."""


class Run:
    """The interleavings that were tried, and how many of them were wrong."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.wrong = 0

    def explore(self, trial: Trial) -> str:
        """Try all interleavings of *trial*; return how many."""
        number = 0

        def run(schedule: Sequence[int]) -> list[Call]:
            nonlocal number
            if number == self._limit:
                raise LimitReached
            number += 1
            return trial.run(schedule)

        try:
            return f"all {explore(run)}"
        except LimitReached:
            return f"the first {number}"
        except Exception as error:  # noqa: BLE001 - printed
            self.wrong += 1
            return f"{number}: {error!r}"

    def try_three(self, random: Random, number: int) -> None:
        """Try *number* random interleavings of three actors."""
        actors = sorted(ACTORS.keys() - {"expiry"})
        for _ in range(number):
            trial = Trial(random.choice(sorted(HISTORIES)), random.choices(actors, k=3))
            schedule = random.choices(range(3), k=random.randrange(_MAX_SCHEDULE))
            try:
                trial.run(schedule)
            except Exception as error:  # noqa: BLE001 - printed
                self.wrong += 1
                print(repr(error), flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--case", default="")
    options = parser.parse_args(arguments)
    run = Run(options.limit)
    with in_one_thread_each():
        for history, actors in CASES:
            name = f"{history}: {' / '.join(actors)}"
            if options.case in name:
                print(f"{name}: {run.explore(Trial(history, actors))}", flush=True)
        if not options.case:
            run.try_three(Random(), options.limit)
    print(f"{run.wrong} wrong")
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
