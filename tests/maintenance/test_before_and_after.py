"""Answers before and after compaction, expiry and the loss of the index; ``make soak`` tries more histories."""

from tests.soak import before_and_after


def test_all_answers_stay_the_same() -> None:
    before_and_after.run(40)
