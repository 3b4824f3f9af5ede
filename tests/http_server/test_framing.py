"""Beginnings and ends of requests: ambiguous and malformed ones are 400, incomplete ones are never stored."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profbucket.api.app import create_app
from profbucket.auth import ApiKeys, hash_secret
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.form import PROFILES_PATH
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.api import Api, pprof
from tests.support.raw_http import Running, chunk, head, running_server

POST = f"{PROFILES_PATH}?service=api&type=cpu"
DATA = pprof()
LENGTH = f"Content-Length: {len(DATA)}"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture
def api() -> Api:
    return Api(Storage(MemoryBucket(), MemoryIndex()))


@pytest.fixture
def running(api: Api) -> Iterator[Running]:
    with running_server(api.app, linger_seconds=0.1) as running:
        yield running


@pytest.mark.parametrize(
    "request_bytes",
    [
        head("POST", POST, LENGTH, CHUNKED) + chunk(DATA) + chunk(b""),
        head("POST", POST, CHUNKED, LENGTH) + chunk(DATA) + chunk(b""),
        head("POST", POST, LENGTH, LENGTH) + DATA,
        head("POST", POST, LENGTH, "Content-Length: 3") + DATA,
        head("POST", POST, f"{LENGTH}, {len(DATA)}") + DATA,
        head("POST", POST, f"Content-Length: +{len(DATA)}") + DATA,
        head("POST", POST, "Content-Length: 0x10") + DATA,
        head("POST", POST, "Content-Length: -1") + DATA,
        head("POST", POST, "Content-Length: ") + DATA,
        head("POST", POST, f"Content-Length: {10**30}") + DATA,
        head("POST", POST, "Transfer-Encoding: gzip, chunked") + chunk(DATA) + chunk(b""),
        head("POST", POST, "Transfer-Encoding: identity") + DATA,
        head("POST", POST, "Transfer-Encoding: xchunked") + chunk(DATA) + chunk(b""),
        head("POST", POST, CHUNKED, CHUNKED) + chunk(DATA) + chunk(b""),
        head("POST", POST, CHUNKED, version="1.0") + chunk(DATA) + chunk(b""),
        head("POST", POST, CHUNKED) + b"zz\r\n\r\n",
        head("POST", POST, CHUNKED) + b"-1\r\n\r\n",
        head("POST", POST, CHUNKED) + b"f" * 17 + b"\r\n\r\n",
        head("POST", POST, CHUNKED) + chunk(DATA)[:-2] + b"xx" + chunk(b""),
        head("POST", POST, CHUNKED) + chunk(DATA).replace(b"\r\n", b"\n", 1) + chunk(b""),
        head("POST", POST, CHUNKED) + chunk(DATA) + b"0\r\nContent-Length: 5\r\n\r\n",
        head("POST", POST, LENGTH, "Host: other") + DATA,
        head("POST", POST, "X: a", " b", LENGTH) + DATA,
        head("POST", POST, "X : a", LENGTH) + DATA,
        head("POST", POST, "X: a\0b", LENGTH) + DATA,
        head("POST", POST, "X", LENGTH) + DATA,
        head("POST", POST, LENGTH).replace(b"\r\n", b"\n") + DATA,
        head("POST", POST, LENGTH, version="2.0") + DATA,
        head("POST", POST, LENGTH, version="1.7") + DATA,
        head("GET", "/healthz", version="0.9"),
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\xfe\r\n\r\n",
        head("NONE", "/healthz"),
        head("OPTIONS", "*"),
        head("CONNECT", "localhost:80"),
        head("GET", "healthz"),
        head("GET", "http://[::1/healthz"),
        head("GET", "/\xff"),
    ],
)
def test_what_is_ambiguous_or_malformed_is_400(api: Api, running: Running, request_bytes: bytes) -> None:
    answer = running.request(request_bytes)
    assert answer.status == 400
    assert answer.json["code"] == 400
    assert answer.json["error_code"] in ("bad_request", "malformed_body")
    assert answer.headers["connection"] == "close"
    assert not api.found()


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")
CHUNKS = chunk(DATA[:9]) + chunk(DATA[9:]) + chunk(b"")
EXTENDED_CHUNKS = b"%X;a=b\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(DATA), DATA)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (head("POST", POST, LENGTH) + DATA, 200),
        (head("POST", POST, CHUNKED) + CHUNKS, 200),
        (head("POST", POST, "TRANSFER-ENCODING: Chunked") + EXTENDED_CHUNKS, 200),
        (head("POST", POST, LENGTH, version="1.0") + DATA, 200),
        (head("POST", f"http://localhost:80{POST}", LENGTH) + DATA, 200),
        (head("POST", f"http://example.com{POST}", LENGTH) + DATA, 401),  # overrides the Host
        (head("POST", f"//{POST}", LENGTH) + DATA, 200),
        (b"\r\n\r\n" + head("POST", POST, LENGTH) + DATA, 200),
        (head("POST", POST, LENGTH, *UPGRADE) + DATA, 200),
        (head("POST", POST, CHUNKED, "Connection: Upgrade", "Upgrade: websocket") + CHUNKS, 200),
        (head("POST", POST), 400),
        (head("POST", POST, "Content-Length: 0"), 400),
        (head("PUT", POST, LENGTH) + DATA, 405),
        (head("POST", "/%00%ff", LENGTH) + DATA, 404),
        (head("POST", POST + "&a=%zz", LENGTH) + DATA, 200),
    ],
)
def test_what_is_not_is_answered(running: Running, request_bytes: bytes, status: int) -> None:
    """In one piece and byte by byte, and the connection can be used again."""
    with running.connect() as client:
        assert client.send(request_bytes).answer().status == status
    with running.connect() as client:
        for index in range(len(request_bytes)):
            client.send(request_bytes[index : index + 1])
        answer = client.answer()
        assert answer.status == status
        if b"HTTP/1.1" in request_bytes:
            assert client.send(head("GET", "/healthz")).answer().status == 200


def test_requests_can_be_pipelined(api: Api, running: Running) -> None:
    with running.connect() as client:
        get, post = head("GET", "/healthz"), head("POST", POST, LENGTH) + DATA
        client.send(get + head("HEAD", "/healthz") + post + head("GET", "/nowhere") + get * 5)
        answers = [client.answer(method) for method in ("GET", "HEAD", "POST", "GET", *["GET"] * 5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 404, *[200] * 5]
        assert answers[2].json["body"]["id"] == api.found()[0]


def test_garbage_after_a_request_does_not_replace_its_response(running: Running) -> None:
    with running.connect() as client:
        client.send(head("POST", POST, LENGTH) + DATA + b"garbage\r\n\r\n")
        assert [client.answer().status, client.answer().status] == [200, 400]
        assert client.is_closed()


def test_after_connection_close_nothing_is_read(api: Api, running: Running) -> None:
    with running.connect() as client:
        client.send(head("GET", "/healthz", "Connection: close") + head("POST", POST, LENGTH) + DATA)
        assert client.answer().headers["connection"] == "close"
        assert client.is_closed()
    assert not api.found()


@pytest.mark.parametrize("keep", [True, False])
def test_http_1_0_keeps_the_connection_if_asked(running: Running, keep: bool) -> None:
    with running.connect() as client:
        headers = ["Connection: keep-alive"] if keep else []
        answer = client.send(head("GET", "/healthz", *headers, version="1.0")).answer()
        assert answer.headers["connection"] == ("keep-alive" if keep else "close")
        assert keep or client.is_closed()


class TestBrokenOff:
    """A body that ends early is never stored, wherever that is."""

    @pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
    @pytest.mark.parametrize("reads", [True, False])
    def test_at_every_byte(self, api: Api, running: Running, framing: str, reads: bool) -> None:
        sent = DATA if framing == LENGTH else chunk(DATA) + chunk(b"")
        for size in range(0, len(sent), 1 if reads else 7):
            with running.connect() as client:
                client.send(head("POST", POST, framing) + sent[:size])
                if reads:
                    answer = client.send_eof().answer()
                    assert (answer.status, answer.json["error_code"]) == (400, "incomplete_body")
        running.stop()
        assert running.is_drained
        assert not api.found()
        assert running.server.admission.reserved_bytes == 0

    def test_a_client_that_ends_its_side_after_a_request_gets_the_response(self, running: Running) -> None:
        with running.connect() as client:
            assert client.send(head("POST", POST, LENGTH) + DATA).send_eof().answer().status == 200
            assert client.is_closed()


@contextmanager
def running_with_keys(limits: Limits) -> Iterator[Running]:
    """Run a server that requires the key ``secret``, with *limits*."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    keys = ApiKeys.parse(f'[{{"name": "all", "sha256": "{hash_secret("secret").hex()}", "scopes": ["write"]}}]')
    app = create_app(
        Config("memory:", limits, keys=keys),
        collector=Collector(storage, limits),
        querier=Querier(storage, limits),
    )
    with running_server(app, linger_seconds=0.1) as running:
        yield running


