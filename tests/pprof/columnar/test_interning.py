"""Numbers for equal content."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profbucket.pprof.columnar import interning
from profbucket.pprof.columnar.arrays import offsets
from profbucket.pprof.columnar.interning import Rows, Sequences
from profbucket.pprof.columnar.pending import Strings

small = st.integers(0, 3)


@pytest.fixture(params=["random hashes", "two hashes", "one hash"])
def hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes as they are, and hashes so bad that nearly everything collides."""
    bits = {"random hashes": 2**64 - 1, "two hashes": 1, "one hash": 0}[request.param]
    good = interning._hashes
    monkeypatch.setattr(interning, "_hashes", lambda columns: good(columns) & np.uint64(bits))


def test_equal_texts_have_equal_numbers_and_the_empty_one_is_zero() -> None:
    strings = Strings()
    numbers = np.frombuffer(strings.numbers([b"a", b"", b"b", b"a"]), np.int64)
    assert numbers.tolist() == [1, 0, 2, 1]
    assert strings.number(b"b") == 2


@pytest.mark.usefixtures("hashes")
def test_rows_are_equal_exactly_if_their_numbers_are() -> None:
    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.lists(st.tuples(small, small, small), max_size=30), max_size=4))
    def check(batches: list[list[tuple[int, int, int]]]) -> None:
        rows, known = Rows(3), dict[tuple[int, ...], int]()
        for batch in batches:
            columns = np.array(batch, np.uint64).reshape(-1, 3)
            for row, number in zip(batch, rows.intern(*columns.T).tolist(), strict=True):
                assert known.setdefault(row, number) == number
        assert sorted(known.values()) == list(range(len(rows)))
        for content, number in known.items():
            assert tuple(int(rows.column(i)[number]) for i in range(3)) == content

    check()


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from([np.uint32, np.uint64]),
    st.lists(st.lists(st.lists(small, max_size=5), max_size=20), max_size=4),
    st.integers(0, 2),
)
def test_sequences_are_equal_exactly_if_their_numbers_are(
    dtype: type[np.uint32] | type[np.uint64], batches: list[list[list[int]]], gap: int
) -> None:
    """Whatever stands between them."""
    sequences, known = Sequences(dtype), dict[tuple[int, ...], int]()
    for batch in batches:
        items = np.array([item for one in batch for item in [7] * gap + one], np.int64)
        count = np.array([len(one) for one in batch], np.int64)
        first = offsets(count + gap)[:-1] + gap
        for one, number in zip(batch, sequences.intern(items, first, count).tolist(), strict=True):
            assert known.setdefault(tuple(one), number) == number
    assert sorted(known.values()) == list(range(len(sequences)))
    for asked in (list(known), list(known)[::-2]):
        items, count = sequences.of(np.array([known[one] for one in asked], np.int64))
        assert items.dtype == dtype
        ends = offsets(count).tolist()
        assert [tuple(items[a:b].tolist()) for a, b in pairwise(ends)] == asked


def test_a_table_grows_without_losing_anything() -> None:
    rows = Rows(1)
    numbers = [rows.intern(np.arange(i, dtype=np.uint64)) for i in (10, 3000, 100, 50_000)]
    assert len(rows) == 50_000
    assert all((rows.column(0)[found] == np.arange(len(found))).all() for found in numbers)
