"""Errors raised on purpose, one class for each reaction of a caller, and their stable codes."""

from collections.abc import Mapping
from typing import ClassVar, Self, TypeVar

_E = TypeVar("_E", bound=BaseException)

# All codes with their meanings. The code of a limit is not listed: it is max_<name>_exceeded, with <name> a
# field of limits.Limits.
CODES: Mapping[str, str] = {
    # The defaults of the classes below.
    "internal": "The collector failed; its log has the reason.",
    "invalid": "The input is malformed.",
    "unauthenticated": "The request carries no valid API key.",
    "permission_denied": "The API key does not permit the request.",
    "not_found": "The profile, service or object does not exist.",
    "not_mergeable": "Profiles of this type cannot be merged.",
    "request_timeout": "The request arrived too slowly.",
    "too_large": "The input exceeds a size limit.",
    "unsupported_media": "The body is in a format that the collector cannot read.",
    "unsupported_format": "The upload cannot be converted to pprof.",
    "too_many": "The request asks for more than a limit allows.",
    "misconfigured": "A setting is missing or invalid.",
    "unavailable": "The storage or the collector is unreachable or overloaded.",
    "storage_permission_denied": "The storage denies access to the collector.",
    "damaged": "Stored data is damaged, and the answer would consist of nothing else.",
    "damaged_index": "The index is damaged; profbucket reindex makes a new one from the bucket.",
    # API keys.
    "local_only": "The collector has no API keys and serves only its own machine.",
    "missing_api_key": "The request carries no API key, and the collector requires one.",
    "unknown_api_key": "The request carries an API key that the collector does not know.",
    "missing_scope": "The API key lacks the scope of the request.",
    "service_denied": "The API key is not valid for the service.",
    # Requests.
    "unknown_route": "There is no such path.",
    "method_not_allowed": "The path does not have this method.",
    "bad_request": "The request is not valid HTTP.",
    "cross_site_request": "A web page of another site sent the request.",
    "malformed_body": "The chunks of the body are malformed.",
    "unsupported_content_encoding": "The Content-Encoding is unknown, or there are too many.",
    "invalid_content_encoding": "The body is not what its Content-Encoding says.",
    "incomplete_body": "The body is shorter than announced; the connection broke.",
    "too_many_posts_in_flight": "The bodies of concurrent posts leave no room for this one.",
    "compaction_failed": "Some profiles or blocks could not be compacted; the log has the reasons.",
    "response_too_large": "The platform does not transmit a response of this size, and no link can replace it.",
    "compaction_incomplete": "The time was too short for a task of compaction; the queue posts it again.",
    "compaction_in_progress": "Compaction kept replacing what the request reads.",
    # Parameters.
    "missing_parameter": "A required parameter is missing or empty.",
    "reserved_parameter": "A parameter has no meaning on the route, and cannot be a label there either.",
    "repeated_parameter": "A parameter is given more than once.",
    "invalid_parameter": "A parameter has an invalid value.",
    "invalid_profile_type": "The name of a profile type is malformed.",
    "invalid_time": "A time is malformed or out of range.",
    "invalid_time_range": "A time range ends before it starts.",
    "invalid_step": "The length of a time step is malformed.",
    "invalid_service": "A service name is malformed.",
    "invalid_label": "A label is malformed or given twice.",
    "invalid_matcher": "A label matcher is malformed.",
    "invalid_regex": "A regular expression is not valid in RE2's syntax.",
    "invalid_profile_id": "A profile id is malformed.",
    "invalid_object_key": "An object's key is not the key of a profile or block.",
    "duplicate_id": "A profile id is given more than once.",
    # Merges.
    "profile_types_differ": "The profiles have different profile types.",
    "sample_types_differ": "The profiles have no sample type in common.",
    "unknown_sample_type": "The profile does not have the sample type.",
    "unknown_function": "No profile has the function.",
    "delta_with_limit": "aggregate=delta and limit cannot be combined.",
    "no_counters": "The profiles have no cumulative values for aggregate=delta.",
    "nothing_to_compare": "No series has two profiles, which an increase needs.",
    "nothing_to_merge": "There is no profile to merge.",
    # Uploads.
    "empty_body": "The upload has no bytes.",
    "empty_profile": "The profile has no samples.",
    "compressed_twice": "The profile is compressed more than once.",
    "invalid_gzip": "The gzip stream is damaged.",
    "legacy_format": "The upload is a profile in a format older than pprof; go tool pprof -proto converts it.",
    "concatenated_profiles": "The upload is several pprofs joined together.",
    "invalid_protobuf": "The upload is not protobuf, so not a pprof.",
    "invalid_profile": "The pprof is inconsistent.",
    "profile_not_due": "An agent asks for work before its next profile is due; the answer says when to ask again.",
    "invalid_trace": "The upload is not a Go execution trace.",
    "invalid_multipart": "The upload is not multipart/form-data as its Content-Type says, or a part is missing.",
    "invalid_json": "The upload is not JSON, or not of the expected form.",
    "invalid_collapsed_stacks": "A line of the upload is not a stack with a number.",
    "unsupported_content_type": "The Content-Type is not one that the route accepts.",
    # Scraping.
    "target_unavailable": "A scrape target cannot be reached or answers with an error.",
    # Stored blocks.
    "damaged_block": "A block or its metadata cannot be read.",
    # Settings.
    "invalid_periods": "The periods of compaction contradict each other.",
    "invalid_task": "A task of compaction is malformed.",
    "invalid_targets": "The list of scrape targets is malformed.",
    "missing_targets": "The bucket has no list of scrape targets.",
    "missing_extra": "An optional part of profbucket is not installed.",
    "unsupported_platform": "The agent does not support this Python or operating system.",
    "invalid_url": "A URL is malformed.",
}


