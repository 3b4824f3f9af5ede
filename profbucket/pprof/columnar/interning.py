"""Hash tables that intern whole columns at a time: equal content gets the same index, new content the next one."""

import os
from collections import defaultdict
from itertools import count
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from profbucket.pprof.columnar.arrays import Bools, Ints, Words, flatnonzero

_SEEDS: Words = np.frombuffer(os.urandom(64), np.uint64) | np.uint64(1)
_INITIAL_SLOTS = 1 << 12
_MIN_CAPACITY = 1024  # rows

_N = TypeVar("_N", np.int64, np.uint64)


class SequenceTable(defaultdict[bytes, int]):
    """Interned sequences of numbers, such as stacks.

    The sequences are keys of a dict: hashing their bytes one by one is faster than hashing columns of numbers.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        super().__init__(count().__next__)
        self._dtype = np.dtype(dtype)

    def intern(self, items: npt.NDArray[Any], first: Ints, length: Ints) -> Ints:
        """Return the index of each sequence ``items[first[i] : first[i] + length[i]]``. Shape: that of *first*."""
        data, size = items.astype(self._dtype, copy=False).tobytes(), self._dtype.itemsize
        begin = first * size
        slices = map(slice, begin.tolist(), (begin + length * size).tolist())
        return np.fromiter(map(self.__getitem__, map(data.__getitem__, slices)), np.int64, len(first))

    def take(self, indexes: Ints) -> tuple[npt.NDArray[Any], Ints]:
        """Return the items of the sequences with these *indexes*, end to end, and the length of each sequence."""
        sequences = list(self)
        if not np.array_equal(indexes, np.arange(len(sequences))):
            sequences = list(map(sequences.__getitem__, indexes.tolist()))
        length = np.fromiter(map(len, sequences), np.int64, len(sequences)) // self._dtype.itemsize
        return np.frombuffer(b"".join(sequences), self._dtype), length


class RowTable:
    """Interned rows of *width* columns.

    A hash table with open addressing, vectorized: all keys of a batch probe their slots together, those whose slot
    holds another key probe their next one, and so on. Keys are compared whole, so a hash collision costs a step
    and never correctness. The hashes are seeded, so that nobody can construct colliding keys. Indexes do not
    depend on them: new rows are numbered in the order of the batch.
    """

    def __init__(self, width: int) -> None:
        self._size = 0
        self._slots = np.full(_INITIAL_SLOTS, -1, np.int64)  # indexes of rows, or -1
        self._hashes = np.empty(0, np.uint64)
        self._columns = [np.empty(0, np.uint64) for _ in range(width)]

    def __len__(self) -> int:
        return self._size

    def column(self, number: int) -> Words:
        """Return one column of all rows. Shape: (rows,)."""
        return self._columns[number][: self._size]

    def intern(self, *columns: Words) -> Ints:
        """Return the index of each row of *columns*. Shape: that of a column."""
        hashes, size_before = _hash_rows(columns), self._size
        self._reserve(len(hashes))
        slots, mask = self._slots, np.uint64(len(self._slots) - 1)
        slot = (hashes & mask).view(np.int64)
        indexes = slots.take(slot)
        # The first probe is of all keys. Usually nearly all of them are known, and in their first slot.
        left = flatnonzero(indexes < 0)
        if len(left) < len(hashes):
            same = self._hashes.take(indexes, mode="clip") == hashes
            same[left] = False
            known = flatnonzero(same)
            equal = self._compare(indexes.take(known), known, columns)
            if not equal.all():
                same[known[~equal]] = False
            left = flatnonzero(~same)
        new_keys: list[Ints] = []  # of each round of probes
        while len(left):
            left_slots = slot.take(left)
            held = slots.take(left_slots)
            free = flatnonzero(held < 0)
            if len(free):
                first_new = self._size
                # Of all keys that claim a slot the first one gets it: numpy keeps the last of several values.
                claimed, claimants = left_slots.take(free), left.take(free)
                slots[claimed[::-1]] = claimants[::-1]
                wins = flatnonzero(slots.take(claimed) == claimants)
                winners = claimants.take(wins)
                slots[claimed.take(wins)] = indexes[winners] = np.arange(first_new, first_new + len(winners))
                self._append(winners, hashes, columns)
                new_keys.append(winners)
                held = slots.take(left_slots)
                # A key that has just got an index is found in its own slot.
                rest = flatnonzero((held < first_new) | (indexes.take(left) != held))
                left, held = left.take(rest), held.take(rest)
            equal = self._hashes.take(held) == hashes.take(left)
            candidates = flatnonzero(equal)
            equal[candidates] = self._compare(held.take(candidates), left.take(candidates), columns)
            found = flatnonzero(equal)
            indexes[left.take(found)] = held.take(found)
            left = left.take(flatnonzero(~equal))
            self._advance(slot, left, hashes)
        if len(new_keys) > 1:
            self._renumber(size_before, np.concatenate(new_keys), indexes, slot)
        return indexes

    def _renumber(self, first: int, keys: Ints, indexes: Ints, slot: Ints) -> None:
        """Sort the rows from *first* on by the *keys* of the batch that added them; update *indexes* and slots."""
        order = np.argsort(keys)
        numbers = np.empty(len(keys), np.int64)
        numbers[order] = np.arange(first, self._size)
        for column in (*self._columns, self._hashes):
            column[first : self._size] = column[first : self._size].take(order)
        self._slots[slot.take(keys)] = numbers
        new = flatnonzero(indexes >= first)
        indexes[new] = numbers.take(indexes.take(new) - first)

    def _advance(self, slot: Ints, left: Ints, hashes: Words) -> None:
        """Move the keys *left* on to their next slots."""
        # The step depends on the hash's other half and is odd: each key visits every slot, in an order of its own.
        step = hashes.take(left) >> np.uint64(32) | np.uint64(1)
        step += slot.take(left).view(np.uint64)
        step &= np.uint64(len(self._slots) - 1)
        slot[left] = step.view(np.int64)

    def _reserve(self, new_rows: int) -> None:
        """Grow the table so that at most half of its slots are used after *new_rows* more: probes stay short."""
        if 2 * (self._size + new_rows) <= len(self._slots):
            return
        self._slots = np.full(1 << (4 * self._size + 2 * new_rows).bit_length(), -1, np.int64)
        hashes = self._hashes[: self._size]
        left = np.arange(self._size)
        slot = (hashes & np.uint64(len(self._slots) - 1)).view(np.int64)
        while len(left):
            free = left[self._slots[slot[left]] < 0]
            self._slots[slot[free]] = free
            left = left[self._slots[slot[left]] != left]
            self._advance(slot, left, hashes)

    def _compare(self, indexes: Ints, keys: Ints, columns: tuple[Words, ...]) -> Bools:
        """Return whether the row ``indexes[i]`` of the table equals the row ``keys[i]`` of the batch."""
        equal = np.ones(len(keys), bool)
        is_whole_batch = len(keys) == len(columns[0])
        for column, batch_column in zip(self._columns, columns, strict=True):
            equal &= column.take(indexes) == (batch_column if is_whole_batch else batch_column.take(keys))
        return equal

    def _append(self, keys: Ints, hashes: Words, columns: tuple[Words, ...]) -> None:
        """Append the rows *keys* of the batch to the table."""
        for i, batch_column in enumerate(columns):
            self._columns[i] = _append_to(self._columns[i], self._size, batch_column.take(keys))
        self._hashes = _append_to(self._hashes, self._size, hashes.take(keys))
        self._size += len(keys)


def _hash_rows(columns: tuple[Words, ...]) -> Words:
    hashes: Words = columns[0] * _SEEDS[0]
    for i, column in enumerate(columns[1:], 1):
        hashes ^= hashes >> np.uint64(29)
        hashes += column
        hashes *= _SEEDS[i]
    # Finalize: every bit of the hash depends on every other.
    for seed in _SEEDS[6:8]:
        hashes ^= hashes >> np.uint64(32)
        hashes *= seed
    hashes ^= hashes >> np.uint64(29)
    return hashes


def _append_to(array: npt.NDArray[_N], size: int, values: npt.NDArray[_N]) -> npt.NDArray[_N]:
    """Write *values* behind the first *size* items of *array*; return it, or a larger copy if it was full."""
    if size + len(values) > len(array):
        larger = np.empty(max(_MIN_CAPACITY, 2 * size, size + len(values)), array.dtype)
        larger[:size] = array[:size]
        array = larger
    array[size : size + len(values)] = values
    return array
