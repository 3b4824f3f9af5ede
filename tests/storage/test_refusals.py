"""What a cloud refuses, as a sentence that says what to do. Servers of our own answer as the clouds do."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
import pytest

from profbucket.errors import Misconfigured, StoragePermissionError, Unavailable
from profbucket.storage.ports import Bucket, ObjectRange, Selection
from storage_gcs import FirestoreIndex, GcsBucket
from storage_s3 import S3Bucket
from tests.support.storage.examples import ALL_TIME, make_meta

_XML = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>{0}</Message></Error>"

CALLS: dict[str, Callable[[Bucket], Any]] = {
    "put": lambda bucket: bucket.put("api/cpu/1", b"data", {}),
    "get": lambda bucket: bucket.get("api/cpu/1"),
    "get_many": lambda bucket: list(bucket.get_many([ObjectRange("api/cpu/1"), ObjectRange("api/cpu/2")])),
    "stat": lambda bucket: bucket.stat("api/cpu/1"),
    "list": lambda bucket: list(bucket.list("a", "b")),
    "delete": lambda bucket: bucket.delete("api/cpu/1"),
}


Answer = tuple[int, bytes, dict[str, str]]


@contextmanager
def answering(*answers: Answer) -> Iterator[str]:
    """A server that gives *answers* in turn and repeats the last; gives its URL."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body, headers = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815 - as http.server calls them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def gcs_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    return GcsBucket("bucket")


@pytest.mark.parametrize(("call", "status"), [*((call, 403) for call in CALLS), ("put", 401), ("get", 401)])
def test_cloud_storage_that_refuses_names_the_role_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, call: str, status: int
) -> None:
    roles = {"put": "objectCreator", "delete": "objectUser"}
    with answering((status, b'{"error": {"message": "not you"}}', {"Content-Type": "application/json"})) as url:
        with pytest.raises(StoragePermissionError) as error:
            CALLS[call](gcs_at(url, monkeypatch))
        assert f"grant roles/storage.{roles.get(call, 'objectViewer')} on the bucket 'bucket'" in str(error.value)
        assert "not you" in str(error.value)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("credentials")
def test_s3_that_refuses_names_the_action_to_allow(call: str) -> None:
    actions = {"put": "s3:PutObject", "delete": "s3:DeleteObject", "list": "s3:"}
    with answering((403, _XML.format("AccessDenied").encode(), {})) as url:
        with pytest.raises(StoragePermissionError) as error:
            CALLS[call](S3Bucket("bucket", url))
        assert f"allow {actions.get(call, 's3:GetObject')}" in str(error.value)


def test_a_bucket_that_is_not_there_is_a_wrong_setting(gcs: str, s3: str) -> None:
    for bucket in (GcsBucket("no-such-bucket"), S3Bucket("no-such-bucket", s3)):
        for call in ("put", "list"):
            with pytest.raises(Misconfigured, match=r"has no bucket 'no-such-bucket'"):
                CALLS[call](bucket)


def test_a_damaged_object_is_fetched_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum is of "data"."""
    right = {"x-goog-hash": "crc32c=rth90Q==,md5=jXd/OF09/siBXSD3SWAm3A=="}
    with answering((200, b"date", right), (200, b"data", right)) as url:
        assert gcs_at(url, monkeypatch).get("api/cpu/1") == b"data"


def test_what_passes_is_tried_again_by_cloud_storage_and_s3(
    monkeypatch: pytest.MonkeyPatch, credentials: None
) -> None:
    busy: Answer = (503, b"busy", {})
    for call, answer in (("get", b"data"), ("put", b"")):
        with answering(busy, (429, b"slow", {}), (200, answer, {})) as url:
            CALLS[call](gcs_at(url, monkeypatch))
        with answering(busy, busy, (200, answer, {})) as url:
            CALLS[call](S3Bucket("bucket", url))


@pytest.mark.usefixtures("credentials")
def test_a_put_that_another_is_under_way_of_waits_for_its_outcome() -> None:
    """S3 answers 409 while two write one key: whether there is an object is known when one of them is done."""
    conflict: Answer = (409, _XML.format("ConditionalRequestConflict").encode(), {})
    there: Answer = (412, _XML.format("PreconditionFailed").encode(), {})
    with answering(conflict, conflict, there) as url:
        assert S3Bucket("bucket", url).put("api/cpu/1", b"data", {}) is False
    with answering(conflict, (200, b"", {})) as url:
        assert S3Bucket("bucket", url).put("api/cpu/1", b"data", {}) is True


@pytest.mark.usefixtures("credentials")
def test_s3_that_stays_unavailable_says_so() -> None:
    with (
        answering((503, _XML.format("SlowDown").encode(), {})) as url,
        pytest.raises(Unavailable, match="SlowDown"),
    ):
        S3Bucket("bucket", url).get("api/cpu/1")


@contextmanager
def firestore_answering(code: grpc.StatusCode, text: str) -> Iterator[str]:
    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc] # it ships no types
        def service(self, details: Any) -> Any:
            def stream(request: bytes, context: Any) -> Iterator[bytes]:
                context.abort(code, text)
                yield b""

            return grpc.unary_stream_rpc_method_handler(stream)

    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, [Handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, StoragePermissionError, "grant .*datastore"),
        (grpc.StatusCode.UNAUTHENTICATED, StoragePermissionError, "grant .*datastore"),
        (grpc.StatusCode.FAILED_PRECONDITION, Misconfigured, "storage_gcs/indexes.json.*what it says"),
        (grpc.StatusCode.NOT_FOUND, Misconfigured, "storage_gcs/indexes.json.*what it says"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
@pytest.mark.parametrize("call", ["add", "find"])
def test_firestore_that_refuses_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode, error: type[Exception], sentence: str, call: str
) -> None:
    with firestore_answering(code, "what it says") as host:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        index = FirestoreIndex("project")
        with pytest.raises(error, match=sentence):
            index.add(make_meta()) if call == "add" else list(index.find(Selection("api", None, *ALL_TIME)))
