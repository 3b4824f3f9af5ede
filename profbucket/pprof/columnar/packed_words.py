"""Small numbers that share a 64-bit word.

The fewer columns a row has, the faster it is interned: the accumulator packs several numbers into one word, and
``encode.py`` unpacks them.
"""

import numpy as np

from profbucket.pprof.columnar.arrays import Bools, Ints, Words, flatnonzero

# Instead of a line count: the location's lines are in ``Accumulator.line_lists``.
LINE_LIST = 3

_LOW_32_BITS = np.uint64(2**32 - 1)


def pack_location(mapping: Ints, line_count: Ints, is_folded: Bools) -> Words:
    """Return words with *mapping* in the bits from 3 on, *line_count* in bits 1 and 2, *is_folded* in bit 0.

    *mapping* is 0 for none; *line_count* is 0 to 2 or ``LINE_LIST``.
    """
    return (mapping << 3 | line_count << 1 | is_folded).view(np.uint64)


def unpack_location(words: Words) -> tuple[Ints, Ints, Words]:
    """Return the mappings, line counts and is_folded (0 or 1) that :func:`pack_location` was given."""
    return (
        words.view(np.int64) >> 3,
        (words >> np.uint64(1) & np.uint64(3)).view(np.int64),
        words & np.uint64(1),
    )


def pack_pair(high: Ints, low: Ints) -> Words:
    """Return two numbers from 0 to 2**32 - 1 as one word."""
    return (high << 32 | low).view(np.uint64)


def unpack_pair(words: Words) -> tuple[Ints, Ints]:
    """Return the numbers that :func:`pack_pair` was given."""
    return (words >> np.uint64(32)).view(np.int64), (words & _LOW_32_BITS).view(np.int64)


def pack_label(label: Ints) -> Ints:
    """Return the words of samples that have one label each. The word of a sample without labels is 0."""
    return label << 1 | 1


def pack_label_list(label_list: Ints) -> Ints:
    """Return the words of samples that have several labels each, a list in ``Accumulator.label_lists``."""
    return label_list + 1 << 1


def unpack_labels(words: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the rows with one label, those labels, the rows with several, and those lists."""
    single, several = flatnonzero(words & 1), flatnonzero((words > 0) & (words & 1 == 0))
    return single, words[single] >> 1, several, (words[several] >> 1) - 1
