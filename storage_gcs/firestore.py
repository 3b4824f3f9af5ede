"""Calls to Firestore: protobuf messages on the library's channel, with bounded retries.

The library's own objects cost 0.7 ms of CPU a write and 170 µs a document read, the messages below them 0.4 ms
and 31 µs (measured on one emulator): a find of thousands would spend most of its time there.
"""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import grpc
from google.auth.exceptions import GoogleAuthError
from google.cloud import firestore
from google.cloud.firestore_v1 import types

from profbucket.errors import Misconfigured, StoragePermissionError, Unavailable

_T = TypeVar("_T")

Document = tuple[str, str, Callable[[Any], None]]  # collection, id, and what sets the fields

WRITE_ROLE = "roles/datastore.user"
_CREATE_ROLE = "a role with datastore.entities.create"

CALL_TIMEOUT_SECONDS = 18.0  # no attempt begins later
WRITE_TIMEOUT_SECONDS = 6.0  # of one attempt: the call ends within 24 seconds
QUERY_TIMEOUT_SECONDS = 10.0  # of one attempt, less than for a call, which ends within 28 seconds
BLOCK_TIMEOUT_SECONDS = 30.0  # of one attempt to commit a block, which removes hundreds of documents
BLOCK_CALL_TIMEOUT_SECONDS = 60.0  # no attempt to commit a block begins later

_RETRYABLE_CODES = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

# The messages of the service and of its emulator for a missing document; a missing database has other messages.
_MISSING_DOCUMENT_MESSAGES = ("no document to update", "no entity to update")

_ROUTING_HEADER = "x-goog-request-params"
_TOO_LARGE_MESSAGE = "transaction too big"
_SMALLEST_WRITES = 2  # a block and its only member
_MANY_WRITES = 50  # fewer time out only if Firestore is slow in any case

# The plain protobuf classes below the library's.
CommitRequest: Any = type(types.CommitRequest.pb(types.CommitRequest()))
RunQueryRequest: Any = type(types.RunQueryRequest.pb(types.RunQueryRequest()))
_RollbackRequest: Any = type(types.RollbackRequest.pb(types.RollbackRequest()))
_CommitResponse: Any = type(types.CommitResponse.pb(types.CommitResponse()))
_RunQueryResponse: Any = type(types.RunQueryResponse.pb(types.RunQueryResponse()))


class DocumentExists(Exception):
    """The precondition failed that a document does not exist."""


class DocumentMissing(Exception):
    """The precondition failed that a document exists."""


class TransactionTooLarge(Exception):
    """Firestore refused a commit for its size, or did not finish it in time: it may still have happened."""


