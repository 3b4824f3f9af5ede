"""The pprof format: decode, validate, encode, merge.

Protobuf and numpy are known here and nowhere else. The merge is imported on use, because numpy takes longer to
import than a profile to check, and the function that takes profiles in never merges.
"""

from profbucket.pprof.wire import Profile, decode, deflate, encode, inflate

__all__ = ["Profile", "decode", "deflate", "encode", "inflate"]
