"""Profile types; a module of its own because ``--help`` imports it and must start fast."""

import re
from typing import ClassVar

from profbucket.errors import Invalid

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
_ANY = "unknown"  # in queries of kube-profefe; as the name of a type it would be ambiguous


class ProfileType(str):
    """The name of a profile type: a lower-case letter, then up to 62 letters, digits, ``-`` and ``_``.

    All profiles of one service and type measure the same, so that they can be merged.
    """

    __slots__ = ()

    CPU: ClassVar["ProfileType"]
    HEAP: ClassVar["ProfileType"]
    BLOCK: ClassVar["ProfileType"]
    MUTEX: ClassVar["ProfileType"]
    GOROUTINE: ClassVar["ProfileType"]
    THREADCREATE: ClassVar["ProfileType"]
    OTHER: ClassVar["ProfileType"]
    TRACE: ClassVar["ProfileType"]  # a Go execution trace: stored and fetched, not pprof, never merged
    WALL: ClassVar["ProfileType"]  # elapsed time, waiting included
    ALLOC: ClassVar["ProfileType"]  # allocations since the previous profile; Go's heap profiles count all

    def __new__(cls, name: str) -> "ProfileType":
        """Raise ``ValueError`` if *name* is not that of a type."""
        if not _NAME.fullmatch(name) or name == _ANY:
            raise ValueError(f"{name[:80]!r} is not the name of a profile type")
        return super().__new__(cls, name)

    @classmethod
    def parse(cls, text: str) -> "ProfileType":
        """Return the type named *text*, or raise ``Invalid``."""
        try:
            return cls(text)
        except ValueError:
            raise Invalid(
                f"invalid profile type {text[:80]!r}; write {', '.join(COMMON_TYPES)}, or another name: "
                f"a lower-case letter, then up to 62 lower-case letters, digits, '-' and '_', but not {_ANY!r}",
                code="invalid_profile_type",
            ) from None

    @property
    def is_pprof(self) -> bool:
        return self != ProfileType.TRACE


for _name in ("cpu", "heap", "block", "mutex", "goroutine", "threadcreate", "other", "trace", "wall", "alloc"):
    setattr(ProfileType, _name.upper(), ProfileType(_name))

# Those of profefe, wall time and allocations, in the order of lists.
COMMON_TYPES = (
    ProfileType.CPU,
    ProfileType.WALL,
    ProfileType.HEAP,
    ProfileType.ALLOC,
    ProfileType.BLOCK,
    ProfileType.MUTEX,
    ProfileType.GOROUTINE,
    ProfileType.THREADCREATE,
    ProfileType.OTHER,
    ProfileType.TRACE,
)


def sort_types(profile_types: "set[ProfileType]") -> tuple[ProfileType, ...]:
    """Return *profile_types* in the order of lists: the common ones, then the others by name."""
    return (
        *(candidate for candidate in COMMON_TYPES if candidate in profile_types),
        *sorted(profile_types.difference(COMMON_TYPES)),
    )
