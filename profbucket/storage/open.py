"""Open the storage that a URL names."""

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

from profbucket.errors import Misconfigured, missing_extra
from profbucket.storage.ports import Bucket, Index
from profbucket.storage.store import Storage

# A scheme, the module that opens it (on use: a backend's libraries are optional) and the extra that installs it.
BACKENDS = {
    "memory": ("profbucket.storage.memory", ""),
    "file": ("storage_local", ""),
    "gs": ("storage_gcs", "gcs"),
    "s3": ("storage_s3", "s3"),
}

# The same for what may stand in ``index=``: any bucket can be found by another backend's index.
INDEXES = {
    "sqlite": ("storage_local", ""),
    "firestore": ("storage_gcs", "gcs"),
}


def open_storage(url: str) -> Storage:
    """Open the storage that *url* names: ``file:///directory``, ``memory:``; see the README for all.

    With ``index=…`` among its options the profiles are found by that index instead of the bucket's own. Raise
    ``Misconfigured`` for a URL that names none, or whose libraries are not installed.
    """
    found = re.search(r"[?&]index=([^&]*)", url)
    if found:
        begin, end = found.span()
        url = url[:begin] + url[end:].replace("&", url[begin], 1)
    opened: tuple[Bucket, Index | None] = _module(url, BACKENDS, "STORAGE_URL=").open_url(url)
    bucket, index = opened
    if found:
        index_url = unquote(found[1])
        index = _module(index_url, INDEXES, "index=").open_index(index_url)
    if index is None:
        raise Misconfigured(
            f"STORAGE_URL={url!r}: this bucket has no index of its own: add index=sqlite:///absolute/file"
            " or index=firestore://project/database"
        )
    return Storage(bucket, index)


def _module(url: str, table: Mapping[str, tuple[str, str]], where: str) -> Any:
    scheme = urlsplit(url).scheme
    if scheme not in table:
        known = ", ".join(f"{name}:" for name in table)
        raise Misconfigured(f"{where}{url!r}: its beginning is none of {known}")
    module, extra = table[scheme]
    try:
        opener = import_module(module)
        for library in getattr(opener, "LIBRARIES", ()):  # which are imported on use: see that they can be
            if find_spec(library) is None:
                raise ModuleNotFoundError(f"no {library}", name=library)
    except ImportError as error:
        if not extra:
            raise
        raise missing_extra(f"{where}{url!r}", extra) from error
    return opener
