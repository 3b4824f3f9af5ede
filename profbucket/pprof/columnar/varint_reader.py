"""Read varints at many positions at once, and answer rank queries over them."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from profbucket.pprof.columnar.arrays import Bools, Bytes, Ints, Words, flatnonzero

MAX_SHORT = 2**14 - 1  # the largest value of a varint of two bytes

_PADDING = bytes(128)  # more varints than a caller may read behind the end before it checks where they ended
_LITTLE_ENDIAN_WORD = np.dtype("<u8")  # bit i of a word belongs to byte i of the 64 that it describes
_CHUNK_BYTES = 1 << 15
_U = np.uint64


class UncommonLayout(Exception):
    """The bytes are not in the common layout. They may be valid: ``GenericReader`` reads any layout."""


class VarintReader:
    """Bytes that are all varints. Behind the end there are zeros, each of them a varint."""

    def __init__(self, *parts: bytes) -> None:
        self.data: Bytes = np.frombuffer(b"".join((*parts, _PADDING)), np.uint8)

    def read_short(self, at: Ints) -> npt.NDArray[np.uint16]:
        """Return the values at these positions; one above ``MAX_SHORT`` marks a varint of more than two bytes."""
        # Most varints have one byte or two.
        byte, next_byte = self.data.take(at), self.data.take(at + 1)
        continues = byte >> 7
        value = next_byte.astype(np.uint16)
        value <<= 7
        value *= continues
        value += byte & 127
        return value

    def read_field(self, at: Ints, tag: int) -> tuple[Words, Ints]:
        """Return the value of the field at each position, and where it ends.

        Where the field has another tag, the value is 0 and the end is the position itself.
        """
        is_present = self.data.take(at) == tag
        if is_present.all():
            return self.read(at + 1)
        rows = flatnonzero(is_present)
        values, end = np.zeros(len(at), np.uint64), at.copy()
        if len(rows):
            values[rows], end[rows] = self.read(at.take(rows) + 1)
        return values, end

    def read(self, at: Ints) -> tuple[Words, Ints]:
        """Return the value at each position, and where it ends. *at* is overwritten.

        A varint that is padded to two bytes is reported to end after one; no tag is there, so the caller notices.
        """
        short = self.read_short(at)
        longer = flatnonzero(short > MAX_SHORT)
        if 2 * len(longer) > len(at):
            return self._read_long(at)
        values = short.astype(np.uint64)
        at += 1
        at += short > 127
        if len(longer):
            values[longer], at[longer] = self._read_long(at.take(longer) - 2)
        return values, at

    def _read_long(self, at: Ints) -> tuple[Words, Ints]:
        """Return what :meth:`read` does, for varints of any size."""
        # Load the eight bytes from each position on as one number.
        word, shift = at >> 3, (at & 7).view(np.uint64) << _U(3)
        value: Words = self._words.take(word) >> shift
        value |= self._words.take(word + 1) << (_U(64) - shift)
        ends = ~value & _U(0x80_80_80_80_80_80_80_80)
        below = (ends & -ends) - _U(
            1
        )  # the bits below the one that marks the last byte; all bits if there is none
        value &= below & _U(0x7F_7F_7F_7F_7F_7F_7F_7F)
        # Join neighbouring groups of 7, then 14, then 28 bits.
        value = (value & _U(0x7F_00_7F_00_7F_00_7F_00)) >> _U(1) | value & _U(0x00_7F_00_7F_00_7F_00_7F)
        value = (value & _U(0x3FFF_0000_3FFF_0000)) >> _U(2) | value & _U(0x0000_3FFF_0000_3FFF)
        value = (value & _U(0x0FFFFFFF_00000000)) >> _U(4) | value & _U(0x00000000_0FFFFFFF)
        end = at + (np.bitwise_count(below) + 1 >> 3)
        for shift_by, largest_byte in ((56, 255), (63, 1)):
            rows = flatnonzero(self.data.take(end - 1) > 127)
            if not len(rows):
                break
            byte = self.data.take(end.take(rows))
            if (byte > largest_byte).any():
                raise UncommonLayout
            value[rows] |= (byte & 127).astype(np.uint64) << _U(shift_by)
            end[rows] += 1
        return value, end

    def find_starts(self) -> Ints:
        """Return where each varint begins."""
        ends = flatnonzero(self.data[: -len(_PADDING)] < 128)
        starts = np.zeros_like(ends)
        np.add(ends[:-1], 1, out=starts[1:])
        return starts

    def read_all_short(self) -> npt.NDArray[np.uint16]:
        """Return all values in order; one above ``MAX_SHORT`` marks a varint of more than two bytes."""
        data = self.data[: -len(_PADDING)]
        values = np.empty(int(self.rank(np.array([len(data)]))[0]), np.uint16)
        done = 0
        # In chunks: what one step writes stays in the processor's cache until the next step reads it.
        for begin in range(0, len(data), _CHUNK_BYTES):
            ends = flatnonzero(data[begin : begin + _CHUNK_BYTES] < 128)
            short = _read_short_backwards(data[max(begin - 2, 0) : begin + _CHUNK_BYTES])
            short[min(begin, 2) :].take(ends, out=values[done : done + len(ends)], mode="clip")
            done += len(ends)
        return values

    def rank(self, at: Ints) -> Ints:
        """Return how many varints end before each of these positions."""
        word = at >> 6
        below = (np.uint64(1) << (at & 63).view(np.uint64)) - np.uint64(1)
        ranks: Ints = self._word_ranks[word] + np.bitwise_count(self._ends[word] & below)
        return ranks

    def find_tags(self, mask: int, tag: int) -> Ints:
        """Return where tags begin that equal *tag* in the bits of *mask*, if tags and other varints alternate."""
        # A tag has an even rank. Compute the parity of each rank: first within each word, then of the word's rank.
        is_odd = self._ends.copy()
        for shift in (1, 2, 4, 8, 16, 32):
            is_odd ^= is_odd << np.uint64(shift)
        is_odd <<= np.uint64(1)
        is_odd ^= np.uint64(0) - (self._word_ranks[:-1] & 1).view(np.uint64)
        matches = self._ends & ~is_odd & _to_bits((self.data & mask) == tag)
        return flatnonzero(np.unpackbits(matches.view(np.uint8), bitorder="little").view(bool))

    @cached_property
    def _words(self) -> Words:
        """The data, eight bytes in each word."""
        return self.data[: len(self.data) // 8 * 8].view(_LITTLE_ENDIAN_WORD)

    @cached_property
    def _ends(self) -> Words:
        """A bit for each byte: whether a varint ends with it."""
        return _to_bits(self.data < 128)

    @cached_property
    def _word_ranks(self) -> Ints:
        """The number of varints that end before each word of ``_ends``, and last the number of all."""
        ranks = np.zeros(len(self._ends) + 1, np.int64)
        np.cumsum(np.bitwise_count(self._ends), out=ranks[1:])
        return ranks


def _to_bits(mask: Bools) -> Words:
    packed = np.zeros(-(-len(mask) // 64) * 8, np.uint8)
    packed[: -(-len(mask) // 8)] = np.packbits(mask, bitorder="little")
    return packed.view(_LITTLE_ENDIAN_WORD)


def _read_short_backwards(data: Bytes) -> npt.NDArray[np.uint16]:
    """Return for each byte the value of the varint that ends with it; marked as too long if it has three bytes."""
    continues = data >> 7
    value = data.astype(np.uint16)
    value[1:] <<= continues[:-1] * np.uint8(7)
    value[1:] += (data[:-1] & 127) * continues[:-1]
    # Bit 15 marks a varint of three bytes or more.
    value[2:] |= (continues[:-2] & continues[1:-1]).astype(np.uint16) << 15
    return value
