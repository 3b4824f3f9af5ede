"""What profiles measure: the one word of a request that also ``--help`` knows, which is to be quick."""

from enum import StrEnum

from profbucket.errors import Invalid


class ProfileType(StrEnum):
    """What a profile measures, by the names of profefe's API."""

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
        """The type called *text*, or raise ``Invalid``."""
        try:
            return cls(text)
        except ValueError:
            raise Invalid(f"no such profile type: {text[:80]!r}; it is one of {', '.join(cls)}") from None

    @property
    def is_pprof(self) -> bool:
        return self is not ProfileType.TRACE
