"""A collector that is not well, before one that is."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.support.serving import running


@dataclass
class Post:
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def type(self) -> str:
        return parse_qs(urlsplit(self.path).query)["type"][0]


@dataclass
class Sick:
    """Does to each post what :attr:`fault` says: an answer's status, ``lost``, ``hang``, or nothing.

    A ``lost`` answer is that of the collector behind it, which nobody sees.
    """

    url: str
    behind: str = ""
    fault: int | str = ""
    retry_after: str = ""
    posts: list[Post] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)
    over: threading.Event = field(default_factory=threading.Event)

    def wait_for(self, enough: Callable[[list[Post]], bool], seconds: float = 60.0) -> list[Post]:
        """All posts, once there are *enough*."""
        with self.came:
            assert self.came.wait_for(lambda: enough(self.posts), seconds), f"only {len(self.posts)} posts came"
            return list(self.posts)

    def note(self, post: Post) -> None:
        with self.came:
            self.posts.append(post)
            self.came.notify_all()

    def pass_on(self, post: Post) -> tuple[int, bytes]:
        if not self.behind:
            return 200, b"{}"
        parts = urlsplit(self.behind)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            connection.request("POST", post.path, post.body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def sick(behind: str = "", port: int = 0) -> Iterator[Sick]:
    """A collector on this machine until the block ends; *behind* is where posts are passed on to."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            post = Post(self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])))
            fault = one.fault
            one.note(post)
            if fault == "hang":
                one.over.wait()
            elif fault == "lost":
                one.pass_on(post)
            else:
                status, body = one.pass_on(post) if fault == "" else (int(fault), b"no")
                self.send_response(status)
                if one.retry_after:
                    self.send_header("Retry-After", one.retry_after)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name it has there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        one = Sick(f"http://127.0.0.1:{server.server_port}", behind)
        with running(server):
            try:
                yield one
            finally:
                one.over.set()