class TestBeforeTheBody:
    """A request that its head condemns is answered before its body, which takes no memory."""

    EXPECT = "Expect: 100-continue"
    KEY = "X-Api-Key: secret"

    @pytest.mark.parametrize(
        ("target", "headers", "status"),
        [
            (POST, [EXPECT], 401),
            (POST, ["X_Api_Key: secret", EXPECT], 401),
            (POST, ["Transfer-Encoding: chunked"], 401),
            (POST, ["Content-Length: 100000"], 401),
            (POST, [KEY, "Content-Length: 200000"], 413),
            (POST, [KEY, "Content-Length: 200000", EXPECT], 413),
            (POST, [KEY, EXPECT, CHUNKED, "Content-Encoding: br"], 415),
            (POST, [KEY, CHUNKED, "Origin: http://evil.example"], 403),
            (PROFILES_PATH, [KEY, CHUNKED], 400),
            ("/ingest?name=x", [CHUNKED], 401),
            ("/nowhere", [KEY, CHUNKED], 404),
            ("/symbolz", [KEY, CHUNKED], 200),
        ],
    )
    def test_it_is_refused(self, target: str, headers: list[str], status: int) -> None:
        with running_with_keys(Limits(body_bytes=150_000)) as running, running.connect() as client:
            if not any(header.startswith(("Content-Length", "Transfer")) for header in headers):
                headers = [*headers, LENGTH]
            assert client.send(head("POST", target, *headers)).answer().status == status
            assert running.server.admission.reserved_bytes == 0

    @pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
    def test_another_may_continue(self, framing: str) -> None:
        with running_with_keys(Limits()) as running, running.connect() as client:
            assert client.send(head("POST", POST, framing, self.KEY, self.EXPECT)).answer().status == 100
            sent = DATA if framing == LENGTH else chunk(DATA) + chunk(b"")
            assert client.send(sent).answer().status == 200
            assert client.send(head("GET", "/healthz")).answer().status == 200

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_client_that_sends_everything_first_sees_the_413(self, chunked: bool) -> None:
        data = bytes(8 << 20)
        with running_with_keys(Limits(body_bytes=5 << 20)) as running:
            connection = HTTPConnection("127.0.0.1", running.port)
            body = iter([data[: 4 << 20], data[4 << 20 :]]) if chunked else data
            connection.request("POST", POST, body, {"X-Api-Key": "secret"}, encode_chunked=chunked)
            response: HTTPResponse = connection.getresponse()
            assert (response.status, b"max_body_bytes_exceeded" in response.read()) == (413, True)
            connection.close()


