"""Files that survive a crash: the root folder, folder locks, drafts, and translated errors."""

import errno
import fcntl
import os
import secrets
import shutil
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
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


class Drafts:
    """Files in *folder* that are being written; renamed, they are complete.

    Each process has a folder of its own in it, which it keeps locked. The first draft of a process removes the
    folders of those that were killed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._numbers = count()
        self._own: tuple[int, Path] | None = None  # with the process that made it

    def write(self, *parts: bytes) -> Path:
        """Return the path of a new file with *parts*, which are synced; its name is not."""
        try:
            return _write_synced(self._own_folder() / str(next(self._numbers)), parts)
        except FileNotFoundError:  # somebody removed the folder
            self._own = None
            return _write_synced(self._own_folder() / str(next(self._numbers)), parts)

    def _own_folder(self) -> Path:
        process = os.getpid()
        with self._lock:
            if self._own is None or self._own[0] != process:
                self._own = process, self._make_folder(process)
            return self._own[1]

    def _make_folder(self, process: int) -> Path:
        with lock_folder(self._folder):
            for leftover in self._folder.iterdir():
                # It may be another user's, no folder, or gone. If it stays, it only takes space.
                with suppress(OSError):
                    if (descriptor := _try_lock(leftover)) is not None:
                        os.close(descriptor)
                        shutil.rmtree(leftover)
            folder = self._folder / f"{process}-{secrets.token_hex(4)}"
            folder.mkdir()
            descriptor = _try_lock(folder)
        if descriptor is None:
            raise OSError(errno.EAGAIN, f"cannot lock {str(folder)!r}")
        weakref.finalize(self, _release, process, folder, descriptor)
        return folder


def _try_lock(folder: Path) -> int | None:
    """Lock *folder* and return its descriptor, or ``None`` if another process has locked it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _release(process: int, folder: Path, descriptor: int) -> None:
    os.close(descriptor)
    if process == os.getpid():
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()


def _write_synced(path: Path, parts: Sequence[bytes]) -> Path:
    with path.open("xb") as file:
        try:
            file.writelines(parts)
            file.flush()
            getattr(os, "fdatasync", os.fsync)(file.fileno())  # macOS has no fdatasync
        except BaseException:
            path.unlink()
            raise
    return path


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
