"""The route that stores a profile."""

from collections.abc import Callable, Mapping
from io import BytesIO

from flask import Response, request

from profbucket.api.admission import Admission
from profbucket.api.authentication import authenticate_request
from profbucket.api.content_encoding import decode, parse_codings
from profbucket.api.middleware import READ_CHUNK_BYTES
from profbucket.api.params import QUERY_PARAMETERS, Parameters
from profbucket.api.responses import json_response
from profbucket.auth import Authenticator, Scope
from profbucket.errors import Invalid
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.meta import meta_to_json
from profbucket.model.profile_type import ProfileType
from profbucket.telemetry.request import current_record
from profbucket.times import parse_time


class WriteRoutes:
    """The view that passes posted profiles to *collector*."""

    def __init__(
        self,
        collector: Collector,
        authenticator: Authenticator,
        limits: Limits,
        admission: Admission,
        clock: Callable[[], int],
    ) -> None:
        self._collector = collector
        self._authenticator = authenticator
        self._limits = limits
        self._admission = admission
        self._clock = clock

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"postProfile": self.post}

    def post(self) -> Response:
        """Store the profile in the body."""
        api_key = authenticate_request(self._authenticator, Scope.WRITE)
        parameters = Parameters(request.args)
        parameters.refuse(QUERY_PARAMETERS)
        service = parameters.require("service")
        api_key.require(Scope.WRITE, service)
        profile_type = ProfileType.parse(parameters.require("type"))
        current_record().set_subject(service, profile_type)
        labels = Labels.from_pairs([*Labels.parse(parameters.get("labels")), *parameters.labels()])
        created_at = parameters.get("created_at")
        taken_at = parse_time(created_at, self._clock()) if created_at else None
        codings = parse_codings(request.headers.get("Content-Encoding", ""))
        with self._admission.reserve(self._body_size() + (self._limits.body_bytes if codings else 0)):
            body = self._read_body()
            for coding in reversed(codings):
                body = b"".join(decode(coding, body, self._limits))
            meta = self._collector.collect(service, profile_type, labels, body, taken_at)
        return json_response(meta_to_json(meta))

    def _body_size(self) -> int:
        """Return the Content-Length, or the limit if the client sends none; raise ``TooLarge`` over the limit."""
        size, limit = request.content_length, self._limits.body_bytes
        if size is not None and size > limit:
            raise self._limits.too_large("body_bytes", f"the body has {size} bytes")
        return limit if size is None else size

    def _read_body(self) -> bytes:
        """Return the body; raise ``TooLarge`` over the limit, or ``Invalid`` if it is incomplete."""
        limit, buffer = self._limits.body_bytes, BytesIO()  # its getvalue() does not copy
        try:
            while buffer.tell() <= limit and (chunk := request.stream.read(READ_CHUNK_BYTES)):
                buffer.write(chunk)
        except OSError as error:
            message = f"the body was cut off after {buffer.tell()} bytes: {type(error).__name__}"
            raise Invalid(message, code="incomplete_body") from None
        except Exception as error:  # noqa: BLE001 - malformed chunks: each server has its own errors for them
            message = f"the body is malformed after {buffer.tell()} bytes: {type(error).__name__}"
            raise Invalid(message, code="malformed_body") from None
        current_record().received_bytes = size = buffer.tell()
        if size > limit:
            raise self._limits.too_large("body_bytes", f"the body has more than {limit} bytes")
        if request.content_length is not None and size < request.content_length:
            raise Invalid(
                f"the body ends after {size} of the {request.content_length} bytes in Content-Length",
                code="incomplete_body",
            )
        return buffer.getvalue()
