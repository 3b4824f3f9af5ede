"""Finds of entries: of those that have a document each, in few queries, and of those in documents of batches."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from heapq import merge
from itertools import chain, groupby, islice
from typing import Any

from profbucket.model.meta import Meta
from profbucket.storage.ports import Selection
from storage_gcs.batches import find_members
from storage_gcs.documents import read_document, read_entry
from storage_gcs.firestore import Calls
from storage_gcs.queries import select_entries

_PAGE_ENTRIES = 2000  # in one answer: a megabyte
_QUERY_SERIES = 30  # in one query: Firestore's maximum of values for "in"
_CONCURRENT_QUERIES = 8  # of one find
_MANY_SERIES = 600  # 20 queries; each entry that is read costs money, selected or not
_SAMPLED_ENTRIES = 200
_MIN_PAGE_ENTRIES = 50  # in an answer to one of many queries
_MAX_FIRST_ENTRIES = 20_000  # in the first answers to many queries together
_ENTERED_TWICE_SIZE = 20_000


class EntryFinder:
    """Finds by *calls* of entries that were not stored more than *retention* seconds ago.

    *entered_twice* gets the ids of entries that exist twice.
    """

    def __init__(self, calls: Calls, retention: int | None, entered_twice: set[str]) -> None:
        self._calls = calls
        self._oldest = time.time() - retention if retention else 0
        self._entered_twice = entered_twice

    def find(self, selection: Selection, read_time: Any) -> Iterator[Meta]:
        """Yield the selected entries, as of *read_time* if given."""
        if selection.start > selection.end or selection.limit == 0:
            return
        if selection.series is None:
            page_entries = min(_PAGE_ENTRIES, selection.limit or _PAGE_ENTRIES)
            entries = self._read_pages(selection, None, page_entries, read_time)
        else:
            entries = self._find_in_series(selection, sorted(set(selection.series)), read_time)
        in_groups = find_members(self._calls, selection, read_time, self._oldest)
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
        after, remaining, skipped = selection.after, selection.limit, 0
        while remaining != 0:
            # Firestore bills each document that is read, but a page of expired entries may be followed by many.
            wanted = page_entries if remaining is None else min(page_entries, remaining)
            size = min(max(wanted, 2 * skipped), _PAGE_ENTRIES)
            request = select_entries(selection, series, after, size)
            if read_time is not None:
                request.read_time.CopyFrom(read_time)
            page = self._calls.query(request)
            skipped = 0
            for document in page:
                meta = read_document(document, read_entry)
                after = meta.position
                if remaining == 0:
                    return
                if (
                    meta.service == selection.service  # a query by series does not filter by these two
                    and selection.type in (None, meta.type)
                    and document.fields["stored_at"].timestamp_value.seconds >= self._oldest
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
