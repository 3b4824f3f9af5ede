"""Merge files with two processes: one splits profiles with protobuf, the other merges them with numpy.

A merge of files takes about as long to start as to run. Each process imports only its own library, so that they
start at the same time, and then work at the same time.
"""

import marshal
import os
import select
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof.columnar.pending_profile import PendingProfile
from profbucket.pprof.columnar.string_table import StringTable

_CHUNK_BYTES = 1 << 19  # inflated bytes that are sent at once
_BATCH_BYTES = 3 << 20  # inflated bytes that are merged at once, if they have arrived
_PIPE_BYTES = 1 << 20
_LENGTH_BYTES = 8


def merge_files(files: Sequence[str], limits: Limits) -> bytes | None:
    """Return the merge of *files* as a gzip pprof; ``None`` if two processes do not help, or a file is invalid.

    After ``None``, call :class:`Merger`, which merges the files or says what is wrong with them.
    """
    if not _can_fork(files):
        return None
    read_end, write_end = os.pipe()
    _enlarge_pipe(write_end)
    child = os.fork()
    if not child:
        try:
            os.close(read_end)
            with open(write_end, "wb") as out:
                for chunk in _split_files(files, limits):
                    data = marshal.dumps(chunk)
                    out.write(len(data).to_bytes(_LENGTH_BYTES) + data)
                    out.flush()
            os._exit(0)
        finally:
            os._exit(1)  # after any error: the parent gets ``None`` and its caller raises the error again
    os.close(write_end)
    try:
        return _merge_chunks(_ChunkReader(read_end), limits)
    finally:
        os.close(read_end)
        os.waitpid(child, 0)


def _can_fork(files: Sequence[str]) -> bool:
    """Return whether two processes can merge *files*, and faster than one."""
    return (
        len(files) > 1
        and hasattr(os, "fork")
        and (os.cpu_count() or 1) > 1
        # A process with threads must not fork, and numpy starts some.
        and threading.active_count() == 1
        and "numpy" not in sys.modules
        # A pipe could not be read again after a failed attempt.
        and all(map(os.path.isfile, files))
    )


def _enlarge_pipe(pipe: int) -> None:
    """Let the pipe buffer a megabyte, where the system supports it, so that neither process blocks the other."""
    import fcntl

    with suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _split_files(files: Sequence[str], limits: Limits) -> Iterator[Any]:
    """Yield chunks of (inflated size, new strings, fields of ``PendingProfile``s), and ``None`` at the end."""
    from profbucket.pprof.columnar.split import split_profile
    from profbucket.pprof.compression import inflate

    strings = StringTable()
    sent_strings, size = 0, 0
    profiles: list[tuple[object, ...]] = []
    for file in files:
        with open(file, "rb") as stream:
            profile = PendingProfile(file, inflate(stream.read(), limits))
        split_profile(profile, strings, limits)
        size += len(profile.raw)
        profiles.append(
            (
                file,
                b"",
                profile.header,
                profile.samples,
                profile.locations,
                profile.string_indexes,
                profile.is_validated,
            )
        )
        if size >= _CHUNK_BYTES:
            yield size, list(strings)[sent_strings:], profiles
            sent_strings, size, profiles = len(strings), 0, []
    if profiles:
        yield size, list(strings)[sent_strings:], profiles
    yield None


def _merge_chunks(reader: "_ChunkReader", limits: Limits) -> bytes | None:
    """Return the merge of what *reader* receives; ``None`` if it ends early or a profile is invalid."""
    from profbucket.pprof.merge import Merger

    merger = Merger(limits)
    new_strings: list[bytes] = []
    profiles: list[PendingProfile] = []
    pending_bytes = 0
    try:
        while data := reader.read():
            chunk = marshal.loads(data)  # noqa: S302 - the child process wrote it
            if chunk is not None:
                size, strings, fields = chunk
                new_strings += strings
                profiles += [PendingProfile(*values) for values in fields]
                pending_bytes += size
                if pending_bytes < _BATCH_BYTES and reader.is_ready():
                    continue
            merger.add_split(profiles, new_strings)
            if chunk is None:
                return merger.result()
            new_strings, profiles, pending_bytes = [], [], 0
    except ProfbucketError:
        pass  # the caller merges in one process and raises it again
    return None


class _ChunkReader:
    """Reads chunks from a pipe, each preceded by its length."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def is_ready(self) -> bool:
        """Return whether a read would not block: data has arrived, or the pipe was closed."""
        return bool(select.select([self._pipe], [], [], 0)[0])

    def read(self) -> bytearray:
        """Return the next chunk; empty if the pipe was closed before the chunk was complete."""
        return self._read_exactly(int.from_bytes(self._read_exactly(_LENGTH_BYTES)))

    def _read_exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        at = 0
        while at < size:
            count = os.readv(self._pipe, [memoryview(data)[at:]])
            if not count:
                return bytearray()
            at += count
        return data
