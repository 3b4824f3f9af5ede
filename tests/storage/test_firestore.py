"""The Firestore indexes that the queries require, and the costs of calls."""

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import grpc
import pytest

from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import batch_name
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import BatchPart, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.tasks import Task
from profbucket.storage.memory import MemoryBucket
from profbucket.storage.ports import Change, ExpectedBlocks, Selection, Series, SeriesSelection
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from storage_gcs.batches import group_entries
from tests.storage.conftest import CountedIndex
from tests.support.go_tool import run
from tests.support.paths import ROOT
from tests.support.proxies import TrafficCounter, firestore_proxy
from tests.support.storage.bulk_load import load_entries
from tests.support.storage.compaction_suite import (
    HOUR,
    MIDNIGHT,
    compact,
    copy_uncompacted,
    merge_canonically,
    post_profiles,
)
from tests.support.storage.examples import ALL_TIME, NOW, make_block, make_meta, make_numbered_profile
from tests.support.storage.unique_names import new_gcs_bucket, new_name

SCHEMA = json.loads((ROOT / "storage_gcs" / "indexes.json").read_text())
EQUAL, CONTAINS, IN = 5, 7, 8  # operators of StructuredQuery.FieldFilter

QueryShape = tuple[str, frozenset[str], tuple[str, ...]]


def describe(query: Any) -> QueryShape:
    """Return the shape of *query*: its collection, its fields with equality filters, and its order.

    Firestore requires an index with first the equality fields, in any order, then the ordered fields, in order.
    """
    filters = [item.field_filter for item in query.where.composite_filter.filters]
    for field_filter in filters:
        path = f"{query.from_[0].collection_id}.{field_filter.field.field_path}"
        assert (field_filter.op == CONTAINS) is (path in SCHEMA["arrays"])
    operators = (EQUAL, CONTAINS, IN)
    equal = frozenset(field_filter.field.field_path for field_filter in filters if field_filter.op in operators)
    ranges = [field_filter.field.field_path for field_filter in filters if field_filter.op not in operators]
    order = [order_by.field.field_path for order_by in query.order_by]
    order = order[:-1] if order[-1:] == ["__name__"] else order  # every index ends with it
    assert set(ranges) <= set(order[:1]), "a range must be on the first field of the order"
    assert all(order_by.direction == 1 for order_by in query.order_by)
    return query.from_[0].collection_id, equal, tuple(order)


def serves(index: dict[str, Any], shape: QueryShape) -> bool:
    collection, equal, order = shape
    fields = index["fields"]
    first_fields, last_fields = fields[: len(equal)], tuple(fields[len(equal) :])
    return index["collection"] == collection and set(first_fields) == equal and last_fields == order


def test_the_indexes_are_those_that_the_queries_require(counted: CountedIndex) -> None:
    """The emulator answers every query; Firestore requires an index, and each index adds to the cost of writes."""
    index = counted.index
    index.add(make_meta(labels="v=1"))
    index.commit(Change(make_block([make_meta()]), [], []))
    batch = [*(make_meta(NOW + number, labels="v=1") for number in range(3)), make_meta(type=ProfileType.HEAP)]
    *others, last = [replace(meta, part=BatchPart(batch_name([], NOW), 0)) for meta in batch]
    index.add_batch(others)
    index.add(last)  # by reindex
    counted.traffic.reset()
    selection = Selection("api", ProfileType.CPU, *ALL_TIME)
    for profile_type in (ProfileType.CPU, None):
        for series in (None, ["0" * 32], [f"{number:032x}" for number in range(70)]):
            for after in (None, (NOW, "x")):
                for limit in (None, 5):
                    list(
                        index.find(replace(selection, type=profile_type, series=series, after=after, limit=limit))
                    )
        index.series(SeriesSelection("api", profile_type))
        index.series(SeriesSelection(None, profile_type))
        index.blocks("api", profile_type, *ALL_TIME)
    index.tidy_series(all_services=False)
    index.add(make_meta(labels="v=2"))
    index.services()
    index.profile_types("api")
    index.add_task(Task("api", None, 0, 0, NOW))
    index.due_tasks(NOW, 5)

    composite: set[QueryShape] = set()
    single: set[QueryShape] = set()
    for query in counted.traffic.queries:
        shape = describe(query)
        _, equal, order = shape
        (single if len(equal) + len(order) == 1 else composite).add(shape)
    assert len(composite) >= 3
    unserved = [shape for shape in composite if not any(serves(index, shape) for index in SCHEMA["indexes"])]
    assert unserved == []
    unused = [index for index in SCHEMA["indexes"] if not any(serves(index, shape) for shape in composite)]
    assert unused == []
    # By default Firestore indexes each single field. It is switched off, except for queries by one field.
    off = {(field["collection"], field["field"]) for field in SCHEMA["fields"] if not field["indexed"]}
    alone = {(collection, name) for collection, equal, order in single for name in (*equal, *order)}
    assert off.isdisjoint(alone)
    assert off | alone == list_fields(counted)


