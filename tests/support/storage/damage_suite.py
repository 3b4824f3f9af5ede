"""Acceptance suite of reading damaged storages. Subclasses define the fixture ``storage``, an empty one."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest

from profbucket.errors import Damaged, NotFound
from profbucket.ingest.collector import Collector
from profbucket.maintenance.findings import Finding, State
from profbucket.maintenance.quarantine import quarantine
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.blocks import METAS
from profbucket.model.ids import BLOCKS, QUARANTINE, ProfileId
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.pprof import decode
from profbucket.query.merging import MergeResult
from profbucket.query.querier import Querier
from profbucket.storage.ports import Selection
from profbucket.storage.store import Storage
from tests.support.canonical import canonicalize
from tests.support.profiles import Profile, Sample, encode, stack
from tests.support.storage.compaction_suite import ALL_TIME, HOUR, MIDNIGHT, compact, post_profiles
from tests.support.storage.counting_port import count_calls

CPU = ProfileType.CPU
QUERY = Query("api", CPU, *ALL_TIME)


def flip_bit(data: bytes) -> bytes:
    """Return *data* with one bit changed, in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": flip_bit,
    "cut short": lambda data: data[: len(data) // 2],
    "emptied": lambda _: b"",
    "zeroed": lambda data: bytes(len(data)),
}


def overwrite(storage: Storage, object_key: str, data: bytes) -> None:
    """Replace the bytes of an object and keep its metadata, as a broken disk does."""
    metadata = storage.bucket.stat(object_key).metadata or {}
    storage.bucket.delete(object_key)
    assert storage.bucket.put(object_key, data, metadata)


def damage(storage: Storage, meta: Meta, how: Callable[[bytes], bytes]) -> None:
    object_key = ProfileId.parse(meta.id).object_key
    overwrite(storage, object_key, how(storage.bucket.get(object_key)))


def damage_list(storage: Storage, object_key: str, how: Callable[[bytes], bytes]) -> None:
    """Damage the member list of a block."""
    metadata = storage.bucket.stat(object_key).metadata or {}
    begin, end = map(int, metadata["ends"].split(",")[: METAS + 1])
    data = storage.bucket.get(object_key)
    damaged = how(data[begin:end]).ljust(end - begin, b"\0")
    overwrite(storage, object_key, data[:begin] + damaged + data[end:])


def block_keys(storage: Storage) -> list[str]:
    return [obj.key for obj in storage.bucket.list(BLOCKS, f"{BLOCKS}~")]


def own_stacks(data: bytes) -> set[int]:
    """Return the numbers of the profiles in a merge of those that ``post_profiles`` stores."""
    message = decode(data).message
    names = [message.string_table[function.name] for function in message.function]
    return {int(name.removeprefix(b"own-")) for name in names if name.startswith(b"own-")}


def comment(data: bytes) -> str:
    message = decode(data).message
    return message.string_table[message.comment[0]].decode()