REQUESTS = [
    head("POST", POST, LENGTH) + DATA,
    head("POST", POST, CHUNKED) + chunk(DATA[:20]) + chunk(DATA[20:]) + chunk(b""),
    head("POST", POST, LENGTH, "Expect: 100-continue") + DATA,
    head("POST", POST, LENGTH, "Connection: Upgrade", "Upgrade: h2c") + DATA,
    head("POST", POST, LENGTH, "Content-Encoding: gzip", "X-Api-Key: \xe9") + DATA,
    head("GET", f"{PROFILES_PATH}?service=api&from=0"),
    head("GET", "/healthz", version="1.0"),
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"%",
    b"\xff",
    b"9" * 30,
    b"HTTP/1.1",
    b"chunked",
    b"/../",
    b"?",
    b"&&==",
]
PIECES += [b"0\r\n\r\n", b"\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n"]


@st.composite
def mutated_requests(draw: st.DrawFn) -> bytes:
    """Draw some requests in a row with some bytes cut out, replaced or inserted."""
    data = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 12))
        data = data[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=8)) + data[end:]
    return data


def test_mutated_requests_never_fail_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """Each response is below 500 and whole; no exception is logged, and the server goes on."""
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    with running_server(api.app, linger_seconds=0.05, head_seconds=5, body_seconds=5) as running:

        @given(mutated_requests(), st.integers(1, 400))
        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        def exchange(data: bytes, step: int) -> None:
            with running.connect() as client:
                try:
                    for start in range(0, len(data), step):
                        client.send(data[start : start + step])
                    client.send_eof()
                except OSError:  # the server has closed the connection after its response
                    pass
                statuses = client.statuses()
                assert all(status < 500 for status in statuses)
            assert running.server.admission.reserved_bytes == 0

        exchange()
        assert running.get("/healthz").status == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
