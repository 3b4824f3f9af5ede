"""An S3 bucket."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import Any

from profbucket.errors import Damaged, Misconfigured, NotFound, StoragePermissionError, Unavailable
from profbucket.storage.per_process import PerProcess
from profbucket.storage.ports import Object, ObjectRange
from profbucket.storage.prefetch import prefetch

# Three attempts and the pauses between them end within 30 seconds.
_CONNECT_TIMEOUT_SECONDS = 3.05
_READ_TIMEOUT_SECONDS = 7.0
_ATTEMPTS = 3

_MAX_CONNECTIONS = 64
_CONFLICT_ATTEMPTS = 20  # at a put, while concurrent puts of the same key are in progress


class S3Bucket:
    """The bucket called *name* at *endpoint*, or at AWS, in *region*, or as the library is configured.

    The provider must support conditional writes (``If-None-Match: *``): AWS S3, MinIO, and Ceph since Squid do.
    Nothing is imported or opened before the first call. The library finds the credentials.
    """

    def __init__(
        self, name: str, endpoint: str | None = None, region: str | None = None, style: str = "path"
    ) -> None:
        self._name = name
        self._client = PerProcess(partial(_open_client, endpoint, region, style))

    def put(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        with self._translate_errors(f"write {object_key!r}", "s3:PutObject"):
            for attempt in range(_CONFLICT_ATTEMPTS):
                code = self._put_if_absent(object_key, data, metadata)
                if code != "ConditionalRequestConflict":
                    break
                # The object may or may not exist once the concurrent put has ended.
                time.sleep(random.uniform(0.5, 1) * min(0.02 * 2**attempt, 1))  # noqa: S311 - jitter
            else:
                raise Unavailable(
                    f"the S3 bucket failed to write {object_key!r}: concurrent writes kept conflicting"
                )
        return not code

    def replace(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        with self._translate_errors(f"write {object_key!r}", "s3:PutObject"):
            self._upload(object_key, data, metadata)

    def get(self, object_key: str) -> bytes:
        data = self._fetch(ObjectRange(object_key), lambda _: None)
        if data is None:
            raise NotFound(f"no object {object_key!r}")
        return data

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        return prefetch(self._fetch, ranges)

    def stat(self, object_key: str) -> Object:
        return self._stat(object_key)[0]

    def verify(self, object_key: str, data: bytes) -> Object:
        """Return an object, or raise ``Damaged``; see :meth:`Bucket.verify`.

        The ETag is usually the MD5 of the bytes. Where it is not, as with some encryption, the bytes are read.
        """
        obj, etag = self._stat(object_key)
        is_same = obj.size == len(data) and (
            etag.strip('"') == md5(data, usedforsecurity=False).hexdigest() or self.get(object_key) == data
        )
        if not is_same:
            raise Damaged(f"{object_key} has other bytes than were put: {obj.size} instead of {len(data)}")
        return obj

    def _stat(self, object_key: str) -> tuple[Object, str]:
        """Return an object with its metadata, and its ETag."""
        with self._translate_errors(f"read {object_key!r}", "s3:GetObject"):
            try:
                response = self._client.get().head_object(Bucket=self._name, Key=object_key)
            except _client_error_class() as error:
                if _error_code(error) in ("404", "NoSuchKey", "NotFound"):
                    raise NotFound(f"no object {object_key!r}") from None
                raise
            return Object(object_key, response["ContentLength"], response["Metadata"]), response.get("ETag", "")

    def list(self, start: str, end: str) -> Iterator[Object]:
        if start >= end:
            return
        with self._translate_errors(f"list from {start!r}", "s3:ListBucket"):
            # S3 lists the keys after StartAfter, without that key itself.
            if start:
                with suppress(NotFound):
                    yield Object(start, self.stat(start).size)
            paginator = self._client.get().get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self._name, StartAfter=start):
                for item in page.get("Contents", ()):
                    if item["Key"] >= end:
                        return
                    yield Object(item["Key"], item["Size"])

    def delete(self, object_key: str, data: bytes | None = None) -> None:
        """Delete an object; see :meth:`Bucket.delete`.

        Few providers delete on a condition: a replace between the comparison and the request is undone.
        """
        if data is not None:
            try:
                self.verify(object_key, data)
            except (Damaged, NotFound):
                return
        with self._translate_errors(f"delete {object_key!r}", "s3:DeleteObject"):
            self._client.get().delete_object(Bucket=self._name, Key=object_key)

    def local_path(self, object_key: str) -> Path | None:
        return None

    def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
        with self._translate_errors(f"sign a URL of {object_key!r}", "s3:GetObject"):
            url: str = self._client.get().generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._name,
                    "Key": object_key,
                    "ResponseContentDisposition": f'attachment; filename="{filename}"',
                },
                ExpiresIn=seconds,
            )
            return url

    def _put_if_absent(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> str:
        """Try once: return ``""`` if the object is new, else the code of the error."""
        try:
            self._upload(object_key, data, metadata, IfNoneMatch="*")
        except _client_error_class() as error:
            code = _error_code(error)
            if code in ("PreconditionFailed", "412"):
                return "PreconditionFailed"  # it existed, or was created by an attempt whose answer was lost
            if code in ("ConditionalRequestConflict", "409"):
                return "ConditionalRequestConflict"
            raise
        return ""

    def _upload(self, object_key: str, data: bytes, metadata: Mapping[str, str], **precondition: str) -> None:
        self._client.get().put_object(
            Bucket=self._name,
            Key=object_key,
            Body=data,
            Metadata=dict(metadata),
            ContentType="application/octet-stream",  # no encoding, so that downloads return the same bytes
            **precondition,
        )

    def _fetch(self, object_range: ObjectRange, reserve: Callable[[int], None]) -> bytes | None:
        object_key, begin, end = object_range
        options = {}
        if begin or end is not None:
            options["Range"] = f"bytes={begin}-{'' if end is None else end - 1}"
        with self._translate_errors(f"read {object_key!r}", "s3:GetObject"):
            for attempt in range(_ATTEMPTS):
                try:
                    response = self._client.get().get_object(Bucket=self._name, Key=object_key, **options)
                except _client_error_class() as error:
                    if _error_code(error) in ("NoSuchKey", "404"):
                        return None
                    if _error_code(error) in ("InvalidRange", "416"):
                        return b""  # the object ends before the range
                    raise
                with response["Body"] as body:
                    try:
                        reserve(response["ContentLength"])
                        data: bytes = body.read()
                        _verify_length(response, data)
                    except _broken_body_classes():
                        if attempt + 1 == _ATTEMPTS:
                            raise
                        continue  # the library retries requests, but not the reading of a body
                return data
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _translate_errors(self, operation: str, action: str) -> Iterator[None]:
        """Raise errors of :mod:`profbucket.errors` for the library's; *operation* is a verb phrase."""
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
                    code = _error_code(error)
                    if code == "NoSuchBucket":
                        raise Misconfigured(f"STORAGE_URL: S3 has no bucket {self._name!r}; create it") from error
                    if status in (401, 403):
                        raise StoragePermissionError(
                            f"the S3 bucket {self._name!r} denies permission to {operation}: allow {action};"
                            f" it answered: {error}"
                        ) from error
                    if status < 500 and code not in ("SlowDown", "RequestTimeout", "Throttling", "429"):
                        raise
                case boto.BotoCoreError() | OSError():
                    pass
                case _:
                    raise
            raise Unavailable(f"the S3 bucket failed to {operation}: {str(error)[:300]}") from error


def _open_client(endpoint: str | None, region: str | None, style: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        read_timeout=_READ_TIMEOUT_SECONDS,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        max_pool_connections=_MAX_CONNECTIONS,
        s3={"addressing_style": style},
        # Older MinIO and Ceph reject the checksums that the library adds by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    # Its own session: the default one is not thread-safe. SigV4 needs a region, even for a custom endpoint.
    session = boto3.session.Session(region_name=region or ("us-east-1" if endpoint else None))
    return session.client("s3", endpoint_url=endpoint, config=config)


def _error_code(error: Any) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code


def _verify_length(response: Mapping[str, Any], data: bytes) -> None:
    """Raise ``OSError`` unless *data* is as long as the header Content-Range of a part of an object says."""
    if "ContentRange" in response:
        begin, end = response["ContentRange"].removeprefix("bytes ").partition("/")[0].split("-")
        if len(data) != int(end) - int(begin) + 1:
            raise OSError(f"{len(data)} bytes, with Content-Range: {response['ContentRange']}")


def _client_error_class() -> Any:
    from botocore.exceptions import ClientError

    return ClientError


def _broken_body_classes() -> Any:
    from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError

    return (HTTPClientError, IncompleteReadError, ResponseStreamingError, OSError)
