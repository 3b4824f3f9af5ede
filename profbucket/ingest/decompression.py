"""Decompression of bodies and of parts of them, in bounded steps."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from isal import isal_zlib
from isal.igzip_lib import IsalError

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

_MAX_FRAMES = 10_000  # of one body; each costs time, however small it is
_INPUT_CHUNK_BYTES = 1 << 16
_OUTPUT_CHUNK_BYTES = 1 << 18
_ZSTD_WINDOW_LOG = 23  # 8 MB, the largest window that HTTP allows (RFC 9659)


class DecompressionError(ValueError):
    """Compressed bytes are damaged, or not in the expected format."""


class _Decoder(Protocol):
    """A decoder of one frame. ``decompress`` returns at most the requested number of bytes."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def decompress(name: str, data: bytes) -> Iterator[bytes]:
    """Yield *data*, compressed as *name*, in chunks of at most 256 KB, or raise ``DecompressionError``."""
    try:
        yield from _decode_frames(data, FORMATS[name])
    # IsalError is a class; lz4 raises RuntimeError.
    except (IsalError, zstd.ZstdError, EOFError, ValueError, RuntimeError) as error:  # type: ignore[misc]
        raise DecompressionError(str(error)) from None


def _decode_frames(data: bytes, make_decoder: Callable[[bytes], _Decoder]) -> Iterator[bytes]:
    begin = 0
    for _ in range(_MAX_FRAMES):
        decoder = make_decoder(data[begin : begin + 2])
        taken = begin
        unconsumed = b""
        while not decoder.eof:
            # In chunks: some decoders copy the input that they have not consumed on each call.
            fed = unconsumed
            if not fed and getattr(decoder, "needs_input", True):
                fed = data[taken : taken + _INPUT_CHUNK_BYTES]
                taken += len(fed)
            chunk = decoder.decompress(fed, _OUTPUT_CHUNK_BYTES)
            unconsumed = getattr(decoder, "unconsumed_tail", b"")
            if chunk:
                yield chunk
            elif not fed and not decoder.eof:
                raise EOFError("it is truncated")
        begin = taken - len(decoder.unused_data or b"")
        if begin >= len(data):
            return
    raise ValueError(f"it has more than {_MAX_FRAMES} parts")


def _gzip(_: bytes) -> Any:
    return isal_zlib.decompressobj(wbits=31)


def _deflate(head: bytes) -> Any:
    """Return a decoder of zlib or, as some clients send, of raw deflate. *head* is the start of the body."""
    is_zlib = len(head) == 2 and head[0] & 15 == 8 and int.from_bytes(head) % 31 == 0
    return isal_zlib.decompressobj(wbits=15 if is_zlib else -15)


def _zstd(_: bytes) -> Any:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


def _lz4(_: bytes) -> Any:
    from lz4.frame import LZ4FrameDecompressor

    return LZ4FrameDecompressor()


FORMATS: Mapping[str, Callable[[bytes], _Decoder]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
    "lz4": _lz4,
}
