"""Tables that number equal content once, for whole columns of it at a time."""

import os
from collections import defaultdict
from itertools import count
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from profbucket.pprof.columnar.arrays import Bools, Ints, Words, where

_SEEDS: Words = np.frombuffer(os.urandom(64), np.uint64) | np.uint64(1)
_FIRST_SLOTS = 1 << 12

_N = TypeVar("_N", np.int64, np.uint64)


class Sequences(defaultdict[bytes, int]):
    """Numbers for sequences of numbers, from 0 on; a new one for each new sequence.

    To hash and compare their bytes, one sequence at a time, takes less than to do so with columns of numbers.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        super().__init__(count().__next__)
        self._dtype = np.dtype(dtype)

    def intern(self, items: npt.NDArray[Any], first: Ints, length: Ints) -> Ints:
        """The number of each sequence: *length* of *items*, from *first* on."""
        data, size = items.astype(self._dtype, copy=False).tobytes(), self._dtype.itemsize
        begin = first * size
        slices = map(slice, begin.tolist(), (begin + length * size).tolist())
        return np.fromiter(map(self.__getitem__, map(data.__getitem__, slices)), np.int64, len(first))

    def of(self, numbers: Ints) -> tuple[npt.NDArray[Any], Ints]:
        """The items of the sequences that have these numbers, end to end, and the length of each."""
        found = list(self)
        if not np.array_equal(numbers, np.arange(len(found))):
            found = list(map(found.__getitem__, numbers.tolist()))
        length = np.fromiter(map(len, found), np.int64, len(found)) // self._dtype.itemsize
        return np.frombuffer(b"".join(found), self._dtype), length


class Rows:
    """Numbers for rows of a fixed count of columns.

    A hash table with open addressing, worked by numpy: all keys of a batch look at their slots together, those
    whose slot holds another key look at their next one, and so on. A key is compared whole before it counts as
    found, so a hash that collides costs a step and never an answer; and the hashes are seeded, so that nobody can
    construct many that do.
    """

    def __init__(self, width: int) -> None:
        self._size = 0
        self._slots = np.full(_FIRST_SLOTS, -1, np.int64)
        self._hashes = np.empty(0, np.uint64)
        self._columns = [np.empty(0, np.uint64) for _ in range(width)]

    def __len__(self) -> int:
        return self._size

    def column(self, number: int) -> Words:
        """A column of all rows, by number."""
        return self._columns[number][: self._size]

    def intern(self, *columns: Words) -> Ints:
        """The number of each row; equal rows, in this batch and in all before, have the same."""
        hashes = _hashes(columns)
        self._make_room(len(hashes))
        slots, mask = self._slots, np.uint64(len(self._slots) - 1)
        slot = (hashes & mask).view(np.int64)
        numbers = slots.take(slot)
        # The first look is at all keys. Usually nearly all of them are known, and in their first slot.
        left = where(numbers < 0)
        if len(left) < len(hashes):
            same = self._hashes.take(numbers, mode="clip") == hashes
            same[left] = False
            known = where(same)
            equal = self._equal(numbers.take(known), known, columns)
            if not equal.all():
                same[known[~equal]] = False
            left = where(~same)
        while len(left):
            place = slot.take(left)
            held = slots.take(place)
            free = where(held < 0)
            if len(free):
                first = self._size
                # Of all that want a slot the first one gets it: numpy keeps the last of several values.
                wanted, wanting = place.take(free), left.take(free)
                slots[wanted[::-1]] = wanting[::-1]
                wins = where(slots.take(wanted) == wanting)
                winners = wanting.take(wins)
                fresh = np.arange(first, first + len(winners))
                slots[wanted.take(wins)] = numbers[winners] = fresh
                self._append(winners, hashes, columns)
                held = slots.take(place)
                # What has a number now is found at its own slot.
                rest = where((held < first) | (numbers.take(left) != held))
                left, held = left.take(rest), held.take(rest)
            equal = self._hashes.take(held) == hashes.take(left)
            alike = where(equal)
            equal[alike] = self._equal(held.take(alike), left.take(alike), columns)
            found = where(equal)
            numbers[left.take(found)] = held.take(found)
            left = left.take(where(~equal))
            self._step(slot, left, hashes)
        return numbers

    def _step(self, slot: Ints, left: Ints, hashes: Words) -> None:
        """Move *left* on to their next slots."""
        # Steps depend on the hash's other half and are odd: each key reaches every slot, in an order of its own.
        step = hashes.take(left) >> np.uint64(32) | np.uint64(1)
        step += slot.take(left).view(np.uint64)
        step &= np.uint64(len(self._slots) - 1)
        slot[left] = step.view(np.int64)

    def _make_room(self, more: int) -> None:
        """At most half of the slots may come to be used, which keeps the ways short."""
        if 2 * (self._size + more) <= len(self._slots):
            return
        self._slots = np.full(1 << (4 * self._size + 2 * more).bit_length(), -1, np.int64)
        hashes = self._hashes[: self._size]
        left = np.arange(self._size)
        slot = (hashes & np.uint64(len(self._slots) - 1)).view(np.int64)
        while len(left):
            free = left[self._slots[slot[left]] < 0]
            self._slots[slot[free]] = free
            left = left[self._slots[slot[left]] != left]
            self._step(slot, left, hashes)

    def _equal(self, numbers: Ints, keys: Ints, columns: tuple[Words, ...]) -> Bools:
        """Whether the row that has each of *numbers* equals that of the batch beside it."""
        equal = np.ones(len(keys), bool)
        whole = len(keys) == len(columns[0])
        for column, batch in zip(self._columns, columns, strict=True):
            equal &= column.take(numbers) == (batch if whole else batch.take(keys))
        return equal

    def _append(self, keys: Ints, hashes: Words, columns: tuple[Words, ...]) -> None:
        """Keep these rows of the batch, as the next numbers."""
        for i, batch in enumerate(columns):
            self._columns[i] = _grown(self._columns[i], self._size, batch.take(keys))
        self._hashes = _grown(self._hashes, self._size, hashes.take(keys))
        self._size += len(keys)


def _hashes(columns: tuple[Words, ...]) -> Words:
    hashes: Words = columns[0] * _SEEDS[0]
    for i, column in enumerate(columns[1:], 1):
        hashes ^= hashes >> np.uint64(29)
        hashes += column
        hashes *= _SEEDS[i]
    # Every bit is made to depend on every other.
    for seed in _SEEDS[6:8]:
        hashes ^= hashes >> np.uint64(32)
        hashes *= seed
    hashes ^= hashes >> np.uint64(29)
    return hashes


def _grown(array: npt.NDArray[_N], size: int, more: npt.NDArray[_N]) -> npt.NDArray[_N]:
    """*array*, of which *size* items are in use, with *more* behind them; moved to more room if it is full."""
    if size + len(more) > len(array):
        moved = np.empty(max(1024, 2 * size, size + len(more)), array.dtype)
        moved[:size] = array[:size]
        array = moved
    array[size : size + len(more)] = more
    return array
