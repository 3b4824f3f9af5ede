"""The parsing of what one connection receives into requests."""

from collections import deque
from collections.abc import Callable

import httptools

from profbucket.errors import Invalid, ProfbucketError
from profbucket.http_server.messages import Request, parse_head


class RequestParser:
    """The requests of one connection, parsed as they arrive; httptools calls the methods ``on_…``.

    ``requests`` are those whose heads have arrived and that have not been taken. ``receiving`` is the one whose
    body is arriving. After an error nothing more is parsed: it is the ``error`` of the request whose body is
    malformed, or the parser's. *on_head* is called at the start of each head with true, at its end with false.
    """

    def __init__(self, max_head_bytes: int, on_head: Callable[[bool], object]) -> None:
        self.requests = deque[Request]()
        self.receiving: Request | None = None
        self.error: ProfbucketError | None = None
        self.is_in_head = False
        self.is_ended = False
        self._on_head = on_head
        self._max_head_bytes = max_head_bytes
        self._overhead_bytes = 0  # since the last byte of a body or the end of a head
        self._upgrades = False
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        """Parse *data*, unless the input has ended."""
        if self.is_ended:
            return
        self._overhead_bytes += len(data)
        self._parse(data)
        if self._overhead_bytes > self._max_head_bytes:
            self.fail(Invalid("the head or the trailers of the request are too large", code="bad_request"))

    def fail(self, error: ProfbucketError) -> None:
        """End the input, because of *error* in the body or the head that is arriving."""
        if self.is_ended:
            return
        self.is_ended = True
        if self.receiving is not None:
            self.receiving.error = error
        else:
            self.error = error

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser ends here, even before a body. Java's client offers HTTP/2 with each request.
            head = self._encode_head_without_upgrade()
            self._parser = httptools.HttpRequestParser(self)
            self._parse(head + data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            code, part = ("malformed_body", "body") if self.receiving else ("bad_request", "request")
            self.fail(Invalid(f"the {part} is malformed: {error}", code=code))

    def _encode_head_without_upgrade(self) -> bytes:
        lines = [self._method.encode() + b" " + self._target + b" HTTP/" + self._version.encode()]
        lines += [b"%s: %s" % header for header in self._headers if header[0].lower() != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """Start a head."""
        self.is_in_head = True
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._on_head(True)

    def on_url(self, url: bytes) -> None:
        """Add to the target of the request."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Trailers, which follow a body, are ignored."""
        if self.is_in_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Add the request."""
        self.is_in_head = False
        self._overhead_bytes = 0
        self._method = self._parser.get_method().decode("latin-1")
        self._version = self._parser.get_http_version()
        self._upgrades = self._parser.should_upgrade() and self._method != "CONNECT"
        if self._upgrades:
            return  # _parse starts again
        keeps_alive = self._parser.should_keep_alive()
        try:
            self.receiving = parse_head(self._method, self._version, self._target, self._headers, keeps_alive)
        except Invalid as error:
            self.fail(error)
            raise
        self.requests.append(self.receiving)
        self._on_head(False)

    def on_body(self, data: bytes) -> None:
        """Add to the body, or count what is discarded."""
        self._overhead_bytes = 0
        if self.receiving is None:
            return
        if self.receiving.is_discarded:
            self.receiving.discarded_bytes += len(data)
        else:
            self.receiving.pending += data

    def on_message_complete(self) -> None:
        """End the body."""
        if self.receiving is not None:
            self.receiving.is_complete = True
            self.receiving = None
