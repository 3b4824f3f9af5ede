"""A directory and one SQLite file: the embedded default, which needs nothing but Python."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from profbucket.errors import Misconfigured
from storage_local.bucket import LocalBucket
from storage_local.index import LocalIndex

__all__ = ["LocalBucket", "LocalIndex", "open_index", "open_url"]


def open_url(url: str) -> tuple[LocalBucket, LocalIndex]:
    """The storage in the directory of ``file:///absolute/directory``, which is made where there is none.

    Raise ``Misconfigured`` for another kind of URL, ``Forbidden`` or ``Unavailable`` for a directory that cannot
    be used.
    """
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise Misconfigured(f"STORAGE_URL={url!r}: write a directory as file:///absolute/directory")
    if "?" in url or "#" in url:
        raise Misconfigured(f"STORAGE_URL={url!r}: a directory takes no options; write ? as %3F and # as %23")
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if "\0" in path:
        raise Misconfigured(f"STORAGE_URL={url!r}: no directory has a zero byte in its name")
    directory = Path(path)
    return LocalBucket(directory), LocalIndex(directory / ".index.sqlite")


def open_index(url: str) -> LocalIndex:
    """The index in the file of ``sqlite:///absolute/file``, as in another bucket's ``index=``."""
    parts = urlsplit(url)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.netloc or not path.startswith("/") or path.endswith("/") or "?" in url or "#" in url or "\0" in path:
        raise Misconfigured(f"index={url!r}: write a file as sqlite:///absolute/file")
    return LocalIndex(Path(path))
