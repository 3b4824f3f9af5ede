"""What repair must do on every backend: fill in the fixture ``storage`` with an empty one."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from profbucket.maintenance.repair import Finding, State, fsck, reindex
from profbucket.model.ids import ProfileId
from profbucket.model.labels import parse_matchers
from profbucket.model.meta import Meta, Query
from profbucket.storage.store import Storage
from tests.support.storage.examples import ALL_TIME, NOW, make_numbered_profile


def count_states(findings: Iterable[Finding]) -> dict[State, int]:
    return dict(Counter(meta.state for meta in findings))


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
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda meta: storage.write(*meta), profiles))
    return [meta for meta, _ in profiles]


class RepairSuite:
    """Claims about repair of ``storage``. Its index is another one each time ``reopened`` is called."""

    def reopened(self, storage: Storage) -> Storage:
        """The same storage, as another process sees it."""
        return storage

    def test_a_storage_that_is_whole_stays_as_it_is(self, storage: Storage) -> None:
        metas = write_numbered(storage, 30)
        assert count_states(fsck(storage)) == {State.OK: 30}
        assert count_states(reindex(storage)) == {State.OK: 30}
        assert sorted(find_all(storage), key=lambda meta: meta.id) == sorted(metas, key=lambda meta: meta.id)

    def test_an_empty_storage_needs_nothing(self, storage: Storage) -> None:
        assert list(fsck(storage)) == []
        assert list(reindex(storage)) == []

    def test_an_empty_index_is_rebuilt(self, storage: Storage) -> None:
        metas = write_numbered(storage, 40)
        before, labelled = find_all(storage), find_by_label(storage)
        storage.index.remove([meta.id for meta in metas])
        assert find_all(storage) == []
        assert count_states(fsck(storage)) == {State.MISSING_ENTRY: 40}
        assert find_all(storage) == []
        assert count_states(reindex(self.reopened(storage))) == {State.MISSING_ENTRY: 40}
        assert find_all(storage) == before
        assert find_by_label(storage) == labelled
        assert len(labelled) > 2
        assert count_states(fsck(storage)) == {State.OK: 40}

    def test_any_damage_is_mended_at_once(self, storage: Storage) -> None:
        """Some entries are missing, some have lost their objects, one says what is not true."""
        metas = write_numbered(storage, 60)
        before = find_all(storage)
        missing, stale, different = metas[::4], metas[1::10], metas[2]
        storage.index.remove([*(meta.id for meta in missing), different.id])
        for meta in stale:
            storage.bucket.delete(ProfileId.parse(meta.id).object_key)
        storage.index.add(replace(different, size=1))
        expected = {
            State.MISSING_ENTRY: len(missing),
            State.MISSING_OBJECT: len(stale),
            State.MISMATCH: 1,
            State.OK: 60 - len(missing) - len(stale) - 1,
        }
        assert count_states(fsck(storage)) == expected
        assert count_states(reindex(self.reopened(storage))) == expected
        left = [meta for meta in before if meta not in stale]
        assert find_all(storage) == left
        assert count_states(fsck(storage)) == {State.OK: len(left)}

    def test_a_walk_that_was_cut_off_is_resumed_by_another(self, storage: Storage) -> None:
        metas = write_numbered(storage, 140)
        before = find_all(storage)
        storage.index.remove([meta.id for meta in metas])
        under_way = reindex(storage)
        for _ in range(10):
            assert next(under_way).state is State.MISSING_ENTRY
        under_way.close()  # type: ignore[attr-defined]
        done = len(find_all(storage))
        assert 10 <= done <= 140
        assert count_states(reindex(storage)).get(State.MISSING_ENTRY, 0) == 140 - done
        assert find_all(storage) == before

    def test_one_service_and_a_time_bound_it(self, storage: Storage) -> None:
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

    def test_what_is_no_profile_is_left_alone(self, storage: Storage) -> None:
        metas = write_numbered(storage, 4)
        for key in ("_/blocks/1", "alone", "service-0/cpu/x.pb.gz", "service-0/cpu/x", "~C3/cpu/1", "other/x/y"):
            storage.bucket.put(key, b"data", {})
        assert count_states(reindex(storage)) == {State.OK: 4, State.UNKNOWN_OBJECT: 2}
        assert len(find_all(storage)) == len(metas)
        assert storage.bucket.get("service-0/cpu/x") == b"data"
