"""The metadata of a gzip object behind its bytes, in the same file.

The trailer is an empty gzip member whose header has an extra field, so that the file as a whole is valid gzip with
the same content: every tool that reads pprof opens it, and a copy of the file keeps its metadata. The extra field
holds the metadata as JSON, their CRC-32, and the length of the trailer::

    1f 8b 08 04 00000000 00 ff   header, with an extra field
    length of all subfields      2 bytes
    "PB", length of the subfield 2 and 2 bytes
    metadata, CRC-32, length     JSON, 4 and 4 bytes
    03 00 00000000 00000000      no content
"""

import os
import struct
import zlib
from typing import NamedTuple

_GZIP_MAGIC = b"\x1f\x8b"
_HEADER = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
_LENGTHS = struct.Struct("<H2sH")
_NAME = b"PB"
_CHECKS = struct.Struct("<II")
_NO_CONTENT = b"\x03\0" + bytes(8)
_HEAD_BYTES = len(_HEADER) + _LENGTHS.size
_TAIL_BYTES = _CHECKS.size + len(_NO_CONTENT)
_MAX_BYTES = 4096


class Trailer(NamedTuple):
    """The trailer of a file: its ``size``, and the JSON of the metadata, ``None`` if they are damaged.

    A file without a trailer has one of size 0.
    """

    size: int
    text: bytes | None = None


def may_have_trailer(name: str) -> bool:
    """Return whether the object or file called *name* may have a trailer, as its name says that it is gzip."""
    return name.endswith(".gz")


def make_trailer(name: str, data: bytes, text: bytes) -> bytes:
    """Return the trailer with *text*, the JSON of the metadata of *data*; ``b""`` if there can be none."""
    size = _HEAD_BYTES + len(text) + _TAIL_BYTES
    if not may_have_trailer(name) or data[:2] != _GZIP_MAGIC or size > _MAX_BYTES:
        return b""
    field_size = len(text) + _CHECKS.size
    lengths = _LENGTHS.pack(4 + field_size, _NAME, field_size)
    return b"".join((_HEADER, lengths, text, _CHECKS.pack(zlib.crc32(text), size), _NO_CONTENT))


def read_trailer(descriptor: int, file_size: int) -> Trailer:
    """Return the trailer of the open file of *file_size* bytes."""
    if file_size < _HEAD_BYTES + _TAIL_BYTES or os.pread(descriptor, 2, 0) != _GZIP_MAGIC:
        return Trailer(0)
    begin = max(file_size - _MAX_BYTES, 0)
    end = os.pread(descriptor, file_size - begin, begin)
    checksum, size = _CHECKS.unpack_from(end, len(end) - _TAIL_BYTES)
    if not (end.endswith(_NO_CONTENT) and _HEAD_BYTES + _TAIL_BYTES <= size <= len(end)):
        return Trailer(0)
    field_size = size - _HEAD_BYTES - len(_NO_CONTENT)
    if end[-size:][:_HEAD_BYTES] != _HEADER + _LENGTHS.pack(4 + field_size, _NAME, field_size):
        return Trailer(0)
    text = end[_HEAD_BYTES - size : -_TAIL_BYTES]
    return Trailer(size, text if zlib.crc32(text) == checksum else None)
