"""Select the content of an accumulator that its samples use, as columns.

Indexes are those of the accumulator's tables; ids are those of the result, from 1 on, and are 0 for what it does
not contain. There are S samples, L locations, N lines, F functions and B labels.
"""

from dataclasses import dataclass

import numpy as np

from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints, Words, expand_ranges, flatnonzero, to_offsets
from profbucket.pprof.columnar.packed_words import LINE_LIST, unpack_labels, unpack_location, unpack_pair


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples: values, stacks and labels."""

    values: Ints  # (S, sample types)
    stack_location: Ints  # indexes of the locations of all stacks, end to end
    stack_count: Ints  # (S,)
    label: Ints  # indexes of the labels of all samples, end to end, (B,)
    label_count: Ints  # (S,)


@dataclass(frozen=True, slots=True)
class Locations:
    """Locations of the selected stacks, with their lines."""

    index: Ints  # (L,)
    ids: Words  # of all in the accumulator
    mapping: Ints  # index + 1 or 0 for none, (L,)
    is_folded: Words  # 0 or 1, (L,)
    line_count: Ints  # (L,)
    line_function: Ints  # indexes, of the lines of all locations end to end, (N,)
    line_number: Words  # (N,)
    line_column: Words  # (N,)


@dataclass(frozen=True, slots=True)
class Mappings:
    """Mappings, in the order of the result."""

    indexes: list[int]
    ids: Words  # by index + 1


@dataclass(frozen=True, slots=True)
class Functions:
    """Functions of the selected lines."""

    index: Ints  # (F,)
    ids: Words  # of all in the accumulator
    name: Ints  # strings, (F,)
    system_name: Ints  # strings, (F,)
    file: Ints  # strings, (F,)


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of the selected samples."""

    key: Ints  # strings, (B,)
    text: Ints  # strings, (B,)
    number: Words  # (B,)
    unit: Ints  # strings, (B,)


def select_samples(accumulator: Accumulator, keep_zeros: bool) -> Samples:
    """Return the samples that have values, or with *keep_zeros* all."""
    values = accumulator.values[: len(accumulator.samples)]
    sample = np.arange(len(values)) if keep_zeros else flatnonzero(values.any(axis=1))
    items, count = accumulator.samples.take(sample)
    first = to_offsets(count)[:-1]
    label, label_count = _expand_labels(accumulator, items[first].astype(np.int64))
    is_location = np.ones(len(items), bool)
    is_location[first] = False
    return Samples(
        values=accumulator.values[sample],
        stack_location=items[flatnonzero(is_location)].astype(np.int64),
        stack_count=count - 1,
        label=label,
        label_count=label_count,
    )


def _expand_labels(accumulator: Accumulator, words: Ints) -> tuple[Ints, Ints]:
    """Return the labels of all samples, end to end, and how many each has; *words* are those of the samples."""
    single, label, several, label_list = unpack_labels(words)
    items, length = accumulator.label_lists.take(label_list)
    count = np.zeros(len(words), np.int64)
    count[single], count[several] = 1, length
    first = to_offsets(count)
    labels = np.empty(first[-1], np.int64)
    labels[first[single]] = label
    labels[expand_ranges(first[several], length)] = items
    return labels, count


def select_locations(accumulator: Accumulator, samples: Samples) -> Locations:
    """Return the locations of *samples*."""
    index, ids = _number_used(samples.stack_location, len(accumulator.locations))
    word, _, *line_words = (accumulator.locations.column(i)[index] for i in range(4))
    mapping, line_count, is_folded = unpack_location(word)
    # The lines of all locations end to end: those in the rows, and between them those of lists.
    has_list = line_count == LINE_LIST
    lists = flatnonzero(has_list)
    inline_count = np.where(has_list, 0, line_count)
    items, list_length = accumulator.line_lists.take(line_words[0][lists].view(np.int64))
    list_length //= 3
    line_count[lists] = list_length
    first = to_offsets(line_count)
    function, number, column = np.zeros((3, first[-1]), np.uint64)
    for i, words in enumerate(line_words):
        rows = flatnonzero(inline_count > i)
        at = first[rows] + i
        function[at], number[at] = unpack_pair(words[rows])
    inner = expand_ranges(first[lists], list_length)
    function[inner], number[inner], column[inner] = items.reshape(-1, 3).T
    return Locations(
        index=index,
        ids=ids,
        mapping=mapping,
        is_folded=is_folded,
        line_count=line_count,
        line_function=function.view(np.int64),
        line_number=number,
        line_column=column,
    )


def select_mappings(accumulator: Accumulator, locations: Locations) -> Mappings:
    """Return the mappings of *locations*, and the main ones."""
    main_count, bases = accumulator.mapping_main_count, accumulator.mapping_bases
    is_used = np.zeros(len(bases) + 1, bool)
    is_used[locations.mapping] = True
    is_used[1:] |= main_count > 0
    # By convention the first mapping of a profile is the program itself: the merge keeps it first.
    indexes = sorted(flatnonzero(is_used[1:]).tolist(), key=lambda i: (-main_count[i], *bases[i][3:], i))
    ids = np.zeros(len(bases) + 1, np.uint64)
    ids[np.array(indexes, np.int64) + 1] = np.arange(1, len(indexes) + 1)
    return Mappings(indexes, ids)


def select_functions(accumulator: Accumulator, locations: Locations) -> Functions:
    """Return the functions of *locations*."""
    index, ids = _number_used(locations.line_function, len(accumulator.functions))
    name, system_name = unpack_pair(accumulator.functions.column(0)[index])
    file = accumulator.functions.column(1)[index].view(np.int64)
    return Functions(index=index, ids=ids, name=name, system_name=system_name, file=file)


def select_labels(accumulator: Accumulator, samples: Samples) -> Labels:
    """Return the labels of *samples*, end to end."""
    pair, number, unit = (accumulator.labels.column(i)[samples.label] for i in range(3))
    key, text = unpack_pair(pair)
    return Labels(key=key, text=text, number=number, unit=unit.view(np.int64))


def _number_used(indexes: Ints, count: int) -> tuple[Ints, Words]:
    """Return which of *count* rows occur in *indexes*, and for each row its id from 1 on, or 0 if it does not."""
    is_used = np.zeros(count, bool)
    is_used[indexes] = True
    used = flatnonzero(is_used)
    ids = np.zeros(count, np.uint64)
    ids[used] = np.arange(1, len(used) + 1)
    return used, ids
