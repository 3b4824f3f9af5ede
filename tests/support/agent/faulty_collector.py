"""A collector with faults, in front of a real one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from profbucket.ingest.multipart import read_parts
from profbucket.model.form import BATCH_PATH
from tests.support.serving import running


@dataclass(frozen=True)
class PostedProfile:
    """A profile in a request, and its parameters."""

    query: str
    data: bytes

    @property
    def type(self) -> str:
        return parse_qs(self.query)["type"][0]


@dataclass
class Post:
    """A request that was received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def profiles(self) -> list[PostedProfile]:
        url = urlsplit(self.path)
        if url.path != BATCH_PATH:
            return [PostedProfile(url.query, self.body)]
        return [PostedProfile(part.filename, part.data) for part in read_parts(self.body, self.content_type)]

    @property
    def content_type(self) -> str:
        return self.headers["Content-Type"]

    @property
    def types(self) -> list[str]:
        return [profile.type for profile in self.profiles]


@dataclass
class FaultyCollector:
    """A server that handles each post by :attr:`fault`: a status to answer, ``lost``, ``hang``, ``old``, or none.

    Without a fault, the collector *backend* answers. With ``lost``, it stores the post but its response is
    discarded. With ``old``, it has no route for batches.
    """

    url: str
    backend: str = ""
    fault: int | str = ""
    retry_after: str = ""
    answer: bytes = b"no"  # with a fault
    posts: list[Post] = field(default_factory=list)
    received: threading.Condition = field(default_factory=threading.Condition)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def profiles(self) -> list[PostedProfile]:
        return [profile for post in self.posts for profile in post.profiles]

    def wait_for(self, enough: Callable[[list[Post]], bool], seconds: float = 60.0) -> list[Post]:
        """Wait until there are *enough* posts, and return them."""
        with self.received:
            assert self.received.wait_for(lambda: enough(self.posts), seconds), f"only {len(self.posts)} posts"
            return list(self.posts)

    def note(self, post: Post) -> None:
        with self.received:
            self.posts.append(post)
            self.received.notify_all()

    def forward(self, post: Post) -> tuple[int, bytes]:
        if not self.backend:
            return 200, b"{}"
        parts = urlsplit(self.backend)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            connection.request("POST", post.path, post.body, {"Content-Type": post.content_type})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def run_faulty_collector(backend: str = "", port: int = 0) -> Iterator[FaultyCollector]:
    """Run a faulty collector on this machine that forwards posts to *backend*."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            post = Post(self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])))
            fault = collector.fault
            collector.note(post)
            if fault == "hang":
                collector.over.wait()
            elif fault == "lost":
                collector.forward(post)
            else:
                if fault == "old":
                    fault = 404 if self.path == BATCH_PATH else ""
                status, body = collector.forward(post) if fault == "" else (int(fault), collector.answer)
                self.send_response(status)
                if collector.retry_after:
                    self.send_header("Retry-After", collector.retry_after)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name in the base class
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        collector = FaultyCollector(f"http://127.0.0.1:{server.server_port}", backend)
        with running(server):
            try:
                yield collector
            finally:
                collector.over.set()
