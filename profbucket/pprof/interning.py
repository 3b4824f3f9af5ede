"""Tables that number equal content once, for whole columns of it at a time.

Hash tables with open addressing, worked by numpy: all keys of a batch look at their slots together, those whose
slot holds another key look at their next one, and so on. A key is compared whole before it counts as found, so
a hash that collides costs a step and never an answer; and the hashes are seeded, so that nobody can construct
many that do.
"""

import os
from collections import defaultdict
from itertools import count
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from profbucket.pprof.arrays import Bools, Ints, Words, offsets, ranges

_SEEDS: Words = np.frombuffer(os.urandom(64), np.uint64) | np.uint64(1)
_FIRST_SLOTS = 1 << 12

_N = TypeVar("_N", np.int64, np.uint64, np.uint32)


class Stacks(defaultdict[bytes, int]):
    """Numbers for sequences of numbers below 2**32, most of them long; a new one for each new sequence.

    To hash and compare their bytes, one sequence at a time, takes less than to do so with columns of numbers.
    """

    def __init__(self) -> None:
        super().__init__(count().__next__)

    def intern(self, items: npt.NDArray[np.uint32], first: Ints, length: Ints) -> Ints:
        """The number of each sequence: *length* of *items*, from *first* on."""
        data = items.tobytes()
        slices = map(slice, (first * 4).tolist(), ((first + length) * 4).tolist())
        return np.fromiter(map(self.__getitem__, map(data.__getitem__, slices)), np.int64, len(first))

    def of(self, numbers: Ints) -> tuple[Ints, Ints]:
        """The items of the sequences that have these numbers, end to end, and the length of each."""
        known = list(self)
        found = [known[number] for number in numbers.tolist()]
        length = np.fromiter(map(len, found), np.int64, len(found)) >> 2
        return np.frombuffer(b"".join(found), np.uint32).astype(np.int64), length


class _Table:
    """What tables of rows and tables of sequences have in common."""

    def __init__(self) -> None:
        self._size = 0
        self._slots = np.full(_FIRST_SLOTS, -1, np.int64)
        self._hashes = np.empty(0, np.uint64)

    def __len__(self) -> int:
        return self._size

    def _numbers(self, hashes: Words) -> Ints:
        """A number for each key of the batch, whose hashes these are."""
        self._make_room(len(hashes))
        slots, mask = self._slots, np.uint64(len(self._slots) - 1)
        slot = (hashes & mask).view(np.int64)
        numbers = slots[slot]
        # The first look is at all keys. Usually nearly all of them are known, and in their first slot.
        left = np.flatnonzero(numbers < 0)
        if len(left) < len(hashes):
            same = self._hashes[numbers] == hashes
            same[left] = False
            known = np.flatnonzero(same)
            equal = self._equal(numbers[known], known)
            if not equal.all():
                same[known[~equal]] = False
            left = np.flatnonzero(~same)
        while len(left):
            place = slot[left]
            held = slots[place]
            free = np.flatnonzero(held < 0)
            if len(free):
                # Of all that want a slot the first one gets it: numpy keeps the last of several values.
                backwards = left[free[::-1]]
                slots[slot[backwards]] = backwards
                winners = left[free]
                winners = winners[slots[slot[winners]] == winners]
                fresh = np.arange(self._size, self._size + len(winners))
                slots[slot[winners]] = numbers[winners] = fresh
                self._append(winners)
                self._hashes = _grown(self._hashes, self._size, hashes[winners])
                self._size += len(winners)
                held = slots[place]
                wins = numbers[left] == held
                wins[held < fresh[0]] = False
                rest = np.flatnonzero(~wins)
                left, held = left[rest], held[rest]
            equal = self._hashes[held] == hashes[left]
            alike = np.flatnonzero(equal)
            equal[alike] = self._equal(held[alike], left[alike])
            numbers[left[equal]] = held[equal]
            left = left[~equal]
            # The steps depend on the hash's other half and are odd: each key reaches every slot, in an order of
            # its own.
            step = hashes[left] >> np.uint64(32) | np.uint64(1)
            slot[left] = ((slot[left].view(np.uint64) + step) & mask).view(np.int64)
        return numbers

    def _make_room(self, more: int) -> None:
        """At most half of the slots may come to be used, which keeps the ways short."""
        if 2 * (self._size + more) <= len(self._slots):
            return
        self._slots = np.full(1 << (4 * self._size + 2 * more).bit_length(), -1, np.int64)
        mask = np.uint64(len(self._slots) - 1)
        hashes = self._hashes[: self._size]
        left = np.arange(self._size)
        slot = (hashes & mask).view(np.int64)
        while len(left):
            free = left[self._slots[slot[left]] < 0]
            self._slots[slot[free]] = free
            left = left[self._slots[slot[left]] != left]
            step = hashes[left] >> np.uint64(32) | np.uint64(1)
            slot[left] = ((slot[left].view(np.uint64) + step) & mask).view(np.int64)

    def _equal(self, numbers: Ints, keys: Ints) -> Bools:
        """Whether what has each of *numbers* equals the key of the batch beside it."""
        raise NotImplementedError

    def _append(self, keys: Ints) -> None:
        """Keep these keys of the batch, as the next numbers."""
        raise NotImplementedError


