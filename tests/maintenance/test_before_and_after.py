"""Answers before and after compaction, expiry and the loss of the index; ``make soak`` tries more histories."""

from tests.soak.before_and_after.checks import check_histories


def test_all_answers_stay_the_same() -> None:
    check_histories(40)
