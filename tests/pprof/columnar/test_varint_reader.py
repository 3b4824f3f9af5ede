"""Varints of any size are read at any position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.pprof.columnar.varint_reader import MAX_SHORT, UncommonLayout, VarintReader
from profbucket.pprof.wire import encode_varint

# Values and their sizes in bytes: as many as they need, or more, three to ten.
NUMBERS = st.lists(
    st.tuples(
        st.integers(0, 2**64 - 1) | st.integers(0, 63).map(lambda bit: 2**bit) | st.integers(0, MAX_SHORT + 1),
        st.sampled_from([1, *range(3, 11)]),
    ),
    min_size=1,
)


def encode_padded(value: int, size: int) -> bytes:
    """Return *value* as a varint of at least *size* bytes."""
    data = bytearray(encode_varint(value))
    while len(data) < size:
        data[-1] |= 128
        data.append(0)
    return bytes(data)


@given(NUMBERS)
def test_varints_are_read_at_any_position(numbers: list[tuple[int, int]]) -> None:
    """Most of them may be long or short."""
    encoded = [encode_padded(value, size) for value, size in numbers]
    reader = VarintReader(*encoded)
    ends = np.cumsum(list(map(len, encoded)))
    begins = ends - list(map(len, encoded))
    values, end = reader.read(begins.copy())
    assert values.tolist() == [value for value, _ in numbers]
    assert end.tolist() == ends.tolist()


@given(NUMBERS, st.sampled_from([b"\xff" * 9 + b"\x02", b"\x80" * 10, b"\xff" * 11]))
def test_a_varint_over_64_bits_is_reported(numbers: list[tuple[int, int]], large: bytes) -> None:
    encoded = [encode_padded(value, size) for value, size in numbers]
    reader = VarintReader(*encoded, large)
    begins = np.cumsum([0, *map(len, encoded)])
    with pytest.raises(UncommonLayout):
        reader.read(begins)
