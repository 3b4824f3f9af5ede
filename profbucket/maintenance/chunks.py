"""Chunks of the head: entries that are compacted at once, and their batches, which are read once for all types."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import ceil

from profbucket.errors import Damaged
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.storage.lookup import Lookup

_MAX_BYTES = 64 << 20  # of profiles that are kept in memory, as posted

Content = bytes | Damaged | None  # of a profile; None if it has expired


def group_by_type(entries: Sequence[Meta]) -> dict[ProfileType, list[Meta]]:
    """Return the *entries* of each profile type, in order."""
    by_type: dict[ProfileType, list[Meta]] = {}
    for meta in entries:
        by_type.setdefault(meta.type, []).append(meta)
    return by_type


def split_by_documents(lists: Sequence[Sequence[Meta]], max_documents: int) -> Iterator[list[Meta]]:
    """Yield the entries of *lists*, ordered by position, in equal parts of whole batches.

    Each has at most *max_documents* batches and single entries, and is small enough for a commit.
    """
    by_document: dict[str, list[Meta]] = {}
    for meta in sorted(chain(*lists), key=lambda meta: meta.position):
        by_document.setdefault(meta.part.name if meta.part else meta.id, []).append(meta)
    documents = list(by_document.values())
    parts = ceil(len(documents) / max_documents)
    for part in range(parts):
        entries = chain(*documents[len(documents) * part // parts : len(documents) * (part + 1) // parts])
        yield sorted(entries, key=lambda meta: meta.position)


def read_batches(lookup: Lookup, entries: Sequence[Meta]) -> Mapping[str, Content]:
    """Return the contents of those of *entries* that are in batches, by id, if they are not too large together.

    Each read of an object is billed: a batch is read at once.
    """
    in_batches = [(meta.part, meta) for meta in entries if meta.part]
    metas = [meta for _, meta in sorted(in_batches, key=lambda item: item[0])]
    if sum(meta.size for meta in metas) > _MAX_BYTES:
        return {}
    try:
        return dict(zip((meta.id for meta in metas), lookup.read_profiles(metas), strict=True))
    except Exception:  # noqa: BLE001 - the type that reads the profile again reports the error
        return {}