class Calls:
    """Commits to and queries of one database. A forked process must not use its parent's."""

    def __init__(self, project: str | None, database: str) -> None:
        try:
            client = firestore.Client(project=project, database=database)
            channel = client._firestore_api.transport.grpc_channel
        except (GoogleAuthError, OSError) as error:
            raise Misconfigured(
                "no Google credentials for Firestore: run gcloud auth application-default login, and set the"
                f" project in STORAGE_URL as project=…; {error}"
            ) from error
        self.name = client._database_string
        self.documents = f"{self.name}/documents"
        # Firestore routes a call by these parameters, which the library adds to its own calls.
        self._commit_metadata = [*client._rpc_metadata, (_ROUTING_HEADER, f"database={self.name}")]
        self._query_metadata = [*client._rpc_metadata, (_ROUTING_HEADER, f"parent={self.documents}")]
        self._commit = channel.unary_unary(
            "/google.firestore.v1.Firestore/Commit",
            request_serializer=CommitRequest.SerializeToString,
            response_deserializer=_CommitResponse.FromString,
        )
        self._rollback = channel.unary_unary(
            "/google.firestore.v1.Firestore/Rollback",
            request_serializer=_RollbackRequest.SerializeToString,
            response_deserializer=bytes,
        )
        self._query = channel.unary_stream(
            "/google.firestore.v1.Firestore/RunQuery",
            request_serializer=RunQueryRequest.SerializeToString,
            response_deserializer=_RunQueryResponse.FromString,
        )

    def create(self, *documents: Document) -> bool:
        """Create *documents* and return ``True``; return ``False`` and change nothing if one of them exists."""
        request = CommitRequest()
        for collection, document, fill in documents:
            write = request.writes.add()
            write.update.name = f"{self.documents}/{collection}/{document}"
            write.current_document.exists = False
            fill(write.update.fields)
        try:
            self.commit(request, "write an entry", _CREATE_ROLE)
        except DocumentExists:
            return False  # it existed before, or was created by an attempt whose answer was lost
        return True

    def commit(self, request: Any, operation: str, role: str) -> None:
        """Commit all writes of *request* atomically. *operation*, a verb phrase, and *role* are for errors.

        Raise ``DocumentExists`` or ``DocumentMissing`` if a precondition failed.
        """
        request.database = self.name
        self._call(
            lambda: self._commit(request, timeout=WRITE_TIMEOUT_SECONDS, metadata=self._commit_metadata),
            operation,
            role,
        )

    def commit_block(
        self, query: Any, condition: Callable[[list[Any]], bool], request: Any, operation: str, role: str
    ) -> bool:
        """Commit *request* if the documents that *query* selects satisfy *condition*; return whether they do.

        Both are one transaction: Firestore locks what the query reads. Without *query* there is no condition.

        Raises:
            DocumentExists: a document that must not exist does.
            DocumentMissing: a document that must exist does not.
            TransactionTooLarge: it has too many writes, or it timed out and fewer writes may not.
        """
        request.database = self.name

        def attempt() -> bool:
            if query is None:
                self._commit_in_time(request)
                return True
            query.parent = self.documents
            query.new_transaction.read_write.SetInParent()
            answers: list[Any] = list(
                self._query(query, timeout=QUERY_TIMEOUT_SECONDS, metadata=self._query_metadata)
            )
            request.transaction = next(answer.transaction for answer in answers if answer.transaction)
            try:
                if condition([answer.document for answer in answers if answer.HasField("document")]):
                    self._commit_in_time(request)
                    return True
            except BaseException:
                self._release(request.transaction)
                raise
            self._release(request.transaction)
            return False

        return self._call(attempt, operation, role, BLOCK_CALL_TIMEOUT_SECONDS)

    def _commit_in_time(self, request: Any) -> None:
        """Commit *request*; raise ``TransactionTooLarge`` if fewer writes may succeed."""
        try:
            self._commit(request, timeout=BLOCK_TIMEOUT_SECONDS, metadata=self._commit_metadata)
        except grpc.RpcError as error:
            code, details = error.code(), (error.details() or "").lower()
            too_large = code == grpc.StatusCode.INVALID_ARGUMENT or _TOO_LARGE_MESSAGE in details
            if (too_large and len(request.writes) > _SMALLEST_WRITES) or (
                code == grpc.StatusCode.DEADLINE_EXCEEDED and len(request.writes) > _MANY_WRITES
            ):
                raise TransactionTooLarge(f"{len(request.writes)} writes: {code.name}: {details[:200]}") from error
            raise

    def _release(self, transaction: bytes) -> None:
        """Release the locks of *transaction*, which Firestore would hold for a minute."""
        request = _RollbackRequest(database=self.name, transaction=transaction)
        with suppress(grpc.RpcError):  # it has ended already, or cannot be reached
            self._rollback(request, timeout=WRITE_TIMEOUT_SECONDS, metadata=self._commit_metadata)

    def query_in_transaction(self, request: Any, transaction: bytes) -> list[Any]:
        """Return all documents that *request* selects, and lock them: for the condition of a commit of a block."""
        request.parent = self.documents
        request.transaction = transaction
        answers = list(self._query(request, timeout=QUERY_TIMEOUT_SECONDS, metadata=self._query_metadata))
        return [answer.document for answer in answers if answer.HasField("document")]

    def query(self, request: Any) -> list[Any]:
        """Return all documents that *request* selects; it must bound their number itself."""
        return self.query_with_read_time(request)[0]

    def query_with_read_time(self, request: Any) -> tuple[list[Any], Any]:
        """Return the documents and their ``read_time``, with which another request reads as of the same moment."""
        request.parent = self.documents

        def attempt() -> tuple[list[Any], Any]:
            answers: list[Any] = list(
                self._query(request, timeout=QUERY_TIMEOUT_SECONDS, metadata=self._query_metadata)
            )
            documents = [answer.document for answer in answers if answer.HasField("document")]
            return documents, answers[-1].read_time if answers else None

        return self._call(attempt, "read the index", "roles/datastore.viewer")

    def _call(
        self, attempt: Callable[[], _T], operation: str, role: str, timeout_seconds: float = CALL_TIMEOUT_SECONDS
    ) -> _T:
        deadline = time.monotonic() + timeout_seconds
        for number in range(1000):
            try:
                return attempt()
            except grpc.RpcError as error:
                if error.code() not in _RETRYABLE_CODES:
                    self._raise_permanent(error, operation, role)
                reason = f"{error.code().name}: {error.details()}"
            except GoogleAuthError as error:
                reason = str(error)
            pause = random.uniform(0.5, 1) * min(0.1 * 2**number, 2)  # noqa: S311 - jitter
            if time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        raise Unavailable(f"Firestore failed to {operation}, tried {number + 1} times: {reason[:200]}")

    def _raise_permanent(self, error: Any, operation: str, role: str) -> NoReturn:
        code, details = error.code(), error.details() or ""
        if code == grpc.StatusCode.ALREADY_EXISTS:
            raise DocumentExists from error
        if code == grpc.StatusCode.NOT_FOUND and any(
            message in details.lower() for message in _MISSING_DOCUMENT_MESSAGES
        ):
            raise DocumentMissing from error
        if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
            raise StoragePermissionError(
                f"Firestore denies permission to {operation}: grant {role} on {self.name}; it answered:"
                f" {details[:200]}"
            )
        if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
            # The database does not exist, or a composite index was not created.
            raise Misconfigured(
                f"Firestore cannot {operation}: {self.name} is not set up as storage_gcs/indexes.json says:"
                f" {details[:400]}"
            ) from error
        raise error
