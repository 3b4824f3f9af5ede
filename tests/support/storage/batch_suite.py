"""Acceptance suite of batches. Subclasses define the fixture ``storage``, an empty one."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from profbucket.errors import Damaged, NotFound
from profbucket.ingest.collector import Collector
from profbucket.maintenance.findings import State
from profbucket.maintenance.quarantine import quarantine
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.batches import MAX_NANOS
from profbucket.model.ids import QUARANTINE, ProfileId
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import BatchPart, Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind
from profbucket.model.upload import Upload
from profbucket.query.querier import Querier
from profbucket.storage.batches import is_batch_key, read_tables
from profbucket.storage.damage import content_metadata
from profbucket.storage.metadata import to_metadata
from profbucket.storage.ports import ObjectRange, Selection
from profbucket.storage.sources import range_of_profile
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.api import TRACE, pprof
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, compact
from tests.support.storage.counting_port import count_calls
from tests.support.storage.damage_suite import comment, flip_bit, overwrite, states
from tests.support.storage.examples import ALL_TIME, read_each

CPU, HEAP, ODD = ProfileType.CPU, ProfileType.HEAP, ProfileType("batch")
TYPES = (CPU, HEAP, ODD)


def upload(number: int, profile_type: ProfileType = CPU, *, service: str = "api", **changes: Any) -> Upload:
    """Return a profile that was taken that many seconds after midnight."""
    data = pprof(number + 1, at=MIDNIGHT + number * SECOND, name=f"f{number}")
    labels = Labels.from_pairs([("pod", str(number % 2))])
    return Upload(service, profile_type, labels, data, **changes)


UPLOADS = [upload(number, profile_type) for number in range(3) for profile_type in TYPES]


def store(storage: Storage, uploads: Sequence[Upload]) -> list[Meta]:
    """Store *uploads* as a batch; return their metas as they are found."""
    ids = {outcome.id for outcome in Collector(storage).store_batch(uploads) if isinstance(outcome, Meta)}
    assert len(ids) == len(uploads)
    services = dict.fromkeys(item.service for item in uploads)
    found = [meta for service in services for meta in find(storage, service=service)]
    return [meta for meta in found if meta.id in ids]


def find(storage: Storage, labels: str = "", *, service: str = "api") -> list[Meta]:
    return list(storage.lookup.find(Query(service, None, *ALL_TIME, parse_matchers(labels))))


def keys(storage: Storage) -> list[str]:
    return [obj.key for obj in storage.bucket.list("", "~")]


def contents(uploads: Sequence[Upload]) -> list[bytes]:
    return sorted(item.data for item in uploads)


def with_part(storage: Storage, meta: Meta) -> Meta:
    """Return the member of a batch that has the profile *meta*."""
    tables = [table for _, table in read_tables(storage.bucket, meta.service) if not isinstance(table, Damaged)]
    return next(member for table in tables for member in table if member == meta)


def zero_members(data: bytes, members: Sequence[Meta]) -> bytes:
    """Return the batch *data* with the bytes of these *members* zeroed."""
    for meta in members:
        assert meta.part
        begin, end = meta.part.begin, meta.part.begin + meta.size
        data = data[:begin] + bytes(meta.size) + data[end:]
    return data


class CountingBucket:
    """A bucket that keeps the ranges that were read."""

    def __init__(self, storage: Storage) -> None:
        self._bucket = storage.bucket
        self.ranges: list[ObjectRange] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        self.ranges += ranges
        return self._bucket.get_many(ranges)


class BatchSuite:
    """Tests of batches in ``storage``."""

    def test_a_batch_is_one_object_and_its_profiles_are_found_as_if_they_were_posted_alone(
        self, storage: Storage
    ) -> None:
        metas = store(storage, UPLOADS)
        [key] = keys(storage)
        assert key.startswith("api/batch/20261123T000000.000000000Z-")
        alone = [Collector(storage).collect(item.service, item.type, item.labels, item.data) for item in UPLOADS]
        assert metas == sorted(alone, key=lambda meta: meta.position)
        assert sorted(filter(None, read_each(storage, [meta.id for meta in metas]))) == contents(UPLOADS)
        assert storage.index.services() == ["api"]
        assert storage.index.profile_types("api") == sorted(TYPES)
        assert find(storage) == metas
        assert find(storage, "pod=1") == [meta for meta in metas if meta.labels.get("pod") == "1"]
        for profile_type in TYPES:
            of_type = [meta for meta in metas if meta.type == profile_type]
            query = Query("api", profile_type, MIDNIGHT + SECOND, MIDNIGHT + 2 * SECOND, limit=1)
            assert list(storage.lookup.find(query)) == of_type[1:2]

    def test_a_read_fetches_the_members_that_it_needs(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS)
        bucket = CountingBucket(storage)
        counted = Storage(bucket, storage.index)
        merge = Querier(counted).merge(Query("api", HEAP, *ALL_TIME))
        assert merge.merged == 3
        assert sum((end or 0) - begin for _, begin, end in bucket.ranges) == sum(
            meta.size for meta in metas if meta.type == HEAP
        )
        assert len(bucket.ranges) == len({range_of_profile(meta).key for meta in metas if meta.type == HEAP})
        assert sum((item.end or 0) - item.begin for item in bucket.ranges) == sum(
            meta.size for meta in metas if meta.type == HEAP
        )

    @pytest.mark.parametrize("order", ["alone first", "batch first", "another batch first"])
    def test_a_profile_that_is_stored_in_several_ways_counts_once(self, storage: Storage, order: str) -> None:
        alone = [upload(number) for number in range(3)]
        if order == "batch first":
            store(storage, UPLOADS)
        for item in alone:
            if order == "another batch first":
                store(storage, [item, upload(7)])
            else:
                Collector(storage).collect(item.service, item.type, item.labels, item.data)
        for _ in range(2):
            store(storage, UPLOADS)
            store(storage, UPLOADS[::-1])
        expected = {ProfileId.parse(meta.id) for meta in store(storage, UPLOADS)}
        found = find(storage)
        assert [meta.id for meta in found] == list(dict.fromkeys(meta.id for meta in found))
        assert {ProfileId.parse(meta.id) for meta in found} >= expected
        assert len(found) == len(UPLOADS) + (order == "another batch first")
        compact(storage, MIDNIGHT + 5 * HOUR)
        assert find(storage) == found
        assert Querier(storage).merge(Query("api", HEAP, *ALL_TIME)).merged == 3
        compact(storage, MIDNIGHT + 6 * HOUR)
        assert list(storage.index.snapshot(_all_of("api"))[1]) == []
        store(storage, UPLOADS)  # after the compaction
        assert find(storage) == found
        compact(storage, MIDNIGHT + 7 * HOUR)
        assert list(storage.index.snapshot(_all_of("api"))[1]) == []
        assert find(storage) == found

    def test_profiles_that_are_far_apart_or_alone_or_traces_do_not_share_an_object(self, storage: Storage) -> None:
        late = MAX_NANOS // SECOND + 1
        uploads = [
            *(upload(number) for number in (0, 1, late, late + 1, 3 * late)),
            upload(0, service="web"),
            Upload("api", ProfileType.TRACE, Labels(), TRACE, MIDNIGHT),
        ]
        metas = store(storage, uploads)
        names = sorted(key.rpartition(".")[2] for key in keys(storage))
        assert names == ["batch", "batch", "gz", "gz", "trace"]
        assert sorted(filter(None, read_each(storage, [meta.id for meta in metas]))) == contents(uploads)

    def test_a_compacted_member_is_read_as_it_was_posted_until_it_expires(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS)
        compact(storage, MIDNIGHT + 2 * HOUR)
        compact(storage, MIDNIGHT + 50 * HOUR)
        assert list(storage.index.snapshot(_all_of("api"))[1]) == []
        querier = Querier(storage)
        data = {meta.id: querier.read(ProfileId.parse(meta.id)) for meta in metas}
        assert sorted(data.values()) == contents(UPLOADS)
        query = Query("api", CPU, *ALL_TIME)
        whole = querier.merge(query, MergeOptions(keep_labels=True))
        assert (whole.merged, whole.expired) == (3, 0)
        assert "from blocks" not in comment(whole.data)
        for key in keys(storage):
            if is_batch_key(key):
                storage.bucket.delete(key)
        assert querier.merge(query, MergeOptions(keep_labels=True)).merged == 3
        cpu = [meta for meta in metas if meta.type == CPU]
        assert querier.read(ProfileId.parse(cpu[0].id)) not in data.values()
        assert querier.merge_ids([ProfileId.parse(meta.id) for meta in cpu]).merged == 3

    def test_a_batch_that_has_expired_counts_as_expired(self, storage: Storage) -> None:
        metas = store(storage, [*UPLOADS, *(upload(number, service="web") for number in range(2))])
        [batch, web] = keys(storage)
        storage.bucket.delete(batch)
        Collector(storage).collect("api", CPU, Labels(), upload(9).data)
        merge = Querier(storage).merge(Query("api", CPU, *ALL_TIME))
        assert (merge.found, merge.merged, merge.expired) == (4, 1, 3)
        with pytest.raises(NotFound):
            storage.read(ProfileId.parse(metas[0].id))
        found = states(fsck(storage))
        assert len(found[State.MISSING_OBJECT]) == len(UPLOADS)
        assert len(found[State.OK]) == 3
        list(reindex(storage))
        assert len(find(storage)) == 1
        assert set(states(fsck(storage))) == {State.OK}
        assert web in keys(storage)

    def test_a_lost_index_is_rebuilt_from_batches(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS)
        other = store(storage, [*UPLOADS[:2], upload(7, ProfileType("rare"))])
        before = find(storage)
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        storage.index.remove([meta.id for meta in before])
        assert storage.index.services() == []
        with pytest.raises(NotFound):
            storage.read(ProfileId.parse(metas[0].id))
        missing = states(fsck(storage))
        assert set(missing) == {State.MISSING_ENTRY}
        assert len(missing[State.MISSING_ENTRY]) == len(before)
        assert states(reindex(storage)) == missing
        assert find(storage) == before
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        contents_found = read_each(storage, [meta.id for meta in before])
        assert sorted(filter(None, contents_found)) == contents([*UPLOADS, upload(7)])
        assert len(other) == 3

    def test_reindex_of_a_time_and_after_compaction(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS)
        storage.index.remove([meta.id for meta in metas])
        list(reindex(storage, "api", MIDNIGHT + 2 * SECOND))
        assert find(storage) == metas[6:]
        list(reindex(storage))
        compact(storage, MIDNIGHT + 2 * HOUR)
        blocks = storage.index.blocks("api", None, *ALL_TIME)
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        storage.index.remove([block.id for block in blocks])
        list(reindex(storage))
        assert storage.index.blocks("api", None, *ALL_TIME) == blocks
        assert find(storage) == metas
        assert list(storage.index.snapshot(_all_of("api"))[1]) == []

    def test_damage_to_a_member_stays_local_and_is_moved_aside(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS)
        [key] = keys(storage)
        damaged = metas[4]
        assert damaged.part
        data = storage.bucket.get(key)
        begin, end = damaged.part.begin, damaged.part.begin + damaged.size
        overwrite(storage, key, data[:begin] + flip_bit(data[begin:end]) + data[end:])
        with pytest.raises(Damaged, match=damaged.id):
            storage.read(ProfileId.parse(damaged.id))
        merge = Querier(storage).merge(Query("api", damaged.type, *ALL_TIME))
        assert (merge.merged, merge.damaged) == (2, 1)
        intact = [meta for meta in metas if meta != damaged]
        damaged_batch = storage.bucket.get(key)
        assert None not in read_each(storage, [meta.id for meta in intact])
        assert set(states(fsck(storage))) == {State.OK}
        assert states(fsck(storage, deep=True))[State.DAMAGED] == [ProfileId.parse(damaged.id).object_key]
        found = states(quarantine(storage))
        assert found[State.QUARANTINED] == [ProfileId.parse(damaged.id).object_key]
        assert f"{QUARANTINE}{key}" in keys(storage)
        assert storage.bucket.get(f"{QUARANTINE}{key}") == damaged_batch
        assert key not in keys(storage)
        assert find(storage) == intact
        assert sorted(filter(None, read_each(storage, [meta.id for meta in intact]))) == sorted(
            data[meta.part.begin : meta.part.begin + meta.size] for meta in intact if meta.part
        )
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        store(storage, UPLOADS)  # the damaged one is stored again
        assert find(storage) == metas
        assert sorted(filter(None, read_each(storage, [meta.id for meta in metas]))) == contents(UPLOADS)

    def test_each_damaged_member_of_a_batch_is_reported_as_moved_aside(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS)
        [key] = keys(storage)
        damaged = [metas[1], metas[4], metas[8]]
        overwrite(storage, key, zero_members(storage.bucket.get(key), damaged))
        object_keys = sorted(ProfileId.parse(meta.id).object_key for meta in damaged)
        found = states(quarantine(storage))
        assert sorted(found.pop(State.QUARANTINED)) == object_keys
        assert set(found) == {State.MISMATCH, State.MISSING_OBJECT}  # those that reindex repairs
        assert sorted(found[State.MISSING_OBJECT]) == object_keys
        assert find(storage) == [meta for meta in metas if meta not in damaged]

    def test_each_lost_member_of_a_batch_that_was_cut_short_is_reported_as_moved_aside(
        self, storage: Storage
    ) -> None:
        metas = store(storage, UPLOADS)
        [key] = keys(storage)
        end = range_of_profile(metas[4]).begin + 9
        overwrite(storage, key, storage.bucket.get(key)[:end])
        lost = [meta for meta in metas if (range_of_profile(meta).end or 0) > end]
        assert 0 < len(lost) < len(metas)
        expected = sorted([key, *(ProfileId.parse(meta.id).object_key for meta in lost)])
        assert sorted(states(fsck(storage))[State.DAMAGED]) == expected
        assert sorted(states(quarantine(storage))[State.QUARANTINED]) == expected
        intact = [meta for meta in metas if meta not in lost]
        assert find(storage) == intact
        assert None not in read_each(storage, [meta.id for meta in intact])
        assert set(states(fsck(storage, deep=True))) == {State.OK}

    @pytest.mark.parametrize(
        "change",
        [
            lambda meta: replace(meta, part=BatchPart(meta.part.name, 10**14)),
            lambda meta: replace(meta, part=BatchPart(meta.part.name, meta.part.begin + 1)),
            lambda meta: replace(meta, part=BatchPart(meta.part.name.replace("2026", "2025"), 0)),
            lambda meta: replace(meta, part=None),
            lambda meta: replace(meta, size=10**6),
            lambda meta: replace(meta, size=1),
        ],
        ids=["beyond the end", "off by one", "another batch", "no batch", "a large size", "a small size"],
    )
    def test_an_entry_with_a_wrong_place_harms_no_other_and_is_repaired(
        self, storage: Storage, change: Callable[[Meta], Meta]
    ) -> None:
        metas = store(storage, UPLOADS)
        wrong = next(meta for meta in metas if meta.type == CPU)
        storage.index.remove([wrong.id])
        storage.index.add(change(wrong))
        querier, query = Querier(storage), Query("api", CPU, *ALL_TIME)
        assert querier.merge(query).merged == 2
        querier.timeline(query)
        object_key = ProfileId.parse(wrong.id).object_key
        assert states(fsck(storage))[State.MISMATCH] == [object_key]
        compact(storage, MIDNIGHT + 2 * HOUR)
        assert states(fsck(storage))[State.MISMATCH] == [object_key]
        list(reindex(storage))
        assert find(storage) == metas
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        assert querier.merge(query).merged == 3

    @pytest.mark.parametrize("is_own_first", [False, True])
    def test_an_intact_member_replaces_a_damaged_object_of_the_profile(
        self, storage: Storage, is_own_first: bool
    ) -> None:
        alone = UPLOADS[0]
        if is_own_first:
            Collector(storage).collect(alone.service, alone.type, alone.labels, alone.data)
        metas = store(storage, UPLOADS)
        if not is_own_first:
            Collector(storage).collect(alone.service, alone.type, alone.labels, alone.data)
        [key] = filter(is_batch_key, keys(storage))
        [own_key] = {*keys(storage)} - {key}
        damaged = next(meta for meta in metas if ProfileId.parse(meta.id).object_key != own_key)
        overwrite(storage, key, zero_members(storage.bucket.get(key), [with_part(storage, damaged)]))
        overwrite(storage, own_key, flip_bit(storage.bucket.get(own_key)))
        list(quarantine(storage))
        intact = [meta for meta in metas if meta != damaged]
        assert find(storage) == intact
        assert None not in read_each(storage, [meta.id for meta in intact])
        assert {f"{QUARANTINE}{key}", f"{QUARANTINE}{own_key}"} <= {*keys(storage)}
        assert set(states(fsck(storage, deep=True))) == {State.OK}

    def test_a_damaged_member_that_is_posted_again_is_read(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS[:2])
        [key] = keys(storage)
        overwrite(storage, key, bytes(metas[0].size + metas[1].size))
        assert Querier(storage).find(Query("api", CPU, *ALL_TIME)).profiles
        Collector(storage).collect("api", CPU, UPLOADS[0].labels, UPLOADS[0].data)
        merge = Querier(storage).merge(Query("api", CPU, *ALL_TIME))
        assert (merge.merged, merge.damaged) == (1, 0)
        assert read_each(storage, [meta.id for meta in metas if meta.type == CPU]) == [UPLOADS[0].data]

    @pytest.mark.parametrize(
        "how",
        [
            flip_bit,  # in a member
            lambda data: data[:-30] + flip_bit(data[-30:]),  # in the table
            lambda data: data[: len(data) // 2],
            lambda data: data[:-1],
            lambda _: b"",
        ],
        ids=["member", "table", "half", "end", "emptied"],
    )
    @pytest.mark.parametrize("entries", ["kept", "lost", "quarantined"])
    def test_a_damaged_batch_is_replaced_when_it_is_posted_again(
        self, storage: Storage, caplog: pytest.LogCaptureFixture, how: Callable[[bytes], bytes], entries: str
    ) -> None:
        metas = store(storage, UPLOADS)
        [key] = keys(storage)
        data = storage.bucket.get(key)
        overwrite(storage, key, how(data))
        if entries == "lost":
            storage.index.remove([meta.id for meta in metas])
        elif entries == "quarantined":
            list(quarantine(storage))
        caplog.clear()
        assert store(storage, UPLOADS[::-1]) == metas
        errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert [key in message for message in errors] == [True] * (entries != "quarantined")
        assert storage.bucket.get(key) == data
        assert find(storage) == metas
        assert sorted(filter(None, read_each(storage, [meta.id for meta in metas]))) == contents(UPLOADS)
        assert Querier(storage).merge(Query("api", CPU, *ALL_TIME)).merged == 3
        assert State.DAMAGED not in states(fsck(storage, deep=True))
        compact(storage, MIDNIGHT + 5 * HOUR)
        assert list(storage.index.snapshot(_all_of("api"))[1]) == []
        assert find(storage) == metas

    def test_an_intact_batch_is_not_replaced_when_it_is_posted_again(
        self, storage: Storage, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nor is one whose table differs from that of the second post."""
        store(storage, UPLOADS)
        [key] = keys(storage)
        data = storage.bucket.get(key)
        counted, calls = count_calls(storage)
        store(counted, UPLOADS)
        store(counted, [replace(item, kinds={"cpu": Kind.CUMULATIVE}) for item in UPLOADS])
        assert (calls.count("put"), calls.count("verify"), calls.count("replace")) == (2, 2, 0)
        assert storage.bucket.get(key) == data
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    def test_members_are_read_from_a_batch_whose_table_is_damaged(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS)
        [key] = keys(storage)
        data = storage.bucket.get(key)
        for damaged in (data[:-1], data[:-30] + flip_bit(data[-30:]), data[:-40] + bytes(12) + data[-28:]):
            overwrite(storage, key, damaged)
            assert None not in read_each(storage, [meta.id for meta in metas])
            assert states(fsck(storage))[State.DAMAGED] == [key]
            list(reindex(storage))
            assert find(storage) == metas
        assert states(quarantine(storage))[State.QUARANTINED] == [key]
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        assert find(storage) == metas
        assert sorted(filter(None, read_each(storage, [meta.id for meta in metas]))) == contents(UPLOADS)

    def test_compacted_members_are_read_as_they_were_posted_after_their_damaged_table_was_moved_aside(
        self, storage: Storage
    ) -> None:
        metas = store(storage, UPLOADS)
        [key] = keys(storage)
        compact(storage, MIDNIGHT + 2 * HOUR)
        overwrite(storage, key, storage.bucket.get(key)[:-1])
        assert states(quarantine(storage))[State.QUARANTINED] == [key]
        assert sorted(filter(None, read_each(storage, [meta.id for meta in metas]))) == contents(UPLOADS)
        assert find(storage) == metas

    def test_a_read_of_a_member_finds_its_object_while_its_batch_is_split(self, storage: Storage) -> None:
        metas = store(storage, UPLOADS)
        [key] = keys(storage)
        data = storage.bucket.get(key)
        for meta in metas:
            assert meta.part
            content = data[meta.part.begin : meta.part.begin + meta.size]
            own_key = ProfileId.parse(meta.id).object_key
            storage.bucket.put(own_key, content, to_metadata(meta) | content_metadata(content))
        storage.bucket.delete(key)
        assert [meta.part for meta in find(storage)] != [None] * len(metas)
        assert Querier(storage).merge(Query("api", CPU, *ALL_TIME)).merged == 3
        assert set(states(fsck(storage))) == {State.MISMATCH}
        list(reindex(storage))
        assert [meta.part for meta in find(storage)] == [None] * len(metas)
        assert set(states(fsck(storage))) == {State.OK}

    def test_large_tables_are_read_in_two_steps(self, storage: Storage) -> None:
        texts = [Random(number).randbytes(400).hex() for number in range(60)]  # incompressible
        uploads = [
            Upload("api", CPU, Labels.from_pairs([("text", text)]), pprof(at=MIDNIGHT + number))
            for number, text in enumerate(texts)
        ]
        metas = store(storage, uploads)
        [(_, table)] = read_tables(storage.bucket, "api")
        assert table == metas


def _all_of(service: str) -> Selection:
    return Selection(service, None, *ALL_TIME)
