"""A pprof written with nothing but the standard library: the program that is profiled pays for what is imported.

Fields are those of profbucket/pprof/profile.proto.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence

Kind = tuple[str, str]  # type and unit, as in ("cpu", "nanoseconds")
Frame = tuple[str, str, int, int]  # function, file, the function's first line, line


class Encoder:
    """Samples go in, one gzip pprof comes out. Frames are numbered once and then stand for themselves."""

    def __init__(self, kinds: Sequence[Kind], period_type: Kind, period: int) -> None:
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str, int], int] = {}
        self._locations: dict[Frame, int] = {}
        self._samples: list[bytes] = []
        self._head = b"".join(_field(1, self._kind(kind)) for kind in kinds)
        self._tail = _field(11, self._kind(period_type)) + _number(12, period)
        self._tail += _number(14, self._string(kinds[-1][0]))

    def location(self, frame: Frame) -> int:
        """The number of *frame*."""
        return self._locations.setdefault(frame, len(self._locations) + 1)

    def add(self, stack: Iterable[int], values: Iterable[int], labels: Mapping[str, str]) -> None:
        """Add a sample of the locations in *stack*, leaf first. Samples are not added up here."""
        content = _packed(1, stack) + _packed(2, values)
        for key, value in labels.items():
            content += _field(3, _number(1, self._string(key)) + _number(2, self._string(value)))
        self._samples.append(_field(2, content))

    def __len__(self) -> int:
        return len(self._samples)

    def encode(self, time_nanos: int, duration_nanos: int) -> bytes:
        """The profile that was begun at *time_nanos* since 1970."""
        pieces = [self._head, *self._samples]
        for (name, file, first_line, line), number in self._locations.items():
            function = self._functions.setdefault((name, file, first_line), len(self._functions) + 1)
            pieces.append(_field(4, _number(1, number) + _field(4, _number(1, function) + _number(2, line))))
        for (name, file, first_line), number in self._functions.items():
            content = _number(1, number) + _number(2, self._string(name)) + _number(4, self._string(file))
            pieces.append(_field(5, content + _number(5, first_line)))
        pieces += [_field(6, text.encode(errors="replace")) for text in self._strings]
        pieces += [_number(9, time_nanos), _number(10, duration_nanos), self._tail]
        compressor = zlib.compressobj(6, wbits=31)
        return compressor.compress(b"".join(pieces)) + compressor.flush()

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _kind(self, kind: Kind) -> bytes:
        return _number(1, self._string(kind[0])) + _number(2, self._string(kind[1]))


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [bytes([value]) for value in range(0x80)]


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _field(field, b"".join(map(_varint, values)))
