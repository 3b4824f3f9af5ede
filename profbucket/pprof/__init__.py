"""The pprof format: decode, validate, encode, merge.

Protobuf and numpy are imported here and nowhere else, and only on use: each takes longer to import than a profile
to validate or merge. The write function never merges, the process that merges may leave protobuf to another one
(``two_process_merge.py``), and a few small files are merged without numpy (``small_merge/``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profbucket.pprof.codec import Profile, decode, encode
    from profbucket.pprof.compression import deflate, inflate

__all__ = ["Profile", "decode", "deflate", "encode", "inflate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from profbucket.pprof import codec, compression

    return getattr(compression if hasattr(compression, name) else codec, name)
