"""The routes that return profiles, and what is derived from them."""

from collections.abc import Callable, Mapping

from flask import Response, request

from profbucket.api.authentication import authenticate_request
from profbucket.api.params import (
    EXPORT_PARAMETERS,
    FLAME_PARAMETERS,
    MERGE_PARAMETERS,
    REFINEMENT_PARAMETERS,
    SERIES_PARAMETERS,
    Parameters,
    QueryParser,
    export_options,
    find_type,
    merge_options,
    mergeable_type,
    parse_aggregate,
)
from profbucket.api.responses import compress, download, export, json_response, redirect
from profbucket.api.revalidation import Revalidation
from profbucket.auth import ApiKey, Authenticator, Scope
from profbucket.config import Config
from profbucket.errors import Invalid, NotFound
from profbucket.model.ids import ProfileId, escape_service
from profbucket.model.merge_format import MergeFormat
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import meta_to_json
from profbucket.model.profile_type import ProfileType
from profbucket.query.flamegraph import build_flame_graph
from profbucket.query.merging import MergeResult, profile_not_found
from profbucket.query.querier import Querier
from profbucket.query.tags import list_tags
from profbucket.query.timeline import parse_step
from profbucket.telemetry.request import current_record


class ReadRoutes:
    """The views that answer from *querier*."""

    def __init__(
        self, querier: Querier, authenticator: Authenticator, config: Config, clock: Callable[[], int]
    ) -> None:
        self._querier = querier
        self._authenticator = authenticator
        self._limits = limits = config.limits
        self._revalidation = Revalidation(querier, config, clock)
        self._queries = QueryParser(querier, limits, clock)

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {
            "findProfiles": self.find,
            "mergeProfiles": self.merge,
            "getProfiles": self.fetch,
            "getFlame": self.flame,
            "listServices": self.services,
            "listLabels": self.labels,
            "listTags": self.tags,
            "getSeries": self.series,
            "symbolize": self.symbolize,
        }

    def find(self) -> Response:
        """List the profiles that match."""
        api_key = self._authenticate()
        parameters = Parameters(request.args)
        query = self._queries.query(api_key, parameters, find_type(parameters))

        def respond() -> Response:
            page = self._querier.find(query)
            current_record().counts = {"found": len(page.profiles)}
            profiles = [meta_to_json(meta) for meta in page.profiles]
            response = json_response(profiles, next=page.next, damaged=page.damaged or None)
            return _mark_damage(response, len(page.damaged))

        return self._revalidation.answer([query], respond)

    def merge(self) -> Response:
        """Merge the profiles that match into one pprof."""
        api_key = self._authenticate()
        parameters = Parameters(request.args, EXPORT_PARAMETERS)
        query = self._queries.query(api_key, parameters, mergeable_type(parameters))
        options = export_options(parameters)
        return self._revalidation.answer(
            [query], lambda: self._send(self._querier.merge(query, options), options.format)
        )

    def fetch(self, ids: str) -> Response:
        """Return the profile with this id as it was stored, or merge the profiles of ids joined by ``+``.

        With options of a merge, one profile is merged, too.
        """
        api_key = self._authenticate()
        options = export_options(Parameters(request.args, EXPORT_PARAMETERS))
        try:
            profile_ids = [ProfileId.parse(text) for text in ids.split("+")]
        except Invalid as error:
            raise NotFound(str(error)) from None
        for profile_id in profile_ids:
            if not api_key.may_access(profile_id.service):
                raise profile_not_found(profile_id)  # as if it were missing, so that ids do not leak
        profile_id, *others = profile_ids
        current_record().set_subject(profile_id.service, profile_id.type)
        is_merge = others or options != MergeOptions()
        if is_merge or (data := self._querier.read_posted(profile_id)) is None:
            return self._send(self._querier.merge_ids(profile_ids, options), options.format)
        suffix = profile_id.object_key.removeprefix(str(profile_id))
        filename = f"{escape_service(profile_id.service)}-{profile_id.type}{suffix}"
        link = self._querier.sign_url_if_large(profile_id, data, filename)
        return redirect(link) if link else download(data, filename)

    def flame(self) -> Response:
        """Return the merge of the profiles that match as a flame graph."""
        api_key = self._authenticate()
        parameters = Parameters(request.args, FLAME_PARAMETERS)
        query = self._queries.query(api_key, parameters, mergeable_type(parameters))
        base_query = self._queries.base_query(parameters, query)
        queries = [query, base_query] if base_query else [query]

        def respond() -> Response:
            graph = build_flame_graph(
                self._querier,
                queries,
                self._limits,
                merge_options(parameters),
                max_nodes=parameters.positive_integer("max_nodes"),
                function=parameters.get("function") or None,
            )
            current_record().counts = {key: n for key, n in graph["profiles"][0].items() if key != "aggregate"}
            damaged = sum(merge["damaged"] for merge in graph["profiles"])
            return _mark_damage(compress(json_response(graph)), damaged)

        return self._revalidation.answer(queries, respond)

    def services(self) -> Response:
        """List the services that have profiles; with ``details=1``, their types and last times, too."""
        api_key = self._authenticate()
        if not Parameters(request.args).flag("details"):
            return json_response(self._querier.services(api_key.may_access))
        summaries = self._querier.describe_services(api_key.may_access)
        return compress(json_response([summary.to_json() for summary in summaries]))

    def labels(self) -> Response:
        """List the profile types and the label values of a service."""
        api_key = self._authenticate()
        parameters = Parameters(request.args)
        service, services = self._queries.services(api_key, parameters)
        text = parameters.get("type")
        profile_type = ProfileType.parse(text) if text else None
        current_record().set_subject(service, profile_type)
        values = self._querier.label_values(services or (service,), profile_type)
        return compress(json_response(values.to_json()))

    def tags(self) -> Response:
        """List the labels of the samples of the profiles that match, with totals."""
        api_key = self._authenticate()
        parameters = Parameters(request.args, MERGE_PARAMETERS)
        query = self._queries.query(api_key, parameters, mergeable_type(parameters))

        def respond() -> Response:
            tags = list_tags(self._querier, query, self._limits, merge_options(parameters))
            current_record().counts = tags["profiles"]
            return _mark_damage(compress(json_response(tags)), tags["profiles"]["damaged"])

        return self._revalidation.answer([query], respond)

    def series(self) -> Response:
        """Return the totals of the profiles that match, per time step and group of labels."""
        api_key = self._authenticate()
        parameters = Parameters(request.args, SERIES_PARAMETERS)
        parameters.refuse(REFINEMENT_PARAMETERS)  # the totals of whole profiles are added up
        query = self._queries.query(api_key, parameters, find_type(parameters))
        label_names = tuple(dict.fromkeys(filter(None, parameters.get("group_by").split(","))))
        if len(label_names) > self._limits.labels:
            raise self._limits.invalid("labels", f"group_by has {len(label_names)} labels")
        step = parse_step(parameters.get("step"))
        aggregate = parse_aggregate(parameters)

        def respond() -> Response:
            timeline = self._querier.timeline(query, label_names, step, aggregate)
            return _mark_damage(compress(json_response(timeline)), timeline.get("damaged", 0))

        return self._revalidation.answer([query], respond)

    def symbolize(self, path: str = "") -> Response:
        """Return no symbols. pprof posts addresses without names here and fails on any other answer."""
        return Response("num_symbols: 0\n", content_type="text/plain; charset=utf-8")

    def _authenticate(self) -> ApiKey:
        return authenticate_request(self._authenticator, Scope.READ)

    def _send(self, merged: MergeResult, merge_format: MergeFormat = MergeFormat.PPROF) -> Response:
        """Return a merge, or a redirect to a copy in the bucket if the merge is large."""
        current_record().counts = merged.counts()
        link = self._querier.publish_if_large(merged.data, merged.filename)
        response = redirect(link) if link else export(merged.data, merged.filename, merge_format)
        return _mark_damage(response, merged.damaged)


def _mark_damage(response: Response, count: int) -> Response:
    """Add the header that says how many profiles, or in a list how many objects, were left out as damaged."""
    if count:
        response.headers["X-Profbucket-Damaged"] = str(count)
    return response
