"""A Cloud Storage bucket."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from profbucket.errors import Damaged, Misconfigured, NotFound, StoragePermissionError, Unavailable
from profbucket.storage.per_process import PerProcess
from profbucket.storage.ports import Object, ObjectRange
from profbucket.storage.prefetch import prefetch

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

    from storage_gcs.http import Http, Refused

# To connect and for the next byte; and until no further attempt is made. A call ends within 30 seconds.
_TIMEOUT_SECONDS = (3.05, 8.0)
_RETRY_SECONDS = 20.0

_CONTENT_TYPE = "application/octet-stream"

_MAX_CONNECTIONS = 64  # the library's default of 10 is fewer than the requests that an instance serves at once

_LIST_FIELDS = "items(name,size,metadata),nextPageToken"
_LIST_PAGE_OBJECTS = 1000  # the maximum of Cloud Storage

# The permission that is missing if a writer without it puts an object that exists.
_OVERWRITE_PERMISSION = "storage.objects.delete"

_CREATE_ROLE = "roles/storage.objectCreator"
_VIEW_ROLE = "roles/storage.objectViewer"
_DELETE_ROLE = "roles/storage.objectUser"


@dataclass(frozen=True, slots=True)
class _Client:
    """The library's bucket, retry policy and credentials, and the HTTP client for objects."""

    bucket: "Bucket"
    retry: Any
    credentials: Any
    http: "Http"


