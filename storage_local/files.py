"""Files that survive a crash: a folder with a lock, a write that is durable, and errors as sentences."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from profbucket.errors import StoragePermissionError, Unavailable


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold *folder*, made where there is none, against all threads and processes; yield its descriptor.

    The system lets go of the lock when the process dies, however it dies.
    """
    descriptor = _open(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        # Closing alone would leave the lock to a child that was forked meanwhile.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _open(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        with locked(folder.parent) as parent, suppress(FileExistsError):
            os.mkdir(folder)
            os.fsync(parent)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def write(path: Path, data: bytes) -> None:
    """Write a file anew and return once its content is durable. Its name is so when its folder is."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Translate an ``OSError`` into ``StoragePermissionError`` or ``Unavailable``; *doing* is a verb phrase."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoragePermissionError(
                f"the storage's directory failed to {doing}: {error.strerror};"
                f" user {os.geteuid()} must be able to read and write everything below it"
            ) from error
        raise Unavailable(f"the storage's directory failed to {doing}: {error.strerror or error}") from error
