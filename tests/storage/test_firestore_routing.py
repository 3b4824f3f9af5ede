"""The metadata of calls to Firestore, seen by a server that answers all of them with an error."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest

from profbucket.errors import ProfbucketError
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Series, SeriesSelection
from storage_gcs.index import FirestoreIndex

DATABASE = "projects/project-a/databases/index-b"


class Recorder(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
    """A server of any method, which records the routing parameters and refuses each call."""

    def __init__(self) -> None:
        self.parameters: dict[str, str] = {}

    def service(self, handler_call_details: Any) -> Any:
        metadata = dict(handler_call_details.invocation_metadata)
        method = handler_call_details.method.rpartition("/")[2]
        self.parameters[method] = metadata.get("x-goog-request-params", "")

        def refuse(request: Any, context: Any) -> Any:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "refused")

        if method == "RunQuery":
            return grpc.unary_stream_rpc_method_handler(refuse)
        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Start the server, to which the library connects as to an emulator."""
    recorder = Recorder()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[recorder])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{port}")
    yield recorder
    server.stop(None).wait()


def test_calls_tell_which_database_they_are_for(recorder: Recorder) -> None:
    index = FirestoreIndex("project-a", "index-b")
    for call in (
        lambda: index.add_series(Series("1", "api", ProfileType.CPU, Labels())),
        lambda: index.series(SeriesSelection("api", None)),
    ):
        with suppress(ProfbucketError):
            call()
    assert recorder.parameters == {
        "Commit": f"database={DATABASE}",
        "RunQuery": f"parent={DATABASE}/documents",
    }
