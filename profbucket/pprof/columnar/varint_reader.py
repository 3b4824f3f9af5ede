"""Bytes, the numbers in them, and which byte belongs to the how-manieth of these."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from profbucket.pprof.columnar.arrays import Bools, Bytes, Ints, Words, where

_PADDING = bytes(128)  # more than the numbers that one may look for behind the end before their lack is seen
_WORD = np.dtype("<u8")  # the first of 64 bytes is the lowest bit
_PIECE = 1 << 15
SHORT = 2**14 - 1  # the largest number of two bytes
_U = np.uint64


class OtherLayout(Exception):
    """The bytes are not in the common layout; that says nothing about whether they are valid."""


class Source:
    """Bytes that hold varints and nothing else. Behind the end there are zeros, each of them a number."""

    def __init__(self, *parts: bytes) -> None:
        self.data: Bytes = np.frombuffer(b"".join((*parts, _PADDING)), np.uint8)

    def short(self, at: Ints) -> npt.NDArray[np.uint16]:
        """The numbers at these positions; what is more than ``SHORT`` has further bytes."""
        # Most numbers have one byte or two.
        byte, following = self.data.take(at), self.data.take(at + 1)
        goes_on = byte >> 7
        number = following.astype(np.uint16)
        number <<= 7
        number *= goes_on
        number += byte & 127
        return number

    def field(self, at: Ints, tag: int) -> tuple[Words, Ints]:
        """The numbers in fields with *tag* at these positions, 0 where there is another, and where they end."""
        present = self.data.take(at) == tag
        if present.all():
            return self.numbers(at + 1)
        rows = where(present)
        values, end = np.zeros(len(at), np.uint64), at.copy()
        if len(rows):
            values[rows], end[rows] = self.numbers(at.take(rows) + 1)
        return values, end

    def numbers(self, at: Ints) -> tuple[Words, Ints]:
        """The numbers at these positions, and where they end. *at* is overwritten.

        One in two bytes that would fit one ends a byte too early: what should come next is not found there.
        """
        short = self.short(at)
        longer = where(short > SHORT)
        if 2 * len(longer) > len(at):
            return self._long(at)
        values = short.astype(np.uint64)
        at += 1
        at += short > 127
        if len(longer):
            values[longer], at[longer] = self._long(at.take(longer) - 2)
        return values, at

    def _long(self, at: Ints) -> tuple[Words, Ints]:
        """The same for those of any size."""
        # All eight bytes from there on, as one number.
        word, shift = at >> 3, (at & 7).view(np.uint64) << _U(3)
        value: Words = self._words.take(word) >> shift
        value |= self._words.take(word + 1) << (_U(64) - shift)
        ends = ~value & _U(0x80_80_80_80_80_80_80_80)
        below = (ends & -ends) - _U(1)  # the bits below that which says that a byte is the last; all, if none is
        value &= below & _U(0x7F_7F_7F_7F_7F_7F_7F_7F)
        # Pairs of groups of 7, 14 and 28 bits are put together.
        value = (value & _U(0x7F_00_7F_00_7F_00_7F_00)) >> _U(1) | value & _U(0x00_7F_00_7F_00_7F_00_7F)
        value = (value & _U(0x3FFF_0000_3FFF_0000)) >> _U(2) | value & _U(0x0000_3FFF_0000_3FFF)
        value = (value & _U(0x0FFFFFFF_00000000)) >> _U(4) | value & _U(0x00000000_0FFFFFFF)
        end = at + (np.bitwise_count(below) + 1 >> 3)
        for shift_by, most in ((56, 255), (63, 1)):
            rows = where(self.data.take(end - 1) > 127)
            if not len(rows):
                break
            byte = self.data.take(end.take(rows))
            if (byte > most).any():
                raise OtherLayout
            value[rows] |= (byte & 127).astype(np.uint64) << _U(shift_by)
            end[rows] += 1
        return value, end

    def starts(self) -> Ints:
        """Where each number begins."""
        ends = where(self.data[: -len(_PADDING)] < 128)
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
            ends = where(data[begin : begin + _PIECE] < 128)
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
        return where(np.unpackbits(found.view(np.uint8), bitorder="little").view(bool))

    @cached_property
    def _words(self) -> Words:
        """Eight bytes each, from the first on."""
        return self.data[: len(self.data) // 8 * 8].view(_WORD)

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
