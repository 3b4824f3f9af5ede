"""A Firestore database as an index.

It has five collections. Document ids are hashes, because Firestore splits its load by ranges of ids::

    series/{hash}               a record: service, type, labels, sample_types, first_seen, last_seen, is_new
    series/{hash}               many records of a service: service, packed
    entries/{hash of Meta.id}   id, service, type, series, labels, created_at, size, totals, part, stored_at
    batches/{hash of content}   the entries of a batch: service, types, type_list, first, members, stored_at
    blocks/{hash of Block.id}   all fields of Block, and stored_at
    tasks/{Task.id}             the task as JSON, and due

Labels and totals are one text each, and no query filters by them: a find with labels selects its series first.
``stored_at`` is the time of the write; Firestore's TTL counts from it. A snapshot reads blocks and entries at the
read time of the first answer, by the clock of the service.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from profbucket.model.blocks import Block, Members
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import group_series, list_label_values
from profbucket.model.tasks import Task, load_tasks
from profbucket.storage.per_process import PerProcess
from profbucket.storage.ports import Change, Selection, Series, SeriesGroup, SeriesSelection, to_columns
from storage_gcs.batches import group_entries, write_group
from storage_gcs.records import SeriesRecords

if TYPE_CHECKING:
    from storage_gcs.firestore import Calls, Document


class FirestoreIndex:
    """The entries in *database* of *project*; without *project*, the library's default.

    Entries that were stored more than *retention* seconds ago are not found, nor blocks after *block_retention*:
    Firestore deletes them up to a day late.

    Nothing is imported or opened before the first call. The library reads ``FIRESTORE_EMULATOR_HOST``.
    """

    max_members = 500  # a transaction that removes more takes seconds, and may fail for its size

    def __init__(
        self,
        project: str | None = None,
        database: str = "(default)",
        retention: int | None = None,
        block_retention: int | None = None,
    ) -> None:
        self._calls = PerProcess(partial(_open_calls, project, database))
        self._retention = retention
        self._block_retention = block_retention
        self._records = SeriesRecords(self._calls)
        # Ids of entries that exist twice: in two batches, or in a batch and alone. A commit removes both. One that
        # it misses looks like that of a profile that was posted again, and is removed by the next daily visit.
        self._entered_twice: set[str] = set()

    def add(self, meta: Meta) -> bool:
        from storage_gcs.documents import ENTRIES, document_id, write_entry

        # The series first: without it, a find by labels would miss the entry.
        self._records.create([Series.of(meta)])
        fill_entry = partial(write_entry, meta=meta, stored_at=int(time.time()))
        return self._calls.get().create((ENTRIES, document_id(meta.id), fill_entry))

    def add_batch(self, members: Sequence[Meta]) -> None:
        from storage_gcs.documents import ENTRIES, GROUPS, document_id, write_entry

        self._records.create(map(Series.of, members))
        alone, groups = group_entries(members)
        calls, stored_at = self._calls.get(), int(time.time())
        documents: list[Document] = [
            (GROUPS, group.document_id, partial(write_group, group=group, stored_at=stored_at)) for group in groups
        ]
        for meta in alone:
            fill_entry = partial(write_entry, meta=meta, stored_at=stored_at)
            documents.append((ENTRIES, document_id(meta.id), fill_entry))
        if not calls.create(*documents) and len(documents) > 1:
            for document in documents:  # some exist, or all if an earlier attempt succeeded
                calls.create(document)

    def find(self, selection: Selection) -> Iterator[Meta]:
        return self._find(selection, None)

    def _find(self, selection: Selection, read_time: Any) -> Iterator[Meta]:
        from storage_gcs.finding import EntryFinder

        yield from EntryFinder(self._calls.get(), self._retention, self._entered_twice).find(selection, read_time)

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        from storage_gcs.documents import read_blocks
        from storage_gcs.queries import select_blocks

        request = select_blocks(selection.service, selection.type, selection.start, selection.end)
        documents, read_time = self._calls.get().query_with_read_time(request)
        blocks = read_blocks(documents, selection.start, selection.end, self._oldest_block)
        return blocks, self._find(selection, read_time)

    def snapshot_columns(self, selection: Selection) -> tuple[list[Block], list[Members]]:
        blocks, entries = self.snapshot(selection)
        return blocks, to_columns(entries)

    def commit(self, *changes: Change) -> bool:
        from storage_gcs.commits import commit_changes

        return commit_changes(self._calls.get(), changes, self._entered_twice, self._oldest_block)

    @property
    def _oldest_block(self) -> float:
        return time.time() - self._block_retention if self._block_retention else 0

    def blocks(self, service: str, profile_type: ProfileType | None, start: int, end: int) -> list[Block]:
        from storage_gcs.documents import read_blocks
        from storage_gcs.queries import select_blocks

        documents = self._calls.get().query(select_blocks(service, profile_type, start, end))
        return read_blocks(documents, start, end, self._oldest_block)

    def add_series(self, series: Series) -> None:
        self._records.write(series)

    def series(self, selection: SeriesSelection) -> list[Series]:
        return self._records.find(selection)

    def series_groups(self, selection: SeriesSelection) -> list[SeriesGroup]:
        return group_series(self.series(selection))

    def label_values(self, service: str, limit: int) -> dict[ProfileType, dict[str, list[str]]]:
        return list_label_values(self.series(SeriesSelection(service)), limit)

    def tidy_series(self, *, all_services: bool) -> None:
        self._records.pack(
            all_services=all_services, retention=self._retention, block_retention=self._block_retention
        )

    def services(self) -> list[str]:
        from storage_gcs.documents import BLOCKS, ENTRIES, GROUPS

        with ThreadPoolExecutor(3, "services") as threads:
            return sorted(set().union(*threads.map(self._services_in, (ENTRIES, BLOCKS, GROUPS))))

    def _services_in(self, collection: str) -> list[str]:
        from storage_gcs.queries import select_next_service

        services: list[str] = []
        while documents := self._calls.get().query(
            select_next_service(collection, services[-1] if services else "")
        ):
            services.append(documents[0].fields["service"].string_value)
        return services

    def profile_types(self, service: str) -> list[ProfileType]:
        from storage_gcs.documents import BLOCKS, ENTRIES, GROUPS

        with ThreadPoolExecutor(3, "types") as threads:
            types_in = partial(self._types_in, service)
            return sorted(set().union(*threads.map(types_in, (ENTRIES, BLOCKS, GROUPS))))

    def _types_in(self, service: str, collection: str) -> set[ProfileType]:
        from storage_gcs.documents import read_document, read_types
        from storage_gcs.queries import select_next_types

        profile_types: set[ProfileType] = set()
        last = ""
        while documents := self._calls.get().query(select_next_types(collection, service, last)):
            types = read_document(documents[0], read_types)
            profile_types.update(types)
            last = ",".join(types)
        return profile_types

    def remove(self, ids: Iterable[str]) -> None:
        from storage_gcs.commits import remove_documents

        remove_documents(self._calls.get(), ids)

    def add_task(self, task: Task) -> bool:
        from storage_gcs.documents import TASKS, write_task

        return self._calls.get().create((TASKS, task.id, partial(write_task, task=task)))

    def due_tasks(self, until: int, limit: int) -> list[Task]:
        from storage_gcs.queries import select_due_tasks

        documents = self._calls.get().query(select_due_tasks(until, limit))
        return load_tasks(document.fields["task"].string_value for document in documents)

    def replace_task(self, task: Task, replacement: Task | None = None) -> bool:
        from storage_gcs.documents import TASKS, write_task
        from storage_gcs.firestore import WRITE_ROLE, CommitRequest, DocumentMissing

        calls, request = self._calls.get(), CommitRequest()
        write = request.writes.add()
        write.delete = f"{calls.documents}/{TASKS}/{task.id}"
        write.current_document.exists = True
        if replacement:
            write = request.writes.add()
            write.update.name = f"{calls.documents}/{TASKS}/{replacement.id}"
            write_task(write.update.fields, replacement)
        try:
            calls.commit(request, "replace a task", WRITE_ROLE)
        except DocumentMissing:
            return False
        return True

    def replace_damaged(self) -> str | None:
        return None  # damaged documents can be deleted one by one


def _open_calls(project: str | None, database: str) -> "Calls":
    from storage_gcs.firestore import Calls

    return Calls(project, database)
