"""The form that posts several profiles, each as one of its parts."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlencode

PROFILES_PATH = "/api/0/profiles"
BATCH_PATH = "/api/0/batch"
NO_ROUTE_STATUSES = (404, 405)  # of collectors of earlier versions, which take no batches

T = TypeVar("T")


def encode_form(profiles: Iterable[tuple[Mapping[str, str], bytes]]) -> tuple[bytes, str]:
    """Return the body that posts *profiles*, each with its parameters, and the Content-Type of the body."""
    boundary = os.urandom(16).hex()  # is in no profile
    chunks = []
    for parameters, data in profiles:
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="profile"; filename="{urlencode(parameters)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        chunks += [head.encode("ascii"), data, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode("ascii"))
    return b"".join(chunks), f"multipart/form-data; boundary={boundary}"


def split_by_size(
    items: Iterable[T], size: Callable[[T], int], *, max_items: int, max_bytes: int
) -> Iterator[list[T]]:
    """Yield *items* in lists of at most *max_items*, and of *max_bytes* together unless one alone has more."""
    batch: list[T] = []
    batch_bytes = 0
    for item in items:
        item_bytes = size(item)
        if batch and (len(batch) == max_items or batch_bytes + item_bytes > max_bytes):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(item)
        batch_bytes += item_bytes
    if batch:
        yield batch
