"""Acceptance suite of repair. Subclasses define the fixture ``storage``, an empty one."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.findings import Finding, State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind
from profbucket.storage.store import Storage
from tests.support.profiles import Profile, Sample, encode
from tests.support.storage.examples import ALL_TIME, NOW, make_numbered_profile
from tests.support.storage.mixtures import MixedStorage


def count_states(findings: Iterable[Finding]) -> dict[State, int]:
    return dict(Counter(finding.state for finding in findings))


def find_all(storage: Storage) -> list[Meta]:
    return [
        meta
        for service in storage.index.services()
        for meta in storage.lookup.find(Query(service, None, *ALL_TIME))
    ]


def find_by_label(storage: Storage) -> list[Meta]:
    query = Query("service-0", None, *ALL_TIME, parse_matchers("version=0.0.2"))
    return list(storage.lookup.find(query))


def write_numbered(storage: Storage, count: int) -> list[Meta]:
    profiles = [make_numbered_profile(number) for number in range(count)]
    if isinstance(storage, MixedStorage):
        storage.write_mixed(profiles)
    else:
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(lambda profile: storage.write(*profile), profiles))
    return [meta for meta, _ in profiles]


def collect_wide(storage: Storage) -> Meta:
    """Store a profile whose totals do not fit the metadata of an object."""
    types = tuple((b"type-%d-%s" % (i, b"x" * 50), b"count") for i in range(Limits().sample_types))
    profile = Profile((Sample((), tuple(range(len(types)))),), sample_types=types)
    kinds = {types[1][0].decode(): Kind.INSTANT}
    labels = Labels.parse("a=1")
    meta = Collector(storage).collect("wide", ProfileType.HEAP, labels, encode(profile), NOW, kinds=kinds)
    assert [total.kind for total in meta.totals[:3]] == [None, Kind.INSTANT, None]
    assert [total.value for total in meta.totals] == list(range(len(types)))
    return meta


class RepairSuite:
    """Tests of repair of ``storage``."""

    def reopen(self, storage: Storage) -> Storage:
        """Return the storage as another process opens it, without what this one has cached."""
        return storage

    def test_a_consistent_storage_is_not_changed(self, storage: Storage) -> None:
        metas = write_numbered(storage, 30)
        assert count_states(fsck(storage)) == {State.OK: 30}
        assert count_states(reindex(storage)) == {State.OK: 30}
        assert sorted(find_all(storage), key=lambda meta: meta.id) == sorted(metas, key=lambda meta: meta.id)

    def test_an_empty_storage_has_no_findings(self, storage: Storage) -> None:
        assert list(fsck(storage)) == []
        assert list(reindex(storage)) == []

    def test_an_empty_index_is_rebuilt(self, storage: Storage) -> None:
        metas = write_numbered(storage, 40)
        before, labelled = find_all(storage), find_by_label(storage)
        storage.index.remove([meta.id for meta in metas])
        assert find_all(storage) == []
        assert count_states(fsck(storage)) == {State.MISSING_ENTRY: 40}
        assert find_all(storage) == []
        assert count_states(reindex(self.reopen(storage))) == {State.MISSING_ENTRY: 40}
        assert find_all(storage) == before
        assert find_by_label(storage) == labelled
        assert len(labelled) > 2
        assert count_states(fsck(storage)) == {State.OK: 40}

    def test_totals_that_no_metadata_can_hold_are_restored_from_the_profile(self, storage: Storage) -> None:
        meta = collect_wide(storage)
        assert find_all(storage) == [meta]
        assert count_states(fsck(storage)) == {State.OK: 1}
        storage.index.remove([meta.id])
        assert count_states(reindex(self.reopen(storage))) == {State.MISSING_ENTRY: 1}
        assert find_all(storage) == [meta]
        assert count_states(fsck(storage, deep=True)) == {State.OK: 1}

    def test_all_kinds_of_damage_are_repaired_in_one_run(self, storage: Storage) -> None:
        """Some entries are missing, some have lost their objects, one differs from its object."""
        metas = write_numbered(storage, 60)
        before = find_all(storage)
        missing, without_object, mismatched = metas[::4], metas[1::10], metas[2]
        storage.index.remove([*(meta.id for meta in missing), mismatched.id])
        for meta in without_object:
            storage.bucket.delete(ProfileId.parse(meta.id).object_key)
        storage.index.add(replace(mismatched, size=1))
        expected = {
            State.MISSING_ENTRY: len(missing),
            State.MISSING_OBJECT: len(without_object),
            State.MISMATCH: 1,
            State.OK: 60 - len(missing) - len(without_object) - 1,
        }
        assert count_states(fsck(storage)) == expected
        assert count_states(reindex(self.reopen(storage))) == expected
        left = [meta for meta in before if meta not in without_object]
        assert find_all(storage) == left
        assert count_states(fsck(storage)) == {State.OK: len(left)}

    def test_a_run_that_was_cut_off_is_completed_by_the_next(self, storage: Storage) -> None:
        metas = write_numbered(storage, 140)
        before = find_all(storage)
        storage.index.remove([meta.id for meta in metas])
        run = reindex(storage)
        for _ in range(10):
            assert next(run).state is State.MISSING_ENTRY
        run.close()  # type: ignore[attr-defined]
        done = len(find_all(storage))
        assert 10 <= done <= 140
        assert count_states(reindex(storage)).get(State.MISSING_ENTRY, 0) == 140 - done
        assert find_all(storage) == before

    def test_it_can_be_limited_to_one_service_and_from_a_time(self, storage: Storage) -> None:
        metas = write_numbered(storage, 20)
        storage.index.remove([meta.id for meta in metas])
        assert count_states(reindex(storage, "service-1")) == {State.MISSING_ENTRY: 10}
        assert storage.index.services() == ["service-1"]
        assert count_states(reindex(storage, "service-0", NOW + 10)) == {State.MISSING_ENTRY: 5}
        assert [meta.created_at - NOW for meta in storage.lookup.find(Query("service-0", None, *ALL_TIME))] == [
            10,
            12,
            14,
            16,
            18,
        ]
        assert list(reindex(storage, "no such service")) == []

    def test_unknown_objects_are_left_alone(self, storage: Storage) -> None:
        metas = write_numbered(storage, 4)
        for key in ("_/blocks/1", "alone", "service-0/cpu/x.pb.gz", "service-0/cpu/x", "~C3/cpu/1", "other/x/y"):
            storage.bucket.put(key, b"data", {})
        assert count_states(reindex(storage)) == {State.OK: 4, State.UNKNOWN_OBJECT: 3}
        assert len(find_all(storage)) == len(metas)
        assert storage.bucket.get("service-0/cpu/x") == b"data"
