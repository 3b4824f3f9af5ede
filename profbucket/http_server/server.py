"""The server: accepts connections, runs the application in threads, and drains at the end."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from wsgiref.types import WSGIEnvironment

from flask import Flask

from profbucket.api.admission import Reservation
from profbucket.api.routes import STATUS_PATHS
from profbucket.api.server_hooks import get_hooks
from profbucket.http_server.connection import Connection
from profbucket.http_server.messages import Response, call
from profbucket.http_server.settings import ServerSettings

_log = logging.getLogger(__name__)

_STATUS_THREADS = 2  # of their own, so that health checks are answered while all others are busy
_ACCEPT_RETRY_SECONDS = 0.1
_READ_BYTES = 1 << 16


class Server:
    """A server of *app*, which ``create_app`` returned.

    One event loop serves all connections, and reads them into one buffer.
    """

    def __init__(self, app: Flask, settings: ServerSettings = ServerSettings()) -> None:
        hooks = get_hooks(app)
        self.settings = settings
        self.admission = hooks.admission
        self.read_buffer = bytearray(_READ_BYTES)
        self.is_draining = False
        self._app = app.wsgi_app
        self._wants_body = hooks.wants_body
        self._threads = ThreadPoolExecutor(settings.threads, "request")
        self._status_threads = ThreadPoolExecutor(_STATUS_THREADS, "status")
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._unsent: dict[Connection, int] = {}  # the oldest first
        self._accepting = set[asyncio.Task[Any]]()
        self._waiting = set[asyncio.Future[None]]()  # for room for a body

    def run(self, listener: socket.socket, signals: Iterable[int] = (signal.SIGTERM, signal.SIGINT)) -> bool:
        """Serve until a signal or :meth:`stop`; return whether all requests were finished.

        After a second signal, or after ``drain_seconds``, the requests in progress are abandoned.
        """
        return asyncio.run(self._run(listener, signals))

    def stop(self) -> None:
        """Finish the requests in progress and end :meth:`run`; abandon them if called twice. Thread-safe."""
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._stop)

    # What connections use, in the event loop.

    def add(self, connection: Connection, task: "asyncio.Task[None]") -> None:
        """Add *connection*, closing the one that has waited the longest if there are too many."""
        self._connections[connection] = task
        task.add_done_callback(lambda _: self._connections.pop(connection))
        if len(self._connections) > self.settings.connections:
            waiting = [other for other in self._connections if other.waiting_since is not None]
            min(waiting, key=lambda other: other.waiting_since or 0.0).close_if_waiting()

    def hold_response(self, connection: Connection, size: int) -> None:
        """Count *size* bytes that *connection* sends; abort those that take the longest if there are too many."""
        self._unsent[connection] = size
        while len(self._unsent) > 1 and sum(self._unsent.values()) > self.settings.unsent_bytes:
            oldest = next(iter(self._unsent))
            self.release_response(oldest)
            oldest.abort()

    def release_response(self, connection: Connection) -> None:
        """Count the response of *connection* no more."""
        self._unsent.pop(connection, None)

    async def respond(self, environ: WSGIEnvironment) -> Response:
        """Return the application's response."""
        threads = self._status_threads if environ["PATH_INFO"] in STATUS_PATHS else self._threads
        return await self._loop.run_in_executor(threads, call, self._app, environ)

    async def wants_body(self, environ: WSGIEnvironment) -> bool:
        """Return whether the application will read the body."""
        return await self._loop.run_in_executor(self._threads, self._wants_body, environ)

    async def reserve(self, reservation: Reservation, size: int) -> float:
        """Grow *reservation* to *size* bytes and return the seconds waited; raise ``Unavailable`` without room."""
        if reservation.try_grow(size):
            return 0.0
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(self.admission.limits.inflight_seconds):
                while True:
                    released = self._loop.create_future()
                    self._waiting.add(released)  # before the attempt, so that no release is missed
                    if reservation.try_grow(size):
                        return time.monotonic() - started_at
                    await released
        except TimeoutError:
            raise reservation.no_room() from None

    # The life of the server.

    async def _run(self, listener: socket.socket, signals: Iterable[int]) -> bool:
        self._loop = asyncio.get_running_loop()
        self._stopping, self._abandoning = asyncio.Event(), asyncio.Event()
        self.admission.on_release = self._announce_release
        for number in signals:
            self._loop.add_signal_handler(number, self._stop)
        self._listener = listener
        listener.setblocking(False)
        self._listen()
        await self._stopping.wait()
        self._loop.remove_reader(listener)
        listener.close()
        self.is_draining = True
        for connection in list(self._connections):
            connection.close_if_waiting()
        drain = asyncio.create_task(self._drain())
        abandon = asyncio.create_task(self._abandoning.wait())
        await asyncio.wait(
            {drain, abandon}, timeout=self.settings.drain_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        is_drained = drain.done()
        if not is_drained:
            _log.warning("stopped with %d connections whose requests were not finished", len(self._connections))
        self.admission.on_release = _do_nothing  # abandoned requests outlive the loop
        for threads in (self._threads, self._status_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        return is_drained

    def _listen(self) -> None:
        # Not asyncio.Server: closing it loses connections that it has just accepted.
        if not self._stopping.is_set():
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client has gone
            return
        except OSError as error:  # no file descriptors
            _log.warning("a connection could not be accepted: %s", error.strerror)
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_ACCEPT_RETRY_SECONDS, self._listen)
            return
        client.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: Connection(self), client))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _drain(self) -> None:
        while unfinished := self._accepting | set(self._connections.values()):
            await asyncio.wait(unfinished)

    def _stop(self) -> None:
        (self._abandoning if self._stopping.is_set() else self._stopping).set()

    def _announce_release(self) -> None:
        if self._waiting:
            self._loop.call_soon_threadsafe(self._wake_waiting)

    def _wake_waiting(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _do_nothing() -> None:
    pass
