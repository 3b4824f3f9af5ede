"""Merge a few small files, or leave them to ``Merger``."""

import os
from collections.abc import Iterable, Sequence

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits

# Of all files together; numpy merges more in less time, its import included.
_MAX_STORED_BYTES = 192 << 10
_MAX_INFLATED_BYTES = 1 << 20
# The engine estimates less for that; for an interned string of two bytes it is 152.
_MAX_MEMORY_BYTES = 100 * _MAX_INFLATED_BYTES


def merge_small_files(files: Sequence[str], limits: Limits) -> bytes | None:
    """Return the merge of *files* as a gzip pprof; ``None`` if they are large, unlike or invalid.

    After ``None``, call :class:`Merger`, which merges the files or says what is wrong with them.
    """
    # A pipe could not be read again.
    if not all(map(os.path.isfile, files)) or sum(map(os.path.getsize, files)) > _MAX_STORED_BYTES:
        return None
    return merge_small(map(_read, files), limits)


def merge_small(profiles: Iterable[bytes], limits: Limits = Limits()) -> bytes | None:
    """Return what :func:`merge_small_files` does for *profiles*, gzip or raw."""
    if limits.merge_memory_bytes < _MAX_MEMORY_BYTES:
        return None
    # Imported on use: a process that leaves the files to two others needs no protobuf.
    from profbucket.pprof.codec import decode_inflated
    from profbucket.pprof.compression import deflate, inflate
    from profbucket.pprof.small_merge.content import Content
    from profbucket.pprof.small_merge.encode import encode_content

    content, size = Content(), 0
    try:
        for data in profiles:
            raw = inflate(data, limits)
            size += len(raw)
            if size > _MAX_INFLATED_BYTES or not content.add(decode_inflated(raw, limits).message):
                return None
    except ProfbucketError:
        return None
    return deflate(encode_content(content))


def _read(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read()
