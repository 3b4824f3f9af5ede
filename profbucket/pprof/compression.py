"""gzip, both ways, and varints, one way."""

from collections.abc import Iterator

from isal import igzip, isal_zlib
from isal.igzip_lib import IsalError

from profbucket.errors import Invalid
from profbucket.limits import Limits

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_HELD = 32 << 20  # what is kept while it is still open whether the whole stays below its cap


def deflate(raw: bytes) -> bytes:
    """One gzip member that holds *raw*, without a time in its header."""
    return igzip.compress(raw, compresslevel=2, mtime=0)


def varint(value: int) -> bytes:
    """*value*, of 64 bits at most, as protobuf writes a number."""
    value %= 2**64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def inflate(data: bytes, limits: Limits = Limits()) -> bytes:
    """The protobuf message in *data*, which is gzip (of one or more members) or the message itself.

    Raise ``Invalid`` for what is cut short, followed by garbage or compressed twice, and ``TooLarge`` for what
    inflates beyond ``limits.inflated_bytes``; memory stays a small part of that until it is known to fit.
    """
    if not data:
        raise Invalid("the profile is empty: no bytes were sent")
    cap = limits.inflated_bytes
    if data[:2] == _GZIP:
        data = _inflate_one(data, min(cap, _HELD)) or _inflate_members(data, limits)
    if len(data) > cap:
        raise limits.too_large("inflated_bytes", f"the profile has {len(data)} bytes")
    if data[:2] == _GZIP:
        raise Invalid(
            "the profile is compressed twice: a gzip inside a gzip; send it compressed once, or not at all"
        )
    return data


def _inflate_one(data: bytes, cap: int) -> bytes | None:
    """What nearly all gzips are: one member that inflates to no more than *cap*. ``None`` for all others."""
    inflater = isal_zlib.decompressobj(wbits=31)
    try:
        raw: bytes = inflater.decompress(data, cap)
    except IsalError:  # type: ignore[misc] # its stub says instance, it is a class
        return None
    return raw if inflater.eof and not inflater.unused_data else None


def _inflate_members(data: bytes, limits: Limits) -> bytes:
    held: list[bytes] = []
    size = 0
    for chunk in _inflated_chunks(data):
        size += len(chunk)
        if size > limits.inflated_bytes:
            raise limits.too_large(
                "inflated_bytes", f"the profile inflates to more than {limits.inflated_bytes} bytes"
            )
        if size <= _HELD:
            held.append(chunk)
        else:
            held.clear()
    # Rarely so large: it is known to fit now and inflated once more, this time to keep.
    return b"".join(held if size <= _HELD else _inflated_chunks(data))


def _inflated_chunks(data: bytes) -> Iterator[bytes]:
    """The content of all gzip members in *data*, in chunks of at most a megabyte."""
    begin = 0
    while begin < len(data):
        if data[begin : begin + 2] != _GZIP:
            raise Invalid(f"{len(data) - begin} bytes of garbage behind the gzip")
        inflater = isal_zlib.decompressobj(wbits=31)
        taken = begin
        try:
            while not inflater.eof:
                # Fed in pieces, because what an inflater leaves over is copied on each call.
                piece = inflater.unconsumed_tail
                if not piece:
                    piece = data[taken : taken + (1 << 16)]
                    taken += len(piece)
                chunk = inflater.decompress(piece, _CHUNK)
                if chunk:
                    yield chunk
                elif not piece:
                    raise Invalid("the gzip is cut short")
        except IsalError as error:  # type: ignore[misc] # its stub says instance, it is a class
            raise Invalid(f"a broken gzip: {error}") from None
        begin = taken - len(inflater.unused_data)
