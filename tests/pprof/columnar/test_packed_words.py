"""Packed words round-trip."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from profbucket.pprof.columnar.packed_words import (
    LINE_LIST,
    pack_label,
    pack_label_list,
    pack_location,
    pack_pair,
    unpack_labels,
    unpack_location,
    unpack_pair,
)

INDEXES = st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(INDEXES, st.integers(0, LINE_LIST), st.booleans())))
def test_locations_round_trip(locations: list[tuple[int, int, bool]]) -> None:
    mapping, line_count = (np.array([location[i] for location in locations], np.int64) for i in range(2))
    is_folded = np.array([location[2] for location in locations], bool)
    columns = unpack_location(pack_location(mapping, line_count, is_folded))
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == locations


@given(st.lists(st.tuples(INDEXES, INDEXES)))
def test_pairs_round_trip(pairs: list[tuple[int, int]]) -> None:
    high, low = (np.array([pair[i] for pair in pairs], np.int64) for i in range(2))
    assert list(zip(*(column.tolist() for column in unpack_pair(pack_pair(high, low))), strict=True)) == pairs


@given(st.lists(st.tuples(st.sampled_from(["none", "label", "list"]), st.integers(0, 2**31 - 2))))
def test_labels_round_trip(samples: list[tuple[str, int]]) -> None:
    kinds = np.array([kind for kind, _ in samples])
    index = np.array([index for _, index in samples], np.int64)
    words = np.select([kinds == "label", kinds == "list"], [pack_label(index), pack_label_list(index)])
    single, label, several, label_list = (column.tolist() for column in unpack_labels(words))
    assert single == [row for row, (kind, _) in enumerate(samples) if kind == "label"]
    assert label == [index for kind, index in samples if kind == "label"]
    assert several == [row for row, (kind, _) in enumerate(samples) if kind == "list"]
    assert label_list == [index for kind, index in samples if kind == "list"]
    assert words.max(initial=0) < 2**32  # they are stored as 32 bits
