"""Move damaged objects below ``_/quarantine/``."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from profbucket.errors import Damaged, NotFound
from profbucket.maintenance.comparison import select_services
from profbucket.maintenance.copies import copy_aside, split_batch
from profbucket.maintenance.findings import Finding, State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.meta import Meta
from profbucket.storage.damage import check_profile, content_metadata
from profbucket.storage.metadata import to_metadata
from profbucket.storage.store import Storage


def quarantine(storage: Storage, service: str | None = None, since: int = 0) -> Iterator[Finding]:
    """Move the objects that :func:`fsck` with *deep* finds damaged below ``_/quarantine/``, then reindex.

    Yield a finding for each, and those of :func:`reindex`. A damaged block gives way to the profiles in it that
    still have an object of their own.
    """
    for name in select_services(storage, service):
        # All of a service is read before anything is moved: what is moved cannot be read any more.
        damaged = [finding for finding in fsck(storage, name, since, deep=True) if finding.state is State.DAMAGED]
        yield from (_move_aside(storage, finding) for finding in damaged if not finding.batch)
        # Batches last: their intact members take the keys of objects that were moved.
        batches = sorted({finding.batch for finding in damaged if finding.batch})
        was_split = {key: split_batch(storage, key) for key in batches}
        for finding in damaged:
            if finding.batch:
                state = State.QUARANTINED if was_split[finding.batch] else State.OK  # expired in the meantime
                yield replace(finding, state=state)
    yield from reindex(storage, service, since)


def _move_aside(storage: Storage, finding: Finding) -> Finding:
    bucket, object_key, entry = storage.bucket, finding.object_key, finding.entry
    try:
        data = bucket.get(object_key)
        metadata = dict(bucket.stat(object_key).metadata or {})
    except NotFound:
        return Finding(State.OK, object_key)  # expired in the meantime
    except Damaged:
        metadata = {}
    copy_aside(bucket, object_key, data, metadata)
    if isinstance(entry, Meta):
        with suppress(Damaged):
            check_profile(entry, data)
            bucket.replace(object_key, data, to_metadata(entry) | content_metadata(data))
            return replace(finding, state=State.RESTORED)
    if entry:
        storage.index.remove([entry.id])
    bucket.delete(object_key, data)  # unless it was replaced, because it was posted again
    return replace(finding, state=State.QUARANTINED)