def list_fields(counted: CountedIndex) -> set[tuple[str, str]]:
    """Return the collection and name of every field in the database."""
    from storage_gcs.firestore import Calls, RunQueryRequest

    calls, fields = Calls(counted.project, "(default)"), set()
    for collection in ("batches", "blocks", "entries", "series", "tasks"):
        request = RunQueryRequest()
        request.structured_query.from_.add().collection_id = collection
        for document in calls.query(request):
            fields |= {(collection, field) for field in document.fields}
    return fields


def test_a_query_has_at_most_thirty_values(counted: CountedIndex) -> None:
    counted.traffic.reset()
    list(counted.index.find(Selection("api", None, *ALL_TIME, [f"{number:032x}" for number in range(70)])))
    sizes = [
        len(field_filter.field_filter.value.array_value.values)
        for query in counted.traffic.queries
        for field_filter in query.where.composite_filter.filters
        if field_filter.field_filter.op == IN
    ]
    assert sorted(sizes) == [10, 30, 30]


def test_a_find_in_many_series_reads_each_match_once(counted: CountedIndex) -> None:
    """A find sends a query for each thirty series, concurrently."""
    metas = [make_meta(NOW + number, labels=f"pod={number % 70}") for number in range(210)]
    load_entries(counted.project, metas)
    series = sorted({meta.series for meta in metas})
    counted.traffic.reset()
    assert list(counted.index.find(Selection("api", None, NOW + 50, *ALL_TIME[1:], series))) == metas[50:]
    assert counted.traffic.documents == 160
    assert len(counted.traffic.requests) == 3 + 1  # and one for the entries of batches


def test_the_ttl_counts_from_the_time_of_the_write(counted: CountedIndex) -> None:
    ttl = [(field["collection"], field["field"]) for field in SCHEMA["fields"] if field["ttl"]]
    counted.index.add(make_meta())
    counted.index.commit(Change(make_block([make_meta()]), [], []))
    counted.index.tidy_series(all_services=False)
    counted.index.add_batch([make_meta(NOW + number) for number in range(2)])
    assert ttl == [(name, "stored_at") for name in ("entries", "batches", "blocks", "series")]
    assert set(ttl) <= list_fields(counted)


def test_entries_and_blocks_older_than_the_retention_are_not_found(counted: CountedIndex) -> None:
    """Firestore deletes up to a day late."""
    meta = make_meta()
    counted.index.add(meta)
    assert list(FirestoreIndex(counted.project, retention=3600).find(Selection("api", None, *ALL_TIME))) == [meta]
    assert list(FirestoreIndex(counted.project, retention=-3600).find(Selection("api", None, *ALL_TIME))) == []
    block = make_block([meta])
    assert counted.index.commit(Change(block, [], []))
    index = FirestoreIndex(counted.project, retention=-3600, block_retention=60)
    assert index.blocks("api", None, *ALL_TIME) == [block]
    assert FirestoreIndex(counted.project, block_retention=-3600).blocks("api", None, *ALL_TIME) == []


def test_a_block_costs_one_commit_and_one_query_of_a_find(counted: CountedIndex) -> None:
    metas = [make_meta(NOW + number) for number in range(40)]
    load_entries(counted.project, metas)
    counted.traffic.reset()
    expected = ExpectedBlocks("api", ProfileType.CPU, NOW, NOW + 39, frozenset())
    assert counted.index.commit(Change(make_block(metas), [meta.id for meta in metas], [], expected))
    assert len(counted.traffic.requests) == 1 + 2  # queries of the blocks, and of the entries of batches
    counted.traffic.reset()
    blocks, entries = counted.index.snapshot(Selection("api", ProfileType.CPU, *ALL_TIME))
    assert (blocks, list(entries)) == ([make_block(metas)], [])
    assert len(counted.traffic.requests) == 3
    assert counted.traffic.documents == 1


