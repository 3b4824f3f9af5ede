"""Storage in a directory and one SQLite file: the default, which needs only Python."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from profbucket.errors import Misconfigured
from storage_local.bucket import LocalBucket
from storage_local.index import LocalIndex

__all__ = ["LocalBucket", "LocalIndex", "check_exists", "check_index_exists", "open_index", "open_url"]

_INDEX = ".index.sqlite"
_OBJECTS = ("*/*/*.pb.gz", "*/*/*.trace", "*/batch/*.batch", "_/blocks/*/*/*.block")  # of profiles and blocks


def open_url(url: str) -> tuple[LocalBucket, LocalIndex]:
    """Open the storage in the directory of ``file:///absolute/directory``, which is created if it does not exist.

    Raises:
        Misconfigured: The URL is invalid.
        StoragePermissionError: The directory may not be written.
        Unavailable: The directory cannot be used.
    """
    directory = _parse_url(url)
    return LocalBucket(directory), LocalIndex(directory / _INDEX)


def check_exists(url: str) -> None:
    """Raise ``Misconfigured`` if the directory of a URL as in :func:`open_url` does not exist, or is no storage.

    A storage without profiles has an index; one whose index was lost has profiles or blocks.
    """
    directory = _parse_url(url)
    if not directory.is_dir():
        raise Misconfigured(f"STORAGE_URL={url!r}: there is no directory {str(directory)!r}; check the path")
    objects = (path for pattern in _OBJECTS for path in directory.glob(pattern))
    if not (directory / _INDEX).exists() and next(objects, None) is None:
        raise Misconfigured(
            f"STORAGE_URL={url!r}: the directory {str(directory)!r} holds no profiles; check the path"
        )


def check_index_exists(url: str) -> None:
    """Raise ``Misconfigured`` if the file of a URL as in :func:`open_index` does not exist."""
    path = _parse_index_url(url)
    if not path.exists():
        raise Misconfigured(
            f"index={url!r}: there is no file {str(path)!r}; check the path, or run profbucket reindex"
        )


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
    return LocalIndex(_parse_index_url(url))


def _parse_index_url(url: str) -> Path:
    parts = urlsplit(url)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.netloc or not path.startswith("/") or path.endswith("/") or "?" in url or "#" in url or "\0" in path:
        raise Misconfigured(f"index={url!r} is not a file URL; write sqlite:///absolute/file")
    return Path(path)
