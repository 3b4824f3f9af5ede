"""One connection of a client."""

import asyncio
import logging
from contextlib import suppress
from typing import Protocol, cast
from wsgiref.types import WSGIEnvironment

from profbucket.api.admission import Admission, Reservation
from profbucket.api.body import RECEIVED_BODY, ReceivedBody, incomplete_body, open_reservation
from profbucket.errors import ProfbucketError, RequestTimeout
from profbucket.http_server.messages import (
    CONTINUE,
    Request,
    Response,
    encode_head,
    has_body,
    make_environ,
    make_error_response,
)
from profbucket.http_server.parsing import RequestParser
from profbucket.http_server.settings import ServerSettings

_MAX_PENDING_BYTES = 1 << 15  # of a body; reading pauses above it
_MAX_QUEUED_REQUESTS = 2  # reading pauses with as many pipelined requests
_MAX_UNCHECKED_BYTES = 1 << 15  # a larger body is received only if the application wants it

_log = logging.getLogger(__name__)


class Host(Protocol):
    """The part of a server that its connections use."""

    settings: ServerSettings
    admission: Admission
    read_buffer: bytearray
    is_draining: bool

    def add(self, connection: "Connection", task: "asyncio.Task[None]") -> None: ...
    def hold_response(self, connection: "Connection", size: int) -> None: ...
    def release_response(self, connection: "Connection") -> None: ...
    async def respond(self, environ: WSGIEnvironment) -> Response: ...
    async def wants_body(self, environ: WSGIEnvironment) -> bool: ...
    async def reserve(self, reservation: Reservation, size: int) -> float: ...


