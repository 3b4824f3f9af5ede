"""Requests as bytes on a socket, so that they can be wrong in every way, and what the collector answered."""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlencode

TIMEOUT_SECONDS = 70.0  # pprof itself waits 65 for an answer to begin


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or a reason why there is none: then *status* is 0."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error_code(self) -> str:
        with suppress(ValueError, AttributeError):
            return str(json.loads(self.body).get("error_code", ""))
        return ""

    def json(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.status} {self.body[:300]!r}"


def request_bytes(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return a well-formed request."""
    fields = {"Host": "127.0.0.1", "Connection": "close", **(headers or {})}
    if body or method == "POST":
        fields["Content-Length"] = str(len(body))
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(head).encode() + body


def send(port: int, data: bytes, *, truncated: bool = False) -> Answer:
    """Send *data* and return the answer; *truncated* closes our half behind it."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read
                connection.sendall(data)
                if truncated:
                    connection.shutdown(socket.SHUT_WR)
            response = HTTPResponse(connection)
            response.begin()
            return Answer(response.status, dict(response.getheaders()), response.read())
    except (OSError, HTTPException) as error:
        return Answer(0, {}, f"{type(error).__name__}: {error}".encode())


def get(port: int, path: str, **parameters: object) -> Answer:
    query = f"?{urlencode({name.rstrip('_'): value for name, value in parameters.items()})}" if parameters else ""
    return send(port, request_bytes("GET", path + query))


def post(port: int, path: str, body: bytes, **parameters: object) -> Answer:
    return send(port, request_bytes("POST", f"{path}?{urlencode(parameters)}", body))
