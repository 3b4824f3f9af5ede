"""Requests to a collector over HTTP, with retries and redirects."""

import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import quote, urlencode, urljoin, urlsplit

from profbucket.errors import Unavailable
from profbucket.model.numbers import parse_count
from profbucket.timed_http import REQUEST_ERRORS, request

_RETRIES = 5  # after a 5xx, or a connection that broke
_CONNECT_RETRIES = 2  # if there was no connection: more likely the URL is wrong
_FIRST_WAIT_SECONDS = 0.5  # before the second retry; doubled each time. The first one follows at once.
_MAX_WAIT_SECONDS = 60.0  # whatever Retry-After says
_ATTEMPT_SECONDS = 300.0  # for one request, with its response
_CONNECT_SECONDS = 10.0
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Errors of a connection that was there; all others are about making one.
_BROKEN_CONNECTION = (ConnectionResetError, BrokenPipeError, HTTPException)


class Response(NamedTuple):
    """A response that was read to its end; ``retry_after`` is its header of that name."""

    status: int
    reason: str
    retry_after: str | None
    body: bytes


class HttpSession:
    """Requests to the collector at *url*, each with these *headers*."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self._headers = headers

    def exchange(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/octet-stream",
    ) -> Response:
        """Return the response, after retries and redirects; raise ``Unavailable`` if no attempt succeeds."""
        url = f"{self.url}/api/0/{quote(path, safe='/+~')}"
        if parameters:
            url += f"?{urlencode(parameters)}"
        headers = self._headers if body is None else {**self._headers, "Content-Type": content_type}
        attempt = 0
        while True:
            retry_after = None
            try:
                response = self._send(method, url, body, headers)
            except REQUEST_ERRORS as error:
                retries = _RETRIES if isinstance(error, _BROKEN_CONNECTION) else _CONNECT_RETRIES
                if attempt >= retries:
                    raise Unavailable(
                        f"{self.url} cannot be reached: {_describe(error)}; "
                        "set the collector's URL with --url or PROFBUCKET_URL"
                    ) from None
            else:
                if response.status < 500 or attempt >= _RETRIES:
                    return response
                retry_after = response.retry_after
            time.sleep(_wait_seconds(attempt, retry_after))
            attempt += 1

    def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
        """Send one request, follow redirects, and return the response.

        A redirect to another origin, such as a signed link to a bucket, gets no credentials.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            with request(
                method,
                url,
                seconds=_ATTEMPT_SECONDS,
                connect_seconds=_CONNECT_SECONDS,
                body=body,
                headers=headers,
            ) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    retry_after = response.headers.get("Retry-After")
                    return Response(response.status, response.reason, retry_after, response.read())
            target = urljoin(url, location)
            if _origin(target) != _origin(url):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise HTTPException(f"more than {_MAX_REDIRECTS} redirects")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _wait_seconds(attempt: int, retry_after: str | None) -> float:
    """Return how long to wait after *attempt*: what the collector says, or twice as long as the last time."""
    if (seconds := parse_count(retry_after or "", most=10**20)) is not None:
        return min(float(seconds), _MAX_WAIT_SECONDS)
    return min(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1), _MAX_WAIT_SECONDS) if attempt else 0.0


def _describe(error: Exception) -> str:
    if getattr(error, "reason", "") == "WRONG_VERSION_NUMBER":  # an SSLError; importing ssl takes long
        return "it does not speak TLS; write http:// instead of https://"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
