"""A Cloud Storage bucket."""

import json
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from profbucket.errors import Misconfigured, NotFound, StoragePermissionError, Unavailable
from profbucket.storage.ports import Object, ObjectRange
from profbucket.storage.prefetch import prefetch

if TYPE_CHECKING:
    from google.cloud.storage import Bucket

    from storage_gcs.http import Http, Refused

# Seconds: to connect and for the next byte; and until no further attempt is made. A call ends within 30.
_TIMEOUT = (3.05, 8.0)
_PATIENCE = 20.0

_OCTETS = "application/octet-stream"

_CONNECTIONS = 64  # the library would keep 10; an instance answers more requests than that at once

_FIELDS = "items(name,size,metadata),nextPageToken"
_PAGE = 1000  # the most that Cloud Storage gives

# What who may only create lacks where an object is there already.
_OVERWRITE = "storage.objects.delete"

_CREATE = "roles/storage.objectCreator"
_VIEW = "roles/storage.objectViewer"
_DELETE = "roles/storage.objectUser"


@dataclass(frozen=True, slots=True)
class _Client:
    """The library's client, what it makes its requests with, and ours. Belongs to the process that made it."""

    process: int
    bucket: "Bucket"
    retry: Any
    credentials: Any
    http: "Http"


class GcsBucket:
    """The bucket called *name*.

    Objects are put and read by :class:`storage_gcs.http.Http`, all else is the library's. Nothing is imported or
    opened before the first call, and then once a process. ``STORAGE_EMULATOR_HOST`` is the library's variable.
    """

    def __init__(self, name: str, project: str | None = None) -> None:
        self._name = name
        self._project = project
        self._opened: _Client | None = None
        self._lock = Lock()

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        from storage_gcs.http import Refused, checksum

        about = {
            "name": key,
            "contentType": _OCTETS,  # and no encoding: it is to come back as it went
            "metadata": dict(metadata),
            "crc32c": checksum(data),  # other bytes are refused
        }
        boundary = os.urandom(16).hex()
        head = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps(about)}\r\n"
        head += f"--{boundary}\r\nContent-Type: {_OCTETS}\r\n\r\n"
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
        path = f"/upload/storage/v1/b/{self._name}/o?uploadType=multipart&ifGenerationMatch=0"
        with self._translated(f"write {key!r}", _CREATE):
            try:
                self._client().http.post(path, body, f"multipart/related; boundary={boundary}")
            except Refused as error:
                if error.status == 412:
                    return False  # there before, or since an attempt of ours whose answer was lost
                if error.status == 403 and _OVERWRITE in error.text:
                    return False  # the same, from a bucket that looks at rights before preconditions
                if error.status == 404:
                    raise self._no_bucket() from error
                raise self._refused(error, f"write {key!r}", _CREATE) from error
        return True

    def get(self, key: str) -> bytes:
        data = self._get(ObjectRange(key), lambda _: None)
        if data is None:
            raise NotFound(f"no object {key!r}")
        return data

    def get_many(self, parts: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        return prefetch(self._get, parts)

    def stat(self, key: str) -> Object:
        with self._translated(f"read {key!r}", _VIEW):
            client = self._client()
            blob = client.bucket.get_blob(key, timeout=_TIMEOUT, retry=client.retry)
            if blob is None:
                raise NotFound(f"no object {key!r}")
            return Object(key, blob.size, blob.metadata or {})

    def list(self, start: str, end: str) -> Iterator[Object]:
        if start >= end:
            return
        with self._translated(f"list from {start!r}", _VIEW):
            client = self._client()
            blobs = client.bucket.list_blobs(
                start_offset=start,
                end_offset=end,
                fields=_FIELDS,
                page_size=_PAGE,
                timeout=_TIMEOUT,
                retry=client.retry,
            )
            try:
                for blob in blobs:
                    yield Object(blob.name, blob.size, blob.metadata or {})
            except _not_found() as error:
                raise self._no_bucket() from error

    def delete(self, key: str) -> None:
        with self._translated(f"delete {key!r}", _DELETE):
            client = self._client()
            try:
                client.bucket.blob(key).delete(timeout=_TIMEOUT, retry=client.retry)
            except _not_found():
                pass  # so it is gone

    def link(self, key: str, filename: str, seconds: int) -> str | None:
        with self._translated(f"sign a link to {key!r}", "iam.serviceAccounts.signBlob, on its own account,"):
            client = self._client()
            credentials = client.credentials
            if _anonymous(credentials):  # an emulator, which checks no signature
                return f"{_origin(client.bucket)}{self._path(key)}"
            if not hasattr(credentials, "service_account_email"):
                return None  # a person's own credentials cannot sign
            signer = {}
            if not hasattr(credentials, "signer"):
                from google.auth.transport.requests import Request

                if not credentials.valid:
                    credentials.refresh(Request())
                # Asks Google to sign, as an instance has no key of its own.
                signer = {
                    "service_account_email": credentials.service_account_email,
                    "access_token": credentials.token,
                }
            url: str = client.bucket.blob(key).generate_signed_url(
                version="v4",
                expiration=timedelta(seconds=seconds),
                response_disposition=f'attachment; filename="{filename}"',
                **signer,
            )
            return url

    def _get(self, part: ObjectRange, admit: Any) -> bytes | None:
        from storage_gcs.http import Refused

        key = part.key
        with self._translated(f"read {key!r}", _VIEW):
            try:
                return self._client().http.get(self._path(key), admit, part.begin, part.end)
            except Refused as error:
                if error.status == 404:
                    if "bucket does not exist" in error.text:
                        raise self._no_bucket() from error
                    return None
                raise self._refused(error, f"read {key!r}", _VIEW) from error

    def _path(self, key: str) -> str:
        return f"/storage/v1/b/{self._name}/o/{quote(key, safe='')}?alt=media"

    def _client(self) -> _Client:
        client = self._opened
        if client is None or client.process != os.getpid():
            with self._lock:
                client = self._opened
                if client is None or client.process != os.getpid():
                    client = self._opened = self._open()
        return client

    def _open(self) -> _Client:
        from google.auth.transport.requests import Request
        from google.cloud.storage import Client
        from google.cloud.storage.retry import DEFAULT_RETRY
        from requests.adapters import HTTPAdapter

        from storage_gcs.http import Http

        # No call of ours needs a project; the library wants one where the environment names none.
        library = Client(project=self._project or "_")
        session = library._http
        session.mount("https://", HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS))
        session.mount("http://", HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS))
        credentials = session.credentials

        anonymous, refresh = _anonymous(credentials), Request()

        def authorize(method: str, url: str, headers: MutableMapping[str, str]) -> None:
            if not anonymous:
                credentials.before_request(refresh, method, url, headers)

        bucket = library.bucket(self._name)
        retry = DEFAULT_RETRY.with_timeout(_PATIENCE).with_delay(initial=0.1, maximum=2.0)
        return _Client(os.getpid(), bucket, retry, credentials, Http(_origin(bucket), authorize))

    @contextmanager
    def _translated(self, doing: str, role: str) -> Iterator[None]:
        """Raise our errors for the library's."""
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
                        f"no Google credentials to reach the bucket {self._name!r}:"
                        " run gcloud auth application-default login"
                    ) from error
                case api.Forbidden() | api.Unauthorized():
                    raise self._forbidden(doing, role, error.message) from error
                case api.ServerError() | api.TooManyRequests() | api.RetryError() | api.GatewayTimeout():
                    pass
                case auth.TransportError() | auth.RefreshError() | RequestException() | OSError():
                    pass
                case api.ClientError() if error.code == 408:
                    pass
                case _:
                    raise
            reason = f"{type(error).__name__}: {error}"[:300]
            raise Unavailable(f"Cloud Storage failed to {doing}: {reason}") from error

    def _refused(self, error: "Refused", doing: str, role: str) -> Exception:
        if error.status in (401, 403):
            return self._forbidden(doing, role, error.text)
        return Unavailable(f"Cloud Storage failed to {doing}: {error}")

    def _forbidden(self, doing: str, role: str, text: str) -> StoragePermissionError:
        return StoragePermissionError(
            f"Cloud Storage refuses to {doing}: grant {role} on the bucket {self._name!r}; it says: {text[:200]}"
        )

    def _no_bucket(self) -> Misconfigured:
        return Misconfigured(f"STORAGE_URL: there is no bucket {self._name!r} in Cloud Storage")


def _not_found() -> Any:
    from google.api_core import exceptions

    return exceptions.NotFound


def _origin(bucket: "Bucket") -> str:
    origin: str = bucket.client.api_endpoint
    return origin.rstrip("/")


def _anonymous(credentials: Any) -> bool:
    from google.auth.credentials import AnonymousCredentials

    return isinstance(credentials, AnonymousCredentials)
