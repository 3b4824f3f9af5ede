"""Compress and decompress profiles with gzip."""

import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

from isal import igzip, isal_zlib
from isal.igzip_lib import IsalError

from profbucket.errors import Invalid
from profbucket.limits import Limits

LARGE_BYTES = 64 << 10  # a profile of more bytes is a large one

_GZIP_MAGIC = b"\x1f\x8b"
_INPUT_CHUNK_BYTES = 1 << 16
_OUTPUT_CHUNK_BYTES = 1 << 20
_MAX_BUFFERED_BYTES = 32 << 20  # of output, while it may still turn out to exceed the limit
# isal's levels 1 and 2 sometimes give different bytes for the same input; level 3 does on different processors.
_LEVEL = 3
_REPRODUCIBLE_LEVEL = 1  # of zlib


def deflate(raw: bytes) -> bytes:
    """Return *raw* as one gzip member, without a time in its header: the same on processors of one kind."""
    return igzip.compress(raw, compresslevel=_LEVEL, mtime=0)


def deflate_reproducibly(raw: bytes) -> bytes:
    """Return *raw* as one gzip member that is the same everywhere, as ids require. Four times slower."""
    return zlib.compress(raw, _REPRODUCIBLE_LEVEL, wbits=31)


def inflate(data: bytes, limits: Limits = Limits(), before_large: Callable[[], object] = lambda: None) -> bytes:
    """Return the protobuf message in *data*, which is gzip (of one or more members) or the message itself.

    Memory stays a small part of ``limits.inflated_bytes`` until the message is known to fit. *before_large* is
    called before the message takes more than ``LARGE_BYTES``.

    Raises:
        Invalid: *data* is empty, damaged or compressed twice; the code is ``empty_body``, ``invalid_gzip`` or
            ``compressed_twice``.
        TooLarge: the message has more than ``limits.inflated_bytes``.
    """
    if not data:
        raise Invalid("the profile is empty: no bytes were sent", code="empty_body")
    max_bytes = limits.inflated_bytes
    is_gzip = data[:2] == _GZIP_MAGIC
    raw = None
    # The last bytes of a gzip say how long it is, if it has one member and does not lie.
    if len(data) <= LARGE_BYTES and (not is_gzip or int.from_bytes(data[-4:], "little") <= LARGE_BYTES):
        raw = _inflate_single(data, min(max_bytes, LARGE_BYTES)) if is_gzip else data
    if raw is None:
        before_large()
        raw = data
        if is_gzip:
            raw = _inflate_single(data, min(max_bytes, _MAX_BUFFERED_BYTES)) or _inflate_members(data, limits)
    if len(raw) > max_bytes:
        raise limits.too_large("inflated_bytes", f"the profile has {len(raw)} bytes")
    if raw[:2] == _GZIP_MAGIC:
        raise Invalid(
            "the profile is compressed twice: gzip inside gzip; compress it once, or not at all",
            code="compressed_twice",
        )
    return raw


def _inflate_single(data: bytes, max_bytes: int) -> bytes | None:
    """Return the content of one gzip member, as nearly all are; ``None`` for others, or above *max_bytes*."""
    inflater = isal_zlib.decompressobj(wbits=31)
    try:
        raw: bytes = inflater.decompress(data, max_bytes)
    except IsalError:  # type: ignore[misc] # its stub says instance, it is a class
        return None
    return raw if inflater.eof and not inflater.unused_data else None


def _inflate_members(data: bytes, limits: Limits) -> bytes:
    raw = join_bounded(lambda: _inflate_chunks(data), limits.inflated_bytes)
    if raw is None:
        raise limits.too_large(
            "inflated_bytes", f"the profile inflates to more than {limits.inflated_bytes} bytes"
        )
    return raw


def join_bounded(inflate_chunks: Callable[[], Iterator[bytes]], max_bytes: int) -> bytes | None:
    """Return the chunks of *inflate_chunks* joined; ``None`` if they have more than *max_bytes*.

    Many bytes are first counted: they are inflated again, and take memory, once they are known to fit.
    """
    buffer, size = BytesIO(), 0
    for chunk in inflate_chunks():
        size += len(chunk)
        if size > max_bytes:
            return None
        if size <= _MAX_BUFFERED_BYTES:
            buffer.write(chunk)
        else:
            buffer = BytesIO()
    if size > _MAX_BUFFERED_BYTES:
        for chunk in inflate_chunks():
            buffer.write(chunk)
    return buffer.getvalue()  # without a copy


def _inflate_chunks(data: bytes) -> Iterator[bytes]:
    """Yield the content of all gzip members in *data*, in chunks of at most ``_OUTPUT_CHUNK_BYTES``."""
    begin = 0
    while begin < len(data):
        if data[begin : begin + 2] != _GZIP_MAGIC:
            raise Invalid(
                f"{len(data) - begin} bytes follow the gzip stream that are not gzip", code="invalid_gzip"
            )
        inflater = isal_zlib.decompressobj(wbits=31)
        taken = begin
        try:
            while not inflater.eof:
                # In chunks: the inflater copies its unconsumed input on each call.
                fed = inflater.unconsumed_tail
                if not fed:
                    fed = data[taken : taken + _INPUT_CHUNK_BYTES]
                    taken += len(fed)
                chunk = inflater.decompress(fed, _OUTPUT_CHUNK_BYTES)
                if chunk:
                    yield chunk
                elif not fed:
                    raise Invalid("the gzip stream is truncated", code="invalid_gzip")
        except IsalError as error:  # type: ignore[misc] # its stub says instance, it is a class
            raise Invalid(f"the gzip stream is damaged: {error}", code="invalid_gzip") from None
        begin = taken - len(inflater.unused_data)
