"""Damaged objects on every backend, damaged files, and the commands."""

import sqlite3
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profbucket.errors import Damaged
from profbucket.maintenance.findings import State
from profbucket.maintenance.quarantine import quarantine
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import ProfileId
from profbucket.model.labels import parse_matchers
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.ports import Selection, SeriesSelection
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex, GcsBucket
from storage_gcs.documents import write_entry
from tests.storage.test_firestore import remove_series
from tests.support.go_tool import run
from tests.support.proxies import Faults, TrafficCounter, gcs_proxy
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, compact, post_profiles
from tests.support.storage.damage_suite import (
    QUERY,
    DamageSuite,
    block_keys,
    compacted,
    damage_list,
    flip_bit,
    select,
    states,
)
from tests.support.storage.examples import ALL_TIME, make_meta
from tests.support.storage.local_files import write_metadata
from tests.support.storage.unique_names import new_gcs_bucket, new_name, new_s3_bucket


class TestMemory(DamageSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())


class TestLocal(DamageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(f"file://{tmp_path}/storage")


class TestGcs(DamageSuite):
    @pytest.fixture
    def storage(self, gcs: str, firestore: str) -> Storage:
        return Storage(GcsBucket(new_gcs_bucket(gcs)), FirestoreIndex(new_name()))


class TestS3(DamageSuite):
    @pytest.fixture
    def storage(self, s3: str, tmp_path: Path) -> Storage:
        return open_storage(f"s3://{new_s3_bucket(s3)}?endpoint={s3}&index=sqlite://{tmp_path}/index.sqlite")


DAMAGED_METADATA = {
    "empty": b"",
    "cut": b'{"labels": "v=',
    "not UTF-8": b"\xff\xfe",
    "zeros": bytes(100),
    "deeply nested": b"[" * 100_000,
    "a list": b"[]",
    "a number": b"7",
    "values that are no texts": b'{"labels": 7, "totals": null}',
    "malformed labels": b'{"labels": "%", "totals": ""}',
    "malformed totals": b'{"labels": "v=0", "totals": "x"}',
    "labels of another profile": b'{"labels": "v=7", "totals": ""}',
}


@pytest.mark.parametrize("text", DAMAGED_METADATA.values(), ids=DAMAGED_METADATA)
@pytest.mark.parametrize("index", ["kept", "lost"])
def test_damaged_metadata_are_named_and_stop_nothing(tmp_path: Path, text: bytes, index: str) -> None:
    url = f"file://{tmp_path}/storage"
    storage = open_storage(url)
    metas = compacted(storage)
    post_profiles(storage, [7], "web")
    first, _ = block_keys(storage)
    keys = [ProfileId.parse(metas[8].id).object_key, first]
    for key in keys:
        write_metadata(tmp_path / "storage" / key, text)
    if index == "lost":
        (tmp_path / "storage/.index.sqlite").unlink()
        storage = open_storage(url)
    for findings in (fsck(storage), reindex(storage), fsck(storage, deep=True)):
        found = states(findings)
    assert found[State.DAMAGED] == sorted(keys)
    assert set(found) == {State.OK, State.DAMAGED}
    compact(storage, MIDNIGHT + 5 * HOUR)
    assert len(Querier(storage).find(replace(QUERY, service="web")).profiles) == 1
    found_ids = {meta.id for meta in Querier(storage).find(QUERY).profiles}
    assert found_ids == {meta.id for meta in (metas if index == "kept" else metas[:8])}
    list(quarantine(storage))
    assert set(states(fsck(storage, deep=True))) == {State.OK}
    assert {meta.id for meta in Querier(storage).find(QUERY).profiles} == found_ids


def test_the_commands_name_damage_and_move_it_aside(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/storage"
    storage = open_storage(url)
    compacted(storage)
    first, _ = block_keys(storage)
    damage_list(storage, first, flip_bit)
    program = str(Path(sysconfig.get_path("scripts")) / "profbucket")
    options = ("--service", "api", "--from", "0")
    found = run(program, "find", *options, "--storage", url)
    assert (found.returncode, len(found.text.splitlines())) == (1, 1 + 6)
    assert f"{first} is damaged" in found.stderr
    for command in (("fsck", "--deep"), ("fsck",), ("reindex",)):
        result = run(program, *command, "--storage", url)
        assert (result.returncode, result.text) == (1, f"damaged {first}\n")
        assert " 1 damaged," in result.stderr
    assert run(program, "repair", "--storage", url).returncode == 2
    repaired = run(program, "repair", "--quarantine", "--storage", url)
    assert repaired.returncode == 0
    assert f"quarantined {first}\n" in repaired.text
    assert run(program, "fsck", "--deep", "--storage", url).check().text == ""
    assert len(run(program, "find", *options, "--storage", url).check().text.splitlines()) == 1 + 9


@pytest.mark.parametrize("backend", ["memory", "file", "gcs"])
def test_series_that_are_lost_are_named_and_restored_and_are_not_needed_to_read(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str
) -> None:
    if backend == "gcs":
        project = new_name()
        bucket = GcsBucket(new_gcs_bucket(request.getfixturevalue("gcs")))
        request.getfixturevalue("firestore")
        storage = Storage(bucket, FirestoreIndex(project))
    else:
        storage = open_storage("memory:" if backend == "memory" else f"file://{tmp_path}/storage")
    compacted(storage)
    querier = Querier(storage)
    labels = {series.labels for series in storage.index.series(SeriesSelection("api", None))}
    head = list(storage.index.find(select("api")))
    keys = block_keys(storage)
    missing = {State.MISSING_SERIES: keys}
    if isinstance(storage.index, MemoryIndex):
        storage.index._series.clear()
    elif isinstance(storage.index, FirestoreIndex):
        remove_series(project, "api")
    else:
        storage.index.remove([meta.id for meta in head])
        with sqlite3.connect(tmp_path / "storage/.index.sqlite") as connection:
            connection.execute("DELETE FROM series")
        connection.close()
    if backend != "file":  # where an entry without a series is damage to the index
        missing[State.MISSING_ENTRY] = [ProfileId.parse(meta.id).object_key for meta in head]
        query = replace(QUERY, matchers=parse_matchers("v=1"))
        assert len(querier.find(query).profiles) == 3
        assert querier.merge(query).merged == 3
        assert [meta.id for meta in querier.find(replace(query, limit=1)).profiles] == [
            meta.id for meta in querier.find(query).profiles[:1]
        ]
    values = querier.label_values(["api"], None).values
    assert values == {"v": sorted({own.get("v") for own in labels})}
    if backend == "gcs":
        storage = Storage(bucket, FirestoreIndex(project))  # as another process opens it
    found = states(fsck(storage))
    assert {state: found.get(state) for state in missing} == missing
    list(reindex(storage))
    assert {series.labels for series in storage.index.series(SeriesSelection("api", None))} == labels
    assert set(states(fsck(storage))) == {State.OK}


def test_a_damaged_document_of_firestore_is_named(firestore: str) -> None:
    index = FirestoreIndex(new_name())
    meta = make_meta()
    index.add(meta)
    index.remove([meta.id])

    def write(fields: Any) -> None:
        write_entry(fields, meta, 1)
        fields["totals"].string_value = "[["

    index._calls.get().create(("entries", "damaged", write))
    with pytest.raises(Damaged, match="entries/damaged is damaged") as error:
        list(index.find(Selection("api", None, *ALL_TIME, series=[meta.series])))
    assert error.value.code == "damaged_index"


def test_parts_that_arrive_short_are_read_again(gcs: str, firestore: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the answers with an object's content are cut short, and look complete."""
    bucket, project = new_gcs_bucket(gcs), new_name()
    compacted(Storage(GcsBucket(bucket), FirestoreIndex(project)))
    with gcs_proxy(gcs, TrafficCounter(), Faults(short=0.3, cut=0.2)) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        querier = Querier(Storage(GcsBucket(bucket), FirestoreIndex(project)))
        for matchers in ("", "v!=7", "v=1"):
            query = replace(QUERY, matchers=parse_matchers(matchers))
            page, merge = querier.find(query), querier.merge(query)
            count = 3 if matchers == "v=1" else 9
            assert (len(page.profiles), list(page.damaged)) == (count, [])
            assert (merge.merged, merge.damaged) == (count, 0)
