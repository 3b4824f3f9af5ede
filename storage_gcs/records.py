"""The records of series: created with the first profile of a day, found, and packed by compaction."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from profbucket.model.series import list_series
from profbucket.storage.per_process import PerProcess
from profbucket.storage.ports import MAX_BLOCK_NANOS, Series, SeriesSelection
from profbucket.times import DAY_SECONDS, SECOND
from storage_gcs.series import round_to_day, series_record_id

if TYPE_CHECKING:
    from storage_gcs.firestore import Calls

_CONCURRENT_CALLS = 8
_PAGE_SERIES = 300  # records in one answer about all services
_MAX_NEW_RECORDS = 10_000  # packed in one run of compaction

# A process assumes for this long that a record of a series, which it has seen, still exists. If the database was
# restored or recreated, the record is written again within this time. Until then, posts are not found by their
# labels; each attempt to write costs as much as an entry.
_CACHE_SECONDS = 600.0
_CACHE_SIZE = 20_000


class SeriesRecords:
    """The records in the database that *calls* are for, of which each process remembers those that it has seen."""

    def __init__(self, calls: "PerProcess[Calls]") -> None:
        self._calls = calls
        self._seen_at: dict[str, float] = {}

    def create(self, series: Iterable[Series]) -> None:
        """Create a record of each of *series* with its sample types and day, unless it has been seen recently."""
        records = dict.fromkeys(map(round_to_day, series))
        if len(records) == 1:  # of a single post
            self._create(*records)
            return
        with ThreadPoolExecutor(min(_CONCURRENT_CALLS, len(records)), "records") as threads:
            list(threads.map(self._create, records))

    def _create(self, series: Series) -> None:
        from storage_gcs.documents import SERIES, write_series

        now, record_id = time.monotonic(), series_record_id(series)
        if self._seen_at.get(record_id, -_CACHE_SECONDS) <= now - _CACHE_SECONDS:
            self._calls.get().create((SERIES, record_id, partial(write_series, series=series)))
            if len(self._seen_at) >= _CACHE_SIZE:
                self._seen_at.clear()  # costs one write a series, and needs no eviction order
            self._seen_at[record_id] = now

    def write(self, series: Series) -> None:
        """Write the records of the first and the last day of *series*, whether they exist or not."""
        from storage_gcs.documents import SERIES, write_series
        from storage_gcs.firestore import WRITE_ROLE, CommitRequest

        calls, request = self._calls.get(), CommitRequest()
        for created_at in {series.first_seen, series.last_seen}:
            record = round_to_day(series._replace(first_seen=created_at, last_seen=created_at))
            write = request.writes.add()  # overwrites the empty document in the place of a packed record
            write.update.name = f"{calls.documents}/{SERIES}/{series_record_id(record)}"
            write_series(write.update.fields, record)
        calls.commit(request, "write series", WRITE_ROLE)

    def find(self, selection: SeriesSelection) -> list[Series]:
        """Return the selected series."""
        from storage_gcs.documents import read_all_series, read_document

        documents = self._read(selection)
        records = chain.from_iterable(read_document(document, read_all_series) for document in documents)
        return selection.select(list_series(records))

    def _read(self, selection: SeriesSelection) -> Iterator[Any]:
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

    def pack(self, *, all_services: bool, retention: int | None, block_retention: int | None) -> None:
        """Pack new records, or those of *all_services*, and then forget series that have no profiles any more.

        Entries are kept for *retention* seconds, and blocks for *block_retention*.
        """
        from storage_gcs.packing import SeriesPacker
        from storage_gcs.queries import select_new_records

        calls = self._calls.get()
        if all_services:
            documents: Iterable[Any] = self._read(SeriesSelection())
        else:
            documents = calls.query(select_new_records(_MAX_NEW_RECORDS))
        oldest = 0
        if retention and block_retention:
            # A block of 30 days is kept for the retention after its last profile. Deletions are up to a day late.
            kept = max(retention, block_retention + MAX_BLOCK_NANOS // SECOND) + 2 * DAY_SECONDS
            oldest = int(time.time()) - kept
        SeriesPacker(calls, oldest).pack(documents, forget=all_services)
