"""The routes of Grafana's Pyroscope data source and of Profiles Drilldown."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flask import Response, request
from werkzeug.datastructures import MultiDict

from profbucket.api.admission import Admission
from profbucket.api.authentication import authenticate_request
from profbucket.api.body import BodyReader
from profbucket.api.connect import answer_call, check_call
from profbucket.api.params import Parameters
from profbucket.api.responses import compress
from profbucket.auth import Authenticator, Scope
from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.merge_format import MergeFormat
from profbucket.query.querier import Querier
from profbucket.times import parse_unix_time

if TYPE_CHECKING:
    from profbucket.grafana.render import RenderQuery
    from profbucket.grafana.service import GrafanaService

_INTEGER = re.compile(r"-?\d{1,9}", re.ASCII)
_MAX_BODY_BYTES = 1 << 20  # of a request; Grafana's have less than a kilobyte


class GrafanaRoutes:
    """The views that answer Grafana's calls from *querier*."""

    def __init__(
        self,
        querier: Querier,
        authenticator: Authenticator,
        limits: Limits,
        admission: Admission,
        clock: Callable[[], int],
    ) -> None:
        self._querier = querier
        self._authenticator = authenticator
        self._limits = limits
        self._clock = clock
        small = replace(limits, body_bytes=min(limits.body_bytes, _MAX_BODY_BYTES))
        self._bodies = BodyReader(small, admission)
        self._service: GrafanaService | None = None

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {
            "callQuerier": self.call_querier,
            "callSettings": self.call_settings,
            "renderPyroscope": self.render,
            "renderPyroscopeDiff": self.render_diff,
        }

    def call_querier(self, method: str) -> Response:
        """Answer a call of the QuerierService."""
        return self._call(f"querier.v1.QuerierService/{method}")

    def call_settings(self, action: str) -> Response:
        """Answer a call of the SettingsService."""
        return self._call(f"settings.v1.SettingsService/{action}")

    def render(self) -> Response:
        """Return a flame graph and its timeline, or a call graph."""
        api_key = authenticate_request(self._authenticator, Scope.READ)
        group_by = request.args.getlist("groupBy")
        parameters = _parameters("groupBy")
        output = parameters.get("format") or "json"
        if output not in ("json", "dot"):
            raise Invalid(f"format={output[:80]!r} is neither json nor dot", code="invalid_parameter")
        aggregation = parameters.get("aggregation") or "sum"
        if aggregation not in ("sum", "average"):
            raise Invalid(f"aggregation={aggregation[:80]!r} is neither sum nor average", code="invalid_parameter")
        if len(group_by) > self._limits.labels:
            raise self._limits.invalid("labels", f"groupBy has {len(group_by)} labels")
        query = self._query(parameters, "query", "from", "until")
        renderer = self._get_service().renderer
        if output == "dot":
            text = renderer.render_dot(query, _max_nodes(parameters), api_key.may_access)
            return compress(Response(text, content_type=MergeFormat.DOT.media_type))
        graph = renderer.render(
            query,
            _max_nodes(parameters),
            group_by,
            api_key.may_access,
            is_average=aggregation == "average",
        )
        return _json(graph)

    def render_diff(self) -> Response:
        """Return a flame graph of two selections."""
        api_key = authenticate_request(self._authenticator, Scope.READ)
        parameters = _parameters()
        left = self._query(parameters, "leftQuery", "leftFrom", "leftUntil")
        right = self._query(parameters, "rightQuery", "rightFrom", "rightUntil")
        renderer = self._get_service().renderer
        return _json(renderer.render_diff(left, right, _max_nodes(parameters), api_key.may_access))

    def _query(self, parameters: Parameters, query: str, start: str, end: str) -> "RenderQuery":
        """Return the selection in the parameters with these names; raise ``Invalid``."""
        from profbucket.grafana.render import RenderQuery

        now = self._clock()
        times = [parse_unix_time(parameters.require(name), now) or 0 for name in (start, end)]
        return RenderQuery(parameters.require(query), *times)

    def _call(self, name: str) -> Response:
        api_key = authenticate_request(self._authenticator, Scope.READ)
        is_json = check_call()
        service = self._get_service()
        service.require_method(name)
        return answer_call(
            self._bodies, lambda body: service.call(name, body, api_key.may_access, is_json=is_json)
        )

    def _get_service(self) -> "GrafanaService":
        if self._service is None:
            from profbucket.grafana.service import GrafanaService  # imports protobuf

            self._service = GrafanaService(self._querier, self._limits, self._clock)
        return self._service


def _parameters(*others: str) -> Parameters:
    """Return the query parameters of the current request but *others*, which may be repeated."""
    return Parameters(MultiDict([item for item in request.args.items(multi=True) if item[0] not in others]))


def _max_nodes(parameters: Parameters) -> int:
    text = parameters.get("max-nodes") or parameters.get("maxNodes") or "0"
    if not _INTEGER.fullmatch(text):
        raise Invalid(f"max-nodes={text[:80]!r} is not a whole number", code="invalid_parameter")
    return int(text)


def _json(body: Any) -> Response:
    return compress(Response(json.dumps(body) + "\n", content_type="application/json"))
