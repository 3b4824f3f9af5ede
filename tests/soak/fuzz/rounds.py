"""Rounds, each of a kind that a random number decides."""

import time
from collections.abc import Callable, Mapping
from random import Random

from tests.soak.fuzz.rounds_of_damage import (
    fuzz_blocks,
    fuzz_index,
    fuzz_metadata,
    fuzz_objects,
    fuzz_stored_batches,
)
from tests.soak.fuzz.rounds_of_posts import fuzz_batches, fuzz_posts
from tests.soak.fuzz.session import Report, Session


def _fuzz_batches(session: Session, random: Random, number: int) -> None:
    fuzz = fuzz_stored_batches if random.random() < 0.5 else fuzz_batches
    fuzz(session, random, number)


KINDS: Mapping[str, tuple[int, Callable[[Session, Random, int], None]]] = {  # with their weights
    "posts": (4, fuzz_posts),
    "batches": (4, _fuzz_batches),
    "objects": (2, fuzz_objects),
    "blocks": (3, fuzz_blocks),
    "metadata": (3, fuzz_metadata),
    "index": (1, fuzz_index),
}


def run_round(session: Session, seed: str, number: int, kind: str = "") -> Report:
    """Run the round *number* of *seed* and return its report. These decide the *kind* if none is given."""
    session.report = report = Report()
    session.damaged = False
    random = Random(f"{seed}:{number}")
    drawn = random.choices(tuple(KINDS), weights=[weight for weight, _ in KINDS.values()])[0]
    session.step = kind = kind or drawn
    report.notes.append(f"a round of kind {kind}")
    begin = time.monotonic()
    try:
        KINDS[kind][1](session, random, number)
    except AssertionError as error:
        session.fail("assertion", str(error))
    session.check_process()
    session.counts[f"rounds of {kind}"] += 1
    session.counts[f"seconds of {kind}"] += round(time.monotonic() - begin)
    return report
