"""Records of series in Firestore: how many documents there are and are read."""

import zlib
from random import Random
from typing import Any

import pytest

from profbucket.errors import Damaged, Unavailable
from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.model.series import MAX_NAME_CHARACTERS
from profbucket.storage.memory import MemoryBucket
from profbucket.storage.ports import Selection, Series, SeriesSelection
from profbucket.storage.store import Storage
from profbucket.times import DAY, LATEST, SECOND
from storage_gcs import FirestoreIndex
from storage_gcs import series as series_module
from storage_gcs.documents import is_packed, write_series
from storage_gcs.firestore import Calls, TransactionTooLarge
from storage_gcs.queries import select_packed, select_series
from storage_gcs.series import PackedSeries, add_records, arrange, drop_expired, pack, unpack
from tests.storage.conftest import CountedIndex
from tests.storage.test_firestore import remove_series
from tests.support.storage.bulk_load import load_entries
from tests.support.storage.examples import ALL_TIME, NOW, make_meta, make_numbered_profile
from tests.support.storage.unique_names import new_name

TOTALS = [Total("samples", "count", 1), Total("cpu", "nanoseconds", 2)]


def test_packed_series_are_one_document_for_each_service(counted: CountedIndex) -> None:
    metas = [
        make_meta(NOW + number, service=f"api-{number % 3}", labels=f"pod={number}", totals=TOTALS)
        for number in range(90)
    ]
    load_entries(counted.project, metas)
    before = sorted(counted.index.series(SeriesSelection()))
    counted.index.tidy_series(all_services=False)
    for selection, documents in (
        (SeriesSelection(), 3),
        (SeriesSelection("api-1"), 1),
        (SeriesSelection("no"), 0),
    ):
        counted.traffic.reset()
        found = counted.index.series(selection)
        assert counted.traffic.documents == documents
        assert sorted(found) == [series for series in before if selection.service in (None, series.service)]
    counted.traffic.reset()
    storage = Storage(MemoryBucket(), counted.index)
    query = Query("api-1", None, *ALL_TIME, parse_matchers("pod=4"))
    assert list(storage.lookup.find(query)) == [metas[4]]
    assert counted.traffic.documents == 2
    counted.traffic.reset()
    counted.index.tidy_series(all_services=False)
    assert (counted.traffic.documents, counted.traffic.written) == (0, 0)


def test_a_packed_record_is_not_created_again_on_its_day(counted: CountedIndex) -> None:
    meta = make_meta(NOW, labels="v=1", totals=TOTALS)
    counted.index.add(meta)
    counted.index.tidy_series(all_services=False)
    for created_at, documents in ((NOW + 1, 1), (NOW + 2, 1), (NOW + 2 * DAY, 2)):
        other_process = FirestoreIndex(counted.project)
        other_process.add(make_meta(created_at, labels="v=1", totals=TOTALS))
        counted.traffic.reset()
        [series] = counted.index.series(SeriesSelection("api"))
        assert counted.traffic.documents == documents
        assert series.first_seen <= NOW <= created_at <= series.last_seen
    counted.index.tidy_series(all_services=False)
    counted.traffic.reset()
    assert counted.index.series(SeriesSelection("api")) == [series]
    assert counted.traffic.documents == 1


def test_large_series_take_several_documents(counted: CountedIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "_MAX_PACKED_BYTES", 2000)
    metas = [make_meta(NOW, labels=f"v={number},large={'x' * 300}") for number in range(20)]
    load_entries(counted.project, metas)
    counted.index.tidy_series(all_services=False)
    counted.traffic.reset()
    before = sorted(counted.index.series(SeriesSelection("api")))
    assert len(before) == 20
    assert counted.traffic.documents == 4
    monkeypatch.undo()
    for number in range(3):  # each run merges two documents
        load_entries(counted.project, [make_meta(NOW, labels=f"v={20 + number}")])
        counted.index.tidy_series(all_services=False)
        counted.traffic.reset()
        after = counted.index.series(SeriesSelection("api"))
        assert {series.id for series in after} > {series.id for series in before}
        assert counted.traffic.documents == 3 - number


