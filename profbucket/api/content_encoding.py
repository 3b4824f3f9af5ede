"""Content-Encoding: decoding of bodies that are compressed for the transfer, within limits."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from isal import isal_zlib
from isal.igzip_lib import IsalError

from profbucket.errors import UnsupportedMedia
from profbucket.limits import Limits

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

ACCEPTED = "gzip, deflate, zstd"

_MAX_CODINGS = 3
_MAX_FRAMES = 10_000  # of one body; each costs time, however small it is
_INPUT_CHUNK_BYTES = 1 << 16
_OUTPUT_CHUNK_BYTES = 1 << 18
_ZSTD_WINDOW_LOG = 23  # 8 MB, the largest window that HTTP allows (RFC 9659)
_SHOWN_CHARACTERS = 80  # of the header in an error message


class _Decoder(Protocol):
    """A decoder of one frame. ``decompress`` returns at most the requested number of bytes."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def parse_codings(header: str) -> tuple[str, ...]:
    """Return the codings in a Content-Encoding header, in the order in which they were applied.

    Raise ``UnsupportedMedia`` if one is unknown or there are more than three.
    """
    names = (name.strip().lower().removeprefix("x-") for name in header.split(","))
    codings = tuple(name for name in names if name not in ("", "identity"))
    if len(codings) > _MAX_CODINGS or not set(codings) <= _DECODERS.keys():
        raise UnsupportedMedia(
            f"unsupported Content-Encoding {header[:_SHOWN_CHARACTERS]!r}; supported: {ACCEPTED}, at most "
            f"{_MAX_CODINGS} of them",
            code="unsupported_content_encoding",
        )
    return codings


def decode(coding: str, data: bytes, limits: Limits) -> Iterator[bytes]:
    """Yield *data* decoded, in chunks of at most 256 KB.

    Raises:
        UnsupportedMedia: *data* is not in this coding, or is damaged.
        TooLarge: it decodes to more than ``limits.body_bytes``.
    """
    size = 0
    try:
        for chunk in _decode_frames(data, _DECODERS[coding]):
            size += len(chunk)
            if size > limits.body_bytes:
                raise limits.too_large("body_bytes", f"the body decodes to more than {limits.body_bytes} bytes")
            yield chunk
    except (IsalError, zstd.ZstdError, EOFError, ValueError) as error:  # type: ignore[misc] # IsalError is a class
        raise UnsupportedMedia(
            f"the body is not {coding} as its Content-Encoding says: {error}", code="invalid_content_encoding"
        ) from None


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
        begin = taken - len(decoder.unused_data)
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


_DECODERS: Mapping[str, Callable[[bytes], _Decoder]] = {"gzip": _gzip, "deflate": _deflate, "zstd": _zstd}
