"""Content-Encoding: decoding of bodies that are compressed for the transfer, within limits."""

from collections.abc import Iterator

from profbucket.errors import UnsupportedMedia
from profbucket.ingest.decompression import DecompressionError, decompress
from profbucket.limits import Limits

_CODINGS = ("gzip", "deflate", "zstd")
ACCEPTED = ", ".join(_CODINGS)

_MAX_CODINGS = 3
_SHOWN_CHARACTERS = 80  # of the header in an error message


def parse_codings(header: str) -> tuple[str, ...]:
    """Return the codings in a Content-Encoding header, in the order in which they were applied.

    Raise ``UnsupportedMedia`` if one is unknown or there are more than three.
    """
    names = (name.strip().lower().removeprefix("x-") for name in header.split(","))
    codings = tuple(name for name in names if name not in ("", "identity"))
    if len(codings) > _MAX_CODINGS or not set(codings) <= set(_CODINGS):
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
        for chunk in decompress(coding, data):
            size += len(chunk)
            if size > limits.body_bytes:
                raise limits.too_large("body_bytes", f"the body decodes to more than {limits.body_bytes} bytes")
            yield chunk
    except DecompressionError as error:
        raise UnsupportedMedia(
            f"the body is not {coding} as its Content-Encoding says: {error}", code="invalid_content_encoding"
        ) from None