def test_a_batch_costs_a_document(counted: CountedIndex) -> None:
    """That is written in one commit, read twice by compaction, and deleted; rewritten if a type is left."""
    types = [ProfileType.CPU, ProfileType.HEAP, ProfileType.WALL]
    metas = [make_meta(NOW + number, type=name, labels="pod=1") for number in range(100) for name in types]
    of_type = {name: [meta for meta in metas if meta.type == name] for name in types}
    counted.index._records.create(map(Series.of, metas))
    counted.traffic.reset()
    counted.index.add_batch(metas)
    assert len(counted.traffic.requests) == 1
    assert counted.traffic.document_writes == 1
    counted.traffic.reset()
    assert list(counted.index.find(Selection("api", ProfileType.CPU, *ALL_TIME))) == of_type[ProfileType.CPU]
    assert counted.traffic.documents == 1
    assert list(counted.index.find(Selection("api", ProfileType.MUTEX, *ALL_TIME))) == []
    assert counted.traffic.documents == 1

    def change(name: ProfileType) -> Change:
        expected = ExpectedBlocks("api", name, NOW, NOW + 99, frozenset())
        return Change(make_block(of_type[name]), [meta.id for meta in of_type[name]], (), expected)

    counted.traffic.reset()
    assert counted.index.commit(change(ProfileType.WALL))
    assert (counted.traffic.documents, counted.traffic.document_writes) == (1, 2)
    assert list(counted.index.find(Selection("api", ProfileType.WALL, *ALL_TIME))) == []
    counted.traffic.reset()
    assert counted.index.commit(change(ProfileType.CPU), change(ProfileType.HEAP))
    assert len(counted.traffic.requests) == 1 + 2  # queries of the blocks, and of the batch
    assert (counted.traffic.documents, counted.traffic.document_writes) == (2, 2)  # the block of wall, too
    assert counted.traffic.document_deletes == 1
    assert list(counted.index.find(Selection("api", None, *ALL_TIME))) == []


def test_the_entries_of_a_batch_that_exceed_a_document_get_several(counted: CountedIndex) -> None:
    """Firestore allows a mebibyte for each."""
    texts = [Random(number).randbytes(4000).hex() for number in range(400)]
    metas = [make_meta(NOW + number, labels=Labels.from_pairs([("x", text)])) for number, text in enumerate(texts)]
    counted.index.add_batch(metas)
    assert list(counted.index.find(Selection("api", None, *ALL_TIME))) == metas
    sizes = [len(group.content) for group in group_entries(metas)[1]]
    assert len(sizes) > 1
    assert max(sizes) < 2**20


def test_the_entries_of_a_batch_of_many_types_get_several_documents(counted: CountedIndex) -> None:
    """Firestore indexes 1,500 bytes of a text, which the list of types in batches compares."""
    types = [ProfileType(f"type-{number:02}-" + "x" * 50) for number in range(60)]
    metas = [make_meta(NOW + number % 7, type=name) for number, name in enumerate(types)]
    counted.index.add_batch(metas)
    groups = group_entries(metas)[1]
    assert all(len(group.type_list) <= 1000 for group in groups)
    assert counted.index.profile_types("api") == types
    for meta in metas[::20]:
        assert list(counted.index.find(Selection("api", meta.type, *ALL_TIME))) == [meta]


def test_a_compaction_reads_each_entry_once_and_one_more_an_hour(counted: CountedIndex, gcs: str) -> None:
    storage = Storage(GcsBucket(new_gcs_bucket(gcs)), counted.index)
    post_profiles(storage, range(0, 240, 4))
    counted.traffic.reset()
    assert len(compact(storage, MIDNIGHT + 20 * HOUR)) == 4
    # New series, the packed ones, the service, its type, all entries, the first of each hour, and all blocks at
    # the end, before and after their objects are listed: no block ends after the hour that is compacted.
    assert counted.traffic.documents == 4 + 1 + 1 + 1 + 60 + 4 + 2 * 4