def test_many_long_names_of_sample_types_fit_into_a_document(counted: CountedIndex) -> None:
    """Names that compress badly: without a limit, these would be a document of a megabyte."""
    random = Random(1)
    totals = [Total(random.randbytes(1000).hex(), "count", 1) for _ in range(900)]
    metas = [make_meta(NOW + number, labels="v=1", totals=[total]) for number, total in enumerate(totals)]
    load_entries(counted.project, metas)
    counted.index.tidy_series(all_services=False)
    counted.traffic.reset()
    [series] = counted.index.series(SeriesSelection("api"))
    assert counted.traffic.documents == 1
    assert series.has_more_types
    assert 1 <= len(series.sample_types) <= MAX_NAME_CHARACTERS // 2000
    [document] = counted.index._calls.get().query(select_packed("api"))
    assert document.ByteSize() < MAX_NAME_CHARACTERS
    assert counted.index.add(make_meta(NOW + 900, labels="v=1", totals=[Total("one more", "count", 1)]))


def test_records_that_one_transaction_cannot_pack_are_packed_by_several(
    counted: CountedIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Calls._commit_in_time

    def refuse_many(calls: Calls, request: Any) -> None:
        if len(request.writes) > 20:
            raise TransactionTooLarge(f"{len(request.writes)} writes")
        original(calls, request)

    monkeypatch.setattr(Calls, "_commit_in_time", refuse_many)
    load_entries(counted.project, [make_meta(NOW, labels=f"v={number}") for number in range(90)])
    before = sorted(counted.index.series(SeriesSelection("api")))
    counted.index.tidy_series(all_services=False)
    counted.traffic.reset()
    assert sorted(counted.index.series(SeriesSelection("api"))) == before
    assert (len(before), counted.traffic.documents) == (90, 1)


def test_series_of_many_documents_expire_in_several_transactions(
    counted: CountedIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_module, "_MAX_PACKED_BYTES", 500)
    monkeypatch.setattr(series_module, "_MAX_SHRUNK_PARTS", 3)
    load_entries(counted.project, [make_meta(NOW, labels=f"v={number}") for number in range(60)])
    counted.index.tidy_series(all_services=False)
    assert len(counted.index._calls.get().query(select_packed("api"))) > 6
    ago = -(10**9)  # a retention that ended decades before any record
    FirestoreIndex(counted.project, retention=ago, block_retention=ago).tidy_series(all_services=True)
    assert counted.index.series(SeriesSelection()) == []


def test_series_without_profiles_for_the_retention_are_forgotten(firestore: str) -> None:
    project, ago = new_name(), -(10**9)  # a retention that ended decades before any record
    index = FirestoreIndex(project)
    index.add(make_meta(NOW, labels="v=1"))
    index.add(make_meta(NOW, service="other"))
    for retention, block_retention, services in ((None, None, 2), (ago, None, 2), (None, ago, 2), (ago, ago, 0)):
        FirestoreIndex(project, retention=retention, block_retention=block_retention).tidy_series(
            all_services=True
        )
        assert len(index.series(SeriesSelection())) == services


def test_a_daily_visit_writes_only_what_changes(counted: CountedIndex) -> None:
    for service in ("a", "b"):
        counted.index.add(make_meta(service=service))
    counted.index.tidy_series(all_services=False)
    counted.index.add(make_meta(service="b", labels="v=1"))
    counted.traffic.reset()
    counted.index.tidy_series(all_services=True)
    assert counted.traffic.document_writes == 2  # of one service: the packed series, and the record
    counted.traffic.reset()
    counted.index.tidy_series(all_services=True)
    assert (len(counted.traffic.requests), counted.traffic.documents, counted.traffic.written) == (1, 2, 0)


def test_damage_keeps_only_its_own_service_from_being_packed(firestore: str) -> None:
    index = FirestoreIndex(new_name())
    index.add(make_meta(service="sound"))

    def write(fields: Any) -> None:
        write_series(fields, Series.of(make_meta(service="damaged")))
        fields["sample_types"].string_value = "[["

    index._calls.get().create(("series", "damaged", write))
    with pytest.raises(Damaged, match="series/damaged is damaged"):
        index.tidy_series(all_services=False)
    documents = index._calls.get().query(select_series("sound"))
    assert list(map(is_packed, documents)) == [True]


def test_packing_that_takes_too_long_does_not_keep_compaction_from_the_rest(
    firestore: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, meta = FirestoreIndex(new_name()), make_meta()
    index.add(meta)
    monkeypatch.setattr("storage_gcs.firestore.BLOCK_TIMEOUT_SECONDS", -1.0)
    monkeypatch.setattr("storage_gcs.firestore._MANY_WRITES", 1)
    with pytest.raises(Unavailable, match="pack the series of api: 2 writes: DEADLINE_EXCEEDED"):
        index.tidy_series(all_services=False)
    assert index.series(SeriesSelection("api")) != []
    assert list(Compactor(Storage(MemoryBucket(), index), clock=lambda: 0).run_due()) == []


def test_a_series_is_kept_for_as_long_as_profiles_of_its_records_may_be_stored() -> None:
    series = Series.of(make_meta(NOW))
    for recorded_at, last_seen, is_kept in ((99, 99, False), (100, 0, True), (0, 100, True), (0, 99, False)):
        packed = [PackedSeries(series._replace(last_seen=last_seen * SECOND), recorded_at)]
        assert drop_expired([packed], 100) == [packed if is_kept else []]


def test_packed_series_come_back() -> None:
    labels = [Labels.from_pairs([("größe", "a=b,c%"), ("v", str(number))]) for number in range(5)]
    metas = [make_meta(NOW, labels=own, totals=TOTALS[number % 2 :]) for number, own in enumerate(labels)]
    [packed] = add_records([], map(Series.of, metas), 7)
    assert sorted(unpack("api", pack(packed))) == sorted(packed)
    assert add_records([], [], 7) == []
    legacy = Series("1", "api", ProfileType.CPU, Labels())
    [[item]] = add_records([], [legacy], 7)
    assert item == (legacy._replace(last_seen=7 * SECOND), 7)


@pytest.mark.parametrize("sizes", [[0], [5], [40], [5, 5], [200, 1], [100, 100, 3, 2], [1] * 9], ids=str)
def test_few_documents_change_with_their_series(monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
    maximum = 10_000
    monkeypatch.setattr(series_module, "_MAX_PACKED_BYTES", maximum)
    parts: list[list[PackedSeries]] = []
    all_series: list[Series] = []
    for size in sizes:
        new = [Series.of(make_meta(NOW, labels=f"v={len(all_series) + number}")) for number in range(size)]
        all_series += new
        before, parts = parts, arrange(add_records(parts, new, 7), parts)
        assert sorted(item.series for part in parts for item in part) == sorted(all_series)
        assert sum(part != old for part, old in zip(parts, before, strict=False)) <= 2
        sizes_of_parts = [len(zlib.decompress(pack(part))) for part in parts]
        assert max(sizes_of_parts, default=0) < maximum + 200  # and one series at most
        assert sum(map(bool, parts)) <= 2 * sum(sizes_of_parts) / maximum + 1
        assert arrange(add_records(parts, all_series[:1], 7), parts)[2:] == parts[2:]
    for _ in parts:
        before, parts = parts, arrange(drop_expired(parts, LATEST), parts)
    assert not any(parts)


def test_reindex_restores_packed_series_that_were_lost(counted: CountedIndex) -> None:
    storage = Storage(MemoryBucket(), counted.index)
    metas = []
    for number in (1, 3, 5):
        meta, data = make_numbered_profile(number)
        storage.write(meta, data)
        metas.append(meta)
    list(Compactor(storage, clock=lambda: 0).run_due())
    complete = sorted(counted.index.series(SeriesSelection()))
    remove_series(counted.project, metas[0].service)
    after = Storage(storage.bucket, FirestoreIndex(counted.project))
    assert [finding.state for finding in reindex(after)] == [State.MISSING_ENTRY] * 3
    assert sorted(after.index.series(SeriesSelection())) == complete
    assert {finding.state for finding in fsck(after)} == {State.OK}


@pytest.mark.parametrize(("selected", "queries"), [(90, 1), (50, 1), (10, 2)])
def test_entries_of_many_series_are_picked_from_all_if_they_are_half_of_them(
    counted: CountedIndex, monkeypatch: pytest.MonkeyPatch, selected: int, queries: int
) -> None:
    monkeypatch.setattr("storage_gcs.finding._MANY_SERIES", 5)
    monkeypatch.setattr("storage_gcs.finding._SAMPLED_ENTRIES", 30)
    metas = [make_meta(NOW + number, labels=f"v={number % 10},w={number // 10}") for number in range(100)]
    load_entries(counted.project, metas)
    expected = [meta for meta in metas if int(meta.labels.get("v")) < selected // 10]
    for limit in (None, 7):
        selection = Selection("api", None, *ALL_TIME, [meta.series for meta in expected], limit=limit)
        counted.traffic.reset()
        assert list(counted.index.find(selection)) == expected[:limit]
        assert len(counted.traffic.requests) == queries + 1  # and one for the entries of batches
