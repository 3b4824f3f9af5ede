"""Errors of cloud services, from local servers that answer as the services do."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any

import grpc
import pytest

from profbucket.errors import Damaged, Misconfigured, StoragePermissionError, Unavailable
from profbucket.storage.memory import MemoryIndex
from profbucket.storage.ports import Bucket, ObjectRange, Selection
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket, firestore
from storage_s3 import S3Bucket
from tests.support.serving import running
from tests.support.storage.examples import ALL_TIME, make_meta

_XML = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>{0}</Message></Error>"

CALLS: dict[str, Callable[[Bucket], Any]] = {
    "put": lambda bucket: bucket.put("api/cpu/1", b"data", {}),
    "replace": lambda bucket: bucket.replace("api/cpu/1", b"data", {}),
    "get": lambda bucket: bucket.get("api/cpu/1"),
    "get_many": lambda bucket: list(bucket.get_many([ObjectRange("api/cpu/1"), ObjectRange("api/cpu/2")])),
    "stat": lambda bucket: bucket.stat("api/cpu/1"),
    "verify": lambda bucket: bucket.verify("api/cpu/1", b"data"),
    "list": lambda bucket: list(bucket.list("a", "b")),
    "delete": lambda bucket: bucket.delete("api/cpu/1"),
}


Answer = tuple[int, bytes, dict[str, str]]


@contextmanager
def run_server(*answers: Answer) -> Iterator[str]:
    """Run a server that sends *answers* in turn and repeats the last; yield its URL."""
    remaining = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body, headers = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815 - as http.server calls them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running(server):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def open_gcs(url: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    return GcsBucket("bucket")


@pytest.mark.parametrize(("call", "status"), [*((call, 403) for call in CALLS), ("put", 401), ("get", 401)])
def test_a_permission_error_of_cloud_storage_names_the_missing_role(
    monkeypatch: pytest.MonkeyPatch, call: str, status: int
) -> None:
    roles = {"put": "objectCreator", "replace": "objectUser", "delete": "objectUser"}
    with run_server((status, b'{"error": {"message": "not you"}}', {"Content-Type": "application/json"})) as url:
        with pytest.raises(StoragePermissionError) as error:
            CALLS[call](open_gcs(url, monkeypatch))
        assert f"grant roles/storage.{roles.get(call, 'objectViewer')} on the bucket 'bucket'" in str(error.value)
        assert "not you" in str(error.value)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("credentials")
def test_a_permission_error_of_s3_names_the_missing_action(call: str) -> None:
    actions = {"put": "s3:PutObject", "replace": "s3:PutObject", "delete": "s3:DeleteObject", "list": "s3:"}
    with run_server((403, _XML.format("AccessDenied").encode(), {})) as url:
        with pytest.raises(StoragePermissionError) as error:
            CALLS[call](S3Bucket("bucket", url))
        assert f"allow {actions.get(call, 's3:GetObject')}" in str(error.value)


@pytest.mark.parametrize(
    ("permission", "exists"), [("storage.objects.delete", True), ("storage.objects.create", False)]
)
def test_a_writer_without_permission_to_overwrite_finds_that_the_object_exists(
    monkeypatch: pytest.MonkeyPatch, permission: str, exists: bool
) -> None:
    """Cloud Storage checks permissions before preconditions; its emulator does not check permissions."""
    message = f"writer@project.iam.gserviceaccount.com does not have {permission} access to the object."
    body = json.dumps({"error": {"code": 403, "message": message}}).encode()
    with run_server((403, body, {})) as url:
        bucket = open_gcs(url, monkeypatch)
        if exists:
            assert bucket.put("a/cpu/b.pb.gz", b"data", {}) is False
        else:
            with pytest.raises(StoragePermissionError, match=r"grant roles/storage\.objectCreator on the bucket"):
                bucket.put("a/cpu/b.pb.gz", b"data", {})


def test_a_writer_without_permission_to_read_stores_a_profile_again(
    monkeypatch: pytest.MonkeyPatch, credentials: None
) -> None:
    """The post completes the entry; the object is not compared."""
    meta = make_meta()
    denied = json.dumps({"error": {"code": 403, "message": "you do not have storage.objects.delete access"}})
    with run_server((403, denied.encode(), {"Content-Type": "application/json"})) as url:
        assert Storage(open_gcs(url, monkeypatch), MemoryIndex()).write(meta, b"data") is True
    exists: Answer = (412, _XML.format("PreconditionFailed").encode(), {})
    with run_server(exists, (403, b"", {})) as url:
        assert Storage(S3Bucket("bucket", url), MemoryIndex()).write(meta, b"data") is True


@pytest.mark.usefixtures("credentials")
def test_the_bytes_are_compared_where_an_etag_is_no_md5() -> None:
    """Such as with KMS, or after an upload in parts."""
    head = (200, b"data", {"ETag": '"0123-2"'})
    with run_server(head, (200, b"data", {})) as url:
        assert S3Bucket("bucket", url).verify("api/cpu/1", b"data").size == 4
    with run_server(head, (200, b"date", {})) as url, pytest.raises(Damaged, match="api/cpu/1"):
        S3Bucket("bucket", url).verify("api/cpu/1", b"data")


def test_a_missing_bucket_is_a_configuration_error(gcs: str, s3: str) -> None:
    for bucket in (GcsBucket("no-such-bucket"), S3Bucket("no-such-bucket", s3)):
        for call in ("put", "replace", "list"):
            with pytest.raises(Misconfigured, match=r"has no bucket 'no-such-bucket'"):
                CALLS[call](bucket)


def test_an_object_with_a_wrong_checksum_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum is that of "data"."""
    headers = {"x-goog-hash": "crc32c=rth90Q==,md5=jXd/OF09/siBXSD3SWAm3A=="}
    with run_server((200, b"date", headers), (200, b"data", headers)) as url:
        assert open_gcs(url, monkeypatch).get("api/cpu/1") == b"data"


