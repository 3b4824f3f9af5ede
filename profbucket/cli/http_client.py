"""A collector somewhere else: what a Collector and a Querier do, over HTTP."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry, Timeout

from profbucket.errors import Invalid, Misconfigured, NotFound, ProfbucketError, Unavailable
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Page, Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.times import SECOND

T = TypeVar("T")

_TRIES = 5  # of a request that the collector could not answer, beyond the first
_CONNECTS = 2  # of one that did not even reach it: more likely the URL is wrong
_LONGEST_WAIT = 60.0  # seconds between two tries, whatever the collector says
_TIMEOUT = Timeout(connect=10, read=300)


class _Retry(Retry):
    """Tries again what failed on the other side (5xx) or on the way, and never what it refused (4xx)."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        return bool(self.total) and status_code >= 500

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, _LONGEST_WAIT)

    def sleep_for_retry(self, response: BaseHTTPResponse) -> bool:
        seconds = self.get_retry_after(response)
        if seconds:  # 0 is an answer as well: now
            time.sleep(seconds)
        return seconds is not None


class HttpClient:
    """The collector at *url*, for at most *parallel* threads at once.

    *key* is sent as a bearer token; a password in the URL is one as well. Every call may raise ``Unavailable``
    where the collector cannot be reached or fails, and ``Invalid`` or ``NotFound`` where it refuses; the text is
    the collector's.
    """

    def __init__(self, url: str, key: str = "", parallel: int = 1) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            shown = f"…@{url.rpartition('@')[2]}" if "@" in url else url  # in front of it is a key
            raise Misconfigured(f"not a collector's URL: {shown!r}; it is as in http://localhost:10100")
        self._url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        headers = {"Accept-Encoding": "identity"}
        if parts.password:
            user = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
            headers |= urllib3.make_headers(basic_auth=user)
        elif key:
            headers["Authorization"] = f"Bearer {key}"
        retries = _Retry(
            total=_TRIES,
            connect=_CONNECTS,
            allowed_methods=None,  # a post that is sent again is the same profile
            backoff_factor=0.25,
            backoff_max=_LONGEST_WAIT,
            raise_on_status=False,
        )
        self._pool = urllib3.PoolManager(
            maxsize=parallel, block=True, headers=headers, retries=retries, timeout=_TIMEOUT
        )

    def collect(
        self, service: str, profile_type: ProfileType, labels: Labels, data: bytes, created_at: int | None = None
    ) -> Meta:
        """Post a profile; see :meth:`Collector.collect`."""
        parameters = {"service": service, "type": str(profile_type)}
        if labels:
            parameters["labels"] = labels.format()
        if created_at is not None:
            parameters["created_at"] = _exact(created_at)
        return self._parsed(_meta, self._json("POST", "profiles", parameters, data))

    def find(self, query: Query) -> Page:
        """See :meth:`Querier.find`."""
        return self._parsed(_page, self._json("GET", "profiles", _parameters(query)))

    def read(self, profile_id: ProfileId) -> bytes:
        """See :meth:`Querier.read`."""
        return self._request("GET", f"profiles/{profile_id}")

    def merge(self, query: Query) -> bytes:
        """One gzip pprof; see :meth:`Querier.merge`."""
        return self._request("GET", "profiles/merge", _parameters(query))

    def delta(self, query: Query) -> bytes:
        """One gzip pprof; see :meth:`Querier.delta`."""
        return self._request("GET", "profiles/merge", {**_parameters(query), "delta": "1"})

    def merge_ids(self, ids: Sequence[ProfileId]) -> bytes:
        """One gzip pprof; see :meth:`Querier.merge_ids`."""
        return self._request("GET", f"profiles/{'+'.join(map(str, ids))}")

    def services(self) -> list[str]:
        """See :meth:`Querier.services`."""
        return self._parsed(lambda answer: list(map(str, answer["body"])), self._json("GET", "services"))

    def _json(
        self, method: str, path: str, parameters: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Any:
        return self._parsed(json.loads, self._request(method, path, parameters, body))

    def _parsed(self, parse: Callable[[Any], T], answer: Any) -> T:
        try:
            return parse(answer)
        except (ValueError, TypeError, LookupError, AttributeError, Invalid):
            raise Unavailable(f"{self._url} does not answer as a collector does: {str(answer)[:80]}") from None

    def _request(
        self, method: str, path: str, parameters: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> bytes:
        query = f"?{urlencode(parameters)}" if parameters else ""
        headers = {**self._pool.headers, "Content-Type": "application/octet-stream"} if body is not None else None
        try:
            answer = self._pool.request(
                method, f"{self._url}/api/0/{quote(path, safe='/+~')}{query}", body=body, headers=headers
            )
        except HTTPError as error:
            raise Unavailable(f"{self._url} cannot be reached: {_why(error)}") from None
        if answer.status != 200:
            raise _error(self._url, answer)
        return answer.data


def _parameters(query: Query) -> dict[str, str]:
    parameters = {"service": query.service, "from": _exact(query.start), "to": _exact(query.end)}
    if query.type is not None:
        parameters["type"] = str(query.type)
    if query.matchers:
        parameters["labels"] = ",".join(matcher.format() for matcher in query.matchers)
    if query.after is not None:
        parameters["page"] = query.after[1]
    if query.limit is not None:
        parameters["limit"] = str(query.limit)
    return parameters


def _exact(time: int) -> str:
    return f"{time // SECOND}.{time % SECOND:09d}"


def _page(answer: Mapping[str, Any]) -> Page:
    return Page([_meta({"body": item}) for item in answer["body"]], answer.get("next"))


def _meta(answer: Mapping[str, Any]) -> Meta:
    """The meta that the API shows. Its time is in whole seconds there, the exact one is in the id."""
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


def _error(url: str, answer: BaseHTTPResponse) -> ProfbucketError:
    """What the collector says is wrong, or what little can be said without it."""
    try:
        text = str(json.loads(answer.data)["error"])
    except (ValueError, TypeError, KeyError):
        text = f"{url} answered {answer.status} {answer.reason or ''}".strip()
    if answer.status >= 500:
        return Unavailable(text)
    return NotFound(text) if answer.status == 404 else Invalid(text)


def _why(error: HTTPError) -> str:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    cause = reason.__cause__ or reason
    if isinstance(cause, OSError) and cause.errno:
        return cause.strerror or os.strerror(cause.errno)
    return str(cause)
