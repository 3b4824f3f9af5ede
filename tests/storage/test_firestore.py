"""What Firestore must be told, and what a write costs there."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest

from profbucket.maintenance.repair import State, reindex
from profbucket.model.labels import parse_matchers
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Selection
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from tests.support.go_tool import run
from tests.support.paths import ROOT
from tests.support.proxies import TrafficCounter, firestore_proxy
from tests.support.storage.bulk_load import load_entries
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, compact, post_profiles
from tests.support.storage.examples import ALL_TIME, NOW, make_block, make_meta, make_numbered_profile
from tests.support.storage.unique_names import new_gcs_bucket, new_name

SCHEMA = json.loads((ROOT / "storage_gcs" / "indexes.json").read_text())
EQUAL, IN = 5, 8  # operators of StructuredQuery.FieldFilter

Needed = tuple[str, frozenset[str], tuple[str, ...]]


@dataclass
class Watched:
    index: FirestoreIndex
    counted: TrafficCounter
    project: str


@pytest.fixture
def watched(firestore: str) -> Iterator[Watched]:
    """An index behind a proxy that counts."""
    counted, project = TrafficCounter(), new_name()
    with firestore_proxy(firestore, counted) as host, pytest.MonkeyPatch.context() as environment:
        environment.setenv("FIRESTORE_EMULATOR_HOST", host)
        yield Watched(FirestoreIndex(project), counted, project)


def needed(query: Any) -> Needed:
    """The index that Firestore needs for *query*: a collection, fields that are equal to something, and an order.

    Its rule: first the fields with equalities, in any order, then those with a range or an order, in that order.
    """
    filters = [one.field_filter for one in query.where.composite_filter.filters]
    equal = frozenset(one.field.field_path for one in filters if one.op in (EQUAL, IN))
    ranges = [one.field.field_path for one in filters if one.op not in (EQUAL, IN)]
    order = [one.field.field_path for one in query.order_by]
    assert set(ranges) <= set(order[:1]), "a range is on the first field of the order"
    assert all(one.direction == 1 for one in query.order_by)
    return query.from_[0].collection_id, equal, tuple(order)


def serves(index: dict[str, Any], need: Needed) -> bool:
    collection, equal, order = need
    fields = index["fields"]
    head, tail = fields[: len(equal)], tuple(fields[len(equal) :])
    return index["collection"] == collection and set(head) == equal and tail == order


def test_the_indexes_are_those_that_the_queries_need(watched: Watched) -> None:
    """The emulator answers any query; Firestore refuses one without its index, and each costs every write."""
    index = watched.index
    index.add(make_meta(labels="v=1"))
    index.commit(make_block([make_meta()]), [], [])
    watched.counted.reset()
    selection = Selection("api", ProfileType.CPU, *ALL_TIME)
    for kind in (ProfileType.CPU, None):
        for series in (None, ["0" * 32], [f"{number:032x}" for number in range(70)]):
            for after in (None, (NOW, "x")):
                for limit in (None, 5):
                    list(index.find(replace(selection, type=kind, series=series, after=after, limit=limit)))
        index.series("api", kind)
        index.blocks("api", kind, *ALL_TIME)
    index.services()

    composite: set[Needed] = set()
    single: set[Needed] = set()
    for query in watched.counted.queries:
        need = needed(query)
        _, equal, order = need
        (single if len(equal) + len(order) == 1 else composite).add(need)
    assert len(composite) >= 3
    unserved = [need for need in composite if not any(serves(one, need) for one in SCHEMA["indexes"])]
    assert unserved == []
    unused = [one for one in SCHEMA["indexes"] if not any(serves(one, need) for need in composite)]
    assert unused == []
    # Firestore indexes each field by itself unless it is told not to: that stays where a query asks for it alone.
    off = {(one["collection"], one["field"]) for one in SCHEMA["fields"] if not one["indexed"]}
    alone = {(collection, name) for collection, equal, order in single for name in (*equal, *order)}
    assert off.isdisjoint(alone)
    assert off | alone == written_fields(watched)


def written_fields(watched: Watched) -> set[tuple[str, str]]:
    """All fields of all documents."""
    from storage_gcs.firestore import Calls, RunQueryRequest

    calls, found = Calls(watched.project, "(default)"), set()
    for collection in ("blocks", "entries", "series"):
        request = RunQueryRequest()
        request.structured_query.from_.add().collection_id = collection
        for document in calls.query(request):
            found |= {(collection, field) for field in document.fields}
    return found


def test_a_query_asks_for_at_most_thirty_values(watched: Watched) -> None:
    watched.counted.reset()
    list(watched.index.find(Selection("api", None, *ALL_TIME, [f"{number:032x}" for number in range(70)])))
    sizes = [
        len(one.field_filter.value.array_value.values)
        for query in watched.counted.queries
        for one in query.where.composite_filter.filters
        if one.field_filter.op == IN
    ]
    assert sorted(sizes) == [10, 30, 30]


def test_of_many_series_each_match_is_read_once(watched: Watched) -> None:
    """... although they are asked for thirty at a time, and all at once."""
    metas = [make_meta(NOW + number, labels=f"pod={number % 70}") for number in range(210)]
    load_entries(watched.project, metas)
    series = sorted({one.series for one in metas})
    watched.counted.reset()
    assert list(watched.index.find(Selection("api", None, NOW + 50, *ALL_TIME[1:], series))) == metas[50:]
    assert watched.counted.documents == 160
    assert len(watched.counted.requests) == 3


def test_one_field_says_when_an_entry_may_go(watched: Watched) -> None:
    """Firestore's TTL takes one field a collection, and counts from a time that is there."""
    ttl = [(one["collection"], one["field"]) for one in SCHEMA["fields"] if one["ttl"]]
    watched.index.add(make_meta())
    watched.index.commit(make_block([make_meta()]), [], [])
    assert ttl == [("entries", "stored_at"), ("blocks", "stored_at")]
    assert set(ttl) <= written_fields(watched)


