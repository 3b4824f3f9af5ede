"""A :class:`~profbucket.cli.client.ProfileClient` that talks to a collector over HTTP."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from http.client import HTTPException
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

from profbucket.errors import Invalid, Misconfigured, ProfbucketError, Unavailable, error_class
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.merge_format import MergeFormat
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Page, Query, Total
from profbucket.model.numbers import parse_count
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.timed_http import REQUEST_ERRORS, HttpUrl, request
from profbucket.times import SECOND

T = TypeVar("T")

_RETRIES = 5  # after a 5xx, or a connection that broke
_CONNECT_RETRIES = 2  # if there was no connection: more likely the URL is wrong
_FIRST_WAIT_SECONDS = 0.5  # before the second retry; doubled each time. The first one follows at once.
_MAX_WAIT_SECONDS = 60.0  # whatever Retry-After says
_ATTEMPT_SECONDS = 300.0  # for one request, with its response
_CONNECT_SECONDS = 10.0
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Errors of a connection that was there; all others are about making one.
_BROKEN_CONNECTION = (ConnectionResetError, BrokenPipeError, HTTPException)


class HttpClient:
    """The collector at *url*.

    Sends *api_key* as a bearer token, or else the password in the URL. Every method raises ``Unavailable`` if the
    collector cannot be reached, or the error that the collector answered, rebuilt from its status and code.
    """

    def __init__(self, url: str, api_key: str = "") -> None:
        try:
            parsed = HttpUrl.parse(url)
        except ValueError as error:
            raise Misconfigured(
                f"invalid collector URL: {error}; write it as http://localhost:10100", code="invalid_url"
            ) from None
        if not (api_key.isascii() and api_key.isprintable()):
            raise Misconfigured("the API key has invalid characters")
        self._url = parsed.base
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "profbucket"}
        if parsed.password:
            self._headers["Authorization"] = parsed.basic_auth()
        elif api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def collect(
        self, service: str, profile_type: ProfileType, labels: Labels, data: bytes, created_at: int | None = None
    ) -> Meta:
        parameters = {"service": service, "type": str(profile_type)}
        if labels:
            parameters["labels"] = labels.format()
        if created_at is not None:
            parameters["created_at"] = _format_exactly(created_at)
        return self._parse(_read_meta, self._request_json("POST", "profiles", parameters, data))

    def find(self, query: Query) -> Page:
        return self._parse(_read_page, self._request_json("GET", "profiles", _parameters(query)))

    def read(self, profile_id: ProfileId) -> bytes:
        return self._request("GET", f"profiles/{profile_id}")

    def merge(self, query: Query, options: MergeOptions = MergeOptions()) -> bytes:
        return self._request("GET", "profiles/merge", {**_parameters(query), **_merge_parameters(options)})

    def merge_ids(self, ids: Sequence[ProfileId]) -> bytes:
        return self._request("GET", f"profiles/{'+'.join(map(str, ids))}")

    def services(self) -> list[str]:
        return self._parse(lambda answer: list(map(str, answer["body"])), self._request_json("GET", "services"))

    def labels(self, service: str, profile_type: ProfileType | None = None) -> dict[str, Any]:
        parameters = {"service": service, **({"type": str(profile_type)} if profile_type else {})}
        return self._parse(_read_labels, self._request_json("GET", "labels", parameters))

    def _request_json(
        self, method: str, path: str, parameters: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Any:
        return self._parse(json.loads, self._request(method, path, parameters, body))

    def _parse(self, parse: Callable[[Any], T], answer: Any) -> T:
        try:
            return parse(answer)
        except (ValueError, TypeError, LookupError, AttributeError, Invalid):
            raise Unavailable(
                f"{self._url} is not a profbucket collector; it answered {str(answer)[:80]}"
            ) from None

    def _request(
        self, method: str, path: str, parameters: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> bytes:
        """Return the body of the response, after retries and redirects."""
        url = f"{self._url}/api/0/{quote(path, safe='/+~')}"
        if parameters:
            url += f"?{urlencode(parameters)}"
        attempt = 0
        while True:
            retry_after = None
            try:
                response = self._send(method, url, body)
            except REQUEST_ERRORS as error:
                retries = _RETRIES if isinstance(error, _BROKEN_CONNECTION) else _CONNECT_RETRIES
                if attempt >= retries:
                    raise Unavailable(f"{self._url} cannot be reached: {_describe(error)}") from None
            else:
                if response.status == 200:
                    return response.body
                if response.status < 500 or attempt >= _RETRIES:
                    raise _build_error(self._url, response)
                retry_after = response.retry_after
            time.sleep(_wait_seconds(attempt, retry_after))
            attempt += 1

    def _send(self, method: str, url: str, body: bytes | None) -> "_Response":
        """Send one request, follow redirects, and return the response.

        A redirect to another origin, such as a signed link to a bucket, gets no credentials.
        """
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        for _ in range(_MAX_REDIRECTS + 1):
            with request(
                method,
                url,
                seconds=_ATTEMPT_SECONDS,
                connect_seconds=_CONNECT_SECONDS,
                body=body,
                headers=headers,
            ) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    retry_after = response.headers.get("Retry-After")
                    return _Response(response.status, response.reason, retry_after, response.read())
            target = urljoin(url, location)
            if _origin(target) != _origin(url):
                headers.pop("Authorization", None)
            url = target
        raise HTTPException(f"more than {_MAX_REDIRECTS} redirects")


class _Response(NamedTuple):
    status: int
    reason: str
    retry_after: str | None
    body: bytes


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _wait_seconds(attempt: int, retry_after: str | None) -> float:
    """Return how long to wait after *attempt*: what the collector says, or twice as long as the last time."""
    if (seconds := parse_count(retry_after or "", most=10**20)) is not None:
        return min(float(seconds), _MAX_WAIT_SECONDS)
    return min(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1), _MAX_WAIT_SECONDS) if attempt else 0.0


def _parameters(query: Query) -> dict[str, str]:
    parameters = {
        "service": query.service,
        "from": _format_exactly(query.start),
        "to": _format_exactly(query.end),
    }
    if query.type is not None:
        parameters["type"] = str(query.type)
    if query.matchers:
        parameters["labels"] = ",".join(matcher.format() for matcher in query.matchers)
    if query.after is not None:
        parameters["page"] = query.after[1]
    if query.limit is not None:
        parameters["limit"] = str(query.limit)
    return parameters


def _merge_parameters(options: MergeOptions) -> dict[str, str]:
    """Return the parameters of what differs from the default."""
    parameters = {}
    if options.sample_type is not None:
        parameters["sample_type"] = options.sample_type
    if options.keep_labels:
        parameters["keep_labels"] = "1"
    if options.service_label:
        parameters["service_label"] = "1"
    parameters |= {name: text for name, text in asdict(options.refinement).items() if text}
    if options.format is not MergeFormat.PPROF:
        parameters["format"] = options.format
    if options.max_nodes is not None:
        parameters["max_nodes"] = str(options.max_nodes)
    if options.aggregate is not Aggregate.SUM:
        parameters["aggregate"] = options.aggregate
    return parameters


def _format_exactly(nanoseconds: int) -> str:
    """Format a time as Unix seconds with all nine decimals."""
    return f"{nanoseconds // SECOND}.{nanoseconds % SECOND:09d}"


def _read_page(answer: Mapping[str, Any]) -> Page:
    profiles = [_read_meta({"body": item}) for item in answer["body"]]
    return Page(profiles, answer.get("next"), answer.get("damaged", ()))


def _read_labels(answer: Mapping[str, Any]) -> dict[str, Any]:
    body = answer["body"]
    labels = [{"key": str(label["key"]), "values": list(map(str, label["values"]))} for label in body["labels"]]
    return {"types": list(map(str, body["types"])), "labels": labels, "complete": bool(body["complete"])}


def _read_meta(answer: Mapping[str, Any]) -> Meta:
    """Read the record of a profile. Its ``created_at`` is in whole seconds; the exact time is in the id."""
    item = answer["body"]
    profile_id = ProfileId.parse(item["id"])
    return Meta(
        id=item["id"],
        service=item["service"],
        type=profile_id.type,
        labels=Labels.from_pairs((label["key"], label["value"]) for label in item["labels"]),
        created_at=profile_id.created_at,
        size=item["size"],
        totals=tuple(Total(**total) for total in item["totals"]),
    )


def _build_error(url: str, response: _Response) -> ProfbucketError:
    """Rebuild the error that the collector raised, or describe a response that is not the collector's."""
    try:
        answer = json.loads(response.body)
        message, code = str(answer["error"]), str(answer.get("error_code", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        message, code = f"{url} answered {response.status} {response.reason}".strip(), ""
    cls = error_class(response.status, code) or (Unavailable if response.status >= 500 else Invalid)
    return cls(message, code=code)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
