"""Locations and functions in the common layout are read; any other layout is reported."""

import pytest

from profbucket.pprof.columnar.fast_locations import read_locations
from profbucket.pprof.columnar.varint_reader import UncommonLayout

LOCATION = b"\x22\x08\x08\x07\x22\x04\x08\x01\x10\x05"  # id 7, one line: function 1, line 5
FUNCTION = b"\x2a\x04\x08\x01\x10\x02"  # id 1, name 2


def test_profiles_are_read_one_after_the_other() -> None:
    locations = read_locations([LOCATION + FUNCTION, b"", LOCATION])
    assert locations.location_profile.tolist() == [0, 2]
    assert locations.location_id.tolist() == [7, 7]
    assert locations.line_number.tolist() == [5, 5]
    assert locations.function_profile.tolist() == [0]


@pytest.mark.parametrize(
    "profiles",
    [
        [b"\x22\x08\x08\x07", b"\x22\x04\x08\x01\x10\x05"],  # its line is in the next profile
        [b"\x22\x04\x08\x07", FUNCTION[2:]],
        [LOCATION[:-1]],
        [LOCATION + b"\x10"],
        [b"\x08\x07" + LOCATION],
    ],
)
def test_a_message_that_is_not_within_its_profile_is_reported(profiles: list[bytes]) -> None:
    with pytest.raises(UncommonLayout):
        read_locations(profiles)


def test_the_last_of_two_mappings_counts() -> None:
    both = b"\x22\x0c\x08\x07\x10\x01\x22\x04\x08\x01\x10\x05\x10\x02"
    assert read_locations([both]).location_mapping_id.tolist() == [2]
