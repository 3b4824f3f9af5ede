"""The body of a post: read in steps as memory allows, and decoded by its Content-Encoding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

from werkzeug.wrappers import Request

from profbucket.api.admission import Admission, Reservation
from profbucket.api.content_encoding import decode, parse_codings
from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.telemetry.request import current_record

# The key of a WSGI environment under which a server that receives bodies by itself passes a ReceivedBody, or
# BodyAwaited before it has received one.
RECEIVED_BODY = "profbucket.received_body"

_READ_CHUNK_BYTES = 1 << 16


@dataclass(slots=True)
class ReceivedBody:
    """A body whose bytes are in *buffer*, positioned at its end, or the *error* that ended it."""

    reservation: Reservation
    buffer: BytesIO = field(default_factory=BytesIO)  # its getvalue() does not copy
    error: ProfbucketError | None = None


class BodyAwaited(Exception):
    """Raised where a view reads the body, if all that is asked is whether it does."""


class BodyReader:
    """Reads the bodies of posts within *limits*."""

    def __init__(self, limits: Limits, admission: Admission) -> None:
        self._limits = limits
        self._admission = admission

    @contextmanager
    def open(self, request: Request) -> Iterator[bytes]:
        """Yield the decoded body of *request*, whose memory is reserved until the block ends.

        Raises:
            Invalid: the body is incomplete or its chunks are malformed.
            TooLarge: the body exceeds the limit.
            UnsupportedMedia: the body cannot be decoded.
            Unavailable: there is no room for it.
        """
        codings = self._check(request)
        received: ReceivedBody | BodyAwaited | None = request.environ.get(RECEIVED_BODY)
        if isinstance(received, BodyAwaited):
            raise received
        if received is None:
            received = ReceivedBody(open_reservation(self._admission, request.content_length, bool(codings)))
        with received.reservation as reservation:
            if RECEIVED_BODY not in request.environ:
                self._read(request, received)
            current_record().received_bytes = size = received.buffer.tell()
            if received.error is not None:
                raise received.error
            if size > self._limits.body_bytes:
                limit = self._limits.body_bytes
                raise self._limits.too_large("body_bytes", f"the body has more than {limit} bytes")
            data = received.buffer.getvalue()
            for coding in reversed(codings):
                data = self._decode(coding, data, reservation)
            received.buffer = BytesIO()  # frees what was sent, if it was encoded
            reservation.settle(len(data))
            yield data

    def _check(self, request: Request) -> tuple[str, ...]:
        """Return the content codings of *request*, whose body need not have arrived.

        Raises:
            TooLarge: the Content-Length exceeds the limit.
            UnsupportedMedia: a content coding is unknown.
        """
        size = request.content_length
        if size is not None and size > self._limits.body_bytes:
            raise self._limits.too_large("body_bytes", f"the body has {size} bytes")
        return parse_codings(request.headers.get("Content-Encoding", ""))

    def _read(self, request: Request, received: ReceivedBody) -> None:
        """Read the body from the server's stream until it ends or exceeds the limit."""
        buffer, length, limit = received.buffer, request.content_length, self._limits.body_bytes
        max_bytes = limit + 1 if length is None else min(length, limit + 1)
        try:
            while (step := min(_READ_CHUNK_BYTES, max_bytes - buffer.tell())) > 0:
                received.reservation.grow(buffer.tell() + step)
                chunk = request.stream.read(step)
                if not chunk:
                    break
                buffer.write(chunk)
        except ProfbucketError:
            raise
        except OSError as error:
            message = f"the body was cut off after {buffer.tell()} bytes: {type(error).__name__}"
            raise Invalid(message, code="incomplete_body") from None
        except Exception as error:  # noqa: BLE001 - malformed chunks: each server has its errors
            message = f"the chunks of the body are malformed after {buffer.tell()} bytes: {type(error).__name__}"
            raise Invalid(message, code="malformed_body") from None
        if length is not None and buffer.tell() < min(length, max_bytes):
            raise incomplete_body(buffer.tell(), length)

    def _decode(self, coding: str, data: bytes, reservation: Reservation) -> bytes:
        decoded = BytesIO()
        for chunk in decode(coding, data, self._limits):
            reservation.grow(len(data) + decoded.tell() + len(chunk))
            decoded.write(chunk)
        return decoded.getvalue()


def open_reservation(admission: Admission, content_length: int | None, is_encoded: bool) -> Reservation:
    """Return a reservation that may grow to what the body takes: what is sent, and what that decodes to."""
    limit = admission.limits.body_bytes
    sent = limit if content_length is None else min(content_length, limit)
    return admission.open(sent + (limit if is_encoded else 0))


def incomplete_body(size: int, length: int | None) -> Invalid:
    """Return the error of a body that ends after *size* bytes; *length* is the Content-Length, if it has one."""
    expected = "bytes without a last chunk" if length is None else f"of the {length} bytes in Content-Length"
    return Invalid(f"the body ends after {size} {expected}", code="incomplete_body")
