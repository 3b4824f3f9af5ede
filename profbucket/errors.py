"""Errors, named for what the caller can do about them. Each message is a sentence for that person."""

from typing import ClassVar, Self


class ProfbucketError(Exception):
    """Base class of all errors that are raised on purpose.

    ``code`` is stable and machine-readable; it defaults to that of the class. ``status`` is the HTTP status that
    answers the error.
    """

    default_code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code

    def about(self, name: str) -> Self:
        """Return the same error with *name*, one of several inputs, in front of its message."""
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


class TooLarge(ProfbucketError):
    """The input exceeds a size limit; the message names the limit, its value and its setting."""

    default_code = "too_large"
    status = 413


class TooMany(ProfbucketError):
    """The request asks for more than a limit allows; the message says what to narrow."""

    default_code = "too_many"
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
    """The storage is unreachable or overloaded; the same request may succeed later."""

    default_code = "unavailable"
    status = 503


class StoragePermissionError(ProfbucketError):
    """The storage denies access to the collector; the message names the missing permission.

    Answered with 503, because agents retry and the permission may have been granted by then.
    """

    default_code = "storage_permission_denied"
    status = 503


def error_class(status: int, code: str) -> type[ProfbucketError] | None:
    """Return the class of the error that was answered with *status* and *code*, or ``None`` if no class has it."""
    matches = [cls for cls in ProfbucketError.__subclasses__() if cls.status == status]
    return next((cls for cls in matches if cls.default_code == code), matches[0] if matches else None)