def test_a_connection_is_closed_before_another_thread_can_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other thread's answer would end in the middle."""
    could_be_taken = []

    class Connection(HTTPConnection):
        def close(self) -> None:
            could_be_taken.append(self in bucket._client.get().http._idle)
            super().close()

    monkeypatch.setattr("storage_gcs.http.HTTPConnection", Connection)
    headers = {"x-goog-hash": "crc32c=rth90Q=="}
    with run_server((200, b"date", headers), (503, b"busy", {}), (200, b"data", headers)) as url:
        bucket: Any = open_gcs(url, monkeypatch)
        assert bucket.get("api/cpu/1") == b"data"
    assert could_be_taken == [False]


@pytest.mark.parametrize(
    "damaged",
    [
        (206, b"234", {"Content-Range": "bytes 2-5/10"}),  # cut short
        (206, b"0123", {"Content-Range": "bytes 0-3/10"}),
        (206, b"234567", {"Content-Range": "bytes 2-7/10"}),
        (206, b"2345", {}),
        (206, b"2345", {"Content-Range": "bytes two-5/10"}),
    ],
)
def test_a_part_that_is_not_the_requested_one_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch, damaged: Answer
) -> None:
    with run_server(damaged, (206, b"2345", {"Content-Range": "bytes 2-5/10"})) as url:
        bucket = open_gcs(url, monkeypatch)
        assert list(bucket.get_many([ObjectRange("api/cpu/1", 2, 6)])) == [b"2345"]


def test_a_part_of_s3_that_is_cut_short_is_fetched_again(credentials: None) -> None:
    whole = (206, b"2345", {"Content-Range": "bytes 2-5/10"})
    with run_server((206, b"234", {"Content-Range": "bytes 2-5/10"}), whole) as url:
        bucket = S3Bucket("bucket", url)
        assert list(bucket.get_many([ObjectRange("api/cpu/1", 2, 6)])) == [b"2345"]


def test_temporary_errors_are_retried(monkeypatch: pytest.MonkeyPatch, credentials: None) -> None:
    busy: Answer = (503, b"busy", {})
    for call, answer in (("get", b"data"), ("put", b"")):
        with run_server(busy, (429, b"slow", {}), (200, answer, {})) as url:
            CALLS[call](open_gcs(url, monkeypatch))
        with run_server(busy, busy, (200, answer, {})) as url:
            CALLS[call](S3Bucket("bucket", url))


@pytest.mark.usefixtures("credentials")
def test_a_put_waits_for_the_outcome_of_a_concurrent_put() -> None:
    """S3 answers 409 while two writers put the same key; which one wins is known when one of them is done."""
    conflict: Answer = (409, _XML.format("ConditionalRequestConflict").encode(), {})
    exists: Answer = (412, _XML.format("PreconditionFailed").encode(), {})
    with run_server(conflict, conflict, exists) as url:
        assert S3Bucket("bucket", url).put("api/cpu/1", b"data", {}) is False
    with run_server(conflict, (200, b"", {})) as url:
        assert S3Bucket("bucket", url).put("api/cpu/1", b"data", {}) is True


@pytest.mark.usefixtures("credentials")
def test_s3_is_unavailable_if_all_attempts_fail() -> None:
    with (
        run_server((503, _XML.format("SlowDown").encode(), {})) as url,
        pytest.raises(Unavailable, match="SlowDown"),
    ):
        S3Bucket("bucket", url).get("api/cpu/1")


@contextmanager
def run_firestore(answer: Callable[[bytes, Any], Iterator[bytes]]) -> Iterator[str]:
    """Run a server that answers each call with *answer* of the request and its context; yield its address."""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
        def service(self, details: Any) -> Any:
            return grpc.unary_stream_rpc_method_handler(answer)

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
        (grpc.StatusCode.FAILED_PRECONDITION, Misconfigured, "storage_gcs/indexes.json.*details of the error"),
        (grpc.StatusCode.NOT_FOUND, Misconfigured, "storage_gcs/indexes.json.*details of the error"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
@pytest.mark.parametrize("call", ["add", "find"])
def test_a_permanent_error_of_firestore_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode, error: type[Exception], sentence: str, call: str
) -> None:
    def refuse(_: bytes, context: Any) -> Iterator[bytes]:
        context.abort(code, "details of the error")
        yield b""

    with run_firestore(refuse) as host:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        index = FirestoreIndex("project")
        with pytest.raises(error, match=sentence):
            index.add(make_meta()) if call == "add" else list(index.find(Selection("api", None, *ALL_TIME)))


def test_a_query_that_timed_out_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer takes longer than one attempt may."""
    assert firestore.QUERY_TIMEOUT_SECONDS + 2 < firestore.CALL_TIMEOUT_SECONDS
    assert firestore.QUERY_TIMEOUT_SECONDS + firestore.CALL_TIMEOUT_SECONDS < 30
    monkeypatch.setattr(firestore, "QUERY_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(firestore, "CALL_TIMEOUT_SECONDS", 10.0)
    attempts: list[bytes] = []
    repeated = Event()

    def answer_late(request: bytes, _: Any) -> Iterator[bytes]:
        attempts.append(request)
        if len(attempts) == 1:
            repeated.wait(10)
        repeated.set()
        yield b""

    with run_firestore(answer_late) as host:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        assert list(FirestoreIndex("project").find(Selection("api", None, *ALL_TIME))) == []
    assert len(attempts) == 2
