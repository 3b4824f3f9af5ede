"""Files that survive a crash: the root folder, folder locks, durable writes, and translated errors."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR

from profbucket.errors import StoragePermissionError, Unavailable


class RootFolder:
    """The folder at *path*, as it was when it was first seen.

    If a volume is unmounted, the folder that it was mounted on has the same path. Nothing must be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = self._identify()

    def create(self) -> None:
        """Create the folder if it does not exist."""
        if self._identity is None:
            with lock_folder(self.path):
                self._identity = self._identify()
        self.check()

    def check(self) -> None:
        """Raise ``Unavailable`` if another folder has taken this one's place, or none."""
        if self._identity is None:
            self._identity = self._identify()
        elif self._identify() != self._identity:
            raise Unavailable(
                f"the storage directory {str(self.path)!r} is not the one that was opened: mount its volume again,"
                " or restart to use what is there now"
            )

    def is_read_only(self) -> bool:
        """Return whether the folder is on a file system that is mounted read-only."""
        with suppress(FileNotFoundError):
            return bool(os.statvfs(self.path).f_flag & os.ST_RDONLY)
        return False

    def _identify(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        if not S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return status.st_dev, status.st_ino


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