class ProfbucketError(Exception):
    """Base class of all errors that are raised on purpose.

    ``code`` is stable and machine-readable; it defaults to the class's. ``status`` is the HTTP status of the
    response.
    """

    default_code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code

    def about(self, name: str) -> Self:
        """Return the same error with *name*, one of several inputs, in front of its message."""
        detach(self)
        return type(self)(f"{name}: {self}", code=self.code)


class Invalid(ProfbucketError):
    """The input is malformed; sending it again changes nothing."""

    default_code = "invalid"
    status = 400


class Unauthenticated(ProfbucketError):
    """The request carries no API key, or an unknown one."""

    default_code = "unauthenticated"
    status = 401


class PermissionDenied(ProfbucketError):
    """The API key lacks a scope or is not valid for a service; the message names which."""

    default_code = "permission_denied"
    status = 403


class NotFound(ProfbucketError):
    """The requested profile, service or object does not exist."""

    default_code = "not_found"
    status = 404


class NotMergeable(ProfbucketError):
    """Profiles of this type cannot be merged."""

    default_code = "not_mergeable"
    status = 405


class RequestTimeout(ProfbucketError):
    """The request arrives too slowly; sending it again may succeed."""

    default_code = "request_timeout"
    status = 408


class TooLarge(ProfbucketError):
    """The input exceeds a size limit; the message names the limit, its value and its setting."""

    default_code = "too_large"
    status = 413


class UnsupportedMedia(ProfbucketError):
    """The body is in a format that the collector cannot read."""

    default_code = "unsupported_media"
    status = 415


class TooMany(ProfbucketError):
    """The request asks for more than a limit allows; the message says what to narrow."""

    default_code = "too_many"
    status = 422


class UnsupportedFormat(ProfbucketError):
    """The upload is in a format that cannot be converted to pprof."""

    default_code = "unsupported_format"
    status = 422


class Misconfigured(ProfbucketError):
    """A setting is missing or invalid; the message names it."""

    default_code = "misconfigured"
    status = 500


def missing_extra(subject: str, extra: str) -> Misconfigured:
    """Return the error for *subject*, which needs libraries that only the distribution's *extra* installs."""
    return Misconfigured(
        f"{subject} needs the extra {extra!r}: run pip install 'profbucket[{extra}]'"
        f" (in a clone: .venv/bin/pip install -e '.[{extra}]')",
        code="missing_extra",
    )


class Unavailable(ProfbucketError):
    """The storage or the collector is unreachable or overloaded; the same request may succeed later."""

    default_code = "unavailable"
    status = 503


class StoragePermissionError(ProfbucketError):
    """The storage denies access to the collector; the message names the missing permission.

    The response is 503: agents retry, and the permission may have been granted by then.
    """

    default_code = "storage_permission_denied"
    status = 503


class Damaged(ProfbucketError):
    """Stored data is not what was written; the message names it and says what to do."""

    default_code = "damaged"
    status = 500


def detach(error: _E) -> _E:
    """Return *error*, and free what the calls held that failed with it. Call this for errors that are kept.

    Tracebacks refer to the frames of those calls, with the bodies and profiles in their variables. A frame with a
    variable for the exception that it raised even refers to itself. Only the garbage collector would free it, and
    that counts objects, not their bytes: repeated requests would take hundreds of megabytes first.
    """
    current: BaseException | None = error
    while current is not None:
        current.__traceback__ = None
        current = current.__context__
    return error


def error_class(status: int, code: str) -> type[ProfbucketError] | None:
    """Return the class of errors with *status*; ``None`` without one.

    Of several it is the one whose default code is *code*, or else the first of this module.
    """
    if code == ProfbucketError.default_code:
        return ProfbucketError
    matches = [cls for cls in ProfbucketError.__subclasses__() if cls.status == status]
    return next((cls for cls in matches if cls.default_code == code), matches[0] if matches else None)