class Rows(_Table):
    """Numbers for rows of a fixed count of columns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._columns = [np.empty(0, np.uint64) for _ in range(width)]
        self._batch: list[Words] = []

    def intern(self, *columns: Words) -> Ints:
        """The number of each row; equal rows, in this batch and in all before, have the same."""
        self._batch = list(columns)
        hashes = columns[0] * _SEEDS[0]
        for i, column in enumerate(columns[1:], 1):
            hashes ^= hashes >> np.uint64(29)
            hashes += column
            hashes *= _SEEDS[i]
        numbers = self._numbers(_mixed(hashes))
        self._batch = []
        return numbers

    def column(self, number: int) -> Words:
        """A column of all rows, by number."""
        return self._columns[number][: self._size]

    def hashes(self) -> Words:
        """A number for each row that looks random, and is the same in one process only."""
        return self._hashes[: self._size]

    def _equal(self, numbers: Ints, keys: Ints) -> Bools:
        equal = np.ones(len(keys), bool)
        whole = len(keys) == len(self._batch[0])
        for column, batch in zip(self._columns, self._batch, strict=True):
            equal &= column[numbers] == (batch if whole else batch[keys])
        return equal

    def _append(self, keys: Ints) -> None:
        for i, batch in enumerate(self._batch):
            self._columns[i] = _grown(self._columns[i], self._size, batch[keys])


class Sequences(_Table):
    """Numbers for sequences of numbers below 2**32, of any length; the empty one is number 0."""

    def __init__(self) -> None:
        super().__init__()
        self._items = np.empty(0, np.uint32)
        self._used = 0
        self._ends = np.zeros(1, np.int64)  # and the beginning of the next
        self._batch_items = np.empty(0, np.int64)
        self._batch_first = self._batch_count = np.empty(0, np.int64)
        self.intern(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.uint64))

    def intern(self, items: Ints, count: Ints, hashes: Words) -> Ints:
        """The number of each sequence: the first ``count[0]`` of *items*, the next ``count[1]``, and so on.

        *hashes* are those of the items, by their numbers.
        """
        bounds = offsets(count)
        # A polynomial over each slice, as the difference of two sums over all, moved back to the power 0.
        power = _powers(_SEEDS[1] | np.uint64(5), len(items))
        back = _powers(np.uint64(pow(int(_SEEDS[1] | np.uint64(5)), -1, 2**64)), len(items))
        sums = np.zeros(len(items) + 1, np.uint64)
        np.cumsum(hashes[items] * power[: len(items)], out=sums[1:])
        whole = (sums[bounds[1:]] - sums[bounds[:-1]]) * back[bounds[:-1]]
        whole += count.view(np.uint64) * _SEEDS[2]
        self._batch_items, self._batch_first, self._batch_count = items, bounds[:-1], count
        numbers = self._numbers(_mixed(whole))
        self._batch_items = self._batch_first = self._batch_count = np.empty(0, np.int64)
        return numbers

    def of(self, numbers: Ints) -> tuple[Ints, Ints]:
        """The items of the sequences that have these numbers, end to end, and the length of each."""
        count = self._ends[numbers + 1] - self._ends[numbers]
        return self._items[ranges(self._ends[numbers], count)].astype(np.int64), count

    def _equal(self, numbers: Ints, keys: Ints) -> Bools:
        first = self._ends[numbers]
        count = self._batch_count[keys]
        equal: Bools = self._ends[numbers + 1] - first == count
        if not equal.all():
            first, count = first[equal], count[equal]
            keys = keys[equal]
        held = self._items[ranges(first, count)]
        whole = len(keys) == len(self._batch_count)
        batch = self._batch_items if whole else self._batch_items[ranges(self._batch_first[keys], count)]
        differ = np.flatnonzero(held != batch)
        if len(differ):
            bad = np.searchsorted(np.cumsum(count), differ, side="right")
            equal[np.flatnonzero(equal)[bad]] = False
        return equal

    def _append(self, keys: Ints) -> None:
        count = self._batch_count[keys]
        items = self._batch_items
        if len(keys) < len(self._batch_count):
            items = items[ranges(self._batch_first[keys], count)]
        self._items = _grown(self._items, self._used, items.astype(np.uint32))
        self._ends = _grown(self._ends, self._size + 1, self._used + np.cumsum(count))
        self._used += len(items)


def _mixed(hashes: Words) -> Words:
    """Every bit of a hash made to depend on every other, in place."""
    for seed in _SEEDS[6:8]:
        hashes ^= hashes >> np.uint64(32)
        hashes *= seed
    hashes ^= hashes >> np.uint64(29)
    return hashes


_known_powers: dict[int, Words] = {}


def _powers(base: np.uint64, count: int) -> Words:
    """*base* to the powers from 0 to *count*, at least, modulo 2**64."""
    known = _known_powers.get(int(base))
    if known is None or len(known) <= count:
        known = np.full(1 << max(16, count.bit_length()), base, np.uint64)
        known[0] = 1
        _known_powers[int(base)] = known = np.multiply.accumulate(known)
    return known


def _grown(array: npt.NDArray[_N], size: int, more: npt.NDArray[_N]) -> npt.NDArray[_N]:
    """*array*, of which *size* items are in use, with *more* behind them; moved to more room if it is full."""
    if size + len(more) > len(array):
        moved = np.empty(max(1024, 2 * size, size + len(more)), array.dtype)
        moved[:size] = array[:size]
        array = moved
    array[size : size + len(more)] = more
    return array
