"""A small sample of the soak tests, and checks that they see what they are for. ``make soak`` runs all of them."""

from pathlib import Path

import pytest

from profbucket.pprof.merge import merge
from tests.soak.fuzz.profile_mutations import real_profiles
from tests.soak.fuzz.rounds import KINDS, run_round
from tests.soak.fuzz.session import Session
from tests.soak.fuzz.wire import parse, serialize
from tests.soak.kill_storm.storm import Storm
from tests.soak.numbered import DAY_BEGIN, numbered_profile, numbers_in

_KILLS = 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_of_fuzzing_finds_nothing(tmp_path: Path, kind: str) -> None:
    with Session(tmp_path).running() as session:
        report = run_round(session, "sample", 0, kind)
    assert not report.findings, report


def test_a_small_storm_of_kills_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    with Storm(tmp_path, f"file://{tmp_path}/profiles", "sample", {}).running() as storm:
        for number in range(_KILLS):
            storm.kill()
            if number == _KILLS // 2:
                storm.check()
        storm.finish()
    assert len(storm.ledger.acknowledged) > _KILLS


def test_numbers_in_a_merge() -> None:
    one, two = (numbered_profile(number, DAY_BEGIN + number) for number in (1, 2))
    assert numbers_in(merge([one, two])) == {1, 2}
    with pytest.raises(AssertionError, match="own-2"):
        numbers_in(merge([one, two, two]))


def test_a_tree_is_written_as_it_was_read() -> None:
    for _, raw in real_profiles():
        assert serialize(parse(raw)) == raw