def test_a_due_task_costs_itself_and_what_it_compacts(
    counted: CountedIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profbucket.storage.store.time.time_ns", lambda: MIDNIGHT)  # no profile is late
    storage = Storage(MemoryBucket(), counted.index)
    list(Compactor(storage, clock=lambda: MIDNIGHT).run_due())
    post_profiles(storage, range(0, 240, 4))
    counted.traffic.reset()
    compactor = Compactor(storage, clock=lambda: MIDNIGHT + 10 * HOUR)
    assert len(list(compactor.run_due())) == 4
    assert counted.traffic.documents == 4 + 4 + 60  # tasks, new series, entries
    # The marker of the day, the series; of each hour: the claim, the block, the task of the day, the end.
    assert [request.rpartition("/")[2] for request in counted.traffic.requests].count("Commit") == 2 + 4 * 4
    assert counted.traffic.written == 1 + 4 * 3 + 1  # the other three are there already
    counted.traffic.reset()
    assert list(compactor.run_due()) == []
    assert counted.traffic.documents == counted.traffic.written == 0
    assert len(counted.traffic.requests) == 3


def test_expired_entries_are_skipped_by_the_page(counted: CountedIndex) -> None:
    """Firestore deletes them up to a day late; each query costs a round trip."""
    metas = [make_meta(NOW + number) for number in range(300)]
    load_entries(counted.project, metas[:299])
    index = FirestoreIndex(counted.project, retention=3600)
    counted.traffic.reset()
    assert list(index.find(Selection("api", ProfileType.CPU, *ALL_TIME, limit=1))) == [metas[0]]
    assert counted.traffic.documents == 1
    expired = FirestoreIndex(counted.project, retention=-3600)
    counted.traffic.reset()
    assert list(expired.find(Selection("api", ProfileType.CPU, *ALL_TIME, limit=1))) == []
    assert len(counted.traffic.requests) == 9 + 1  # of 1, 2, 4, … entries, and of those of batches


@pytest.mark.parametrize(
    ("code", "details", "sizes"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "Transaction too big. Decrease transaction size.", [15] * 4),
        (grpc.StatusCode.ABORTED, "Transaction too big. Decrease transaction size.", [15] * 4),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", [30] * 2),
    ],
)
def test_a_commit_that_is_too_large_is_halved(
    firestore: str, code: grpc.StatusCode, details: str, sizes: list[int]
) -> None:
    """Also if it fails by taking too long."""
    timeouts = []

    def refuse(commit: Any, context: Any) -> tuple[grpc.StatusCode, str] | None:
        if any(write.delete for write in commit.writes):
            timeouts.append(context.time_remaining())
        return (code, details) if len(commit.writes) > 1 + sizes[0] else None

    with (
        firestore_proxy(firestore, TrafficCounter(), refuse=refuse) as host,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("FIRESTORE_EMULATOR_HOST", host)
        storage = Storage(MemoryBucket(), FirestoreIndex(new_name()))
        post_profiles(storage, range(120), service="halved")
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 2 * HOUR)
        blocks = storage.index.blocks("halved", ProfileType.CPU, *ALL_TIME)
        assert [block.count for block in blocks] == sizes
        query = Query("halved", ProfileType.CPU, *ALL_TIME)
        assert merge_canonically(storage, query) == merge_canonically(uncompacted, query)
    assert min(timeouts) > 20  # seconds, of 30: a commit of hundreds of documents takes several


def test_a_block_of_the_head_has_at_most_500_members(counted: CountedIndex) -> None:
    assert counted.index.max_members == 500
    with pytest.MonkeyPatch.context() as environment:
        environment.setattr(FirestoreIndex, "max_members", 20)
        storage = Storage(MemoryBucket(), counted.index)
        post_profiles(storage, range(60))
        compact(storage, MIDNIGHT + 2 * HOUR)
        assert [block.count for block in counted.index.blocks("api", None, *ALL_TIME)] == [20, 20, 20]


def test_a_write_costs_one_document_once_its_series_is_known(counted: CountedIndex) -> None:
    counted.traffic.reset()
    counted.index.add(make_meta(NOW, labels="v=1"))
    assert len(counted.traffic.requests) == 2
    for number in range(1, 6):
        counted.index.add(make_meta(NOW + number, labels="v=1"))
    assert len(counted.traffic.requests) == counted.traffic.written == 2 + 5
    FirestoreIndex(counted.project).add(make_meta(NOW + 9, labels="v=1"))  # as of another process
    assert counted.index.series(SeriesSelection("api", None))[0].labels.get("v") == "1"


def test_document_ids_are_spread(counted: CountedIndex) -> None:
    """Firestore splits its load by ranges of ids, so the ids of consecutive profiles must not be close."""
    from storage_gcs.documents import document_id

    ids = [document_id(make_meta(NOW + number).id) for number in range(1000)]
    assert len(set(ids)) == 1000
    assert len({document[0] for document in ids}) == 16
    assert sum(a < b for a, b in pairwise(ids)) in range(400, 600)


