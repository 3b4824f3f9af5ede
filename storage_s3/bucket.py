"""An S3 bucket."""

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

from profbucket.errors import Misconfigured, NotFound, StoragePermissionError, Unavailable
from profbucket.storage.ports import Object, ObjectRange
from profbucket.storage.prefetch import prefetch

# Seconds: to connect and for the next byte; three attempts and their pauses end within 30.
_CONNECT = 3.05
_READ = 7.0
_ATTEMPTS = 3

_CONNECTIONS = 64
_RACES = 20  # attempts at a put that is told that another is under way


@dataclass(frozen=True, slots=True)
class _Client:
    """The library's client. Belongs to the process that made it."""

    process: int
    s3: Any


class S3Bucket:
    """The bucket called *name* at *endpoint*, or at AWS, in *region*, or where the library's settings say.

    The provider must know conditional writes (``If-None-Match: *``): AWS S3, MinIO, and Ceph from Squid on do.
    Nothing is imported or opened before the first call, and then once a process. Credentials are found by the
    library, in all the places that it knows.
    """

    def __init__(
        self, name: str, endpoint: str | None = None, region: str | None = None, style: str = "path"
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._region = region
        self._style = style
        self._opened: _Client | None = None
        self._lock = Lock()

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        with self._translated(f"write {key!r}", "s3:PutObject"):
            for attempt in range(_RACES):
                code = self._put(key, data, metadata)
                if code != "ConditionalRequestConflict":
                    break
                # Another put of this key is under way: only once it has ended, there is an object or none.
                time.sleep(random.uniform(0.5, 1) * min(0.02 * 2**attempt, 1))  # noqa: S311 - no secret
            else:
                raise Unavailable(f"the S3 bucket failed to write {key!r}: others were writing it all the time")
        return not code

    def get(self, key: str) -> bytes:
        data = self._get(ObjectRange(key), lambda _: None)
        if data is None:
            raise NotFound(f"no object {key!r}")
        return data

    def get_many(self, parts: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        return prefetch(self._get, parts)

    def stat(self, key: str) -> Object:
        with self._translated(f"read {key!r}", "s3:GetObject"):
            try:
                found = self._s3().head_object(Bucket=self._name, Key=key)
            except _client_error() as error:
                if _code(error) in ("404", "NoSuchKey", "NotFound"):
                    raise NotFound(f"no object {key!r}") from None
                raise
            return Object(key, found["ContentLength"], found["Metadata"])

    def list(self, start: str, end: str) -> Iterator[Object]:
        if start >= end:
            return
        with self._translated(f"list from {start!r}", "s3:ListBucket"):
            # S3 begins behind a key, and this one may be there.
            if start:
                with suppress(NotFound):
                    yield Object(start, self.stat(start).size)
            pages = self._s3().get_paginator("list_objects_v2").paginate(Bucket=self._name, StartAfter=start)
            for page in pages:
                for found in page.get("Contents", ()):
                    if found["Key"] >= end:
                        return
                    yield Object(found["Key"], found["Size"])

    def delete(self, key: str) -> None:
        with self._translated(f"delete {key!r}", "s3:DeleteObject"):
            self._s3().delete_object(Bucket=self._name, Key=key)

    def link(self, key: str, filename: str, seconds: int) -> str | None:
        with self._translated(f"sign a link to {key!r}", "s3:GetObject"):
            url: str = self._s3().generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._name,
                    "Key": key,
                    "ResponseContentDisposition": f'attachment; filename="{filename}"',
                },
                ExpiresIn=seconds,
            )
            return url

    def _put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> str:
        """Try once: return ``""`` where the object is new, else the error's code."""
        try:
            self._s3().put_object(
                Bucket=self._name,
                Key=key,
                Body=data,
                Metadata=dict(metadata),
                ContentType="application/octet-stream",  # and no encoding: it is to come back as it went
                IfNoneMatch="*",
            )
        except _client_error() as error:
            code = _code(error)
            if code in ("PreconditionFailed", "412"):
                return "PreconditionFailed"  # there before, or since an attempt of ours whose answer was lost
            if code in ("ConditionalRequestConflict", "409"):
                return "ConditionalRequestConflict"
            raise
        return ""

    def _get(self, part: ObjectRange, admit: Callable[[int], None]) -> bytes | None:
        key, asked = part.key, {}
        if part.begin or part.end is not None:
            asked["Range"] = f"bytes={part.begin}-{'' if part.end is None else part.end - 1}"
        with self._translated(f"read {key!r}", "s3:GetObject"):
            for attempt in range(_ATTEMPTS):
                try:
                    found = self._s3().get_object(Bucket=self._name, Key=key, **asked)
                except _client_error() as error:
                    if _code(error) in ("NoSuchKey", "404"):
                        return None
                    raise
                with found["Body"] as body:
                    try:
                        admit(found["ContentLength"])
                        data: bytes = body.read()
                    except _broken():
                        if attempt + 1 == _ATTEMPTS:
                            raise
                        continue  # the library tries a request again, but not the reading of its answer
                return data
        raise AssertionError("the last attempt returns or raises")

    def _s3(self) -> Any:
        client = self._opened
        if client is None or client.process != os.getpid():
            with self._lock:
                client = self._opened
                if client is None or client.process != os.getpid():
                    client = self._opened = self._open()
        return client.s3

    def _open(self) -> _Client:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=_CONNECT,
            read_timeout=_READ,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            max_pool_connections=_CONNECTIONS,
            s3={"addressing_style": self._style},
            # MinIO and Ceph of some age refuse the checksums that the library adds where it need not.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        # A session of its own: the default one is not safe for threads. SigV4 wants a region, whatever it is.
        region = self._region or ("us-east-1" if self._endpoint else None)
        session = boto3.session.Session(region_name=region)
        return _Client(os.getpid(), session.client("s3", endpoint_url=self._endpoint, config=config))

    @contextmanager
    def _translated(self, doing: str, action: str) -> Iterator[None]:
        """Raise our errors for the library's."""
        try:
            yield
        except (NotFound, Unavailable, StoragePermissionError, Misconfigured, GeneratorExit):
            raise
        except Exception as error:
            from botocore import exceptions as boto

            match error:
                case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.NoRegionError():
                    raise Misconfigured(f"the S3 bucket {self._name!r} cannot be reached: {error}") from error
                case boto.ClientError():
                    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                    code = _code(error)
                    if code == "NoSuchBucket":
                        raise Misconfigured(f"STORAGE_URL: there is no S3 bucket {self._name!r}") from error
                    if status in (401, 403):
                        raise StoragePermissionError(
                            f"the S3 bucket {self._name!r} refuses to {doing}: allow {action}; it says: {error}"
                        ) from error
                    if status < 500 and code not in ("SlowDown", "RequestTimeout", "Throttling", "429"):
                        raise
                case boto.BotoCoreError() | OSError():
                    pass
                case _:
                    raise
            raise Unavailable(f"the S3 bucket failed to {doing}: {str(error)[:300]}") from error


def _code(error: Any) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code


def _client_error() -> Any:
    from botocore.exceptions import ClientError

    return ClientError


def _broken() -> Any:
    from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError

    return (HTTPClientError, IncompleteReadError, ResponseStreamingError, OSError)
