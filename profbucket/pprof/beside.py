"""Files merged by two processes: protobuf splits profiles in one, numpy is imported and merges them in the other.

A merge of files takes about as long to start as to do. What the two need to start with is their own, so that each
starts while the other does, and works while the other works.
"""

import marshal
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof.pieces import Pending, Strings

_BATCH = 2 << 20  # bytes of inflated profiles that are passed on at once
_HEAD = 8


def merge_files(files: Sequence[str], limits: Limits) -> bytes | None:
    """The merge of *files*, or ``None`` where it takes one process: there, or where something is wrong with one.

    Nothing was changed by the attempt, so that :class:`Merger` merges them then, or says what is wrong.
    """
    if not _possible(files):
        return None
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            with open(writing, "wb", 0) as out:
                for batch in _batches(files, limits):
                    data = marshal.dumps(batch)
                    out.write(len(data).to_bytes(_HEAD) + data)
            os._exit(0)
        finally:
            os._exit(1)  # whatever it was: the other process finds it again, if it is to be found
    os.close(writing)
    try:
        with open(reading, "rb") as batches:
            return _merged(batches, limits)
    finally:
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


def _batches(files: Sequence[str], limits: Limits) -> Iterator[Any]:
    """What :func:`_merged` takes: new strings and profiles, several times, and at the end ``None``."""
    from profbucket.pprof.packing import inflate
    from profbucket.pprof.splitting import split, split_plainly

    strings = Strings()
    known, size = 0, 0
    batch: list[tuple[object, ...]] = []
    for file in files:
        with open(file, "rb") as stream:
            profile = Pending(file, inflate(stream.read(), limits))
        # One is checked in all that the others are equal to.
        (split if known else split_plainly)(profile, strings, limits)
        size += len(profile.raw)
        batch.append((file, profile.stream, profile.samples, profile.places, profile.strings, profile.checked))
        if size >= _BATCH or not known:
            yield list(strings)[known:], batch
            known, size, batch = len(strings), 0, []
    if batch:
        yield list(strings)[known:], batch
    yield None


def _merged(batches: BinaryIO, limits: Limits) -> bytes | None:
    from profbucket.pprof.merge import Merger

    merger = Merger(limits)
    while head := batches.read(_HEAD):
        size = int.from_bytes(head)
        data = batches.read(size)
        if len(data) < size:
            break
        batch = marshal.loads(data)  # noqa: S302 - our own process wrote it
        if batch is None:
            return merger.result()
        strings, profiles = batch
        try:
            merger.add_split(
                [
                    Pending(name, b"", stream, samples, places, numbers, checked)
                    for name, stream, samples, places, numbers, checked in profiles
                ],
                strings,
            )
        except ProfbucketError:
            break
    return None