class DamageSuite:
    """Tests of ``storage`` with damaged objects."""

    @pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
    def test_a_damaged_profile_is_left_out_of_a_merge_counted_and_named(
        self, storage: Storage, how: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
    ) -> None:
        metas = post_profiles(storage, range(5))
        damage(storage, metas[3], how)
        querier = Querier(storage)
        for result in (
            querier.merge(QUERY),
            querier.merge(replace(QUERY, matchers=parse_matchers("v!=7"))),
            querier.merge(replace(QUERY, limit=5)),
            querier.merge_ids([ProfileId.parse(meta.id) for meta in metas]),
        ):
            assert own_stacks(result.data) == {0, 1, 2, 4}
            assert (result.found, result.merged, result.expired, result.damaged) == (5, 4, 0, 1)
            assert "1 left out because stored data is damaged" in comment(result.data)
        errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 4
        assert all(metas[3].id in message for message in errors)

    @pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
    @pytest.mark.parametrize("in_block", [False, True])
    def test_a_damaged_object_is_left_out_of_an_aggregate_and_counted(
        self, storage: Storage, how: Callable[[bytes], bytes], in_block: bool
    ) -> None:
        """The average and the increase are those of the other profiles."""
        collector, metas = Collector(storage), []
        types = ((b"alloc_space", b"bytes"), (b"inuse_space", b"bytes"))
        for hour, value in ((0, 50), (1, 10), (2, 20), (3, 60)):
            time_nanos = MIDNIGHT + hour * HOUR
            samples = (Sample(stack("main.a"), (100 + hour, value)),)
            data = encode(Profile(samples, sample_types=types, time_nanos=time_nanos))
            metas.append(collector.collect("api", ProfileType.HEAP, Labels(), data))
        query = Query("api", ProfileType.HEAP, *ALL_TIME)
        if in_block:  # each hour is a block
            compact(storage, MIDNIGHT + 5 * HOUR)
            overwrite(storage, block_keys(storage)[0], how(storage.bucket.get(block_keys(storage)[0])))
        else:
            damage(storage, metas[0], how)
        result = Querier(storage).merge(query, MergeOptions(aggregate=Aggregate.AUTO))
        assert list(canonicalize(result.data).samples.values()) == [(2, 30)]
        assert (result.merged, result.expired, result.damaged) == (3, 0, 1)
        assert "1 left out because stored data is damaged" in comment(result.data)

    @pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
    def test_an_answer_of_damage_alone_is_an_error_with_its_ids(
        self, storage: Storage, how: Callable[[bytes], bytes]
    ) -> None:
        metas = post_profiles(storage, range(2))
        for meta in metas:
            damage(storage, meta, how)
        querier, ids = Querier(storage), [ProfileId.parse(meta.id) for meta in metas]
        asks: list[Callable[[], MergeResult]] = [lambda: querier.merge(QUERY), lambda: querier.merge_ids(ids)]
        for ask in asks:
            with pytest.raises(Damaged) as error:
                ask()
            assert all(meta.id in str(error.value) for meta in metas)
        with pytest.raises(Damaged, match=metas[0].id):
            querier.read(ids[0])

    def test_swapped_contents_are_damage(self, storage: Storage) -> None:
        metas = post_profiles(storage, range(3))
        keys = [ProfileId.parse(meta.id).object_key for meta in metas]
        first, second = storage.bucket.get(keys[0]), storage.bucket.get(keys[1])
        overwrite(storage, keys[0], second)
        overwrite(storage, keys[1], first)
        result = Querier(storage).merge(QUERY)
        assert (own_stacks(result.data), result.damaged) == ({2}, 2)
        with pytest.raises(Damaged, match=metas[1].id):
            Querier(storage).read(ProfileId.parse(metas[1].id))
        assert Querier(storage).read(ProfileId.parse(metas[2].id)) == storage.bucket.get(keys[2])

    def test_a_profile_whose_metadata_are_lost_is_read_with_the_help_of_its_entry(self, storage: Storage) -> None:
        [meta] = post_profiles(storage, [1])
        object_key = ProfileId.parse(meta.id).object_key
        data = storage.bucket.get(object_key)
        storage.bucket.delete(object_key)
        storage.bucket.put(object_key, data, {"labels": "%%%"})
        assert Querier(storage).read(ProfileId.parse(meta.id)) == data
        storage.index.remove([meta.id])
        with pytest.raises(Damaged, match=object_key):
            Querier(storage).read(ProfileId.parse(meta.id))

    @pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
    def test_a_damaged_member_list_hides_its_block_and_nothing_else(
        self, storage: Storage, how: Callable[[bytes], bytes]
    ) -> None:
        """Profiles of two hours become a block each; a third hour stays in the head."""
        metas = compacted(storage)
        first, _ = block_keys(storage)
        damage_list(storage, first, how)
        querier = Querier(storage)
        page = querier.find(QUERY)
        assert ([meta.id for meta in page.profiles], page.damaged) == ([meta.id for meta in metas[3:]], [first])
        labelled = querier.merge(replace(QUERY, matchers=parse_matchers("v!=7")))
        assert own_stacks(labelled.data) == {60, 62, 64, 120, 122, 124}
        assert (labelled.merged, labelled.damaged) == (6, 3)
        whole = querier.merge(QUERY)  # needs no lists
        assert (whole.merged, whole.damaged) == (9, 0)
        timeline = querier.timeline(QUERY)
        assert (sum(timeline["groups"][0]["profiles"]), timeline["damaged"]) == (6, 3)
        with pytest.raises(Damaged, match=first):
            querier.find(replace(QUERY, end=MIDNIGHT + HOUR - 1))
        storage.bucket.delete(ProfileId.parse(metas[0].id).object_key)
        with pytest.raises(Damaged, match=metas[0].id):
            querier.read(ProfileId.parse(metas[0].id))

    @pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
    def test_a_damaged_merged_part_is_left_out_of_a_merge(
        self, storage: Storage, how: Callable[[bytes], bytes]
    ) -> None:
        compacted(storage)
        first, _ = block_keys(storage)
        data = storage.bucket.get(first)
        end = int((storage.bucket.stat(first).metadata or {})["ends"].split(",")[0])
        overwrite(storage, first, how(data[:end]).ljust(end, b"\0") + data[end:])
        for query in (QUERY, replace(QUERY, matchers=parse_matchers("v=1"))):
            result = Querier(storage).merge(query)
            assert own_stacks(result.data).isdisjoint({0, 2, 4})
            assert result.merged + result.damaged == result.found
            assert result.damaged == {QUERY: 3}.get(query, 1)

    def test_a_block_that_is_cut_short_is_left_out(self, storage: Storage) -> None:
        metas = compacted(storage)
        first, _ = block_keys(storage)
        for length in (0, 10):
            overwrite(storage, first, storage.bucket.get(first)[:length])
            result = Querier(storage).merge(QUERY)
            assert (result.merged, result.damaged) == (6, 3)
            assert Querier(storage).find(QUERY).damaged == [first]
            for meta in metas[:3]:
                assert Querier(storage).read(ProfileId.parse(meta.id))  # its own object still exists

    def test_the_list_of_another_block_is_damage(self, storage: Storage) -> None:
        compacted(storage)
        first, second = block_keys(storage)
        overwrite(storage, first, storage.bucket.get(second))
        assert Querier(storage).find(QUERY).damaged == [first]

    def test_damage_does_not_end_a_compaction(self, storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
        """Damaged profiles stay in the head; so do late posts in the range of a damaged member list."""
        compacted(storage)
        first, _ = block_keys(storage)
        damage_list(storage, first, flip_bit)
        [late] = post_profiles(storage, [3])
        others = post_profiles(storage, range(180, 184))
        damage(storage, others[0], flip_bit)
        compact(storage, MIDNIGHT + 5 * HOUR)
        left = [meta.id for meta in storage.index.find(select("api"))]
        assert left == [late.id, others[0].id]
        messages = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert any(first in message for message in messages)
        assert any(others[0].id in message for message in messages)

    @pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
    def test_fsck_names_damaged_profiles_and_blocks(self, storage: Storage, how: Callable[[bytes], bytes]) -> None:
        metas = compacted(storage)
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        _, second = block_keys(storage)
        keys = [ProfileId.parse(metas[i].id).object_key for i in (1, 7)]  # in a block, in the head
        for key in (*keys, second):
            overwrite(storage, key, how(storage.bucket.get(key)))
        found = states(fsck(storage, deep=True))
        assert found[State.DAMAGED] == sorted([*keys, second])
        assert set(found) == {State.OK, State.DAMAGED}
        if len(how(bytes(100))) < 100:  # the listing of a bucket has sizes
            assert set(states(fsck(storage))[State.DAMAGED]) >= {second}

    def test_fsck_recognizes_damage_to_objects_without_digests(self, storage: Storage) -> None:
        """Profiles and blocks of earlier versions have none in their metadata."""
        metas = compacted(storage)
        _, second = block_keys(storage)
        keys = [ProfileId.parse(metas[7].id).object_key, second]
        for key in keys:
            data, metadata = storage.bucket.get(key), dict(storage.bucket.stat(key).metadata or {})
            del metadata["digest"], metadata["bytes"]
            storage.bucket.delete(key)
            storage.bucket.put(key, data, metadata)
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        for key in keys:
            overwrite(storage, key, flip_bit(storage.bucket.get(key)))
        assert states(fsck(storage, deep=True))[State.DAMAGED] == sorted(keys)

    @pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
    def test_a_lost_index_is_rebuilt_as_far_as_objects_can_be_read(
        self, storage: Storage, how: Callable[[bytes], bytes]
    ) -> None:
        """One block has a damaged list, and one profile of the head is damaged; another service has no damage."""
        metas = compacted(storage)
        others = post_profiles(storage, [7], "web")
        first, _ = block_keys(storage)
        damage_list(storage, first, how)
        damage(storage, metas[8], how)
        storage.index.remove([*(meta.id for meta in [*metas, *others]), *block_keys(storage)])
        found = states(reindex(storage))
        assert first in found[State.DAMAGED]
        page = Querier(storage).find(QUERY)
        readable = [meta for meta in page.profiles if meta.id != metas[8].id]
        assert readable == list(metas[:8])  # those of the first block have objects of their own
        assert len(Querier(storage).find(replace(QUERY, service="web")).profiles) == 1
        result = Querier(storage).merge(QUERY)
        assert own_stacks(result.data) == {0, 2, 4, 60, 62, 64, 120, 122}

    @pytest.mark.parametrize("how", [DAMAGES["cut short"], DAMAGES["emptied"]], ids=["cut short", "emptied"])
    @pytest.mark.parametrize("entry", ["kept", "lost"])
    def test_reindex_never_stores_the_size_of_a_damaged_profile(
        self, storage: Storage, how: Callable[[bytes], bytes], entry: str
    ) -> None:
        [meta, _] = post_profiles(storage, [1, 2])
        damage(storage, meta, how)
        if entry == "lost":
            storage.index.remove([meta.id])
        found = states(reindex(storage))
        assert found[State.DAMAGED] == [ProfileId.parse(meta.id).object_key]
        sizes = [found.size for found in storage.index.find(select("api")) if found.id == meta.id]
        assert sizes == ([meta.size] if entry == "kept" else [])

    def test_quarantine_moves_damaged_objects_aside(self, storage: Storage) -> None:
        metas = compacted(storage)
        first, second = block_keys(storage)
        damage_list(storage, first, flip_bit)
        damage(storage, metas[3], flip_bit)  # is in the second block, too
        damage(storage, metas[8], flip_bit)
        keys = [first, *(ProfileId.parse(metas[i].id).object_key for i in (3, 8))]
        contents = {key: (storage.bucket.get(key), storage.bucket.stat(key).metadata) for key in keys}
        found = states(quarantine(storage))
        assert found[State.QUARANTINED] == sorted(keys)
        for key, (data, metadata) in contents.items():
            assert storage.bucket.get(f"{QUARANTINE}{key}") == data
            assert storage.bucket.stat(f"{QUARANTINE}{key}").metadata == metadata
            with pytest.raises(NotFound):
                storage.bucket.get(key)
        assert block_keys(storage) == [second]
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        page = Querier(storage).find(QUERY)
        assert (page.profiles, page.damaged) == (list(metas[:8]), [])
        result = Querier(storage).merge(QUERY)
        assert (own_stacks(result.data), result.damaged) == ({0, 2, 4, 60, 62, 64, 120, 122}, 0)
        compact(storage, MIDNIGHT + 5 * HOUR)
        assert own_stacks(Querier(storage).merge(QUERY).data) == {0, 2, 4, 60, 62, 64, 120, 122}

    @pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
    @pytest.mark.parametrize("entry", ["kept", "lost", "quarantined"])
    def test_a_damaged_profile_is_replaced_when_it_is_posted_again(
        self, storage: Storage, caplog: pytest.LogCaptureFixture, how: Callable[[bytes], bytes], entry: str
    ) -> None:
        metas = post_profiles(storage, range(3))
        object_key = ProfileId.parse(metas[1].id).object_key
        data, obj = storage.bucket.get(object_key), storage.bucket.stat(object_key)
        merge = Querier(storage).merge(QUERY).data
        damage(storage, metas[1], how)
        if entry == "lost":
            storage.index.remove([metas[1].id])
        elif entry == "quarantined":
            list(quarantine(storage))
        caplog.clear()
        assert post_profiles(storage, [1]) == [metas[1]]
        errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert [object_key in message for message in errors] == [True] * (entry != "quarantined")
        assert (storage.bucket.get(object_key), storage.bucket.stat(object_key)) == (data, obj)
        assert Querier(storage).read(ProfileId.parse(metas[1].id)) == data
        assert Querier(storage).find(QUERY).profiles == metas
        assert Querier(storage).merge(QUERY).data == merge
        assert set(states(fsck(storage, deep=True))) == {State.OK}
        compact(storage, MIDNIGHT + 5 * HOUR)
        assert list(storage.index.find(select("api"))) == []
        assert own_stacks(Querier(storage).merge(QUERY).data) == {0, 1, 2}

    @pytest.mark.parametrize(
        "metadata", [{}, {"labels": "v=7"}, {"labels": "%"}, {"labels": "v=1", "totals": "x"}]
    )
    def test_damaged_metadata_are_replaced_when_the_profile_is_posted_again(
        self, storage: Storage, metadata: dict[str, str]
    ) -> None:
        [meta] = post_profiles(storage, [1])
        object_key = ProfileId.parse(meta.id).object_key
        data, obj = storage.bucket.get(object_key), storage.bucket.stat(object_key)
        storage.bucket.replace(object_key, data, metadata)
        post_profiles(storage, [1])
        assert (storage.bucket.get(object_key), storage.bucket.stat(object_key)) == (data, obj)
        assert Querier(storage).read(ProfileId.parse(meta.id)) == data

    def test_an_intact_profile_is_not_replaced_when_it_is_posted_again(
        self, storage: Storage, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nor is one of an earlier version, whose metadata hold no digest."""
        metas = post_profiles(storage, range(2))
        object_key = ProfileId.parse(metas[1].id).object_key
        data, obj = storage.bucket.get(object_key), storage.bucket.stat(object_key)
        assert obj.metadata
        earlier = {name: value for name, value in obj.metadata.items() if name not in ("digest", "bytes")}
        storage.bucket.replace(object_key, data, earlier)
        counted, calls = count_calls(storage)
        assert post_profiles(counted, range(2)) == metas
        assert (calls.count("put"), calls.count("verify"), calls.count("replace")) == (2, 2, 0)
        assert storage.bucket.stat(object_key).metadata == earlier
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    def test_a_first_post_is_not_compared(self, storage: Storage) -> None:
        counted, calls = count_calls(storage)
        post_profiles(counted, [1])
        assert [name for name in calls if name in ("verify", "stat", "get", "get_many", "replace")] == []

    def test_a_damaged_profile_is_posted_again_by_several_at_once(self, storage: Storage) -> None:
        [meta] = post_profiles(storage, [1])
        data = Querier(storage).read(ProfileId.parse(meta.id))
        damage(storage, meta, DAMAGES["cut short"])
        assert post_profiles(storage, [1] * 8) == [meta] * 8
        assert Querier(storage).read(ProfileId.parse(meta.id)) == data
        assert Querier(storage).find(QUERY).profiles == [meta]
        assert states(fsck(storage, deep=True)) == {State.OK: [ProfileId.parse(meta.id).object_key]}

    def test_lost_metadata_are_restored_from_the_entry(self, storage: Storage) -> None:
        [meta, lost] = post_profiles(storage, [1, 2])
        for each in (meta, lost):
            object_key = ProfileId.parse(each.id).object_key
            data = storage.bucket.get(object_key)
            storage.bucket.delete(object_key)
            storage.bucket.put(object_key, data, {})
        storage.index.remove([lost.id])
        assert states(fsck(storage, deep=True)) == {
            State.DAMAGED: sorted(ProfileId.parse(each.id).object_key for each in (meta, lost))
        }
        found = states(quarantine(storage))
        assert found[State.RESTORED] == [ProfileId.parse(meta.id).object_key]
        assert found[State.QUARANTINED] == [ProfileId.parse(lost.id).object_key]
        assert states(fsck(storage, deep=True)) == {State.OK: [ProfileId.parse(meta.id).object_key]}
        assert Querier(storage).find(QUERY).profiles == [meta]


def states(findings: Iterable[Finding]) -> dict[State, list[str]]:
    """Return the sorted keys of *findings* by state."""
    keys: dict[State, list[str]] = {}
    for finding in findings:
        keys.setdefault(finding.state, []).append(finding.object_key)
    return {state: sorted(set(of_state)) for state, of_state in keys.items()}


def select(service: str) -> Selection:
    return Selection(service, None, *ALL_TIME)


def compacted(storage: Storage) -> Sequence[Meta]:
    """Store nine profiles, three an hour; those of the first two hours become a block each."""
    metas = post_profiles(storage, [0, 2, 4, 60, 62, 64, 120, 122, 124])
    compact(storage, MIDNIGHT + 2 * HOUR + 30 * 60 * 10**9)
    assert len(block_keys(storage)) == 2
    return metas
