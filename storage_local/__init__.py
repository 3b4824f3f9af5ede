"""Storage in a directory and one SQLite file: the default, which needs only Python."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from profbucket.errors import Misconfigured
from storage_local.bucket import LocalBucket
from storage_local.index import LocalIndex

__all__ = ["LocalBucket", "LocalIndex", "check_exists", "open_index", "open_url"]


def open_url(url: str) -> tuple[LocalBucket, LocalIndex]:
    """Open the storage in the directory of ``file:///absolute/directory``, which is created if it does not exist.

    Raises:
        Misconfigured: The URL is invalid.
        StoragePermissionError: The directory may not be written.
        Unavailable: The directory cannot be used.
    """
    directory = _parse_url(url)
    return LocalBucket(directory), LocalIndex(directory / ".index.sqlite")


def check_exists(url: str) -> None:
    """Raise ``Misconfigured`` if the directory of a URL as in :func:`open_url` does not exist."""
    directory = _parse_url(url)
    if not directory.is_dir():
        raise Misconfigured(f"STORAGE_URL={url!r}: there is no directory {str(directory)!r}; check the path")


def _parse_url(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise Misconfigured(f"STORAGE_URL={url!r} has no absolute path; write file:///absolute/directory")
    if "?" in url or "#" in url:
        raise Misconfigured(f"STORAGE_URL={url!r}: file: takes no options; write %3F for ? and %23 for #")
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if "\0" in path:
        raise Misconfigured(f"STORAGE_URL={url!r} has a zero byte in its path; remove %00")
    return Path(path)


def open_index(url: str) -> LocalIndex:
    """Open the index in the file of ``sqlite:///absolute/file``, for ``index=``. Raise as :func:`open_url`."""
    parts = urlsplit(url)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.netloc or not path.startswith("/") or path.endswith("/") or "?" in url or "#" in url or "\0" in path:
        raise Misconfigured(f"index={url!r} is not a file URL; write sqlite:///absolute/file")
    return LocalIndex(Path(path))