class Connection(asyncio.BufferedProtocol):
    """A connection: its requests are parsed as they arrive, and answered one after the other.

    The event loop calls the methods of the protocol. A task answers; ``_changed`` wakes it up. ``waiting_since``
    is the time since when no head has arrived, ``None`` while a request is in progress.
    """

    def __init__(self, server: Host) -> None:
        self._server = server
        self._settings = server.settings
        self._loop = asyncio.get_running_loop()
        self._input = RequestParser(server.settings.head_bytes, self._note_head)
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_reading = True
        self._is_at_eof = False
        self._is_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self.waiting_since: float | None = self._loop.time()

    # The protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the task that answers requests."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self._addresses = (transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
        self._server.add(self, self._loop.create_task(self._answer_all()))

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the buffer to read into."""
        return self._server.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse *nbytes* that have been read."""
        self._input.feed(bytes(memoryview(self._server.read_buffer)[:nbytes]))
        self._pause_or_resume()
        self._changed.set()

    def eof_received(self) -> bool:
        """Note that the client sends no more; it may still read."""
        self._is_at_eof = True
        self._end_input()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End the task."""
        self._is_at_eof = self._is_lost = True
        self._set_timer(None)
        self._writable.set()
        self._end_input()

    def pause_writing(self) -> None:
        """Note that the client is not reading."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that everything has been sent."""
        self._writable.set()

    def close_if_waiting(self) -> None:
        """Close the connection unless a request is in progress."""
        if self.waiting_since is not None:
            self.waiting_since = None
            self._end_input()

    def abort(self) -> None:
        """Close the connection without sending the rest of a response."""
        self._transport.abort()

    def _end_input(self) -> None:
        self._input.is_ended = True
        self._changed.set()

    def _pause_or_resume(self) -> None:
        """Read unless enough has been read that is not processed."""
        receiving = self._input.receiving
        pending = len(receiving.pending) if receiving is not None else 0
        wanted = len(self._input.requests) < _MAX_QUEUED_REQUESTS and pending < _MAX_PENDING_BYTES
        if wanted != self._is_reading and not self._transport.is_closing():
            self._is_reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def _note_head(self, starts: bool) -> None:
        """Set the deadline of a head that starts, unless a request is in progress; clear it when it ends."""
        if not starts:
            self.waiting_since = None
            self._set_timer(None)
        elif self.waiting_since is not None:
            self._set_timer(self._settings.head_seconds)

    # Deadlines.

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._time_out)

    def _time_out(self) -> None:
        if self._input.is_in_head:
            seconds = self._settings.head_seconds
            self._input.fail(RequestTimeout(f"the head did not arrive within {seconds:g} seconds"))
        self._end_input()

    async def _wait_for_input(self) -> None:
        self._pause_or_resume()
        self._changed.clear()
        await self._changed.wait()

    async def _flush(self) -> None:
        """Wait until everything is sent; raise ``TimeoutError`` if the client does not read it."""
        if not self._writable.is_set():
            async with asyncio.timeout(self._settings.send_seconds):
                await self._writable.wait()

    # The task.

    async def _answer_all(self) -> None:
        try:
            stays_open = True
            while stays_open and (request := await self._next_request()) is not None:
                stays_open = await self._answer(request)
            if stays_open and self._input.error is not None:
                _log.info("refused a request: %s", self._input.error)
                await self._send(make_error_response(self._input.error), None, stays_open=False)
                await self._linger()
            self._transport.close()
        except TimeoutError:
            pass  # the client does not read
        except Exception:  # noqa: BLE001 - one connection must not end the others
            _log.exception("a connection failed")
        finally:
            if not self._writable.is_set():
                self._transport.abort()
            self._transport.close()

    async def _next_request(self) -> Request | None:
        """Return the next request, or ``None`` if there will be no other."""
        if not self._input.requests:
            is_new = self.waiting_since is not None
            self.waiting_since = self._loop.time()
            short = is_new or self._input.is_in_head
            self._set_timer(self._settings.head_seconds if short else self._settings.idle_seconds)
        while not self._input.requests:
            if self._input.is_ended or self._server.is_draining:
                return None
            await self._wait_for_input()
        return self._input.requests.popleft()

    async def _answer(self, request: Request) -> bool:
        """Answer *request*; return whether the connection stays open."""
        environ = make_environ(request, *self._addresses)
        if request.pending or not request.is_complete:
            await self._receive_body(request, environ)
        try:
            response = await self._server.respond(environ)
        finally:
            if (received := environ.get(RECEIVED_BODY)) is not None:
                received.reservation.close()
        stays_open = request.keeps_alive and request.is_complete and not self._server.is_draining
        await self._send(response, request, stays_open)
        if not request.is_complete:
            await self._discard(request)
        return stays_open

    async def _receive_body(self, request: Request, environ: WSGIEnvironment) -> None:
        """Receive the body of *request* into *environ*, unless the application will refuse the request."""
        length = request.content_length
        is_large = length is None or length > _MAX_UNCHECKED_BYTES
        if not request.is_complete and (is_large or request.expects_continue):
            if not await self._server.wants_body(environ):
                return
            if not request.pending and request.expects_continue:
                self._write(CONTINUE)
        is_encoded = "HTTP_CONTENT_ENCODING" in environ
        received = ReceivedBody(open_reservation(self._server.admission, length, is_encoded))
        environ[RECEIVED_BODY] = received
        try:
            await self._fill(received, request)
        except ProfbucketError as error:
            received.error = error

    async def _fill(self, received: ReceivedBody, request: Request) -> None:
        """Receive the body of *request* until it ends or exceeds the limit.

        Raises:
            Invalid: it is incomplete or malformed.
            RequestTimeout: it arrives too slowly.
            Unavailable: there is no room for it.
        """
        started_at = self._loop.time()
        while True:
            size = received.buffer.tell() + len(request.pending)
            if request.pending:
                chunk, request.pending = request.pending, bytearray()
                started_at += await self._server.reserve(received.reservation, size)
                received.buffer.write(chunk)
                if size > self._server.admission.limits.body_bytes:
                    return
            elif request.is_complete:
                return
            elif request.error is not None:
                raise request.error
            elif self._input.is_ended:
                raise incomplete_body(size, request.content_length)
            else:
                await self._wait_for_body(started_at, size)

    async def _wait_for_body(self, started_at: float, size: int) -> None:
        settings = self._settings
        seconds = settings.body_seconds + size / settings.body_bytes_per_second
        try:
            async with asyncio.timeout_at(started_at + seconds):
                await self._wait_for_input()
        except TimeoutError:
            raise RequestTimeout(f"only {size} bytes of the body arrived within {seconds:.0f} seconds") from None

    async def _send(self, response: Response, request: Request | None, stays_open: bool) -> None:
        """Send *response*; raise ``TimeoutError`` if the client does not read it."""
        body = response.body if has_body(response, request) else b""
        step = self._settings.send_bytes
        self._write(encode_head(response, request, stays_open) + body[:step])
        self._server.hold_response(self, len(body))
        try:
            for start in range(step, len(body), step):
                await self._flush()
                self._write(body[start : start + step])
            await self._flush()
        finally:
            self._server.release_response(self)

    def _write(self, data: bytes) -> None:
        if not self._is_lost:
            self._transport.write(data)

    async def _discard(self, request: Request) -> None:
        """Discard the rest of the body of *request*: a client that is still sending would not see the response."""
        request.is_discarded = True
        request.pending.clear()
        started_at, limit = self._loop.time(), 2 * self._server.admission.limits.body_bytes
        try:
            while not (request.is_complete or self._input.is_ended) and request.discarded_bytes < limit:
                await self._wait_for_body(started_at, request.discarded_bytes)
        except RequestTimeout:
            return
        await self._linger()

    async def _linger(self) -> None:
        """Read until the client closes: closing with unread input would discard the response."""
        if self._is_lost:
            return
        with suppress(OSError):  # the client has disconnected
            self._transport.write_eof()
        self._input.is_ended = True
        if not self._is_reading:
            self._is_reading = True
            self._transport.resume_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.linger_seconds):
                while not self._is_at_eof:
                    await self._wait_for_input()
