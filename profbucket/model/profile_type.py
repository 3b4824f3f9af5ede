"""Profile types; a module of its own because ``--help`` imports it and must start fast."""

from enum import StrEnum

from profbucket.errors import Invalid


class ProfileType(StrEnum):
    """The profile types of profefe's API."""

    CPU = "cpu"
    HEAP = "heap"
    BLOCK = "block"
    MUTEX = "mutex"
    GOROUTINE = "goroutine"
    THREADCREATE = "threadcreate"
    OTHER = "other"
    TRACE = "trace"  # a Go execution trace: stored and fetched, not pprof, never merged

    @classmethod
    def parse(cls, text: str) -> "ProfileType":
        """Return the type named *text*, or raise ``Invalid``."""
        try:
            return cls(text)
        except ValueError:
            raise Invalid(
                f"unknown profile type {text[:80]!r}; known types: {', '.join(cls)}", code="unknown_profile_type"
            ) from None

    @property
    def is_pprof(self) -> bool:
        return self is not ProfileType.TRACE
