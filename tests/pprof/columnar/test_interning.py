"""Equal content gets equal indexes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profbucket.pprof.columnar import interning
from profbucket.pprof.columnar.arrays import to_offsets
from profbucket.pprof.columnar.interning import RowTable, SequenceTable
from profbucket.pprof.columnar.string_table import StringTable

small = st.integers(0, 3)


@pytest.fixture(params=["random hashes", "two hashes", "one hash"])
def hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the real hashes, and hashes so bad that nearly all keys collide."""
    bits = {"random hashes": 2**64 - 1, "two hashes": 1, "one hash": 0}[request.param]
    hash_rows = interning._hash_rows
    monkeypatch.setattr(interning, "_hash_rows", lambda columns: hash_rows(columns) & np.uint64(bits))


def test_equal_strings_have_equal_indexes_and_the_empty_one_has_0() -> None:
    strings = StringTable()
    indexes = np.frombuffer(strings.intern_all([b"a", b"", b"b", b"a"]), np.int64)
    assert indexes.tolist() == [1, 0, 2, 1]
    assert strings.intern(b"b") == 2


@pytest.mark.usefixtures("hashes")
def test_rows_are_numbered_by_first_appearance_whatever_their_hashes() -> None:
    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.lists(st.tuples(small, small, small), max_size=30), max_size=4))
    def check(batches: list[list[tuple[int, int, int]]]) -> None:
        rows, known = RowTable(3), dict[tuple[int, ...], int]()
        for batch in batches:
            columns = np.array(batch, np.uint64).reshape(-1, 3)
            for row, index in zip(batch, rows.intern(*columns.T).tolist(), strict=True):
                assert known.setdefault(row, len(known)) == index
        assert len(rows) == len(known)
        for content, index in known.items():
            assert tuple(int(rows.column(i)[index]) for i in range(3)) == content

    check()


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from([np.uint32, np.uint64]),
    st.lists(st.lists(st.lists(small, max_size=5), max_size=20), max_size=4),
    st.integers(0, 2),
)
def test_sequences_are_equal_exactly_if_their_indexes_are(
    dtype: type[np.uint32] | type[np.uint64], batches: list[list[list[int]]], gap: int
) -> None:
    """Items between the sequences do not matter."""
    sequences, known = SequenceTable(dtype), dict[tuple[int, ...], int]()
    for batch in batches:
        items = np.array([item for sequence in batch for item in [7] * gap + sequence], np.int64)
        count = np.array(list(map(len, batch)), np.int64)
        first = to_offsets(count + gap)[:-1] + gap
        for sequence, index in zip(batch, sequences.intern(items, first, count).tolist(), strict=True):
            assert known.setdefault(tuple(sequence), index) == index
    assert sorted(known.values()) == list(range(len(sequences)))
    for selected in (list(known), list(known)[::-2]):
        items, count = sequences.take(np.array([known[sequence] for sequence in selected], np.int64))
        assert items.dtype == dtype
        ends = to_offsets(count).tolist()
        assert [tuple(items[a:b].tolist()) for a, b in pairwise(ends)] == selected


def test_a_table_keeps_its_rows_when_it_grows() -> None:
    rows = RowTable(1)
    indexes = [rows.intern(np.arange(i, dtype=np.uint64)) for i in (10, 3000, 100, 50_000)]
    assert len(rows) == 50_000
    assert all((rows.column(0)[batch] == np.arange(len(batch))).all() for batch in indexes)
