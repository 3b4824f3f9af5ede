"""The route that stores a profile."""

from collections.abc import Callable, Mapping

from flask import Response, request
from werkzeug.wrappers import Request

from profbucket.api.authentication import authenticate_request
from profbucket.api.body import BodyReader
from profbucket.api.params import QUERY_PARAMETERS, Parameters
from profbucket.api.responses import json_response
from profbucket.auth import Authenticator, Scope
from profbucket.ingest.collector import Collector
from profbucket.model.labels import Labels
from profbucket.model.meta import meta_to_json
from profbucket.model.profile_type import ProfileType
from profbucket.telemetry.request import current_record
from profbucket.times import parse_time


class WriteRoutes:
    """The view that passes posted profiles, which *bodies* reads, to *collector*."""

    def __init__(
        self,
        collector: Collector,
        authenticator: Authenticator,
        bodies: BodyReader,
        clock: Callable[[], int],
    ) -> None:
        self._collector = collector
        self._authenticator = authenticator
        self._bodies = bodies
        self._clock = clock

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"postProfile": lambda: self.post(request)}

    def post(self, request: Request) -> Response:
        """Store the profile in the body."""
        api_key = authenticate_request(self._authenticator, Scope.WRITE, request)
        service, profile_type, labels, created_at = parse_subject(Parameters(request.args), self._clock())
        api_key.require(Scope.WRITE, service)
        with self._bodies.open(request) as data:
            meta = self._collector.collect(service, profile_type, labels, data, created_at)
        return json_response(meta_to_json(meta))


def parse_subject(parameters: Parameters, now: int) -> tuple[str, ProfileType, Labels, int | None]:
    """Return the service, profile type, labels and time of a posted profile, and note the first two in the record.

    Raise ``Invalid`` for values that are malformed or missing.
    """
    parameters.refuse(QUERY_PARAMETERS)
    service = parameters.require("service")
    profile_type = ProfileType.parse(parameters.require("type"))
    current_record().set_subject(service, profile_type)
    labels = Labels.from_pairs([*Labels.parse(parameters.get("labels")), *parameters.labels()])
    created_at = parameters.get("created_at")
    return service, profile_type, labels, parse_time(created_at, now) if created_at else None
