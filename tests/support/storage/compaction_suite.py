"""What compaction must do on every backend: fill in the fixture ``storage`` with an empty one."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import urllib3

from profbucket.api.app import create_app
from profbucket.api.routes import PROFILES, Role
from profbucket.config import Config
from profbucket.errors import NotFound
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Action, Compactor, Step
from profbucket.maintenance.repair import State, fsck, reindex
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import Bucket, ObjectRange
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.canonical import Canonical, canonical
from tests.support.profiles import Sample, encode, profile, stack

CPU = ProfileType.CPU
HOUR = 3600 * SECOND
DAY = 24 * HOUR
MIDNIGHT = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z
ALL_TIME = (0, LATEST)


def make_cpu_profile(number: int, **changes: Any) -> bytes:
    """A profile of which stack ``all`` has 1, stack ``mod-…`` 10, and stack ``own-…`` is its own."""
    samples = [
        Sample(stack("leaf", "all"), (1, 10_000_000)),
        Sample(stack("leaf", f"mod-{number % 3}"), (10, 100_000_000)),
        Sample(stack(f"own-{number}"), (number + 1, (number + 1) * 10_000_000)),
    ]
    return encode(profile(*samples, time_nanos=MIDNIGHT + number * 60 * SECOND, **changes))


def post_profiles(storage: Storage, numbers: Sequence[int], service: str = "api", **changes: Any) -> list[Meta]:
    """Store :func:`cpu` profiles, each a minute after the other, of three versions."""
    collector = Collector(storage)

    def one(number: int) -> Meta:
        return collector.collect(
            service, CPU, Labels.from_pairs([("v", str(number % 3))]), make_cpu_profile(number, **changes)
        )

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(one, numbers))


def compact(storage: Storage, now: int, **changes: Any) -> list[Step]:
    return list(Compactor(storage, clock=lambda: now, **changes).run())


def count_actions(steps: Sequence[Step]) -> dict[Action, int]:
    return dict(Counter(step.action for step in steps))


class Twin(Storage):
    """Profiles that are never compacted. What was answered is answered again, until another is written."""

    def __init__(self) -> None:
        super().__init__(MemoryBucket(), MemoryIndex())
        self._answers: dict[tuple[Any, Query], Any] = {}

    def write(self, meta: Meta, data: bytes) -> bool:
        self._answers.clear()
        return super().write(meta, data)

    def says(self, answer: Callable[[Storage, Query], Any], query: Query) -> Any:
        """What *answer* is of this storage."""
        if (answer, query) not in self._answers:
            self._answers[answer, query] = answer(self, query)
        return self._answers[answer, query]


def copy_uncompacted(storage: Storage) -> Twin:
    """The same profiles, never compacted."""
    other = Twin()
    collector = Collector(other)
    for service in storage.index.services():
        for meta in storage.lookup.find(Query(service, None, *ALL_TIME)):
            collector.collect(
                service, meta.type, meta.labels, storage.read(ProfileId.parse(meta.id)), meta.created_at
            )
    return other


def merge_canonically(storage: Storage, query: Query) -> Canonical | str:
    """What a merge says, but for its own comment and the order of the others; or its error."""
    try:
        found = canonical(Querier(storage).merge(query).data)
    except NotFound as error:
        return str(error)
    return replace(found, header=replace(found.header, comments=tuple(sorted(found.header.comments))))


QUERIES = [
    Query("api", CPU, *ALL_TIME),
    Query("api", CPU, *ALL_TIME, parse_matchers("v=1")),
    Query("api", CPU, *ALL_TIME, parse_matchers("v!=1")),
    Query("api", CPU, *ALL_TIME, parse_matchers("v=~[02]")),
    Query("api", CPU, *ALL_TIME, parse_matchers("v=9")),
    Query("api", CPU, MIDNIGHT + 10 * 60 * SECOND, MIDNIGHT + 100 * 60 * SECOND),
    Query("api", CPU, MIDNIGHT + 10 * 60 * SECOND, MIDNIGHT + 100 * 60 * SECOND, parse_matchers("v=2")),
    Query("api", CPU, MIDNIGHT + 30 * 60 * SECOND, MIDNIGHT + 30 * 60 * SECOND),
    Query("api", CPU, *ALL_TIME, limit=7),
    Query("web", CPU, *ALL_TIME),
]


def assert_same_answers(storage: Storage, other: Twin, queries: Sequence[Query] = QUERIES) -> None:
    """Both give the same answers to all questions."""
    assert storage.index.services() == other.index.services()
    for query in queries:
        for answer in (found, merge_canonically, list_data_points):
            assert answer(storage, query) == other.says(answer, query), query


def found(storage: Storage, query: Query) -> list[Meta]:
    return list(storage.lookup.find(query))


def list_data_points(storage: Storage, query: Query) -> list[tuple[Any, ...]]:
    return sorted(
        (one.created_at, one.labels.format(), *one.values) for one in storage.lookup.read_data_points(query)
    )


class Meddling:
    """A bucket that does something before it reads many objects for the first time, or another."""

    def __init__(self, bucket: Bucket, meddle: Any, time: int = 1) -> None:
        self._bucket, self._meddle, self._left = bucket, meddle, time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def get_many(self, parts: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        self._left -= 1
        if self._left == 0:
            self._meddle()
        return self._bucket.get_many(parts)


class CompactionSuite:
    """Claims about compaction of ``storage``."""

    def test_profiles_of_finished_hours_become_blocks_and_are_found_as_before(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 150, 2))
        other = copy_uncompacted(storage)
        steps = compact(storage, MIDNIGHT + 2 * HOUR + 600 * SECOND)
        assert count_actions(steps) == {Action.COMPACTED: 2}
        assert [step.profiles for step in steps] == [30, 30]
        blocks, head = storage.index.snapshot(query_of_all())
        assert [(block.count, block.period) for block in blocks] == [(30, 3600), (30, 3600)]
        assert len(list(head)) == 15
        assert_same_answers(storage, other)
        assert compact(storage, MIDNIGHT + 2 * HOUR + 600 * SECOND) == []

    def test_an_hour_is_left_alone_until_it_has_been_over_for_a_while(self, storage: Storage) -> None:
        post_profiles(storage, [0, 59])
        assert compact(storage, MIDNIGHT + HOUR + 600 * SECOND - 1) == []
        assert count_actions(compact(storage, MIDNIGHT + HOUR + 600 * SECOND)) == {Action.COMPACTED: 1}

    def test_the_blocks_of_a_finished_day_become_one(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 1600, 32))
        other = copy_uncompacted(storage)
        steps = compact(storage, MIDNIGHT + 30 * HOUR)
        assert count_actions(steps) == {Action.COMPACTED: 27, Action.MERGED: 1}
        periods = [block.period for block in storage.index.blocks("api", CPU, *ALL_TIME)]
        assert periods == [86400, 3600, 3600, 3600]
        assert_same_answers(storage, other)
        assert compact(storage, MIDNIGHT + 30 * HOUR) == []

    def test_late_profiles_are_head_and_join_the_next_run(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 120, 4))
        compact(storage, MIDNIGHT + 30 * HOUR)
        post_profiles(storage, range(1, 120, 8))
        other = copy_uncompacted(storage)
        assert_same_answers(storage, other)
        steps = compact(storage, MIDNIGHT + 31 * HOUR)
        assert count_actions(steps)[Action.MERGED] == 1
        [block] = storage.index.blocks("api", CPU, *ALL_TIME)
        assert block.count == 45
        assert_same_answers(storage, other)

    def test_a_profile_that_is_posted_again_after_it_went_into_a_block_counts_once(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 60, 3))
        other = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 2 * HOUR)
        post_profiles(storage, [3, 30])
        assert_same_answers(storage, other)
        post_profiles(other, [3, 4])
        post_profiles(storage, [4])
        assert_same_answers(storage, other)
        assert count_states(storage) == {State.OK: 1 + 1, State.DUPLICATE: 2}
        steps = compact(storage, MIDNIGHT + 2 * HOUR)
        assert count_actions(steps) == {Action.DEDUPLICATED: 1, Action.COMPACTED: 1}
        assert_same_answers(storage, other)

    def test_what_has_expired_after_it_went_into_a_block_is_still_known(self, storage: Storage) -> None:
        """... to the nanosecond and to the label, and by its id."""
        metas = post_profiles(storage, range(0, 1500, 30))
        other = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 30 * HOUR)
        for meta in metas:
            storage.bucket.delete(ProfileId.parse(meta.id).object_key)
        assert_same_answers(storage, other)
        asked = ProfileId.parse(metas[7].id)
        restored = canonical(Querier(storage).read(asked))
        posted = canonical(other.read(asked))
        assert restored.samples == posted.samples
        assert replace(restored.header, comments=()) == posted.header
        both = [ProfileId.parse(metas[i].id) for i in (3, 9)]
        mine, theirs = (canonical(Querier(s).merge_ids(both).data) for s in (storage, other))
        assert mine == theirs

    def test_what_has_expired_is_found_where_a_large_answer_says(self, storage: Storage) -> None:
        """... of a bucket with links: by its id, and merged with another."""
        metas = post_profiles(storage, range(3))
        other = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 2 * HOUR)
        for meta in metas[:2]:
            storage.bucket.delete(ProfileId.parse(meta.id).object_key)
        limits = Limits(answer_bytes=1)
        api = create_app(Config("memory:", limits), Role.QUERY, querier=Querier(storage, limits)).test_client()
        for some in ([0], [2], [0, 1], [0, 2]):
            answer = api.get(f"{PROFILES}/{'+'.join(metas[i].id for i in some)}")
            link = answer.headers.get("Location")
            assert answer.status_code == (200 if link is None else 302)
            data = answer.data if link is None else urllib3.request("GET", link).data
            whole = Querier(other).merge_ids([ProfileId.parse(metas[i].id) for i in some])
            assert canonical(data).samples == canonical(whole.data).samples

    def test_profiles_that_measure_something_else_stay_apart(self, storage: Storage) -> None:
        post_profiles(storage, range(10))
        post_profiles(storage, range(10, 20), sample_types=((b"wall", b"ns"), (b"n", b"count")))
        other = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 30 * HOUR)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)
        assert sorted(block.count for block in blocks) == [10, 10]
        assert len({block.measures for block in blocks}) == 2
        for first, last in ((0, 9), (10, 19)):
            query = Query("api", CPU, MIDNIGHT + first * 60 * SECOND, MIDNIGHT + last * 60 * SECOND)
            assert merge_canonically(storage, query) == merge_canonically(other, query)
        with pytest.raises(Exception, match=r"sample types differ.*cannot be merged"):
            Querier(storage).merge(Query("api", CPU, *ALL_TIME))

    def test_samples_that_cancel_out_come_back_when_a_part_is_asked_for(self, storage: Storage) -> None:
        collector = Collector(storage)
        for number, value in ((0, 5), (1, -5), (4, 3), (5, -3)):  # within an hour, and within the next
            data = encode(
                profile(
                    Sample(stack("here"), (value, value)),
                    Sample(stack("there"), (1, 1)),
                    time_nanos=MIDNIGHT + number * 900 * SECOND,
                )
            )
            collector.collect("api", CPU, Labels.from_pairs([("v", str(number % 2))]), data)
        post_profiles(storage, [1441])
        other = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 20 * HOUR)
        assert_same_answers(storage, other)
        assert count_actions(compact(storage, MIDNIGHT + 60 * HOUR))[Action.MERGED] == 1
        assert_same_answers(storage, other)

    def test_of_two_at_once_each_profile_is_in_one_block(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 240, 2))
        post_profiles(storage, range(0, 100, 5), service="web")
        other = copy_uncompacted(storage)
        with ThreadPoolExecutor(3) as threads:
            runs = [threads.submit(compact, storage, MIDNIGHT + 30 * HOUR) for _ in range(3)]
            for run in runs:
                run.result()
        compact(storage, MIDNIGHT + 30 * HOUR)
        assert_same_answers(storage, other)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)
        assert sum(block.count for block in blocks) == 120
        compact(storage, MIDNIGHT + 60 * HOUR)
        left = {there.key for there in storage.bucket.list("_/", "_0")}
        assert left == {
            block.id for name in ("api", "web") for block in storage.index.blocks(name, CPU, *ALL_TIME)
        }

    def test_a_merge_that_has_begun_goes_on_while_its_profiles_become_blocks(self, storage: Storage) -> None:
        """... and while its blocks become others, and even if those were deleted at once."""
        post_profiles(storage, range(0, 1500, 25))
        other = copy_uncompacted(storage)
        clock = count(MIDNIGHT + 3 * HOUR, 9 * HOUR)
        for query in QUERIES:

            def meddle() -> None:
                post_profiles(storage, [next(clock) % 997 + 2000])
                compact(storage, next(clock))
                known = {block.id for block in storage.index.blocks("api", CPU, *ALL_TIME)}
                for there in storage.bucket.list("_/", "_0"):
                    if there.key not in known:
                        storage.bucket.delete(there.key)

            meddled = Storage(Meddling(storage.bucket, meddle), storage.index)
            before = replace(query, end=MIDNIGHT + 1600 * 60 * SECOND)
            assert merge_canonically(meddled, before) == other.says(merge_canonically, before)

    def test_a_merge_whose_blocks_are_gone_reads_what_they_have_become_parts_of(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 240, 10))
        other = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 20 * HOUR)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)

        def meddle() -> None:
            compact(storage, MIDNIGHT + 30 * HOUR)
            for block in blocks:
                storage.bucket.delete(block.id)

        meddled = Storage(Meddling(storage.bucket, meddle), storage.index)
        assert merge_canonically(meddled, QUERIES[0]) == merge_canonically(other, QUERIES[0])
        assert len(storage.index.blocks("api", CPU, *ALL_TIME)) == 1

    @pytest.mark.parametrize("time", [1, 2, 3])
    def test_a_profile_that_has_expired_is_told_by_what_its_block_became_part_of(
        self, storage: Storage, time: int
    ) -> None:
        """... whether that was before the profile, the block's list or the block was read."""
        metas = post_profiles(storage, range(0, 240, 10))
        other = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 20 * HOUR)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)
        asked = ProfileId.parse(metas[7].id)
        storage.bucket.delete(asked.object_key)
        meddled = []

        def meddle() -> None:
            meddled.append(compact(storage, MIDNIGHT + 30 * HOUR))
            for block in blocks:
                storage.bucket.delete(block.id)

        data = Querier(Storage(Meddling(storage.bucket, meddle, time), storage.index)).read(asked)
        assert canonical(data).samples == canonical(other.read(asked)).samples
        assert count_actions(meddled[0]) == {Action.MERGED: 1}

    def test_what_was_replaced_is_deleted_once_nobody_can_be_reading_it(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 300, 10))
        other = copy_uncompacted(storage)
        now = MIDNIGHT + 30 * HOUR
        assert Action.DELETED not in count_actions(compact(storage, now))
        assert len(list(storage.bucket.list("_/blocks/", "_/blocks0"))) == 6
        assert compact(storage, now + HOUR) == []
        assert count_actions(compact(storage, now + HOUR + 1)) == {Action.DELETED: 5}
        assert len(list(storage.bucket.list("_/blocks/", "_/blocks0"))) == 1
        assert_same_answers(storage, other)

    def test_once_a_day_what_is_left_of_long_ago_is_deleted_too(self, storage: Storage) -> None:
        """Else only what is of the last days is looked at."""
        post_profiles(storage, range(0, 240, 10))
        compact(storage, MIDNIGHT + 20 * HOUR)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)
        later = MIDNIGHT + 50 * DAY + 12 * HOUR
        assert count_actions(compact(storage, later)) == {Action.MERGED: 1}
        assert compact(storage, later + 3 * HOUR) == []
        assert count_actions(compact(storage, MIDNIGHT + 51 * DAY + 1800 * SECOND)) == {
            Action.DELETED: len(blocks)
        }

    def test_a_run_that_is_out_of_time_is_resumed_by_the_next(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 200, 10))
        post_profiles(storage, range(0, 200, 10), service="web")
        other = copy_uncompacted(storage)
        seconds = count()
        compactor = Compactor(storage, clock=lambda: MIDNIGHT + 30 * HOUR, timer=lambda: next(seconds))
        runs: list[int] = []
        while not runs or not compactor.complete:
            runs.append(len(list(compactor.run(18))))  # two services of seven types, and four turns more
            assert_same_answers(storage, other, QUERIES[:2])
        assert len(runs) > 1
        assert sum(runs) == 2 * (4 + 1)

    def test_services_take_turns(self, storage: Storage) -> None:
        for service in ("a", "b", "c"):
            post_profiles(storage, range(0, 300, 30), service=service)
        steps = compact(storage, MIDNIGHT + 23 * HOUR)
        for turn in range(0, 15, 3):
            assert {step.object_key.split("/")[2] for step in steps[turn : turn + 3]} == {"a", "b", "c"}

    def test_a_block_has_as_many_members_as_its_caps_allow(self, storage: Storage) -> None:
        post_profiles(storage, range(60))
        other = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 2 * HOUR, limits=Limits(block_members=25))
        assert [block.count for block in storage.index.blocks("api", CPU, *ALL_TIME)] == [25, 25, 10]
        compact(storage, MIDNIGHT + 30 * HOUR, limits=Limits(block=50))
        assert sorted(block.count for block in storage.index.blocks("api", CPU, *ALL_TIME)) == [10, 50]
        assert_same_answers(storage, other)
        storage.index.remove([block.id for block in storage.index.blocks("api", CPU, *ALL_TIME)])

    def test_the_index_is_rebuilt_from_the_bucket_alone(self, storage: Storage) -> None:
        """... head, blocks and what they hold, with what was replaced and what nobody knows beside them."""
        metas = post_profiles(storage, range(0, 1700, 17))
        other = copy_uncompacted(storage)
        now = MIDNIGHT + 30 * HOUR
        compact(storage, now - 6 * HOUR)
        compact(storage, now)
        held = [m for m in metas if m.created_at < MIDNIGHT + DAY]
        for meta in held[::2]:
            storage.bucket.delete(ProfileId.parse(meta.id).object_key)
        clear_index(storage)
        assert storage.index.services() == []
        found = [one for one in reindex(storage) if one.state is State.MISSING_ENTRY]
        assert {one.object_key for one in found if one.object_key.startswith("_/")} == {
            block.id for block in storage.index.blocks("api", CPU, *ALL_TIME)
        }
        assert_same_answers(storage, other)
        assert set(count_states(storage)) == {State.OK}
        assert Action.COMPACTED not in count_actions(compact(storage, now))

    def test_a_block_that_nobody_knows_changes_nothing(self, storage: Storage) -> None:
        """A compaction was cut off between the object and the commit."""
        post_profiles(storage, range(0, 180, 12))
        other = copy_uncompacted(storage)
        index, refused = storage.index, []

        class Refusing:
            def __getattr__(self, name: str) -> Any:
                return getattr(index, name)

            def commit(self, *args: Any) -> bool:
                refused.append(args)
                return False

        compact(Storage(storage.bucket, Refusing()), MIDNIGHT + 2 * HOUR)
        assert refused
        left = [there.key for there in storage.bucket.list("_/", "_0")]
        compact(Storage(storage.bucket, Refusing()), MIDNIGHT + 3 * HOUR)  # it may be about to be committed
        assert {there.key for there in storage.bucket.list("_/", "_0")} > set(left)
        assert_same_answers(storage, other)
        assert count_states(storage) == {State.OK: 15}
        compact(storage, MIDNIGHT + 3 * HOUR + 600 * SECOND)
        assert_same_answers(storage, other)
        assert set(count_states(storage)) == {State.OK}
        clear_index(storage)
        list(reindex(storage))
        assert_same_answers(storage, other)
        compact(storage, MIDNIGHT + 9 * HOUR)
        keys = {there.key for there in storage.bucket.list("_/", "_0")}
        assert keys == {block.id for block in storage.index.blocks("api", CPU, *ALL_TIME)}
        assert_same_answers(storage, other)


def query_of_all() -> Any:
    from profbucket.storage.ports import Selection

    return Selection("api", CPU, *ALL_TIME)


def count_states(storage: Storage) -> dict[State, int]:
    return dict(Counter(one.state for one in fsck(storage)))


def clear_index(storage: Storage) -> None:
    """Lose the index, but for its series."""
    for service in storage.index.services():
        blocks, head = storage.index.snapshot(replace(query_of_all(), service=service))
        storage.index.remove([*(block.id for block in blocks), *(meta.id for meta in head)])
