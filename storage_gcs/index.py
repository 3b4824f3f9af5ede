"""A Firestore database as an index.

Three collections, all with ids that are hashes, because Firestore splits its load by ranges of them::

    series/{Meta.series}        service, type, labels
    entries/{hash of Meta.id}   id, service, type, series, labels, created_at, size, totals, stored_at
    blocks/{hash of Block.id}   all that a Block has, and stored_at

Labels and totals are one text each, and no query asks for them: a find with labels picks its series first.
``stored_at`` is when an entry was written; Firestore's TTL counts from it. What is read as of one moment is read
at the time that the first answer tells, by the clock of the service.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from heapq import merge
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from profbucket.model.blocks import Block
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Selection, Series

if TYPE_CHECKING:
    from storage_gcs.firestore import Calls

_PAGE = 2000  # entries in one answer: a megabyte
_CHUNK = 30  # series in one query: Firestore takes no more values of "in"
_CONCURRENT = 8  # queries of one find at a time
_LEAST = 50  # entries in an answer to one of many queries
_SPREAD = 20_000  # entries that the first answers to many queries hold together
_COMMIT = 300  # documents removed at once

# How long a process takes a series that it has seen for known. Nothing of ours removes one; where somebody has,
# because the database was restored or made anew, it is written again within this time.
_REMEMBERED = 3600.0  # seconds
_KNOWN = 20_000  # series remembered

_CREATOR = "a role with datastore.entities.create"
_REMOVER = "roles/datastore.user"


class FirestoreIndex:
    """The entries in *database* of *project*; the library finds out the project where none is named.

    With *retention*, in seconds, entries that were stored earlier are not found, nor with *block_retention* are
    such blocks: Firestore deletes up to a day late.
    Nothing is imported or opened before the first call, and then once a process. ``FIRESTORE_EMULATOR_HOST`` is
    the library's variable.
    """

    def __init__(
        self,
        project: str | None = None,
        database: str = "(default)",
        retention: int | None = None,
        block_retention: int | None = None,
    ) -> None:
        self._project = project
        self._database = database
        self._retention = retention
        self._block_retention = block_retention
        self._opened: Calls | None = None
        self._opening = Lock()
        self._known: dict[str, float] = {}

    def add(self, meta: Meta) -> bool:
        from storage_gcs.queries import ENTRIES, write_entry

        # The series first: an entry whose series is missing would not be found by its labels.
        self.add_series(Series(meta.series, meta.service, meta.type, meta.labels))
        stored_at = int(time.time())
        return self._create(ENTRIES, document_of(meta.id), lambda fields: write_entry(fields, meta, stored_at))

    def find(self, selection: Selection) -> Iterator[Meta]:
        return self._find(selection, None)

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        from storage_gcs.queries import of_blocks

        request = of_blocks(selection.service, selection.type, selection.start, selection.end)
        documents, moment = self._calls().query_now(request)
        return self._read_blocks(documents, selection.start, selection.end), self._find(selection, moment)

    def commit(self, block: Block, members: Collection[str], replaced: Collection[str]) -> bool:
        from storage_gcs.firestore import AlreadyThere, CommitRequest, Gone
        from storage_gcs.queries import BLOCKS, write_block

        calls, request = self._calls(), CommitRequest()
        write = request.writes.add()
        write.update.name = f"{calls.documents}/{BLOCKS}/{document_of(block.id)}"
        write.current_document.exists = False
        write_block(write.update.fields, block, int(time.time()))
        for name in self._names({*members, *replaced}):
            write = request.writes.add()
            write.delete = name
            write.current_document.exists = True
        try:
            calls.commit(request, "commit a block", _REMOVER)
        except (AlreadyThere, Gone):
            return False
        return True

    def blocks(self, service: str, type: ProfileType | None, start: int, end: int) -> list[Block]:  # noqa: A002
        from storage_gcs.queries import of_blocks

        return self._read_blocks(self._calls().query(of_blocks(service, type, start, end)), start, end)

    def add_series(self, series: Series) -> None:
        from storage_gcs.queries import SERIES, write_series

        now = time.monotonic()
        if self._known.get(series.id, -_REMEMBERED) <= now - _REMEMBERED:
            self._create(SERIES, series.id, lambda fields: write_series(fields, series))
            if len(self._known) >= _KNOWN:
                self._known.clear()  # a document for each once more, and no list to keep in order
            self._known[series.id] = now

    def series(self, service: str, type: ProfileType | None) -> list[Series]:  # noqa: A002 - as in the port
        from storage_gcs.queries import of_series, read_series

        return [read_series(document) for document in self._calls().query(of_series(service, type))]

    def services(self) -> list[str]:
        from storage_gcs.queries import BLOCKS, ENTRIES

        with ThreadPoolExecutor(2, "services") as threads:
            return sorted(set().union(*threads.map(self._services_in, (ENTRIES, BLOCKS))))

    def remove(self, ids: Iterable[str]) -> None:
        from storage_gcs.firestore import CommitRequest

        names = self._names(ids)
        for begin in range(0, len(names), _COMMIT):
            request = CommitRequest()
            for name in names[begin : begin + _COMMIT]:
                request.writes.add().delete = name
            self._calls().commit(request, "remove entries", _REMOVER)

    def _names(self, ids: Iterable[str]) -> list[str]:
        """The documents of profiles and blocks with these ids: only those of blocks begin as what is reserved."""
        from storage_gcs.queries import BLOCKS, ENTRIES

        collections = {one: BLOCKS if one.startswith("_/") else ENTRIES for one in ids}
        documents = self._calls().documents
        return sorted(f"{documents}/{collection}/{document_of(one)}" for one, collection in collections.items())

    def _services_in(self, collection: str) -> list[str]:
        from storage_gcs.queries import next_service

        services: list[str] = []
        while documents := self._calls().query(next_service(collection, services[-1] if services else "")):
            services.append(documents[0].fields["service"].string_value)
        return services

    def _read_blocks(self, documents: Iterable[Any], start: int, end: int) -> list[Block]:
        from storage_gcs.queries import read_block

        oldest = time.time() - self._block_retention if self._block_retention else 0
        live = (one.fields for one in documents if one.fields["stored_at"].timestamp_value.seconds >= oldest)
        return sorted(
            (b for b in map(read_block, live) if b.overlaps(start, end)), key=lambda block: block.position
        )

    def _find(self, selection: Selection, moment: Any) -> Iterator[Meta]:
        """The selected entries, as they were at *moment* if given."""
        if selection.start > selection.end or selection.limit == 0:
            return
        if selection.series is None:
            found = self._pages(selection, None, min(_PAGE, selection.limit or _PAGE), moment)
        else:
            found = self._of_series(selection, sorted(set(selection.series)), moment)
        yield from islice(found, selection.limit)

    def _create(self, collection: str, document: str, fill: Callable[[Any], None]) -> bool:
        """Write a document where there is none, and return whether it is new."""
        from storage_gcs.firestore import AlreadyThere, CommitRequest

        calls, request = self._calls(), CommitRequest()
        write = request.writes.add()
        write.update.name = f"{calls.documents}/{collection}/{document}"
        write.current_document.exists = False
        fill(write.update.fields)
        try:
            calls.commit(request, "write an entry", _CREATOR)
        except AlreadyThere:
            return False  # there before, or since an attempt of ours whose answer was lost
        return True

    def _of_series(self, selection: Selection, series: Sequence[str], moment: Any) -> Iterator[Meta]:
        """The entries of *series*: a query for each 30 of them, merged in order."""
        chunks = [series[begin : begin + _CHUNK] for begin in range(0, len(series), _CHUNK)]
        if len(chunks) == 1:
            yield from self._pages(selection, chunks[0], min(_PAGE, selection.limit or _PAGE), moment)
        elif chunks:
            share = min(selection.limit or _SPREAD, _SPREAD) // len(chunks)
            size = min(_PAGE, max(2 * share, _LEAST))
            streams = [self._pages(selection, chunk, size, moment) for chunk in chunks]
            with ThreadPoolExecutor(min(_CONCURRENT, len(chunks)), "find") as threads:
                # The first page of each at once; of most there is no second.
                firsts = list(threads.map(lambda stream: next(stream, None), streams))
            yield from merge(
                *(chain([first], rest) for first, rest in zip(firsts, streams, strict=True) if first),
                key=lambda meta: meta.position,
            )

    def _pages(self, selection: Selection, series: Sequence[str] | None, size: int, moment: Any) -> Iterator[Meta]:
        from storage_gcs.queries import of_entries, read_entry

        oldest = time.time() - self._retention if self._retention else 0
        after, left = selection.after, selection.limit
        while left != 0:
            size = size if left is None else min(size, left)  # each document read is paid for
            request = of_entries(selection, series, after, size)
            if moment is not None:
                request.read_time.CopyFrom(moment)
            page = self._calls().query(request)
            for document in page:
                meta = read_entry(document.fields)
                after = meta.position
                if (
                    meta.service == selection.service  # of a series, that was not asked for
                    and selection.type in (None, meta.type)
                    and document.fields["stored_at"].timestamp_value.seconds >= oldest
                ):
                    left = None if left is None else left - 1
                    yield meta
            if len(page) < size:
                return

    def _calls(self) -> "Calls":
        calls = self._opened
        if calls is None or calls.process != os.getpid():
            from storage_gcs.firestore import Calls

            with self._opening:
                calls = self._opened
                if calls is None or calls.process != os.getpid():
                    calls = self._opened = Calls(self._project, self._database)
        return calls


def document_of(profile_id: str) -> str:
    return sha256(profile_id.encode()).hexdigest()[:32]
