"""The pprof format: decode, validate, encode, merge.

Protobuf and numpy are known here and nowhere else. Each takes longer to import than a profile to check or to
merge: what needs them is imported on use, as the function that takes profiles in never merges, and the process
that merges may leave protobuf to another (``beside.py``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profbucket.pprof.codec import Profile, decode, encode
    from profbucket.pprof.compression import deflate, inflate

__all__ = ["Profile", "decode", "deflate", "encode", "inflate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from profbucket.pprof import codec as wire

    return getattr(wire, name)
