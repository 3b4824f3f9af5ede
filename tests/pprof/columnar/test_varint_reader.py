"""Numbers in bytes, at any position and of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.pprof.columnar.varint_reader import SHORT, OtherLayout, Source
from profbucket.pprof.compression import varint

# In as many bytes as they need, or in more: three to ten.
NUMBERS = st.lists(
    st.tuples(
        st.integers(0, 2**64 - 1) | st.integers(0, 63).map(lambda bit: 2**bit) | st.integers(0, SHORT + 1),
        st.sampled_from([1, *range(3, 11)]),
    ),
    min_size=1,
)


def padded(value: int, size: int) -> bytes:
    data = bytearray(varint(value))
    while len(data) < size:
        data[-1] |= 128
        data.append(0)
    return bytes(data)


@given(NUMBERS)
def test_numbers_are_read_wherever_they_begin(numbers: list[tuple[int, int]]) -> None:
    """Also those among others, most of them long or most of them short."""
    encoded = [padded(value, size) for value, size in numbers]
    source = Source(*encoded)
    ends = np.cumsum([len(one) for one in encoded])
    begins = ends - [len(one) for one in encoded]
    values, end = source.numbers(begins.copy())
    assert values.tolist() == [value for value, _ in numbers]
    assert end.tolist() == ends.tolist()


@given(NUMBERS, st.sampled_from([b"\xff" * 9 + b"\x02", b"\x80" * 10, b"\xff" * 11]))
def test_a_number_over_64_bits_is_none(numbers: list[tuple[int, int]], large: bytes) -> None:
    encoded = [padded(value, size) for value, size in numbers]
    source = Source(*encoded, large)
    begins = np.cumsum([0, *(len(one) for one in encoded)])
    with pytest.raises(OtherLayout):
        source.numbers(begins)
