"""Packing of the records of series, and forgetting of those that have expired: by compaction, in transactions."""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count, islice, zip_longest
from typing import Any

from profbucket.errors import Damaged, Unavailable
from storage_gcs.documents import SERIES, is_packed, read_document, read_packed, read_series, write_packed
from storage_gcs.firestore import Calls, CommitRequest, DocumentMissing, TransactionTooLarge
from storage_gcs.queries import select_packed
from storage_gcs.series import PackedSeries, Parts, add_records, arrange, drop_expired, pack, packed_id

_MAX_RECORDS = 300  # in one transaction
_ROLE = "roles/datastore.user"


class SeriesPacker:
    """Packs records by *calls*.

    A series that was last recorded before *oldest*, in seconds since 1970, has no profiles any more.
    """

    def __init__(self, calls: Calls, oldest: int) -> None:
        self._calls = calls
        self._oldest = oldest

    def pack(self, documents: Iterable[Any], *, forget: bool) -> None:
        """Pack the records in *documents*, and if asked to, *forget* series in packed ones that have expired.

        Raise ``Damaged`` or ``Unavailable``: damage keeps only its own service from being packed.
        """
        records: dict[str, list[Any]] = {}
        with_expired: set[str] = set()
        error: Damaged | None = None
        for document in documents:
            service = document.fields["service"].string_value
            try:
                if not is_packed(document):
                    records.setdefault(service, []).append(document)
                elif [part := read_document(document, read_packed)] != drop_expired([part], self._oldest):
                    with_expired.add(service)
            except Damaged as damage:
                error = damage
        for service in sorted({*records, *with_expired}):
            of_service = records.get(service, [])
            try:
                for begin in range(0, len(of_service), _MAX_RECORDS):
                    self._pack(service, of_service[begin : begin + _MAX_RECORDS])
                while forget and self._rewrite(service, lambda parts: drop_expired(parts, self._oldest)):
                    pass  # until nothing has expired
            except Damaged as damage:
                error = damage
        if error:
            raise error

    def _pack(self, service: str, records: Sequence[Any]) -> None:
        """Add *records*, documents, to the packed ones of *service*; if they are too many at once, in halves."""
        new, now = [read_document(document, read_series) for document in records], int(time.time())
        try:
            self._rewrite(service, lambda parts: add_records(parts, new, now), records)
        except TransactionTooLarge as error:
            if len(records) == 1:
                raise Unavailable(f"Firestore failed to pack the series of {service}: {error}") from error
            half = len(records) // 2
            self._pack(service, records[:half])
            self._pack(service, records[half:])

    def _rewrite(
        self, service: str, rewrite: Callable[[Parts], list[list[PackedSeries]]], records: Sequence[Any] = ()
    ) -> bool:
        """Replace the packed series of *service* by what *rewrite* makes of them, and *records* by empty ones.

        Both are one transaction, which writes the documents that change. Return whether any does.
        """
        calls, request, now = self._calls, CommitRequest(), int(time.time())

        def prepare(documents: Sequence[Any]) -> bool:
            del request.writes[:]
            known = [read_document(document, read_packed) for document in documents]
            parts = arrange(rewrite(known), known)
            names = [document.name for document in documents]
            candidates = (f"{calls.documents}/{SERIES}/{packed_id(service, number)}" for number in count())
            names += islice((name for name in candidates if name not in names), len(parts) - len(names))
            for name, part, before in zip_longest(names, parts, known):
                if part and part != before:
                    write = request.writes.add()
                    write.update.name = name
                    write_packed(write.update.fields, service, pack(part))
                elif not part:
                    request.writes.add().delete = name
            for document in records:
                write = request.writes.add()
                write.update.name = document.name
                write.update.fields["stored_at"].timestamp_value.seconds = now
                write.current_document.exists = True
            return bool(request.writes)

        try:
            return calls.commit_block(select_packed(service), prepare, request, "pack series", _ROLE)
        except DocumentMissing:  # a concurrent run has packed it, and it has expired
            return False
