"""The route that stores several profiles, each of them a part of a form."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from flask import Response, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request

from profbucket.api.error_bodies import DetailedError, replace_percent_signs
from profbucket.api.params import RESERVED_PARAMETERS, Parameters
from profbucket.api.responses import json_response
from profbucket.api.uploads import UploadStore, combine_errors
from profbucket.api.write import parse_subject
from profbucket.errors import Invalid, ProfbucketError, UnsupportedMedia
from profbucket.ingest.collector import check_names
from profbucket.ingest.multipart import Part, iter_parts
from profbucket.limits import Limits
from profbucket.model.meta import Meta, meta_to_json
from profbucket.model.upload import Upload
from profbucket.telemetry.request import current_record

_FORM = "multipart/form-data"
_MAX_QUERY_BYTES = 1 << 14  # of a part; the labels alone may have 1,200, percent-encoded twice

_log = logging.getLogger(__name__)


class BatchRoutes:
    """The view that passes the profiles of a form to *uploads*. *clock* returns nanoseconds since 1970."""

    def __init__(self, uploads: UploadStore, limits: Limits, clock: Callable[[], int]) -> None:
        self._uploads = uploads
        self._limits = limits
        self._clock = clock

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"postBatch": lambda: self.post(request)}

    def post(self, request: Request) -> Response:
        """Store the profiles in the parts of the form."""
        api_key = self._uploads.authenticate(request)
        if request.args:
            raise Invalid(
                f"parameter {next(iter(request.args))[:80]!r} has no meaning here; each part has parameters of its"
                " own, in its filename",
                code="reserved_parameter",
            )
        content_type = request.headers.get("Content-Type", "")
        if request.mimetype != _FORM:
            raise UnsupportedMedia(
                f"unsupported Content-Type {content_type[:80]!r}; use {_FORM}", code="unsupported_content_type"
            )
        with self._uploads.body(request) as body:
            # The form is read to its end first: of one that is malformed nothing is stored.
            uploads = list(_read_uploads(body, content_type, self._limits, self._clock()))
            outcomes = self._uploads.store_each(api_key, iter(uploads))
        return _make_response(outcomes)


def _read_uploads(body: bytes, content_type: str, limits: Limits, now: int) -> Iterator[Upload | ProfbucketError]:
    """Yield the profile in each part, or the error of its parameters; raise ``Invalid`` or ``TooLarge``."""
    number = 0
    for number, part in enumerate(iter_parts(body, content_type), 1):
        if number > limits.profiles:
            raise limits.too_large("profiles", f"the form has more than {limits.profiles} parts")
        source = f"part {number}"
        try:
            yield _read_upload(part, source, limits, now)
        except ProfbucketError as error:
            yield error.about(source)
    if not number:
        raise Invalid("the form has no parts", code="invalid_multipart")


def _read_upload(part: Part, source: str, limits: Limits, now: int) -> Upload:
    if len(part.filename) > _MAX_QUERY_BYTES:
        raise Invalid(f"its parameters have more than {_MAX_QUERY_BYTES} bytes", code="invalid_parameter")
    max_parameters = limits.labels + len(RESERVED_PARAMETERS)
    try:
        pairs = parse_qsl(part.filename, keep_blank_values=True, errors="strict", max_num_fields=max_parameters)
    except ValueError:
        raise Invalid(
            f"its filename is not a query string in UTF-8 with at most {max_parameters} parameters",
            code="invalid_parameter",
        ) from None
    service, profile_type, labels, created_at = parse_subject(Parameters(MultiDict(pairs)), now)
    check_names(service, labels, limits)  # now: the labels of many parts take much memory
    return Upload(service, profile_type, labels, part.data, created_at, source)


def _make_response(outcomes: Sequence[Meta | ProfbucketError]) -> Response:
    """Return the response that tells what became of each part: 200, 207 if some are not stored, else the error."""
    parts = [_to_json(outcome) for outcome in outcomes]
    error = combine_errors(outcomes)
    if error is None:
        return json_response(parts)
    if not any(isinstance(outcome, Meta) for outcome in outcomes):
        raise DetailedError(error, parts)
    current_record().error = type(error).__name__
    if error.status >= 500:
        _log.warning("batch: %s", error)
    return json_response(parts, 207)


def _to_json(outcome: Meta | ProfbucketError) -> dict[str, Any]:
    """Return the response that the part would have alone."""
    if isinstance(outcome, Meta):
        return {"code": 200, "body": meta_to_json(outcome)}
    message = replace_percent_signs(str(outcome))
    return {"code": outcome.status, "error": message, "error_code": outcome.code}
