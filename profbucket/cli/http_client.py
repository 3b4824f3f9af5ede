"""A :class:`~profbucket.cli.client.ProfileClient` that talks to a collector over HTTP."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from profbucket.cli.http_session import HttpSession, Response
from profbucket.errors import Invalid, Misconfigured, ProfbucketError, Unavailable, detach, error_class
from profbucket.model.form import NO_ROUTE_STATUSES, encode_form
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.merge_format import MergeFormat
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Page, Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.model.upload import Upload
from profbucket.timed_http import HttpUrl
from profbucket.times import SECOND

T = TypeVar("T")

_FOR_ALL_STATUSES = (401, 403, 503)  # of a batch, which each of its profiles would have, too


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
        headers = {"Accept-Encoding": "identity", "User-Agent": "profbucket"}
        if parsed.password:
            headers["Authorization"] = parsed.basic_auth()
        elif api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._session = HttpSession(parsed.base, headers)
        self._takes_batches = True  # as far as is known

    def store_batch(self, uploads: Sequence[Upload]) -> list[Meta | ProfbucketError]:
        if len(uploads) < 2 or not self._takes_batches:
            return [self._store(upload) for upload in uploads]
        body, content_type = encode_form((_upload_parameters(upload), upload.data) for upload in uploads)
        try:
            response = self._session.exchange("POST", "batch", body=body, content_type=content_type)
        except Unavailable as error:
            return [detach(error)] * len(uploads)
        if outcomes := self._read_outcomes(response, len(uploads)):
            return outcomes
        if response.status in _FOR_ALL_STATUSES:
            return [_build_error(self._session.url, response)] * len(uploads)
        # Alone, each profile is accepted or refused by itself.
        self._takes_batches = response.status not in NO_ROUTE_STATUSES
        return [self._store(upload) for upload in uploads]

    def _read_outcomes(self, response: Response, count: int) -> list[Meta | ProfbucketError]:
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
                f"{self._session.url} is not a profbucket collector; it answered {str(answer)[:80]}"
            ) from None

    def _request(
        self, method: str, path: str, parameters: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> bytes:
        """Return the body of the response; raise the error that the collector answers."""
        response = self._session.exchange(method, path, parameters, body)
        if response.status != 200:
            raise _build_error(self._session.url, response)
        return response.body


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


def _build_error(url: str, response: Response) -> ProfbucketError:
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