def test_reindex_rebuilds_a_lost_index_with_its_series(gcs: str, firestore: str) -> None:
    bucket, lost = GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name())
    before = Storage(bucket, lost)
    for number in range(60):
        before.write(*make_numbered_profile(number))
    after = Storage(bucket, FirestoreIndex(new_name()))
    assert {finding.state for finding in reindex(after)} == {State.MISSING_ENTRY}
    for labels in ("", "version=0.0.2", "pod!=pod-1,version=~0.0.[13]"):
        query = Query("service-1", None, *ALL_TIME, parse_matchers(labels))
        assert list(after.lookup.find(query)) == list(before.lookup.find(query)) != []
    assert {finding.state for finding in reindex(after)} == {State.OK}


def test_reindex_restores_a_removed_series(gcs: str, firestore: str) -> None:
    project = new_name()
    storage = Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(project))
    meta, data = make_numbered_profile(1)
    storage.write(meta, data)
    storage.write(*make_numbered_profile(3))
    query = Query(meta.service, None, *ALL_TIME, parse_matchers("number=1"))
    remove_series(project, meta.service, meta.series)
    assert list(storage.lookup.find(query)) == []
    findings = list(reindex(Storage(storage.bucket, FirestoreIndex(project))))
    assert [finding.state for finding in findings] == [State.MISSING_ENTRY, State.OK]
    assert list(storage.lookup.find(query)) == [meta]


def test_reindex_adds_what_an_earlier_version_did_not_record_about_series(gcs: str, firestore: str) -> None:
    project = new_name()
    storage = Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(project))
    post_profiles(storage, range(0, 240, 40))
    compact(storage, MIDNIGHT + 2 * HOUR)
    complete = {series.id: series for series in storage.index.series(SeriesSelection(None, None))}
    make_series_legacy(project, "api", complete.values())
    index = FirestoreIndex(project)  # as after an upgrade
    legacy = index.series(SeriesSelection("api", None))
    assert {series.id for series in legacy} == set(complete)
    assert legacy == index.series(SeriesSelection("api", None, start=NOW, end=NOW))
    assert not any(series.sample_types for series in legacy)
    findings = list(reindex(Storage(storage.bucket, index)))
    assert {finding.state for finding in findings} >= {State.MISSING_ENTRY, State.MISSING_SERIES}
    assert {series.id: series.sample_types for series in index.series(SeriesSelection("api", None))} == {
        series.id: series.sample_types for series in complete.values()
    }
    assert {finding.state for finding in fsck(Storage(storage.bucket, index))} == {State.OK}


def make_series_legacy(project: str, service: str, all_series: Iterable[Series]) -> None:
    """Replace the records of *all_series* with those of an earlier version."""
    from storage_gcs.firestore import Calls, CommitRequest

    remove_series(project, service)
    calls, request = Calls(project, "(default)"), CommitRequest()
    for series in all_series:
        write = request.writes.add()
        write.update.name = f"{calls.documents}/series/{series.id}"
        write.update.fields["service"].string_value = series.service
        write.update.fields["type"].string_value = series.type
        write.update.fields["labels"].string_value = series.labels.format()
    calls.commit(request, "write series", "")


def remove_series(project: str, service: str, series_id: str | None = None) -> None:
    """Remove what is recorded about the series of *service*, or about one of them."""
    from storage_gcs.documents import read_all_series
    from storage_gcs.firestore import Calls, CommitRequest
    from storage_gcs.queries import select_series

    calls, request = Calls(project, "(default)"), CommitRequest()
    for document in calls.query(select_series(service)):
        if series_id is None or series_id in [series.id for series in read_all_series(document)]:
            request.writes.add().delete = document.name
    calls.commit(request, "remove series", "")


FORK = """
import os, sys
from profbucket.storage.open import open_storage
from tests.support.storage.examples import make_numbered_profile

storage = open_storage(sys.argv[1])
children = []
for number in range(2):
    child = os.fork()
    if not child:
        os._exit(0 if storage.write(*make_numbered_profile(number)) else 1)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
assert storage.index.services() == ["service-0", "service-1"]
"""


def test_a_storage_may_be_opened_before_a_fork_and_used_in_all_processes(gcs: str, firestore: str) -> None:
    url = f"gs://{new_gcs_bucket(gcs)}?project={new_name()}"
    run(sys.executable, "-c", FORK, url, cwd=ROOT).check()
