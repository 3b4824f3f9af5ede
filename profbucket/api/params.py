"""Query parameters, and the selection of profiles that they describe."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from profbucket.auth import ApiKey, Scope
from profbucket.errors import Invalid, NotMergeable
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId, check_service
from profbucket.model.labels import Matcher, parse_matchers
from profbucket.model.merge_format import MergeFormat
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.model.numbers import parse_count
from profbucket.model.profile_type import ProfileType
from profbucket.model.refinement import Refinement
from profbucket.model.sample_kinds import Aggregate
from profbucket.query.querier import Querier
from profbucket.query.services import parse_condition
from profbucket.telemetry.request import current_record
from profbucket.times import format_time, parse_time

if TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

# Parameters that are no labels on any route. pprof adds "seconds" if its option -seconds is set.
RESERVED_PARAMETERS = frozenset(
    {"service", "type", "labels", "created_at", "from", "to", "limit", "page", "seconds"}
)
# Those that only select stored profiles. On a post they would look like labels, and vanish.
QUERY_PARAMETERS = frozenset({"from", "to", "limit", "page", "seconds"})
# Parameters that are no labels on some routes.
BASE_PARAMETERS = frozenset({"base_from", "base_to", "base_labels"})
REFINEMENT_PARAMETERS = frozenset(Refinement.names())
MERGE_PARAMETERS = REFINEMENT_PARAMETERS | {"aggregate", "delta", "sample_type", "keep_labels", "service_label"}
EXPORT_PARAMETERS = MERGE_PARAMETERS | {"format", "max_nodes"}
FLAME_PARAMETERS = BASE_PARAMETERS | MERGE_PARAMETERS | {"max_nodes", "function"}
SERIES_PARAMETERS = frozenset({"aggregate", "group_by", "step"})

_SHOWN_CHARACTERS = 80  # of a parameter's value in an error message


class Parameters:
    """The query parameters of a request, of which *reserved* ones are no labels on its route."""

    def __init__(self, args: "MultiDict[str, str]", reserved: frozenset[str] = frozenset()) -> None:
        """Raise ``Invalid`` for a parameter that is repeated."""
        for name, values in args.lists():
            if len(values) > 1:
                raise Invalid(
                    f"parameter {name[:_SHOWN_CHARACTERS]!r} is given {len(values)} times; send it once",
                    code="repeated_parameter",
                )
        self._args = args
        self._reserved = RESERVED_PARAMETERS | reserved

    def has(self, name: str) -> bool:
        """Return whether parameter *name* is present, even if it is empty."""
        return name in self._args

    def refuse(self, names: Iterable[str]) -> None:
        """Raise ``Invalid`` if one of *names* is present."""
        for name in sorted(names):
            if name in self._args:
                raise Invalid(
                    f"parameter {name!r} has no meaning here; pass a label of that name in labels=",
                    code="reserved_parameter",
                )

    def get(self, name: str) -> str:
        """Return the value of *name*, or ``""``."""
        return self._args.get(name, "")

    def require(self, name: str) -> str:
        """Return the value of *name*; raise ``Invalid`` if it is missing or empty."""
        value = self.get(name)
        if not value:
            raise Invalid(f"parameter {name!r} is missing or empty", code="missing_parameter")
        return value

    def positive_integer(self, name: str) -> int | None:
        """Return the value of *name*, or ``None`` if it is missing; raise ``Invalid`` for anything else."""
        text = self.get(name)
        if not text:
            return None
        number = parse_count(text, 1, 999_999_999)
        if number is None:
            raise Invalid(
                f"{name}={text[:_SHOWN_CHARACTERS]!r} is not a whole number from 1 to 999999999",
                code="invalid_parameter",
            )
        return number

    def flag(self, name: str) -> bool:
        """Return whether *name* is 1; missing means 0. Raise ``Invalid`` for anything else."""
        text = self.get(name)
        if text not in ("", "0", "1"):
            raise Invalid(f"{name}={text[:_SHOWN_CHARACTERS]!r} is neither 0 nor 1", code="invalid_parameter")
        return text == "1"

    def labels(self) -> Iterable[tuple[str, str]]:
        """Yield all parameters that are not reserved."""
        return ((name, value) for name, value in self._args.items() if name not in self._reserved)


class QueryParser:
    """Reads selections of profiles from parameters. *clock* returns nanoseconds since 1970."""

    def __init__(self, querier: Querier, limits: Limits, clock: Callable[[], int]) -> None:
        self._querier = querier
        self._limits = limits
        self._clock = clock

    def services(self, api_key: ApiKey, parameters: Parameters) -> tuple[str, tuple[str, ...]]:
        """Return the parameter ``service``, and the services that it selects if it is a condition.

        Raises:
            Invalid: The name or the condition is malformed.
            PermissionDenied: *api_key* may not read the service.
            NotFound: No service that *api_key* may read meets the condition.
            TooMany: Too many services meet the condition.
        """
        service = parameters.require("service")
        if (condition := parse_condition(service)) is None:
            api_key.require(Scope.READ, service)
            check_service(service, self._limits)
            return service, ()
        api_key.require(Scope.READ)
        return service, self._querier.select_services([condition], api_key.may_access)

    def query(self, api_key: ApiKey, parameters: Parameters, profile_type: ProfileType | None) -> Query:
        """Return the selection of profiles that *parameters* describe and note it in the request record.

        Raise ``Invalid``, and as :meth:`services` does.
        """
        service, services = self.services(api_key, parameters)
        current_record().set_subject(service, profile_type)
        matchers = (
            *self._parse_matchers("labels", parameters),
            *(Matcher(key, "=", value) for key, value in parameters.labels()),
        )
        self._check_count("labels", len(matchers))
        now = self._clock()
        start = parse_time(parameters.require("from"), now)
        end = parse_time(parameters.get("to") or "now", now, end=True)
        _check_range("from", start, "to", end)
        page = parameters.get("page")
        return Query(
            service=service,
            type=profile_type,
            start=start,
            end=end,
            matchers=matchers,
            after=(ProfileId.parse(page).created_at, page) if page else None,
            limit=parameters.positive_integer("limit"),
            services=services,
        )

    def base_query(self, parameters: Parameters, query: Query) -> Query | None:
        """Return *query* changed by the ``base_`` parameters, or ``None`` if there are none.

        Raise ``Invalid`` for values that are malformed.
        """
        if not any(parameters.has(name) for name in BASE_PARAMETERS):
            return None
        now = self._clock()
        start, end, matchers = query.start, query.end, query.matchers
        if text := parameters.get("base_from"):
            start = parse_time(text, now)
        if text := parameters.get("base_to"):
            end = parse_time(text, now, end=True)
        _check_range("base_from", start, "base_to", end)
        if parameters.has("base_labels"):
            matchers = self._parse_matchers("base_labels", parameters)
        return replace(query, start=start, end=end, matchers=matchers)

    def _parse_matchers(self, name: str, parameters: Parameters) -> tuple[Matcher, ...]:
        """Return the conditions in the parameter *name*, after a check of their number: compiling takes time."""
        text = parameters.get(name)
        self._check_count(name, len(list(filter(None, text.split(",")))))
        return parse_matchers(text)

    def _check_count(self, name: str, conditions: int) -> None:
        if conditions > self._limits.labels:
            raise self._limits.invalid("labels", f"{name} has {conditions} conditions")


def find_type(parameters: Parameters) -> ProfileType | None:
    """Return the profile type to find, or ``None`` for any, which kube-profefe sends as ``unknown``."""
    text = parameters.get("type")
    return None if text in ("", "unknown") else ProfileType.parse(text)


def mergeable_type(parameters: Parameters) -> ProfileType | None:
    """Return the profile type to merge, or ``None`` if missing; raise ``NotMergeable`` for an invalid one."""
    text = parameters.get("type")
    try:
        return ProfileType.parse(text) if text else None
    except Invalid as error:
        # As profefe, whose clients take 405 as "pprof cannot merge this".
        raise NotMergeable(f"profiles of this type cannot be merged: {error}", code=error.code) from None


def merge_options(parameters: Parameters) -> MergeOptions:
    """Return how to merge, as *parameters* say it; raise ``Invalid`` for values that are malformed."""
    aggregate = parse_aggregate(parameters)
    if parameters.flag("delta"):
        if parameters.get("aggregate") not in ("", Aggregate.DELTA):
            raise Invalid(f"delta=1 and aggregate={aggregate} exclude each other", code="invalid_parameter")
        aggregate = Aggregate.DELTA
    return MergeOptions(
        sample_type=parameters.get("sample_type") or None,
        keep_labels=parameters.flag("keep_labels"),
        service_label=parameters.flag("service_label"),
        aggregate=aggregate,
        refinement=Refinement(**{name: parameters.get(name) for name in Refinement.names()}),
    )


def export_options(parameters: Parameters) -> MergeOptions:
    """Return how to merge, and in which format, as *parameters* say it; raise ``Invalid`` as above."""
    return replace(
        merge_options(parameters),
        format=_parse_format(parameters),
        max_nodes=parameters.positive_integer("max_nodes"),
    )


def parse_aggregate(parameters: Parameters) -> Aggregate:
    """Return how to aggregate, by default as a sum; raise ``Invalid`` for anything else."""
    text = parameters.get("aggregate") or Aggregate.SUM
    if text not in list(Aggregate):
        raise Invalid(
            f"unknown aggregate={text[:_SHOWN_CHARACTERS]!r}; use {', '.join(Aggregate)}", code="invalid_parameter"
        )
    return Aggregate(text)


def _parse_format(parameters: Parameters) -> MergeFormat:
    """Return the format of a merge, by default pprof; raise ``Invalid`` for an unknown one."""
    text = parameters.get("format")
    try:
        return MergeFormat(text or "pprof")
    except ValueError:
        known = ", ".join(MergeFormat)
        raise Invalid(
            f"format={text[:_SHOWN_CHARACTERS]!r} is unknown; use {known}", code="invalid_parameter"
        ) from None


def _check_range(start_name: str, start: int, end_name: str, end: int) -> None:
    if start > end:
        raise Invalid(
            f"{start_name} is after {end_name}: {format_time(start)} is later than {format_time(end)}",
            code="invalid_time_range",
        )
