"""Bytes, the numbers in them, and which byte belongs to the how-manieth of these."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from profbucket.pprof.arrays import Bools, Bytes, Ints, Words

_PADDING = bytes(16)
_WORD = np.dtype("<u8")  # the first of 64 bytes is the lowest bit
_PIECE = 1 << 15
SHORT = 2**14 - 1  # the largest number of two bytes


class OtherLayout(Exception):
    """The bytes are not in the common layout; that says nothing about whether they are valid."""


class Source:
    """Bytes that hold varints and nothing else. Behind what is read there are some zeros."""

    def __init__(self, *parts: bytes) -> None:
        self.data: Bytes = np.frombuffer(b"".join((*parts, _PADDING)), np.uint8)

    @cached_property
    def short(self) -> npt.NDArray[np.uint16]:
        """For each position the number that begins there; what is more than ``SHORT`` has further bytes."""
        # Most numbers have one byte or two. All that could begin anywhere are put together at once, which costs
        # less than to look for those that do.
        return _short(self.data[:-1], self.data[1:])

    def field(self, at: Ints, tag: int) -> tuple[Words, Ints]:
        """The numbers in fields with *tag* at these positions, 0 where there is another, and where they end."""
        present = self.data[at] == tag
        if present.all():
            return self.numbers(at + 1)
        rows = np.flatnonzero(present)
        values, end = np.zeros(len(at), np.uint64), at.copy()
        if len(rows):
            values[rows], end[rows] = self.numbers(at[rows] + 1)
        return values, end

    def numbers(self, at: Ints) -> tuple[Words, Ints]:
        """The numbers at these positions, and where they end. *at* is overwritten."""
        few = 8 * len(at) < len(self.data)
        short = _short(self.data[at], self.data[at + 1]) if few else self.short[at]
        values = short.astype(np.uint64)
        at += 1
        at += short > 127
        longer = np.flatnonzero(short > SHORT)
        place = at[longer]
        value = ((self.data[place - 1] & 127).astype(np.uint64) << np.uint64(7)) | (self.data[place - 2] & 127)
        for shift in range(14, 70, 7):
            if not len(longer):
                break
            byte = self.data[place]
            place += 1
            if shift == 63 and (byte > 1).any():
                raise OtherLayout
            value |= (byte & 127).astype(np.uint64) << np.uint64(shift)
            done = np.flatnonzero(byte < 128)
            ready = longer[done]
            values[ready], at[ready] = value[done], place[done]
            rest = np.flatnonzero(byte > 127)
            longer, value, place = longer[rest], value[rest], place[rest]
        return values, at

    def starts(self) -> Ints:
        """Where each number begins."""
        ends = np.flatnonzero(self.data[: -len(_PADDING)] < 128)
        starts = np.zeros_like(ends)
        np.add(ends[:-1], 1, out=starts[1:])
        return starts

    def all_short(self) -> npt.NDArray[np.uint16]:
        """All numbers one after the other, those that are more than ``SHORT`` as something that is so, too."""
        data = self.data[: -len(_PADDING)]
        found = np.empty(int(self.rank(np.array([len(data)]))[0]), np.uint16)
        done = 0
        # What is written in one step fits the processor's cache and is used up in the next.
        for begin in range(0, len(data), _PIECE):
            ends = np.flatnonzero(data[begin : begin + _PIECE] < 128)
            short = _short_before(data[max(begin - 2, 0) : begin + _PIECE])
            short[min(begin, 2) :].take(ends, out=found[done : done + len(ends)], mode="clip")
            done += len(ends)
        return found

    def rank(self, at: Ints) -> Ints:
        """How many numbers end before each of these positions."""
        word = at >> 6
        below = (np.uint64(1) << (at & 63).view(np.uint64)) - np.uint64(1)
        found: Ints = self._before[word] + np.bitwise_count(self._ends[word] & below)
        return found

    def tags(self, mask: int, tag: int) -> Ints:
        """Where a tag begins that is *tag* in the bits of *mask*, if tags and other numbers alternate."""
        # Whether the number of those before is odd: first within each word, then of all words before.
        odd = self._ends.copy()
        for shift in (1, 2, 4, 8, 16, 32):
            odd ^= odd << np.uint64(shift)
        odd <<= np.uint64(1)
        odd ^= np.uint64(0) - (self._before[:-1] & 1).view(np.uint64)
        found = self._ends & ~odd & _bits((self.data & mask) == tag)
        return np.flatnonzero(np.unpackbits(found.view(np.uint8), bitorder="little").view(bool))

    @cached_property
    def _ends(self) -> Words:
        """For each byte, as a bit of a word: whether it ends a number."""
        return _bits(self.data < 128)

    @cached_property
    def _before(self) -> Ints:
        """How many numbers end before each word, and how many there are."""
        before = np.zeros(len(self._ends) + 1, np.int64)
        np.cumsum(np.bitwise_count(self._ends), out=before[1:])
        return before


def _bits(mask: Bools) -> Words:
    packed = np.zeros(-(-len(mask) // 64) * 8, np.uint8)
    packed[: -(-len(mask) // 8)] = np.packbits(mask, bitorder="little")
    return packed.view(_WORD)


def _short_before(data: Bytes) -> npt.NDArray[np.uint16]:
    """The numbers that end with each byte of *data*, if they begin with it or with the one before."""
    goes_on = data >> 7
    number = data.astype(np.uint16)
    number[1:] <<= goes_on[:-1] * np.uint8(7)
    number[1:] += (data[:-1] & 127) * goes_on[:-1]
    # One of three bytes and more.
    number[2:] |= (goes_on[:-2] & goes_on[1:-1]).astype(np.uint16) << 15
    return number


def _short(byte: Bytes, following: Bytes) -> npt.NDArray[np.uint16]:
    """The numbers that begin with each *byte*, if they end with it or with the one *following* it."""
    goes_on = byte >> 7
    number = following.astype(np.uint16)
    number <<= 7
    number *= goes_on
    number += byte & 127
    return number
