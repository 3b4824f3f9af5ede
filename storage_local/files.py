"""Files that survive a crash: folder locks, durable writes, and translated errors."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from profbucket.errors import StoragePermissionError, Unavailable


@contextmanager
def lock_folder(folder: Path) -> Iterator[int]:
    """Hold an exclusive lock on *folder*, created if it does not exist; yield its file descriptor.

    The lock excludes threads and processes. The kernel releases it when the process exits, however it exits.
    """
    descriptor = _open_folder(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        # Closing alone would leave the lock with a child process that was forked in the meantime.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        with lock_folder(folder.parent) as parent, suppress(FileExistsError):
            os.mkdir(folder)
            os.fsync(parent)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def write_durably(path: Path, data: bytes) -> None:
    """Write or overwrite a file and sync its content. Its name is durable once its folder is synced."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def translate_errors(operation: str) -> Iterator[None]:
    """Raise ``StoragePermissionError`` or ``Unavailable`` for an ``OSError``; *operation* is a verb phrase."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoragePermissionError(
                f"cannot {operation}: {error.strerror};"
                f" give user {os.geteuid()} read and write access to the storage directory and all below it"
            ) from error
        raise Unavailable(f"cannot {operation}: {error.strerror or error}") from error
