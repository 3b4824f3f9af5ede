"""A Firestore database as an index.

It has five collections. Document ids are hashes, because Firestore splits its load by ranges of ids::

    series/{hash}               a record: service, type, labels, sample_types, first_seen, last_seen, is_new
    series/{hash}               many records of a service: service, packed
    entries/{hash of Meta.id}   id, service, type, series, labels, created_at, size, totals, part, stored_at
    batches/{hash of content}   many entries of a batch and type: service, type, first, members, stored_at
    blocks/{hash of Block.id}   all fields of Block, and stored_at
    tasks/{Task.id}             the task as JSON, and due

Labels and totals are one text each, and no query filters by them: a find with labels selects its series first.
``stored_at`` is the time of the write; Firestore's TTL counts from it. A snapshot reads blocks and entries at the
read time of the first answer, by the clock of the service.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from heapq import merge
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any

from profbucket.errors import Unavailable
from profbucket.model.blocks import Block, Members
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import group_series, list_label_values, list_series
from profbucket.model.tasks import Task, load_tasks
from profbucket.storage.per_process import PerProcess
from profbucket.storage.ports import (
    MAX_BLOCK_NANOS,
    CommitTooLarge,
    ExpectedBlocks,
    Selection,
    Series,
    SeriesGroup,
    SeriesSelection,
    to_columns,
)
from profbucket.times import DAY, SECOND
from storage_gcs.batches import IdRange, find_members, group_entries, write_group, write_removals
from storage_gcs.series import round_to_day, series_record_id

if TYPE_CHECKING:
    from storage_gcs.firestore import Calls

_PAGE_SERIES = 300  # records in one answer about all services
_MAX_NEW_RECORDS = 10_000  # packed in one run of compaction
_PAGE_ENTRIES = 2000  # in one answer: a megabyte
_QUERY_SERIES = 30  # in one query: Firestore's maximum of values for "in"
_CONCURRENT_QUERIES = 8  # of one find
_MANY_SERIES = 600  # 20 queries; each entry that is read costs money, selected or not
_SAMPLED_ENTRIES = 200
_MIN_PAGE_ENTRIES = 50  # in an answer to one of many queries
_MAX_FIRST_ENTRIES = 20_000  # in the first answers to many queries together
_COMMIT_DOCUMENTS = 300  # removed in one commit

# A process assumes for this long that a record of a series, which it has seen, still exists. If the database was
# restored or recreated, the record is written again within this time. Until then, posts are not found by their
# labels; each attempt to write costs as much as an entry.
_SERIES_CACHE_SECONDS = 600.0
_SERIES_CACHE_SIZE = 20_000

_ENTERED_TWICE_SIZE = 20_000

_CREATE_ROLE = "a role with datastore.entities.create"
_REMOVE_ROLE = "roles/datastore.user"


_Document = tuple[str, str, Callable[[Any], None]]  # collection, id, and what sets the fields


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
        self._records_seen_at: dict[str, float] = {}
        # Ids of entries that are in batches twice, or alone, too. A commit removes both; otherwise, the other
        # would be that of a profile that was posted again, which the next visit removes.
        self._entered_twice: set[str] = set()

    def add(self, meta: Meta) -> bool:
        from storage_gcs.queries import ENTRIES, write_entry

        # The series first: without it, a find by labels would miss the entry.
        self._create_record(round_to_day(Series.of(meta)))
        stored_at = int(time.time())
        return self._create((ENTRIES, document_id(meta.id), partial(write_entry, meta=meta, stored_at=stored_at)))

    def add_batch(self, members: Sequence[Meta]) -> None:
        from storage_gcs.queries import ENTRIES, GROUPS, write_entry

        records = dict.fromkeys(round_to_day(Series.of(meta)) for meta in members)
        with ThreadPoolExecutor(min(_CONCURRENT_QUERIES, len(records)), "records") as threads:
            list(threads.map(self._create_record, records))
        alone, groups = group_entries(members)
        stored_at = int(time.time())
        documents: list[_Document] = []
        for group in groups:
            fill_group = partial(write_group, group=group, stored_at=stored_at)
            documents.append((GROUPS, group.document_id, fill_group))
        for meta in alone:
            fill_entry = partial(write_entry, meta=meta, stored_at=stored_at)
            documents.append((ENTRIES, document_id(meta.id), fill_entry))
        if not self._create(*documents):  # some exist, or all if an earlier attempt succeeded
            for document in documents:
                self._create(document)

    def find(self, selection: Selection) -> Iterator[Meta]:
        return self._find(selection, None)

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        from storage_gcs.queries import select_blocks

        request = select_blocks(selection.service, selection.type, selection.start, selection.end)
        documents, read_time = self._calls.get().query_with_read_time(request)
        return self._parse_blocks(documents, selection.start, selection.end), self._find(selection, read_time)

    def snapshot_columns(self, selection: Selection) -> tuple[list[Block], list[Members]]:
        blocks, entries = self.snapshot(selection)
        return blocks, to_columns(entries)

    def commit(
        self,
        block: Block | None,
        members: Collection[str],
        replaced: Collection[str],
        expected: ExpectedBlocks | None = None,
    ) -> bool:
        from storage_gcs.firestore import CommitRequest, DocumentExists, DocumentMissing, TransactionTooLarge
        from storage_gcs.queries import BLOCKS, select_blocks, write_block

        calls, request = self._calls.get(), CommitRequest()
        if block:
            write = request.writes.add()
            write.update.name = f"{calls.documents}/{BLOCKS}/{document_id(block.id)}"
            write.current_document.exists = block.id in replaced
            write_block(write.update.fields, block, int(time.time()))
        self._write_deletions(request, set(replaced) - ({block.id} if block else set()))
        count, ranges = len(request.writes), IdRange.of(members)

        def prepare(documents: Iterable[Any]) -> bool:
            """Return whether the blocks are as expected, and add the removal of the members."""
            if expected and expected.ids != {
                other.id for other in self._parse_blocks(documents, expected.start, expected.end)
            }:
                return False
            del request.writes[count:]  # of an earlier attempt
            in_groups: set[str] = set()
            for id_range in ranges:
                groups = calls.query_in_transaction(id_range.select(), request.transaction)
                in_groups |= write_removals(request, groups, members)
            self._write_deletions(request, set(members) - in_groups)
            for name in self._document_names(in_groups & self._entered_twice):
                request.writes.add().delete = name
            return True

        query = ranges[0].select() if ranges else None  # begins the transaction
        if expected:
            query = select_blocks(expected.service, expected.type, expected.start, expected.end)
        try:
            return calls.commit_block(query, prepare, request, "commit a block", _REMOVE_ROLE)
        except (DocumentExists, DocumentMissing):
            return False
        except TransactionTooLarge as error:
            if not members:
                raise Unavailable(f"Firestore failed to commit a block: {error}") from error
            raise CommitTooLarge(str(error)) from error

    def _write_deletions(self, request: Any, ids: Iterable[str]) -> None:
        for name in self._document_names(ids):
            write = request.writes.add()
            write.delete = name
            write.current_document.exists = True

    def blocks(self, service: str, profile_type: ProfileType | None, start: int, end: int) -> list[Block]:
        from storage_gcs.queries import select_blocks

        documents = self._calls.get().query(select_blocks(service, profile_type, start, end))
        return self._parse_blocks(documents, start, end)

    def add_series(self, series: Series) -> None:
        from storage_gcs.firestore import CommitRequest
        from storage_gcs.queries import SERIES, write_series

        calls, request = self._calls.get(), CommitRequest()
        for created_at in {series.first_seen, series.last_seen}:
            record = round_to_day(series._replace(first_seen=created_at, last_seen=created_at))
            write = request.writes.add()  # overwrites the empty document in the place of a packed record
            write.update.name = f"{calls.documents}/{SERIES}/{series_record_id(record)}"
            write_series(write.update.fields, record)
        calls.commit(request, "write series", _REMOVE_ROLE)

    def _create_record(self, series: Series) -> None:
        """Create the record that *series* has these sample types and was seen on that day."""
        from storage_gcs.queries import SERIES, write_series

        now, record_id = time.monotonic(), series_record_id(series)
        if self._records_seen_at.get(record_id, -_SERIES_CACHE_SECONDS) <= now - _SERIES_CACHE_SECONDS:
            self._create((SERIES, record_id, partial(write_series, series=series)))
            if len(self._records_seen_at) >= _SERIES_CACHE_SIZE:
                self._records_seen_at.clear()  # costs one write a series, and needs no eviction order
            self._records_seen_at[record_id] = now

    def series(self, selection: SeriesSelection) -> list[Series]:
        from storage_gcs.queries import read_all_series, read_document

        documents = self._read_series(selection)
        records = chain.from_iterable(read_document(document, read_all_series) for document in documents)
        return selection.select(list_series(records))

    def _read_series(self, selection: SeriesSelection) -> Iterator[Any]:
        """Yield the documents that have records of series, at least of all that *selection* selects."""
        from storage_gcs.queries import select_all_series, select_series

        if selection.service is not None:
            one_suffices = selection == SeriesSelection(selection.service, limit=1)
            yield from self._calls.get().query(select_series(selection.service, 1 if one_suffices else None))
            return
        last = read_time = None
        while True:
            request = select_all_series(last, _PAGE_SERIES)
            if read_time is not None:  # between two pages, records may be packed
                request.read_time.CopyFrom(read_time)
            documents, read_time = self._calls.get().query_with_read_time(request)
            yield from documents
            if len(documents) < _PAGE_SERIES:
                return
            last = documents[-1]

    def series_groups(self, selection: SeriesSelection) -> list[SeriesGroup]:
        return group_series(self.series(selection))

    def label_values(self, service: str, limit: int) -> dict[ProfileType, dict[str, list[str]]]:
        return list_label_values(self.series(SeriesSelection(service)), limit)

    def tidy_series(self, *, all_services: bool) -> None:
        from storage_gcs.packing import SeriesPacker
        from storage_gcs.queries import select_new_records

        calls = self._calls.get()
        if all_services:
            documents: Iterable[Any] = self._read_series(SeriesSelection())
        else:
            documents = calls.query(select_new_records(_MAX_NEW_RECORDS))
        oldest = 0
        if self._retention and self._block_retention:
            # A block of 30 days is kept for the retention after its last profile. Deletions are up to a day late.
            kept = max(self._retention, self._block_retention + MAX_BLOCK_NANOS // SECOND) + 2 * DAY // SECOND
            oldest = int(time.time()) - kept
        SeriesPacker(calls, oldest).pack(documents, forget=all_services)

    def services(self) -> list[str]:
        from storage_gcs.queries import BLOCKS, ENTRIES, GROUPS

        with ThreadPoolExecutor(3, "services") as threads:
            return sorted(set().union(*threads.map(self._services_in, (ENTRIES, BLOCKS, GROUPS))))

    def profile_types(self, service: str) -> list[ProfileType]:
        from storage_gcs.queries import BLOCKS, ENTRIES, GROUPS

        with ThreadPoolExecutor(3, "types") as threads:
            types_in = partial(self._types_in, service)
            return sorted(set().union(*threads.map(types_in, (ENTRIES, BLOCKS, GROUPS))))

    def remove(self, ids: Iterable[str]) -> None:
        from storage_gcs.firestore import CommitRequest

        all_ids = set(ids)
        for id_range in IdRange.of(all_ids):
            self._remove_from_groups(id_range, all_ids)
        names = self._document_names(all_ids)
        for begin in range(0, len(names), _COMMIT_DOCUMENTS):
            request = CommitRequest()
            for name in names[begin : begin + _COMMIT_DOCUMENTS]:
                request.writes.add().delete = name
            self._calls.get().commit(request, "remove entries", _REMOVE_ROLE)

    def _remove_from_groups(self, id_range: IdRange, ids: Collection[str]) -> None:
        from storage_gcs.firestore import CommitRequest, TransactionTooLarge

        calls, request = self._calls.get(), CommitRequest()

        def prepare(documents: Iterable[Any]) -> bool:
            del request.writes[:]
            return bool(write_removals(request, documents, ids))

        try:
            calls.commit_block(id_range.select(), prepare, request, "remove entries", _REMOVE_ROLE)
        except TransactionTooLarge as error:
            raise Unavailable(f"Firestore failed to remove {len(request.writes)} groups: {error}") from error

    def add_task(self, task: Task) -> bool:
        from storage_gcs.queries import TASKS, write_task

        return self._create((TASKS, task.id, partial(write_task, task=task)))

    def due_tasks(self, until: int, limit: int) -> list[Task]:
        from storage_gcs.queries import select_due_tasks

        documents = self._calls.get().query(select_due_tasks(until, limit))
        return load_tasks(document.fields["task"].string_value for document in documents)

    def replace_task(self, task: Task, replacement: Task | None = None) -> bool:
        from storage_gcs.firestore import CommitRequest, DocumentMissing
        from storage_gcs.queries import TASKS, write_task

        calls, request = self._calls.get(), CommitRequest()
        write = request.writes.add()
        write.delete = f"{calls.documents}/{TASKS}/{task.id}"
        write.current_document.exists = True
        if replacement:
            write = request.writes.add()
            write.update.name = f"{calls.documents}/{TASKS}/{replacement.id}"
            write_task(write.update.fields, replacement)
        try:
            calls.commit(request, "replace a task", _REMOVE_ROLE)
        except DocumentMissing:
            return False
        return True

    def replace_damaged(self) -> str | None:
        return None  # damaged documents can be deleted one by one

    def _document_names(self, ids: Iterable[str]) -> list[str]:
        """Return the document names of profiles and blocks with these ids, sorted."""
        from storage_gcs.queries import BLOCKS, ENTRIES

        # The id of a block is its object key, which begins with the reserved prefix.
        collections = {entry_id: BLOCKS if entry_id.startswith("_/") else ENTRIES for entry_id in ids}
        documents = self._calls.get().documents
        return sorted(
            f"{documents}/{collection}/{document_id(entry_id)}" for entry_id, collection in collections.items()
        )

    def _services_in(self, collection: str) -> list[str]:
        from storage_gcs.queries import select_next_service

        services: list[str] = []
        while documents := self._calls.get().query(
            select_next_service(collection, services[-1] if services else "")
        ):
            services.append(documents[0].fields["service"].string_value)
        return services

    def _types_in(self, service: str, collection: str) -> list[ProfileType]:
        from storage_gcs.queries import read_document, read_type, select_next_type

        profile_types: list[ProfileType] = []
        while documents := self._calls.get().query(
            select_next_type(collection, service, profile_types[-1] if profile_types else "")
        ):
            profile_types.append(read_document(documents[0], read_type))
        return profile_types

    def _parse_blocks(self, documents: Iterable[Any], start: int, end: int) -> list[Block]:
        """Return the blocks in *documents* that overlap the range and have not expired, ordered by position."""
        from storage_gcs.queries import read_block, read_document

        oldest = time.time() - self._block_retention if self._block_retention else 0
        blocks = [
            read_document(document, read_block)
            for document in documents
            if document.fields["stored_at"].timestamp_value.seconds >= oldest
        ]
        return sorted((block for block in blocks if block.overlaps(start, end)), key=lambda block: block.position)

    def _find(self, selection: Selection, read_time: Any) -> Iterator[Meta]:
        """Yield the selected entries, as of *read_time* if given."""
        if selection.start > selection.end or selection.limit == 0:
            return
        if selection.series is None:
            page_entries = min(_PAGE_ENTRIES, selection.limit or _PAGE_ENTRIES)
            entries = self._read_pages(selection, None, page_entries, read_time)
        else:
            entries = self._find_in_series(selection, sorted(set(selection.series)), read_time)
        oldest = time.time() - self._retention if self._retention else 0
        in_groups = find_members(self._calls.get(), selection, read_time, oldest)
        profiles = groupby(_merge_streams([entries, in_groups]), lambda meta: meta.id)
        yield from islice((self._take_first(copies) for _, copies in profiles), selection.limit)

    def _take_first(self, copies: Iterable[Meta]) -> Meta:
        """Return the first of equal entries; note that there are several."""
        first, *others = copies
        if others:
            if len(self._entered_twice) >= _ENTERED_TWICE_SIZE:
                self._entered_twice.clear()
            self._entered_twice.add(first.id)
        return first

    def _create(self, *documents: _Document) -> bool:
        """Create *documents* and return ``True``; return ``False`` and change nothing if one of them exists."""
        from storage_gcs.firestore import CommitRequest, DocumentExists

        calls, request = self._calls.get(), CommitRequest()
        for collection, document, fill in documents:
            write = request.writes.add()
            write.update.name = f"{calls.documents}/{collection}/{document}"
            write.current_document.exists = False
            fill(write.update.fields)
        try:
            calls.commit(request, "write an entry", _CREATE_ROLE)
        except DocumentExists:
            return False  # it existed before, or was created by an attempt whose answer was lost
        return True

    def _find_in_series(self, selection: Selection, series: Sequence[str], read_time: Any) -> Iterator[Meta]:
        """Yield the entries of *series*: one query for each 30 of them, merged in order.

        If they are many, and at least half of the first entries in the range are theirs, they are picked from all.
        """
        if len(series) > _MANY_SERIES:
            wanted = set(series)
            every = replace(selection, series=None, limit=None)
            page_entries = min(_PAGE_ENTRIES, max(2 * (selection.limit or _PAGE_ENTRIES), _SAMPLED_ENTRIES))
            pages = self._read_pages(every, None, page_entries, read_time)
            sample = list(islice(pages, _SAMPLED_ENTRIES))
            selected = [meta for meta in sample if meta.series in wanted]
            if 2 * len(selected) >= len(sample):
                yield from selected
                yield from (meta for meta in pages if meta.series in wanted)
                return
        chunks = [series[begin : begin + _QUERY_SERIES] for begin in range(0, len(series), _QUERY_SERIES)]
        if len(chunks) == 1:
            page_entries = min(_PAGE_ENTRIES, selection.limit or _PAGE_ENTRIES)
            yield from self._read_pages(selection, chunks[0], page_entries, read_time)
        elif chunks:
            share = min(selection.limit or _MAX_FIRST_ENTRIES, _MAX_FIRST_ENTRIES) // len(chunks)
            page_entries = min(_PAGE_ENTRIES, max(2 * share, _MIN_PAGE_ENTRIES))
            streams = [self._read_pages(selection, chunk, page_entries, read_time) for chunk in chunks]
            yield from _merge_streams(streams)

    def _read_pages(
        self, selection: Selection, series: Sequence[str] | None, page_entries: int, read_time: Any
    ) -> Iterator[Meta]:
        from storage_gcs.queries import read_document, read_entry, select_entries

        oldest = time.time() - self._retention if self._retention else 0
        after, remaining, skipped = selection.after, selection.limit, 0
        while remaining != 0:
            # Firestore bills each document that is read, but a page of expired entries may be followed by many.
            wanted = page_entries if remaining is None else min(page_entries, remaining)
            size = min(max(wanted, 2 * skipped), _PAGE_ENTRIES)
            request = select_entries(selection, series, after, size)
            if read_time is not None:
                request.read_time.CopyFrom(read_time)
            page = self._calls.get().query(request)
            skipped = 0
            for document in page:
                meta = read_document(document, read_entry)
                after = meta.position
                if remaining == 0:
                    return
                if (
                    meta.service == selection.service  # a query by series does not filter by these two
                    and selection.type in (None, meta.type)
                    and document.fields["stored_at"].timestamp_value.seconds >= oldest
                ):
                    remaining = None if remaining is None else remaining - 1
                    yield meta
                else:
                    skipped += 1
            if len(page) < size:
                return


def _merge_streams(streams: Sequence[Iterator[Meta]]) -> Iterator[Meta]:
    """Yield the entries of all *streams*, each of which is ordered by position, in order."""
    with ThreadPoolExecutor(min(_CONCURRENT_QUERIES, len(streams)), "find") as threads:
        # Fetch all first pages concurrently; most streams have no second page.
        firsts = list(threads.map(lambda stream: next(stream, None), streams))
    yield from merge(
        *(chain([first], rest) for first, rest in zip(firsts, streams, strict=True) if first),
        key=lambda meta: meta.position,
    )


def _open_calls(project: str | None, database: str) -> "Calls":
    from storage_gcs.firestore import Calls

    return Calls(project, database)


def document_id(entry_id: str) -> str:
    """Return the document id for the id of a profile, block or record."""
    return sha256(entry_id.encode()).hexdigest()[:32]
