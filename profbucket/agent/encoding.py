"""A minimal pprof encoder in pure Python, so that profiled programs need not import protobuf.

Field numbers are those of profbucket/pprof/profile.proto.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence

ValueType = tuple[str, str]  # type and unit, as in ("cpu", "nanoseconds")
Frame = tuple[str, str, int, int]  # function, file, first line of the function, current line

# Field numbers, by message.
_PROFILE_SAMPLE_TYPE, _PROFILE_SAMPLE, _PROFILE_LOCATION, _PROFILE_FUNCTION = 1, 2, 4, 5
_PROFILE_STRING_TABLE, _PROFILE_TIME_NANOS, _PROFILE_DURATION_NANOS = 6, 9, 10
_PROFILE_PERIOD_TYPE, _PROFILE_PERIOD, _PROFILE_DEFAULT_SAMPLE_TYPE = 11, 12, 14
_VALUE_TYPE_TYPE, _VALUE_TYPE_UNIT = 1, 2
_SAMPLE_LOCATION_ID, _SAMPLE_VALUE, _SAMPLE_LABEL = 1, 2, 3
_LABEL_KEY, _LABEL_STR = 1, 2
_LOCATION_ID, _LOCATION_LINE = 1, 4
_LINE_FUNCTION_ID, _LINE_LINE = 1, 2
_FUNCTION_ID, _FUNCTION_NAME, _FUNCTION_FILENAME, _FUNCTION_START_LINE = 1, 2, 4, 5

_VARINT, _LENGTH_DELIMITED = 0, 2  # wire types


class Encoder:
    """A pprof under construction. Each distinct frame becomes one location."""

    def __init__(self, sample_types: Sequence[ValueType], period_type: ValueType, period: int) -> None:
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str, int], int] = {}
        self._locations: dict[Frame, int] = {}
        self._samples: list[bytes] = []
        self._head = b"".join(
            _encode_bytes(_PROFILE_SAMPLE_TYPE, self._encode_value_type(sample_type))
            for sample_type in sample_types
        )
        self._tail = _encode_bytes(_PROFILE_PERIOD_TYPE, self._encode_value_type(period_type))
        self._tail += _encode_number(_PROFILE_PERIOD, period)
        self._tail += _encode_number(_PROFILE_DEFAULT_SAMPLE_TYPE, self._intern(sample_types[-1][0]))

    def location(self, frame: Frame) -> int:
        """Return the location id of *frame*."""
        return self._locations.setdefault(frame, len(self._locations) + 1)

    def add(self, stack: Iterable[int], values: Iterable[int], labels: Mapping[str, str]) -> None:
        """Add a sample; *stack* is location ids, leaf first. Equal samples are not combined."""
        content = _encode_packed(_SAMPLE_LOCATION_ID, stack) + _encode_packed(_SAMPLE_VALUE, values)
        for key, value in labels.items():
            label = _encode_number(_LABEL_KEY, self._intern(key)) + _encode_number(_LABEL_STR, self._intern(value))
            content += _encode_bytes(_SAMPLE_LABEL, label)
        self._samples.append(_encode_bytes(_PROFILE_SAMPLE, content))

    def __len__(self) -> int:
        return len(self._samples)

    def encode(self, time_nanos: int, duration_nanos: int) -> bytes:
        """Return the profile, started at *time_nanos* since 1970, as gzip."""
        chunks = [self._head, *self._samples]
        for (name, file, first_line, line), location_id in self._locations.items():
            function_id = self._functions.setdefault((name, file, first_line), len(self._functions) + 1)
            content = _encode_number(_LINE_FUNCTION_ID, function_id) + _encode_number(_LINE_LINE, line)
            content = _encode_number(_LOCATION_ID, location_id) + _encode_bytes(_LOCATION_LINE, content)
            chunks.append(_encode_bytes(_PROFILE_LOCATION, content))
        for (name, file, first_line), function_id in self._functions.items():
            content = _encode_number(_FUNCTION_ID, function_id)
            content += _encode_number(_FUNCTION_NAME, self._intern(name))
            content += _encode_number(_FUNCTION_FILENAME, self._intern(file))
            content += _encode_number(_FUNCTION_START_LINE, first_line)
            chunks.append(_encode_bytes(_PROFILE_FUNCTION, content))
        chunks += [_encode_bytes(_PROFILE_STRING_TABLE, text.encode(errors="replace")) for text in self._strings]
        chunks.append(_encode_number(_PROFILE_TIME_NANOS, time_nanos))
        chunks.append(_encode_number(_PROFILE_DURATION_NANOS, duration_nanos))
        chunks.append(self._tail)
        compressor = zlib.compressobj(6, wbits=31)  # 31: gzip
        return compressor.compress(b"".join(chunks)) + compressor.flush()

    def _intern(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _encode_value_type(self, value_type: ValueType) -> bytes:
        name, unit = value_type
        return _encode_number(_VALUE_TYPE_TYPE, self._intern(name)) + _encode_number(
            _VALUE_TYPE_UNIT, self._intern(unit)
        )


def _encode_varint(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE_VARINTS[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_ONE_BYTE_VARINTS = [bytes([value]) for value in range(0x80)]


def _encode_number(field: int, value: int) -> bytes:
    return _encode_varint(field << 3 | _VARINT) + _encode_varint(value) if value else b""


def _encode_bytes(field: int, content: bytes) -> bytes:
    return _encode_varint(field << 3 | _LENGTH_DELIMITED) + _encode_varint(len(content)) + content


def _encode_packed(field: int, values: Iterable[int]) -> bytes:
    return _encode_bytes(field, b"".join(map(_encode_varint, values)))
