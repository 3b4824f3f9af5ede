"""The storing of the profiles in requests that can hold several."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import flask
from werkzeug.wrappers import Request

from profbucket.api.authentication import authenticate_request
from profbucket.api.body import BodyReader
from profbucket.auth import ApiKey, Authenticator, Scope
from profbucket.errors import ProfbucketError, detach
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.form import split_by_size
from profbucket.model.meta import Meta
from profbucket.model.upload import Upload, Uploads
from profbucket.telemetry.request import current_record

_SHOWN_ERRORS = 5


class UploadStore:
    """Passes the profiles of a request, whose body *bodies* reads, to *collector*."""

    def __init__(
        self, collector: Collector, authenticator: Authenticator, bodies: BodyReader, limits: Limits
    ) -> None:
        self._collector = collector
        self._authenticator = authenticator
        self._bodies = bodies
        self._limits = limits

    def authenticate(self, request: Request = flask.request) -> ApiKey:
        """Return the API key of *request*, by default the current one, if it may write; else raise."""
        return authenticate_request(self._authenticator, Scope.WRITE, request)

    @contextmanager
    def body(self, request: Request = flask.request) -> Iterator[bytes]:
        """Yield the decoded body of *request*, by default the current one, as :meth:`BodyReader.open` does."""
        with self._bodies.open(request) as data:
            yield data

    def store(self, api_key: ApiKey, uploads: Uploads) -> None:
        """Store all of *uploads* that can be; raise one error about the others.

        A client that repeats the request after the error stores no profile twice.
        """
        outcomes = self.store_converted(api_key, uploads)
        if error := combine_errors(outcomes):
            raise error

    def store_converted(self, api_key: ApiKey, uploads: Uploads) -> list[Meta | ProfbucketError]:
        """Store as :meth:`store_each` those of *uploads* that can be converted in time; the rest is one error."""
        return self.store_each(api_key, self._read_in_time(uploads))

    def _read_in_time(self, uploads: Uploads) -> Uploads:
        """Yield *uploads*, which are converted one by one, and an error once the time of a request is over."""
        deadline = time.monotonic() + self._limits.batch_seconds
        for upload in uploads:
            if time.monotonic() > deadline:
                yield self._limits.unavailable("batch_seconds", "the profiles took too long; send them again")
                return
            yield upload

    def store_each(self, api_key: ApiKey, uploads: Uploads) -> list[Meta | ProfbucketError]:
        """Store all of *uploads* that can be, as batches; return the meta or the error of each, in order."""
        outcomes: list[Meta | ProfbucketError] = []
        max_bytes = self._limits.body_bytes  # of what is in memory at once
        for batch in split_by_size(uploads, _size, max_items=self._limits.profiles, max_bytes=max_bytes):
            outcomes += self._store_batch(api_key, batch)
        return outcomes

    def _store_batch(
        self, api_key: ApiKey, batch: Sequence[Upload | ProfbucketError]
    ) -> Iterator[Meta | ProfbucketError]:
        checked = [_check_key(api_key, item) for item in batch]
        valid = [item for item in checked if isinstance(item, Upload)]
        stored = iter(self._collector.store_batch(valid, has_deadline=True))
        for item, upload in zip(batch, checked, strict=True):
            outcome = next(stored) if isinstance(upload, Upload) else upload
            if isinstance(outcome, ProfbucketError) and isinstance(item, Upload) and item.source:
                outcome = outcome.about(item.source)
            yield outcome


def _size(item: Upload | ProfbucketError) -> int:
    return len(item.data) if isinstance(item, Upload) else 0


def _check_key(api_key: ApiKey, item: Upload | ProfbucketError) -> Upload | ProfbucketError:
    """Return *item*, or the error if *api_key* is not valid for its service."""
    if isinstance(item, ProfbucketError):
        return item
    try:
        api_key.require(Scope.WRITE, item.service)
    except ProfbucketError as error:
        return detach(error)
    current_record().set_subject(item.service, item.type)
    return item


def combine_errors(outcomes: Sequence[Meta | ProfbucketError]) -> ProfbucketError | None:
    """Return one error for all in *outcomes*, or ``None`` if there are none.

    It is the most severe one, so that a client retries if one was temporary.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, ProfbucketError)]
    if not errors:
        return None
    worst = max(errors, key=lambda error: error.status)
    if len(outcomes) == 1:
        return worst
    messages = [str(error) for error in errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        messages.append(f"and {len(errors) - _SHOWN_ERRORS} more")
    summary = f"{len(errors)} of {len(outcomes)} profiles were not stored: {'; '.join(messages)}"
    return type(worst)(summary, code=worst.code)
