"""The storing of the profiles in other systems' requests."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import request

from profbucket.api.authentication import authenticate_request
from profbucket.api.body import BodyReader
from profbucket.auth import ApiKey, Authenticator, Scope
from profbucket.errors import ProfbucketError
from profbucket.ingest.collector import Collector
from profbucket.ingest.upload import Upload, Uploads
from profbucket.telemetry.request import current_record

_SHOWN_ERRORS = 5


class UploadStore:
    """Passes the profiles of a request, whose body *bodies* reads, to *collector*."""

    def __init__(self, collector: Collector, authenticator: Authenticator, bodies: BodyReader) -> None:
        self._collector = collector
        self._authenticator = authenticator
        self._bodies = bodies

    def authenticate(self) -> ApiKey:
        """Return the API key of the current request; raise the error of one that may not write."""
        return authenticate_request(self._authenticator, Scope.WRITE)

    @contextmanager
    def body(self) -> Iterator[bytes]:
        """Yield the decoded body of the current request, as :meth:`BodyReader.open` does."""
        with self._bodies.open(request) as data:
            yield data

    def store(self, api_key: ApiKey, uploads: Uploads) -> None:
        """Store all of *uploads* that can be; raise one error about the others.

        A client that repeats the request after the error stores no profile twice.
        """
        errors, stored = self.store_each(api_key, uploads)
        if errors:
            raise combine_errors(errors, stored)

    def store_each(self, api_key: ApiKey, uploads: Uploads) -> tuple[list[ProfbucketError], int]:
        """Store all of *uploads* that can be; return the errors of the others, and the number of those stored."""
        errors: list[ProfbucketError] = []
        stored = 0
        for upload in uploads:
            try:
                if isinstance(upload, ProfbucketError):
                    raise upload
                self._store(api_key, upload)
                stored += 1
            except ProfbucketError as error:
                errors.append(error)
        return errors, stored

    def _store(self, api_key: ApiKey, upload: Upload) -> None:
        try:
            api_key.require(Scope.WRITE, upload.service)
            current_record().set_subject(upload.service, upload.type)
            self._collector.collect(
                upload.service, upload.type, upload.labels, upload.data, upload.created_at, kinds=upload.kinds
            )
        except ProfbucketError as error:
            raise error.about(upload.source) if upload.source else error from None


def combine_errors(errors: list[ProfbucketError], stored: int) -> ProfbucketError:
    """Return one error for all of *errors*: the most severe one, so that a client retries if one was temporary."""
    worst = max(errors, key=lambda error: error.status)
    if len(errors) == 1 and not stored:
        return worst
    messages = [str(error) for error in errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        messages.append(f"and {len(errors) - _SHOWN_ERRORS} more")
    summary = f"{len(errors)} of {len(errors) + stored} profiles were not stored: {'; '.join(messages)}"
    return type(worst)(summary, code=worst.code)
