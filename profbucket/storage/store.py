"""A storage: a bucket and an index, the order of writes, and the view that reads both."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Protocol

from profbucket.errors import Damaged, Invalid, NotFound, StoragePermissionError, detach
from profbucket.limits import Limits
from profbucket.model.batches import encode_batch, split_into_batches
from profbucket.model.ids import RESERVED, ProfileId
from profbucket.model.meta import Meta
from profbucket.model.tasks import Task, period_task
from profbucket.periods import CompactionPolicy
from profbucket.storage.damage import check_profile, content_metadata
from profbucket.storage.lookup import Lookup
from profbucket.storage.metadata import from_metadata, to_metadata
from profbucket.storage.ports import Bucket, Index, Selection
from profbucket.storage.repeats import put_intact
from profbucket.storage.sources import range_of_profile
from profbucket.times import SECOND

_STAT_WORKERS = 16
_TASK_CACHE_SIZE = 20_000
_SIGNED_URL_SECONDS = 600  # clients follow a redirect at once

_log = logging.getLogger(__name__)


class Writer(Protocol):
    """The part of a storage that a collector uses. It needs no permission to read."""

    def write(self, meta: Meta, data: bytes) -> bool:
        """Store a profile and return whether it is new. Once this returns, the profile is durable and found."""
        ...

    def write_batch(self, profiles: Sequence[tuple[Meta, bytes]]) -> None:
        """Store *profiles*, all of one service, as :meth:`write` does."""
        for meta, data in profiles:
            self.write(meta, data)


class Storage(Writer):
    """Profiles in *bucket*, found through *index*. ``lookup`` reads head and blocks as one, within *limits*.

    A write puts the object first, unless it exists and is intact, and adds the entry second, unless it exists.
    After a crash in between, the same write completes the profile; no entry is added before its object exists.
    Last, it adds the task that will compact the profile, as *policy* says. So it is with batches and the entries
    of their members.
    """

    def __init__(
        self,
        bucket: Bucket,
        index: Index,
        limits: Limits = Limits(),
        policy: CompactionPolicy = CompactionPolicy(),
    ) -> None:
        self.bucket = bucket
        self.index = index
        self.limits = limits
        self.lookup = Lookup(bucket, index, limits)
        self._policy = policy
        self._tasks: set[Task] = set()  # that exist and are not due yet

    def write(self, meta: Meta, data: bytes) -> bool:
        """Store a profile and return whether it is new; see :class:`Writer`."""
        object_key = ProfileId.parse(meta.id).object_key
        put_intact(self.bucket, object_key, data, to_metadata(meta) | content_metadata(data))
        return self.add_entry(meta)

    def write_batch(self, profiles: Sequence[tuple[Meta, bytes]]) -> None:
        """Store *profiles*, all of one service, in as few objects as possible; see :class:`Writer`."""
        for batch in split_into_batches(profiles):
            if len(batch) == 1:
                self.write(*batch[0])
                continue
            members, data = encode_batch(batch)
            put_intact(self.bucket, range_of_profile(members[0]).key, data, {})
            self.index.add_batch(members)
            self.add_tasks(members, together=len({meta.type for meta in members}) > 1)

    def add_entry(self, meta: Meta) -> bool:
        """Add the entry of a profile that has an object, and the task that will compact it.

        Return whether the entry is new.
        """
        is_new = self.index.add(meta)
        self.add_tasks([meta])
        return is_new

    def add_tasks(self, profiles: Iterable[Meta | ProfileId], *, together: bool = False) -> None:
        """Add the tasks that will compact *profiles*, which have entries, each task once.

        *together*, they are tasks of all lanes of the service.
        """
        tasks = (
            period_task(
                self._policy,
                profile.service,
                None if together else profile.type,
                self._policy.short,
                profile.created_at,
            )
            for profile in profiles
            if profile.type.is_pprof
        )
        for task in dict.fromkeys(tasks):
            self._add_task(task)

    def _add_task(self, task: Task) -> None:
        now, short = time.time_ns(), self._policy.short * SECOND
        # A compaction removes a task that is due before it reads the entries: only a later add is sure to count.
        if task in self._tasks and task.due > now:
            return
        # That of a late profile is due since the last full period: since when it waits can be told.
        task = task.postpone(max(task.due, now // short * short))
        self.index.add_task(task)
        if len(self._tasks) >= _TASK_CACHE_SIZE:
            self._tasks.clear()  # costs one call a task, and needs no eviction order
        self._tasks.add(task)

    def read(self, profile_id: ProfileId) -> bytes:
        """Return the bytes of a profile as posted, or raise ``NotFound`` or ``Damaged``."""
        try:
            data = self.bucket.get(profile_id.object_key)
        except NotFound:
            [part] = self.lookup.read_profiles([self._find_member(profile_id)])
            if part is None:
                raise
            if isinstance(part, Damaged):
                raise part from None
            return part
        check_profile(self.read_meta(profile_id), data)
        return data

    def read_meta(self, profile_id: ProfileId) -> Meta:
        """Return the meta of a profile that has an object, or is a member of a batch, or raise ``NotFound``.

        It is that of the object's metadata; if these are damaged, that of the entry; else raise ``Damaged``.
        """
        try:
            obj = self.bucket.stat(profile_id.object_key)
            return from_metadata(obj.key, obj.size, obj.metadata or {})
        except NotFound:
            return self._find_member(profile_id)
        except (Damaged, Invalid) as error:
            created_at = profile_id.created_at
            entries = self.index.find(Selection(profile_id.service, profile_id.type, created_at, created_at))
            for meta in entries:
                if meta.id == str(profile_id):
                    return meta
            raise Damaged(f"the metadata of {profile_id.object_key} are damaged: {error}") from error

    def _find_member(self, profile_id: ProfileId) -> Meta:
        """Return the meta of a profile in a batch, which may have expired; raise ``NotFound`` if it is in none."""
        if meta := self.lookup.find_member(profile_id):
            return meta
        raise NotFound(f"no object {profile_id.object_key!r}")

    def read_metas(self, ids: Sequence[ProfileId]) -> Iterator[Meta | Damaged | None]:
        """Yield what :meth:`read_meta` returns or raises for each profile, in order; ``None`` for no object."""

        def read_meta(profile_id: ProfileId) -> Meta | Damaged | None:
            try:
                return self.read_meta(profile_id)
            except NotFound:
                return None
            except Damaged as error:
                return detach(error)

        with ThreadPoolExecutor(min(_STAT_WORKERS, max(len(ids), 1)), "stat") as threads:
            yield from threads.map(read_meta, ids)

    def sign_url(self, profile_id: ProfileId, data: bytes, filename: str) -> str | None:
        """Return a signed URL of a profile, whose bytes are *data*: that of its object, or of a copy.

        Return ``None`` if the bucket has no signed URLs, or if the collector may not sign.
        """
        try:
            self.bucket.stat(profile_id.object_key)
        except NotFound:
            return self.publish_result(data, filename)  # a part of a batch has no URL
        except Damaged:
            pass  # its metadata are
        try:
            return self.bucket.sign_url(profile_id.object_key, filename, _SIGNED_URL_SECONDS)
        except StoragePermissionError as error:
            _log.error("no link to a large profile: %s", error)
            return None

    def publish_result(self, data: bytes, filename: str) -> str | None:
        """Put a result into the bucket and return a signed URL of it.

        Return ``None`` if the bucket has no signed URLs, or if the collector may not sign or may not write to it:
        the caller then answers with the data itself, as far as the platform allows its size.
        """
        object_key = f"{RESERVED}/results/{sha256(data).hexdigest()[:32]}.pb.gz"
        try:
            url = self.bucket.sign_url(object_key, filename, _SIGNED_URL_SECONDS)
            if url is not None:
                self.bucket.put(object_key, data, {})
        except StoragePermissionError as error:
            _log.error("no link to a large result: %s", error)
            return None
        return url