class GcsBucket:
    """The bucket called *name*.

    Objects are put and read by :class:`storage_gcs.http.Http`; the library does everything else. Nothing is
    imported or opened before the first call. The library reads ``STORAGE_EMULATOR_HOST``.
    """

    def __init__(self, name: str, project: str | None = None) -> None:
        self._name = name
        self._client = PerProcess(partial(_open_client, name, project))
        self._signing_credentials = PerProcess(self._open_signing_credentials)

    def put(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        from storage_gcs.http import Refused

        operation = f"write {object_key!r}"
        with self._translate_errors(operation, _CREATE_ROLE):
            try:
                self._upload(object_key, data, metadata, "&ifGenerationMatch=0")
            except Refused as error:
                if error.status == 412:
                    return False  # it existed before, or was created by an attempt whose answer was lost
                if error.status == 403 and _OVERWRITE_PERMISSION in error.text:
                    return False  # the same, if permissions are checked before preconditions
                raise self._translate_refused(error, operation, _CREATE_ROLE) from error
        return True

    def replace(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        from storage_gcs.http import Refused

        operation = f"write {object_key!r}"
        with self._translate_errors(operation, _DELETE_ROLE):
            try:
                self._upload(object_key, data, metadata)
            except Refused as error:
                raise self._translate_refused(error, operation, _DELETE_ROLE) from error

    def get(self, object_key: str) -> bytes:
        data = self._fetch(ObjectRange(object_key), lambda _: None)
        if data is None:
            raise NotFound(f"no object {object_key!r}")
        return data

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        return prefetch(self._fetch, ranges)

    def stat(self, object_key: str) -> Object:
        blob = self._read_metadata(object_key)
        return Object(object_key, blob.size, blob.metadata or {})

    def verify(self, object_key: str, data: bytes) -> Object:
        blob = self._read_metadata(object_key)
        if not _has_bytes(blob, data):
            raise Damaged(f"{object_key} has other bytes than were put: {blob.size} instead of {len(data)}")
        return Object(object_key, blob.size, blob.metadata or {})

    def _read_metadata(self, object_key: str) -> "Blob":
        with self._translate_errors(f"read {object_key!r}", _VIEW_ROLE):
            client = self._client.get()
            blob = client.bucket.get_blob(object_key, timeout=_TIMEOUT_SECONDS, retry=client.retry)
            if blob is None:
                raise NotFound(f"no object {object_key!r}")
            return blob

    def list(self, start: str, end: str) -> Iterator[Object]:
        if start >= end:
            return
        with self._translate_errors(f"list from {start!r}", _VIEW_ROLE):
            client = self._client.get()
            blobs = client.bucket.list_blobs(
                start_offset=start,
                end_offset=end,
                fields=_LIST_FIELDS,
                page_size=_LIST_PAGE_OBJECTS,
                timeout=_TIMEOUT_SECONDS,
                retry=client.retry,
            )
            try:
                for blob in blobs:
                    yield Object(blob.name, blob.size, blob.metadata or {})
            except _not_found_class() as error:
                raise self._missing_bucket() from error

    def delete(self, object_key: str, data: bytes | None = None) -> None:
        with self._translate_errors(f"delete {object_key!r}", _DELETE_ROLE):
            from google.api_core.exceptions import PreconditionFailed

            client = self._client.get()
            blob, options = client.bucket.blob(object_key), {"timeout": _TIMEOUT_SECONDS, "retry": client.retry}
            with suppress(_not_found_class(), PreconditionFailed):
                if data is not None:
                    blob.reload(**options)
                    if not _has_bytes(blob, data):
                        return
                blob.delete(if_generation_match=blob.generation, **options)

    def local_path(self, object_key: str) -> Path | None:
        return None

    def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
        operation = f"sign a URL of {object_key!r}"
        with self._translate_errors(operation, _VIEW_ROLE):
            client = self._client.get()
            if _is_anonymous(client.credentials):  # an emulator, which checks no signatures
                return f"{_origin(client.bucket)}{self._path(object_key)}"
            from storage_gcs.signing import SigningDenied

            credentials = self._signing_credentials.get()
            if credentials is None:
                return None  # a user's own credentials cannot sign
            try:
                url: str = client.bucket.blob(object_key).generate_signed_url(
                    version="v4",
                    expiration=timedelta(seconds=seconds),
                    response_disposition=f'attachment; filename="{filename}"',
                    credentials=credentials,
                )
            except SigningDenied as error:
                raise StoragePermissionError(
                    f"IAM denies permission to {operation}: grant iam.serviceAccounts.signBlob to the account"
                    f" {credentials.signer_email} on itself; it answered: {str(error)[:200]}"
                ) from error
            return url

    def _fetch(self, object_range: ObjectRange, reserve: Callable[[int], None]) -> bytes | None:
        from storage_gcs.http import Refused

        path, operation = self._path(object_range.key), f"read {object_range.key!r}"
        with self._translate_errors(operation, _VIEW_ROLE):
            try:
                return self._client.get().http.get(path, reserve, object_range.begin, object_range.end)
            except Refused as error:
                if error.status == 404:
                    if "bucket does not exist" in error.text:
                        raise self._missing_bucket() from error
                    return None
                if error.status == 416:
                    return b""  # the object ends before the range
                raise self._translate_refused(error, operation, _VIEW_ROLE) from error

    def _upload(self, object_key: str, data: bytes, metadata: Mapping[str, str], precondition: str = "") -> None:
        """Send an object; raise ``Refused`` for a permanent error."""
        from storage_gcs.http import Refused, checksum

        resource = {
            "name": object_key,
            "contentType": _CONTENT_TYPE,  # without contentEncoding, so that downloads return the same bytes
            "metadata": dict(metadata),
            "crc32c": checksum(data),  # Cloud Storage rejects other bytes
        }
        boundary = os.urandom(16).hex()
        head = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps(resource)}\r\n"
        head += f"--{boundary}\r\nContent-Type: {_CONTENT_TYPE}\r\n\r\n"
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
        path = f"/upload/storage/v1/b/{self._name}/o?uploadType=multipart{precondition}"
        try:
            self._client.get().http.post(path, body, f"multipart/related; boundary={boundary}")
        except Refused as error:
            if error.status == 404:
                raise self._missing_bucket() from error
            raise

    def _open_signing_credentials(self) -> Any:
        from storage_gcs.signing import signing_credentials

        return signing_credentials(self._client.get().credentials)

    def _path(self, object_key: str) -> str:
        return f"/storage/v1/b/{self._name}/o/{quote(object_key, safe='')}?alt=media"

    @contextmanager
    def _translate_errors(self, operation: str, role: str) -> Iterator[None]:
        """Raise errors of :mod:`profbucket.errors` for the library's; *operation* is a verb phrase."""
        try:
            yield
        except (NotFound, Unavailable, StoragePermissionError, Misconfigured, GeneratorExit):
            raise
        except Exception as error:
            from google.api_core import exceptions as api
            from google.auth import exceptions as auth
            from requests.exceptions import RequestException

            match error:
                case auth.DefaultCredentialsError():
                    raise Misconfigured(
                        f"no Google credentials for the bucket {self._name!r}:"
                        " run gcloud auth application-default login"
                    ) from error
                case api.Forbidden() | api.Unauthorized():
                    raise self._permission_error(operation, role, error.message) from error
                case api.ServerError() | api.TooManyRequests() | api.RetryError() | api.GatewayTimeout():
                    pass
                case auth.TransportError() | auth.RefreshError() | RequestException() | OSError():
                    pass
                case api.ClientError() if error.code == 408:
                    pass
                case _:
                    raise
            reason = f"{type(error).__name__}: {error}"[:300]
            raise Unavailable(f"Cloud Storage failed to {operation}: {reason}") from error

    def _translate_refused(self, error: "Refused", operation: str, role: str) -> Exception:
        if error.status in (401, 403):
            return self._permission_error(operation, role, error.text)
        return Unavailable(f"Cloud Storage failed to {operation}: {error}")

    def _permission_error(self, operation: str, role: str, text: str) -> StoragePermissionError:
        return StoragePermissionError(
            f"Cloud Storage denies permission to {operation}: grant {role} on the bucket {self._name!r};"
            f" it answered: {text[:200]}"
        )

    def _missing_bucket(self) -> Misconfigured:
        return Misconfigured(f"STORAGE_URL: Cloud Storage has no bucket {self._name!r}; create it")


def _open_client(name: str, project: str | None) -> _Client:
    from google.auth.transport.requests import Request
    from google.cloud.storage import Client
    from google.cloud.storage.retry import DEFAULT_RETRY
    from requests.adapters import HTTPAdapter

    from storage_gcs.http import Http

    # No call needs a project, but the library demands one if the environment names none.
    library = Client(project=project or "_")
    # Else the first call also reads the bucket's metadata, in a thread, for traces that are off.
    library._bucket_metadata_cache = None
    session = library._http
    session.mount("https://", HTTPAdapter(pool_connections=4, pool_maxsize=_MAX_CONNECTIONS))
    session.mount("http://", HTTPAdapter(pool_connections=4, pool_maxsize=_MAX_CONNECTIONS))
    credentials = session.credentials
    is_anonymous, refresh_request = _is_anonymous(credentials), Request()

    def authorize(method: str, url: str, headers: MutableMapping[str, str]) -> None:
        if not is_anonymous:
            credentials.before_request(refresh_request, method, url, headers)

    bucket = library.bucket(name)
    retry = DEFAULT_RETRY.with_timeout(_RETRY_SECONDS).with_delay(initial=0.1, maximum=2.0)
    return _Client(bucket, retry, credentials, Http(_origin(bucket), authorize))


def _has_bytes(blob: "Blob", data: bytes) -> bool:
    """Return whether the size and checksum of an object are those of *data*."""
    from storage_gcs.http import checksum

    return bool((blob.size, blob.crc32c) == (len(data), checksum(data)))


def _not_found_class() -> Any:
    from google.api_core import exceptions

    return exceptions.NotFound


def _origin(bucket: "Bucket") -> str:
    origin: str = bucket.client.api_endpoint
    return origin.rstrip("/")


def _is_anonymous(credentials: Any) -> bool:
    from google.auth.credentials import AnonymousCredentials

    return isinstance(credentials, AnonymousCredentials)
