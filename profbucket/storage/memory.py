"""The in-memory backend: the reference implementation of all ports, for tests and trials."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from profbucket.errors import Damaged, NotFound
from profbucket.model.blocks import Block, Members
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import group_series, list_label_values
from profbucket.model.tasks import Task
from profbucket.storage.ports import (
    Change,
    ExpectedBlocks,
    Object,
    ObjectRange,
    Selection,
    Series,
    SeriesGroup,
    SeriesSelection,
    to_columns,
)


class MemoryBucket:
    """A dictionary of objects."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self._lock = threading.Lock()

    def put(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        with self._lock:
            if object_key in self._objects:
                return False
            self._objects[object_key] = bytes(data), dict(metadata)
            return True

    def replace(self, object_key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        with self._lock:
            self._objects[object_key] = bytes(data), dict(metadata)

    def get(self, object_key: str) -> bytes:
        with self._lock:
            if object_key not in self._objects:
                raise NotFound(f"no object {object_key!r}")
            return self._objects[object_key][0]

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        for object_range in ranges:
            try:
                yield self.get(object_range.key)[object_range.begin : object_range.end]
            except NotFound:
                yield None

    def stat(self, object_key: str) -> Object:
        with self._lock:
            if object_key not in self._objects:
                raise NotFound(f"no object {object_key!r}")
            data, metadata = self._objects[object_key]
            return Object(object_key, len(data), dict(metadata))

    def verify(self, object_key: str, data: bytes) -> Object:
        if self.get(object_key) != data:
            raise Damaged(f"{object_key} has other bytes than were put")
        return self.stat(object_key)

    def list(self, start: str, end: str) -> Iterator[Object]:
        with self._lock:
            keys = sorted(key for key in self._objects if start <= key < end)
        for key in keys:
            try:
                yield self.stat(key)
            except NotFound:
                continue  # deleted in the meantime

    def delete(self, object_key: str, data: bytes | None = None) -> None:
        with self._lock:
            if data is None or self._objects.get(object_key, (data,))[0] == data:
                self._objects.pop(object_key, None)

    def local_path(self, object_key: str) -> Path | None:
        return None

    def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
        return None


class MemoryIndex:
    """A dictionary of entries, one of blocks, and a set of tasks."""

    max_members = 1_000_000

    def __init__(self) -> None:
        self._entries: dict[str, Meta] = {}
        self._blocks: dict[str, Block] = {}
        self._series: dict[str, Series] = {}
        self._tasks: set[Task] = set()
        self._lock = threading.Lock()

    def add(self, meta: Meta) -> bool:
        with self._lock:
            if meta.id in self._entries:
                return False
            self._entries[meta.id] = meta
            self._add_series(Series.of(meta))
            return True

    def add_batch(self, members: Sequence[Meta]) -> None:
        for meta in members:
            self.add(meta)

    def find(self, selection: Selection) -> Iterator[Meta]:
        yield from self.snapshot(selection)[1]

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        with self._lock:
            blocks = self._overlapping(selection.service, selection.type, selection.start, selection.end)
            entries = list(filter(selection.selects, self._entries.values()))
        entries.sort(key=lambda meta: meta.position)
        return blocks, iter(entries[: selection.limit])

    def snapshot_columns(self, selection: Selection) -> tuple[list[Block], list[Members]]:
        blocks, entries = self.snapshot(selection)
        return blocks, to_columns(entries)

    def commit(self, *changes: Change) -> bool:
        members = {profile_id for change in changes for profile_id in change.members}
        replaced = {block_id for change in changes for block_id in change.replaced}
        added = {change.block.id: change.block for change in changes if change.block}
        with self._lock:
            if not all(self._are_as_expected(change.expected) for change in changes if change.expected):
                return False
            complete = self._entries.keys() >= members and self._blocks.keys() >= replaced
            if not complete or (self._blocks.keys() - replaced) & added.keys():
                return False
            for profile_id in members:
                del self._entries[profile_id]
            for block_id in replaced:
                del self._blocks[block_id]
            self._blocks |= added
            return True

    def _are_as_expected(self, expected: ExpectedBlocks) -> bool:
        overlapping = self._overlapping(expected.service, expected.type, expected.start, expected.end)
        return {block.id for block in overlapping} == expected.ids

    def blocks(self, service: str, profile_type: ProfileType | None, start: int, end: int) -> list[Block]:
        with self._lock:
            return self._overlapping(service, profile_type, start, end)

    def add_series(self, series: Series) -> None:
        with self._lock:
            self._add_series(series)

    def series(self, selection: SeriesSelection) -> list[Series]:
        with self._lock:
            return selection.select(self._series.values())

    def series_groups(self, selection: SeriesSelection) -> list[SeriesGroup]:
        return group_series(self.series(selection))

    def label_values(self, service: str, limit: int) -> dict[ProfileType, dict[str, list[str]]]:
        return list_label_values(self.series(SeriesSelection(service)), limit)

    def tidy_series(self, *, all_services: bool) -> None:
        pass

    def services(self) -> list[str]:
        with self._lock:
            services = {meta.service for meta in self._entries.values()}
            return sorted(services | {block.service for block in self._blocks.values()})

    def profile_types(self, service: str) -> list[ProfileType]:
        with self._lock:
            types = {meta.type for meta in self._entries.values() if meta.service == service}
            return sorted(types | {block.type for block in self._blocks.values() if block.service == service})

    def remove(self, ids: Iterable[str]) -> None:
        with self._lock:
            for entry_id in ids:
                self._entries.pop(entry_id, None)
                self._blocks.pop(entry_id, None)

    def add_task(self, task: Task) -> bool:
        with self._lock:
            if task in self._tasks:
                return False
            self._tasks.add(task)
            return True

    def due_tasks(self, until: int, limit: int) -> list[Task]:
        with self._lock:
            due = [task for task in self._tasks if task.due <= until]
        return sorted(due, key=lambda task: task.due)[:limit]

    def replace_task(self, task: Task, replacement: Task | None = None) -> bool:
        with self._lock:
            if task not in self._tasks:
                return False
            self._tasks.remove(task)
            if replacement:
                self._tasks.add(replacement)
            return True

    def replace_damaged(self) -> str | None:
        return None

    def _add_series(self, series: Series) -> None:
        known = self._series.get(series.id)
        self._series[series.id] = known.union(series) if known else series

    def _overlapping(self, service: str, profile_type: ProfileType | None, start: int, end: int) -> list[Block]:
        blocks = [
            block
            for block in self._blocks.values()
            if block.service == service and profile_type in (None, block.type) and block.overlaps(start, end)
        ]
        return sorted(blocks, key=lambda block: block.position)


class MemoryQueue:
    """A queue of this process. Each task is returned once."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()
        self._seen: set[Task] = set()

    def put(self, tasks: Sequence[Task]) -> int:
        new = [task for task in tasks if task not in self._seen]
        self._tasks.extend(new)
        self._seen.update(new)
        return len(new)

    def take(self) -> Task | None:
        """Remove and return the oldest task; ``None`` if there is none."""
        return self._tasks.popleft() if self._tasks else None


def open_url(url: str) -> tuple[MemoryBucket, MemoryIndex]:  # noqa: ARG001 - memory: has no options
    """Return a new, empty bucket and index."""
    return MemoryBucket(), MemoryIndex()
