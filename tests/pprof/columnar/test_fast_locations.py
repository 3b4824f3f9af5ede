"""Locations and functions in the common layout: what is not is left to the general way."""

import pytest

from profbucket.pprof.columnar.fast_locations import read_places
from profbucket.pprof.columnar.varint_reader import OtherLayout

LOCATION = b"\x22\x08\x08\x07\x22\x04\x08\x01\x10\x05"  # id 7, one line: function 1, line 5
FUNCTION = b"\x2a\x04\x08\x01\x10\x02"  # id 1, name 2


def test_streams_are_read_one_after_the_other() -> None:
    found = read_places([LOCATION + FUNCTION, b"", LOCATION])
    assert found.location_stream.tolist() == [0, 2]
    assert found.location_id.tolist() == [7, 7]
    assert found.line_number.tolist() == [5, 5]
    assert found.function_stream.tolist() == [0]


@pytest.mark.parametrize(
    "streams",
    [
        [b"\x22\x08\x08\x07", b"\x22\x04\x08\x01\x10\x05"],  # its line is in the next stream
        [b"\x22\x04\x08\x07", FUNCTION[2:]],
        [LOCATION[:-1]],
        [LOCATION + b"\x10"],
        [b"\x08\x07" + LOCATION],
    ],
)
def test_a_message_that_does_not_lie_in_its_stream_is_left_to_the_general_way(streams: list[bytes]) -> None:
    with pytest.raises(OtherLayout):
        read_places(streams)


def test_of_two_mappings_the_last_counts() -> None:
    both = b"\x22\x0c\x08\x07\x10\x01\x22\x04\x08\x01\x10\x05\x10\x02"
    assert read_places([both]).location_mapping_id.tolist() == [2]
