"""What can go wrong, by what the person who asked can do about it. Every text is a sentence for that person."""

from typing import Self


class ProfbucketError(Exception):
    """The root of all errors raised on purpose."""

    def about(self, name: str) -> Self:
        """The same error about what is called *name*, if there are several of its kind."""
        return type(self)(f"{name}: {self}")


class Invalid(ProfbucketError):
    """The input is malformed; sending it again changes nothing."""


class TooLarge(ProfbucketError):
    """The input exceeds a cap on its size; the text names the cap, its value and its setting."""


class TooMany(ProfbucketError):
    """The request asks for more than a cap allows; the text says what to narrow."""


class NotMergeable(ProfbucketError):
    """Profiles of this type cannot be merged."""


class Unauthenticated(ProfbucketError):
    """No key was sent, or none that is known."""


class Denied(ProfbucketError):
    """The key that was sent does not go so far; the text names what it lacks."""


class NotFound(ProfbucketError):
    """There is no such thing."""


class Unavailable(ProfbucketError):
    """The storage could not be reached or is overloaded; the same request may succeed later."""


class Forbidden(ProfbucketError):
    """The storage refuses us; the text names the permission that is missing."""


class Misconfigured(ProfbucketError):
    """A setting is missing or makes no sense; the text names it."""
