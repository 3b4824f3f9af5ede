"""A :class:`~profbucket.cli.client.ProfileClient` that talks to a collector over HTTP."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from http.client import HTTPException
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

from profbucket.errors import Invalid, Misconfigured, ProfbucketError, Unavailable, detach, error_class
from profbucket.model.form import NO_ROUTE_STATUSES, encode_form
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.merge_format import MergeFormat
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Page, Query, Total
from profbucket.model.numbers import parse_count
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.model.upload import Upload
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
_FOR_ALL_STATUSES = (401, 403, 503)  # of a batch, which each of its profiles would have, too
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
        self._takes_batches = True  # as far as is known
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "profbucket"}
        if parsed.password:
            self._headers["Authorization"] = parsed.basic_auth()
        elif api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def store_batch(self, uploads: Sequence[Upload]) -> list[Meta | ProfbucketError]:
        if len(uploads) < 2 or not self._takes_batches:
            return [self._store(upload) for upload in uploads]
        body, content_type = encode_form((_upload_parameters(upload), upload.data) for upload in uploads)
        try:
            response = self._exchange("POST", "batch", body=body, content_type=content_type)
        except Unavailable as error:
            return [detach(error)] * len(uploads)
        if outcomes := self._read_outcomes(response, len(uploads)):
            return outcomes
        if response.status in _FOR_ALL_STATUSES:
            return [_build_error(self._url, response)] * len(uploads)
        # Alone, each profile is accepted or refused by itself.
        self._takes_batches = response.status not in NO_ROUTE_STATUSES
        return [self._store(upload) for upload in uploads]

    def _read_outcomes(self, response: "_Response", count: int) -> list[Meta | ProfbucketError]:
        """Return what became of each of *count* profiles, or nothing if the response does not say."""
        try:
            parts = json.loads(response.body)["body"]
            return [self._read_part(part) for part in parts] if len(parts) == count else []
        except (ValueError, TypeError, LookupError, Unavailable):
            return []

    def _store(self, upload: Upload) -> Meta | ProfbucketError:
        try:
            answer = self._request_json("POST", "profiles", _upload_parameters(upload), upload.data)
            return self._parse(_read_meta, answer)
        except ProfbucketError as error:
            return detach(error)

    def _read_part(self, part: Any) -> Meta | ProfbucketError:
        if part["code"] == 200:
            return self._parse(_read_meta, part)
        return _make_error(part["code"], str(part["error"]), str(part.get("error_code", "")))

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
        """Return the body of the response; raise the error that the collector answers."""
        response = self._exchange(method, path, parameters, body)
        if response.status != 200:
            raise _build_error(self._url, response)
        return response.body

    def _exchange(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/octet-stream",
    ) -> "_Response":
        """Return the response, after retries and redirects; raise ``Unavailable`` if no attempt succeeds."""
        url = f"{self._url}/api/0/{quote(path, safe='/+~')}"
        if parameters:
            url += f"?{urlencode(parameters)}"
        headers = self._headers if body is None else {**self._headers, "Content-Type": content_type}
        attempt = 0
        while True:
            retry_after = None
            try:
                response = self._send(method, url, body, headers)
            except REQUEST_ERRORS as error:
                retries = _RETRIES if isinstance(error, _BROKEN_CONNECTION) else _CONNECT_RETRIES
                if attempt >= retries:
                    raise Unavailable(
                        f"{self._url} cannot be reached: {_describe(error)}; "
                        "set the collector's URL with --url or PROFBUCKET_URL"
                    ) from None
            else:
                if response.status < 500 or attempt >= _RETRIES:
                    return response
                retry_after = response.retry_after
            time.sleep(_wait_seconds(attempt, retry_after))
            attempt += 1

    def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> "_Response":
        """Send one request, follow redirects, and return the response.

        A redirect to another origin, such as a signed link to a bucket, gets no credentials.
        """
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
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
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


def _upload_parameters(upload: Upload) -> dict[str, str]:
    parameters = {"service": upload.service, "type": str(upload.type)}
    if upload.labels:
        parameters["labels"] = upload.labels.format()
    if upload.created_at is not None:
        parameters["created_at"] = _format_exactly(upload.created_at)
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
    return _make_error(response.status, message, code)


def _make_error(status: int, message: str, code: str) -> ProfbucketError:
    cls = error_class(status, code) or (Unavailable if status >= 500 else Invalid)
    return cls(message, code=code)


def _describe(error: Exception) -> str:
    if getattr(error, "reason", "") == "WRONG_VERSION_NUMBER":  # an SSLError; importing ssl takes long
        return "it does not speak TLS; write http:// instead of https://"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
