"""Merge a few small files, or leave them to ``Merger``."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits

# Of all files together; numpy merges more in less time, its import included.
_MAX_INFLATED_BYTES = 768 << 10
_MAX_STORED_BYTES = 384 << 10  # what is larger is not worth inflating
# More than the engine's estimate of what is in memory then: for a string of two bytes that is 152.
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
    try:
        raws = _inflate_all(profiles, limits)
        return _merge(raws, limits) if raws else None
    except ProfbucketError:
        return None


def _inflate_all(profiles: Iterable[bytes], limits: Limits) -> list[bytes] | None:
    """Return *profiles* inflated, ``None`` if they are large; raise as ``inflate`` does."""
    from profbucket.pprof.compression import inflate

    limits = replace(limits, inflated_bytes=min(limits.inflated_bytes, _MAX_INFLATED_BYTES))
    raws, size = [], 0
    for data in profiles:
        raws.append(inflate(data, limits))
        size += len(raws[-1])
        if size > _MAX_INFLATED_BYTES:
            return None
    return raws


def _merge(raws: Sequence[bytes], limits: Limits) -> bytes | None:
    """Return the merge of inflated profiles, ``None`` if they are unlike; raise as ``decode`` does."""
    # Imported on use: a process that leaves the files to two others needs no protobuf.
    from profbucket.pprof.codec import decode_inflated
    from profbucket.pprof.compression import deflate
    from profbucket.pprof.small_merge.content import Content
    from profbucket.pprof.small_merge.encode import encode_content

    content = Content()
    if not all(content.add(decode_inflated(raw, limits).message) for raw in raws):
        return None
    return deflate(encode_content(content))


def _read(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read()
