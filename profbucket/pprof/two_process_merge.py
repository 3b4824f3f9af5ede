"""Files merged by two processes: protobuf splits profiles in one, numpy is imported and merges them in the other.

A merge of files takes about as long to start as to do. What the two need to start with is their own, so that each
starts while the other does, and works while the other works.
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
from profbucket.pprof.columnar.pending import Pending, Strings

_PIECE = 1 << 19  # bytes of inflated profiles that are passed on at once
_BATCH = 3 << 20  # and those that are merged at once, if so many are there
_HEAD = 8


def merge_files(files: Sequence[str], limits: Limits) -> bytes | None:
    """The merge of *files*, or ``None`` where it takes one process: there, or where something is wrong with one.

    Nothing was changed by the attempt, so that :class:`Merger` merges them then, or says what is wrong.
    """
    if not _possible(files):
        return None
    reading, writing = os.pipe()
    _widen(writing)
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            with open(writing, "wb") as out:
                for piece in _pieces(files, limits):
                    data = marshal.dumps(piece)
                    out.write(len(data).to_bytes(_HEAD) + data)
                    out.flush()
            os._exit(0)
        finally:
            os._exit(1)  # whatever it was: the other process finds it again, if it is to be found
    os.close(writing)
    try:
        return _merged(_Pipe(reading), limits)
    finally:
        os.close(reading)
        os.waitpid(child, 0)


def _possible(files: Sequence[str]) -> bool:
    """Whether two processes can do it, and sooner than one."""
    return (
        len(files) > 1
        and hasattr(os, "fork")
        and (os.cpu_count() or 1) > 1
        # A process that has threads must not be forked, and numpy brings some.
        and threading.active_count() == 1
        and "numpy" not in sys.modules
        # What can be read once only cannot be tried.
        and all(map(os.path.isfile, files))
    )


def _widen(pipe: int) -> None:
    """Let the two be a megabyte apart, where the system can: so that neither waits for the other."""
    import fcntl

    with suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def _pieces(files: Sequence[str], limits: Limits) -> Iterator[Any]:
    """What :func:`_merged` takes: size, new strings and profiles, several times, and at the end ``None``."""
    from profbucket.pprof.columnar.split import split
    from profbucket.pprof.compression import inflate

    strings = Strings()
    known, size = 0, 0
    piece: list[tuple[object, ...]] = []
    for file in files:
        with open(file, "rb") as stream:
            profile = Pending(file, inflate(stream.read(), limits))
        split(profile, strings, limits)
        size += len(profile.raw)
        piece.append(
            (file, b"", profile.stream, profile.samples, profile.places, profile.strings, profile.checked)
        )
        if size >= _PIECE:
            yield size, list(strings)[known:], piece
            known, size, piece = len(strings), 0, []
    if piece:
        yield size, list(strings)[known:], piece
    yield None


def _merged(pipe: "_Pipe", limits: Limits) -> bytes | None:
    from profbucket.pprof.merge import Merger

    merger = Merger(limits)
    strings: list[bytes] = []
    profiles: list[Pending] = []
    waiting = 0
    try:
        while data := pipe.read():
            piece = marshal.loads(data)  # noqa: S302 - our own process wrote it
            if piece is not None:
                size, new, more = piece
                strings += new
                profiles += [Pending(*one) for one in more]
                waiting += size
                if waiting < _BATCH and pipe.ready():
                    continue
            merger.add_split(profiles, strings)
            if piece is None:
                return merger.result()
            strings, profiles, waiting = [], [], 0
    except ProfbucketError:
        pass  # the other way says what is wrong
    return None


class _Pipe:
    """Pieces that come through a pipe, each behind its length."""

    def __init__(self, reading: int) -> None:
        self._reading = reading

    def ready(self) -> bool:
        """Whether there is something to read, or nothing more to come."""
        return bool(select.select([self._reading], [], [], 0)[0])

    def read(self) -> bytearray:
        """The next piece; empty where there is none, or not all of it."""
        return self._exactly(int.from_bytes(self._exactly(_HEAD)))

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        at = 0
        while at < size:
            read = os.readv(self._reading, [memoryview(data)[at:]])
            if not read:
                return bytearray()
            at += read
        return data
