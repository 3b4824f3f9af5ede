"""Bodies of the type multipart/form-data."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, Preamble

from profbucket.errors import Invalid

_MAX_PARTS = 64
# Also the limit of a part's headers, and of what precedes the first part: each line of headers becomes an object,
# and all bytes that are no content yet are searched again with each chunk.
_CHUNK_BYTES = 1 << 16
_MAX_HEADERS_BYTES = 1 << 21  # of all parts: a MB of them takes half a second


class Part(NamedTuple):
    """One part of a form; ``filename`` is ``""`` if it is not a file."""

    name: str
    filename: str
    data: bytes


def read_parts(body: bytes, content_type: str) -> list[Part]:
    """Return the parts of *body*, or raise ``Invalid`` if it is not as *content_type* says."""
    parts = list(islice(iter_parts(body, content_type), _MAX_PARTS + 1))
    if len(parts) > _MAX_PARTS:
        raise _invalid(f"it has more than {_MAX_PARTS} parts")
    return parts


def iter_parts(body: bytes, content_type: str) -> Iterator[Part]:
    """Yield the parts of *body*, or raise ``Invalid`` where it is not as *content_type* says."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise _invalid("the Content-Type has no boundary")
    try:
        yield from _decode(body, MultipartDecoder(boundary.encode("latin-1")))
    except ValueError as error:
        raise _invalid(str(error)) from None


def _decode(body: bytes, decoder: MultipartDecoder) -> Iterator[Part]:
    chunks: list[bytes] = []
    name, filename, in_content, headers_bytes = "", "", False, 0
    for begin in range(0, len(body) + _CHUNK_BYTES, _CHUNK_BYTES):
        decoder.receive_data(body[begin : begin + _CHUNK_BYTES] or None)
        unread = len(decoder.buffer)
        while not isinstance(event := decoder.next_event(), NeedData):
            if isinstance(event, Epilogue):
                return
            in_content = not isinstance(event, Preamble)
            if isinstance(event, Field | File):
                name = event.name or ""
                filename = (event.filename or "") if isinstance(event, File) else ""
                headers_bytes += unread - len(decoder.buffer)
                if headers_bytes > _MAX_HEADERS_BYTES:
                    raise ValueError(f"the headers of all parts have more than {_MAX_HEADERS_BYTES} bytes")
            elif isinstance(event, Data):
                chunks.append(event.data)
                if not event.more_data:
                    yield Part(name, filename, b"".join(chunks))
                    chunks.clear()
                    in_content = False
            unread = len(decoder.buffer)
        if not in_content and len(decoder.buffer) > _CHUNK_BYTES:
            raise ValueError(f"it has more than {_CHUNK_BYTES} bytes before the content of a part")
    raise ValueError("it ends before its last boundary")


def _invalid(problem: str) -> Invalid:
    return Invalid(f"the body is not valid multipart/form-data: {problem[:200]}", code="invalid_multipart")