def test_a_find_leaves_out_what_is_older_than_the_retention(watched: Watched) -> None:
    """Firestore deletes up to a day late."""
    one = make_meta()
    watched.index.add(one)
    assert list(FirestoreIndex(watched.project, retention=3600).find(Selection("api", None, *ALL_TIME))) == [one]
    assert list(FirestoreIndex(watched.project, retention=-3600).find(Selection("api", None, *ALL_TIME))) == []
    whole = make_block([one])
    assert watched.index.commit(whole, [], [])
    index = FirestoreIndex(watched.project, retention=-3600, block_retention=60)
    assert index.blocks("api", None, *ALL_TIME) == [whole]
    assert FirestoreIndex(watched.project, block_retention=-3600).blocks("api", None, *ALL_TIME) == []


def test_a_block_costs_one_commit_and_a_find_one_query_more(watched: Watched) -> None:
    metas = [make_meta(NOW + number) for number in range(40)]
    load_entries(watched.project, metas)
    watched.counted.reset()
    assert watched.index.commit(make_block(metas), [one.id for one in metas], [])
    assert len(watched.counted.requests) == 1
    watched.counted.reset()
    blocks, entries = watched.index.snapshot(Selection("api", ProfileType.CPU, *ALL_TIME))
    assert (blocks, list(entries)) == ([make_block(metas)], [])
    assert len(watched.counted.requests) == 2
    assert watched.counted.documents == 1


def test_a_compaction_reads_each_entry_once_and_one_more_for_each_hour(watched: Watched, gcs: str) -> None:
    storage = Storage(GcsBucket(new_gcs_bucket(gcs)), watched.index)
    post_profiles(storage, range(0, 240, 4))
    watched.counted.reset()
    assert len(compact(storage, MIDNIGHT + 20 * HOUR)) == 4
    # The service, the entries, the first of each hour, the blocks before each hour's, and all blocks at the end.
    assert watched.counted.documents == 1 + 60 + 4 + (0 + 1 + 2 + 3) + 4


def test_a_write_costs_one_document_once_its_series_is_known(watched: Watched) -> None:
    watched.counted.reset()
    watched.index.add(make_meta(NOW, labels="v=1"))
    assert len(watched.counted.requests) == 2
    for number in range(1, 6):
        watched.index.add(make_meta(NOW + number, labels="v=1"))
    assert len(watched.counted.requests) == watched.counted.written == 2 + 5
    FirestoreIndex(watched.project).add(make_meta(NOW + 9, labels="v=1"))  # another process finds it there
    assert watched.index.series("api", None)[0].labels.get("v") == "1"


def test_ids_of_documents_are_spread(watched: Watched) -> None:
    """Profiles that follow one another in time do not follow one another in Firestore, which splits by ranges."""
    from storage_gcs.index import document_id

    ids = [document_id(make_meta(NOW + number).id) for number in range(1000)]
    assert len(set(ids)) == 1000
    assert len({one[0] for one in ids}) == 16
    assert sum(a < b for a, b in pairwise(ids)) in range(400, 600)


def test_an_index_that_was_lost_whole_is_rebuilt_by_reindex(gcs: str, firestore: str) -> None:
    """... its series too, so that finds by labels are as before."""
    bucket, lost = GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name())
    before = Storage(bucket, lost)
    for number in range(60):
        before.write(*make_numbered_profile(number))
    after = Storage(bucket, FirestoreIndex(new_name()))
    assert {one.state for one in reindex(after)} == {State.MISSING_ENTRY}
    for labels in ("", "version=0.0.2", "pod!=pod-1,version=~0.0.[13]"):
        query = Query("service-1", None, *ALL_TIME, parse_matchers(labels))
        assert list(after.lookup.find(query)) == list(before.lookup.find(query)) != []
    assert {one.state for one in reindex(after)} == {State.OK}


def test_entries_whose_series_was_removed_are_found_by_labels_again_after_reindex(
    gcs: str, firestore: str
) -> None:
    project = new_name()
    storage = Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(project))
    one, data = make_numbered_profile(1)
    storage.write(one, data)
    query = Query(one.service, None, *ALL_TIME, parse_matchers("number=1"))
    forget_series(project, one.series)
    assert list(storage.lookup.find(query)) == []
    assert [finding.state for finding in reindex(Storage(storage.bucket, FirestoreIndex(project)))] == [
        State.MISSING_ENTRY
    ]
    assert list(storage.lookup.find(query)) == [one]


def forget_series(project: str, series: str) -> None:
    from storage_gcs.firestore import Calls, CommitRequest

    calls, request = Calls(project, "(default)"), CommitRequest()
    request.writes.add().delete = f"{calls.documents}/series/{series}"
    calls.commit(request, "remove a series", "")


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


def test_a_storage_may_be_opened_before_a_fork_and_used_in_every_process(gcs: str, firestore: str) -> None:
    url = f"gs://{new_gcs_bucket(gcs)}?project={new_name()}"
    run(sys.executable, "-c", FORK, url, cwd=ROOT).check()
