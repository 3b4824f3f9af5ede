"""Write many profiles as the backends write them, but hundreds at a time."""

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

from profbucket.model.ids import ProfileId
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Series
from storage_gcs.documents import ENTRIES, SERIES, document_id, write_entry, write_series
from storage_gcs.firestore import Calls, CommitRequest
from storage_gcs.series import round_to_day, series_record_id
from storage_local.entries import store_entry
from storage_local.series import store_series
from tests.support.storage.examples import NOW, make_meta

MINUTE = 60 * 10**9


def make_history(count: int, data: bytes) -> list[Meta]:
    """Return *count* profiles with the bytes *data*, one a minute for each of 200 series.

    The series have 5 services, 2 profile types, 4 versions and 5 pods. A smaller *count* returns a prefix.
    """
    metas = []
    for number in range(count):
        minute, series = divmod(number, 200)
        service, type_index, version, pod = series % 5, series // 5 % 2, series // 10 % 4, series // 40
        metas.append(
            make_meta(
                NOW + minute * MINUTE,
                service=f"service-{service}",
                type=(ProfileType.CPU, ProfileType.HEAP)[type_index],
                labels=f"version=0.0.{version},pod=pod-{pod}",
                data=data,
            )
        )
    return metas


def load_entries(project: str, metas: Sequence[Meta]) -> None:
    """Add the entries of *metas* to Firestore, and their series."""
    calls = Calls(project, "(default)")
    now = int(time.time())

    def load(begin: int) -> None:
        request = CommitRequest()
        chunk = metas[begin : begin + 400]
        records = [round_to_day(Series.of(meta)) for meta in chunk]
        for record_id, series in {series_record_id(series): series for series in records}.items():
            write = request.writes.add()
            write.update.name = f"{calls.documents}/{SERIES}/{record_id}"
            write_series(write.update.fields, series)
        for meta in chunk:
            write = request.writes.add()
            write.update.name = f"{calls.documents}/{ENTRIES}/{document_id(meta.id)}"
            write_entry(write.update.fields, meta, now)
        calls.commit(request, "load", "")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(load, range(0, len(metas), 400)))


def fill_directory(directory: Path, metas: Iterable[Meta]) -> None:
    """Add the entries of *metas* to the index of a storage in *directory*, in one transaction."""
    connection = sqlite3.connect(directory / ".index.sqlite", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    for meta in metas:
        store_series(connection, Series.of(meta))
        store_entry(connection, meta)
    connection.execute("COMMIT")
    connection.close()


def load_objects(url: str, bucket: str, metas: Iterable[Meta], data: bytes) -> None:
    """Put *data* under the key of each of *metas*, without metadata."""
    thread_local = threading.local()
    connections = []

    def load(meta: Meta) -> None:
        if not hasattr(thread_local, "connection"):
            thread_local.connection = HTTPConnection(urlsplit(url).netloc)
            connections.append(thread_local.connection)
        name = quote(ProfileId.parse(meta.id).object_key, safe="")
        thread_local.connection.request(
            "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", data
        )
        with thread_local.connection.getresponse() as response:
            assert response.status == 200, response.read()
            response.read()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(load, metas))
    for connection in connections:
        connection.close()
