"""Open the storage that a URL names."""

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

from profbucket.errors import Misconfigured, missing_extra
from profbucket.limits import Limits
from profbucket.periods import CompactionPolicy
from profbucket.storage.ports import Bucket, Index, TaskQueue
from profbucket.storage.store import Storage

# For each scheme of a storage URL: the module that opens it, imported on use because a backend's libraries are
# optional, and the extra that installs them.
BACKENDS = {
    "memory": ("profbucket.storage.memory", ""),
    "file": ("storage_local", ""),
    "gs": ("storage_gcs", "gcs"),
    "s3": ("storage_s3", "s3"),
}

# The same for the schemes of ``index=``: every bucket can use the index of another backend.
INDEXES = {
    "sqlite": ("storage_local", ""),
    "firestore": ("storage_gcs", "gcs"),
}


def open_storage(
    url: str,
    limits: Limits = Limits(),
    policy: CompactionPolicy = CompactionPolicy(),
    *,
    create: bool = True,
    create_index: bool = False,
) -> Storage:
    """Open the storage at *url*, such as ``file:///directory``; docs/configuration.md lists all forms.

    The option ``index=…`` replaces the bucket's own index. Raise ``Misconfigured`` for a URL that is invalid, or
    that needs a library which is not installed, and without *create* for a directory that is no storage. A
    separate index is then created only with *create_index*.
    """
    index_option = re.search(r"[?&]index=([^&]*)", url)
    if index_option:
        begin, end = index_option.span()
        url = url[:begin] + url[end:].replace("&", url[begin], 1)
    backend = _import_backend(url, BACKENDS, "STORAGE_URL=")
    if not create and hasattr(backend, "check_exists"):
        backend.check_exists(url)
    opened: tuple[Bucket, Index | None] = backend.open_url(url)
    bucket, index = opened
    if index_option:
        index_url = unquote(index_option[1])
        index_backend = _import_backend(index_url, INDEXES, "index=")
        if not (create or create_index) and hasattr(index_backend, "check_index_exists"):
            index_backend.check_index_exists(index_url)
        index = index_backend.open_index(index_url)
    if index is None:
        raise Misconfigured(
            f"STORAGE_URL={url!r} has no index of its own; add index=sqlite:///absolute/file"
            " or index=firestore://project/database"
        )
    return Storage(bucket, index, limits, policy)


def open_bucket(url: str) -> Bucket:
    """Open the bucket at *url* without an index. Raise ``Misconfigured`` as :func:`open_storage` does."""
    bucket, _ = _import_backend(url, BACKENDS, "--output ").open_url(url)
    opened: Bucket = bucket
    return opened


def open_queue(name: str, url: str, invoker: str, deadline_seconds: int) -> TaskQueue:
    """Open the queue of Cloud Tasks *name*, which posts each task to *url* as the account *invoker*.

    Raise ``Misconfigured`` if a library is not installed.
    """
    backend = _import_backend(
        f"gs://{name}", {"gs": ("storage_gcs.task_queue", "gcs")}, "PROFBUCKET_COMPACT_QUEUE="
    )
    queue: TaskQueue = backend.open_queue(name, url, invoker, deadline_seconds)
    return queue


def _import_backend(url: str, backends: Mapping[str, tuple[str, str]], setting: str) -> Any:
    scheme = urlsplit(url).scheme
    if scheme not in backends:
        if not scheme and url.startswith("/") and "file" in backends:
            raise Misconfigured(f"{setting}{url!r} is a path; write file://{url}")
        *others, last = (f"{name}:" for name in backends)
        raise Misconfigured(f"{setting}{url!r}: unsupported scheme {scheme!r}; use {', '.join(others)} or {last}")
    module, extra = backends[scheme]
    try:
        backend = import_module(module)
        for library in getattr(backend, "LIBRARIES", ()):  # imported on use, so check now that they exist
            if find_spec(library) is None:
                raise ModuleNotFoundError(f"no {library}", name=library)
    except ImportError as error:
        if not extra:
            raise
        raise missing_extra(f"{setting}{url!r}", extra) from error
    return backend
