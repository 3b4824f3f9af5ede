"""A 503 for the first upload of each profile, by the agents that send it again."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from profbucket.api.body import RECEIVED_BODY, ReceivedBody

_START = re.compile(rb'"start":\s*"([^"]+)"')  # of a profile of Datadog's


class Refusals:
    """*app*, but with a 503 for the first upload of each profile. ``uploads`` counts them by agent and profile."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self.uploads: Counter[tuple[str, str]] = Counter()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if upload := _identify(environ):
            self.uploads[upload] += 1
            if self.uploads[upload] == 1:
                start_response("503 Service Unavailable", [("Content-Length", "0")])
                return []
        return self._app(environ, start_response)

    def retried(self, agent: str) -> int:
        """Return how many profiles of *agent* were sent again."""
        return sum(count > 1 for (name, _), count in self.uploads.items() if name == agent)


def _identify(environ: WSGIEnvironment) -> tuple[str, str] | None:
    """Return the agent and the profile of an upload that the agent repeats after a 503."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if method == "PATCH" and "gcloud-python-profiler" in environ.get("HTTP_USER_AGENT", ""):
        return "google-cloud-profiler", path
    if path == "/profiling/v1/input" and environ.get("HTTP_DD_EVP_ORIGIN") == "dd-trace-js":
        start = _START.search(_read_body(environ))
        assert start, "the event has no start"
        return f"dd-trace {environ['HTTP_DD_EVP_ORIGIN_VERSION']}", start[1].decode()
    if path == "/v1development/profiles":
        return "beacon-profiling", hashlib.sha256(_read_body(environ)).hexdigest()
    return None


def _read_body(environ: WSGIEnvironment) -> bytes:
    """Return the body of a request, which the server has received."""
    received: ReceivedBody = environ[RECEIVED_BODY]
    return received.buffer.getvalue()
