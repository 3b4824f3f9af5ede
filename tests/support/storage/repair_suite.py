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
from tests.support.storage.examples import EVER, NOW, numbered


def states(findings: Iterable[Finding]) -> dict[State, int]:
    return dict(Counter(one.state for one in findings))


def everything(storage: Storage) -> list[Meta]:
    return [
        one for service in storage.index.services() for one in storage.lookup.find(Query(service, None, *EVER))
    ]


def by_label(storage: Storage) -> list[Meta]:
    query = Query("service-0", None, *EVER, parse_matchers("version=0.0.2"))
    return list(storage.lookup.find(query))


def write(storage: Storage, count: int) -> list[Meta]:
    profiles = [numbered(number) for number in range(count)]
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda one: storage.write(*one), profiles))
    return [one for one, _ in profiles]


class RepairClaims:
    """Claims about repair of ``storage``. Its index is another one each time ``reopened`` is called."""

    def reopened(self, storage: Storage) -> Storage:
        """The same storage, as another process sees it."""
        return storage

    def test_a_storage_that_is_whole_stays_as_it_is(self, storage: Storage) -> None:
        metas = write(storage, 30)
        assert states(fsck(storage)) == {State.OK: 30}
        assert states(reindex(storage)) == {State.OK: 30}
        assert sorted(everything(storage), key=lambda one: one.id) == sorted(metas, key=lambda one: one.id)

    def test_an_empty_storage_needs_nothing(self, storage: Storage) -> None:
        assert list(fsck(storage)) == []
        assert list(reindex(storage)) == []

    def test_an_empty_index_is_rebuilt(self, storage: Storage) -> None:
        metas = write(storage, 40)
        before, labelled = everything(storage), by_label(storage)
        storage.index.remove([one.id for one in metas])
        assert everything(storage) == []
        assert states(fsck(storage)) == {State.MISSING_ENTRY: 40}
        assert everything(storage) == []
        assert states(reindex(self.reopened(storage))) == {State.MISSING_ENTRY: 40}
        assert everything(storage) == before
        assert by_label(storage) == labelled
        assert len(labelled) > 2
        assert states(fsck(storage)) == {State.OK: 40}

    def test_any_damage_is_mended_at_once(self, storage: Storage) -> None:
        """Some entries are missing, some have lost their objects, one says what is not true."""
        metas = write(storage, 60)
        before = everything(storage)
        missing, stale, different = metas[::4], metas[1::10], metas[2]
        storage.index.remove([*(one.id for one in missing), different.id])
        for one in stale:
            storage.bucket.delete(ProfileId.parse(one.id).object_key)
        storage.index.add(replace(different, size=1))
        expected = {
            State.MISSING_ENTRY: len(missing),
            State.MISSING_OBJECT: len(stale),
            State.MISMATCH: 1,
            State.OK: 60 - len(missing) - len(stale) - 1,
        }
        assert states(fsck(storage)) == expected
        assert states(reindex(self.reopened(storage))) == expected
        left = [one for one in before if one not in stale]
        assert everything(storage) == left
        assert states(fsck(storage)) == {State.OK: len(left)}

    def test_a_walk_that_was_cut_off_is_resumed_by_another(self, storage: Storage) -> None:
        metas = write(storage, 140)
        before = everything(storage)
        storage.index.remove([one.id for one in metas])
        under_way = reindex(storage)
        for _ in range(10):
            assert next(under_way).state is State.MISSING_ENTRY
        under_way.close()  # type: ignore[attr-defined]
        done = len(everything(storage))
        assert 10 <= done <= 140
        assert states(reindex(storage)).get(State.MISSING_ENTRY, 0) == 140 - done
        assert everything(storage) == before

    def test_one_service_and_a_time_bound_it(self, storage: Storage) -> None:
        metas = write(storage, 20)
        storage.index.remove([one.id for one in metas])
        assert states(reindex(storage, "service-1")) == {State.MISSING_ENTRY: 10}
        assert storage.index.services() == ["service-1"]
        assert states(reindex(storage, "service-0", NOW + 10)) == {State.MISSING_ENTRY: 5}
        assert [one.created_at - NOW for one in storage.lookup.find(Query("service-0", None, *EVER))] == [
            10,
            12,
            14,
            16,
            18,
        ]
        assert list(reindex(storage, "no such service")) == []

    def test_what_is_no_profile_is_left_alone(self, storage: Storage) -> None:
        metas = write(storage, 4)
        for key in ("_/blocks/1", "alone", "service-0/cpu/x.pb.gz", "service-0/cpu/x", "~C3/cpu/1", "other/x/y"):
            storage.bucket.put(key, b"data", {})
        assert states(reindex(storage)) == {State.OK: 4, State.UNKNOWN_OBJECT: 2}
        assert len(everything(storage)) == len(metas)
        assert storage.bucket.get("service-0/cpu/x") == b"data"
