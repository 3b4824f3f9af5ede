"""Acceptance suite of compaction. Subclasses define the fixture ``storage``, an empty one."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any

import pytest
import urllib3

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.errors import NotFound
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Action, Compactor, Step
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.form import PROFILES_PATH
from profbucket.model.ids import BLOCKS, ProfileId
from profbucket.model.labels import Labels, Matcher, parse_matchers
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate, Kind
from profbucket.pprof.merge import Merger
from profbucket.query.querier import Querier
from profbucket.storage.listing import list_prefix
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import Bucket, ObjectRange, Selection, SeriesSelection
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.canonical import Canonical, canonicalize
from tests.support.profiles import Profile, Sample, encode, profile, stack
from tests.support.storage.mixtures import MixedStorage, ProfileList

CPU = ProfileType.CPU
HOUR = 3600 * SECOND
DAY = 24 * HOUR
MIDNIGHT = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z
ALL_TIME = (0, LATEST)


@cache
def make_cpu_profile(number: int, **changes: Any) -> bytes:
    """Return a profile with a stack that all have, one that every third has, and one of its own."""
    samples = [
        Sample(stack("leaf", "all"), (1, 10_000_000)),
        Sample(stack("leaf", f"mod-{number % 3}"), (10, 100_000_000)),
        Sample(stack(f"own-{number}"), (number + 1, (number + 1) * 10_000_000)),
    ]
    return encode(profile(*samples, time_nanos=MIDNIGHT + number * 60 * SECOND, **changes))


def post_profiles(storage: Storage, numbers: Sequence[int], service: str = "api", **changes: Any) -> list[Meta]:
    """Store CPU profiles of three versions, one a minute."""
    posted = ProfileList()
    collector = Collector(posted if isinstance(storage, MixedStorage) else storage)

    def post(number: int) -> Meta:
        return collector.collect(
            service, CPU, Labels.from_pairs([("v", str(number % 3))]), make_cpu_profile(number, **changes)
        )

    with ThreadPoolExecutor(4) as threads:
        metas = list(threads.map(post, numbers))
    if isinstance(storage, MixedStorage):
        storage.write_mixed(sorted(posted.profiles, key=lambda profile: profile[0].position))
    return metas


def compact(storage: Storage, now: int, **changes: Any) -> list[Step]:
    return list(Compactor(storage, clock=lambda: now, **changes).run())


def run_due(storage: Storage, now: int, **changes: Any) -> list[Step]:
    return list(Compactor(storage, clock=lambda: now, **changes).run_due())


def count_actions(steps: Sequence[Step]) -> dict[Action, int]:
    return dict(Counter(step.action for step in steps))


class UncompactedStorage(Storage):
    """Profiles that are never compacted. Answers are cached until a profile is written."""

    def __init__(self) -> None:
        super().__init__(MemoryBucket(), MemoryIndex())
        self._answers: dict[tuple[Any, Query], Any] = {}

    def write(self, meta: Meta, data: bytes) -> bool:
        self._answers.clear()
        return super().write(meta, data)

    def answer(self, ask: Callable[[Storage, Query], Any], query: Query) -> Any:
        """Return ``ask(self, query)``."""
        if (ask, query) not in self._answers:
            self._answers[ask, query] = ask(self, query)
        return self._answers[ask, query]


def copy_uncompacted(storage: Storage) -> UncompactedStorage:
    """Return a storage with the same profiles, never compacted."""
    uncompacted = UncompactedStorage()
    collector = Collector(uncompacted)
    for service in storage.index.services():
        for meta in storage.lookup.find(Query(service, None, *ALL_TIME)):
            collector.collect(
                service, meta.type, meta.labels, storage.read(ProfileId.parse(meta.id)), meta.created_at
            )
    return uncompacted


def merge_canonically(storage: Storage, query: Query) -> Canonical | str:
    """Return a merge in canonical form, with its comments sorted; or its error."""
    try:
        profile = canonicalize(Querier(storage).merge(query).data)
    except NotFound as error:
        return str(error)
    return replace(profile, header=replace(profile.header, comments=tuple(sorted(profile.header.comments))))


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


def assert_same_answers(
    storage: Storage, uncompacted: UncompactedStorage, queries: Sequence[Query] = QUERIES
) -> None:
    """Compare the answers of both storages to all *queries*."""
    assert storage.index.services() == uncompacted.index.services()
    for query in queries:
        for ask in (find_all, merge_canonically, list_data_points):
            assert ask(storage, query) == uncompacted.answer(ask, query), query


def find_all(storage: Storage, query: Query) -> list[Meta]:
    return list(storage.lookup.find(query))


def list_data_points(storage: Storage, query: Query) -> list[tuple[Any, ...]]:
    return sorted(
        (created_at, totals.labels[series].format(), *values)
        for totals in storage.lookup.read_totals(query)
        for created_at, series, values in zip(totals.created_at, totals.series, totals.values, strict=True)
    )


class InterferingBucket:
    """A bucket that calls *interfere* before the get_many with this *number*, counted from 1."""

    def __init__(self, bucket: Bucket, interfere: Callable[[], None], number: int = 1) -> None:
        self._bucket, self._interfere, self._remaining = bucket, interfere, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        self._remaining -= 1
        if self._remaining == 0:
            self._interfere()
        return self._bucket.get_many(ranges)


class CompactionSuite:
    """Tests of the compaction of ``storage``."""

    def test_profiles_of_finished_hours_become_blocks_without_changing_answers(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 150, 2))
        uncompacted = copy_uncompacted(storage)
        steps = compact(storage, MIDNIGHT + 2 * HOUR + 600 * SECOND)
        assert count_actions(steps) == {Action.COMPACTED: 2}
        assert [step.profiles for step in steps] == [30, 30]
        blocks, head = storage.index.snapshot(Selection("api", CPU, *ALL_TIME))
        assert [(block.count, block.period) for block in blocks] == [(30, 3600), (30, 3600)]
        assert len(list(head)) == 15
        assert_same_answers(storage, uncompacted)
        assert compact(storage, MIDNIGHT + 2 * HOUR + 600 * SECOND) == []

    def test_a_query_of_several_services_finds_those_in_blocks_and_heads(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 60, 3), "shop-api")
        compact(storage, MIDNIGHT + 2 * HOUR)
        post_profiles(storage, range(61, 120, 3), "shop-api")
        post_profiles(storage, range(10, 100, 4), "shop-web")
        post_profiles(storage, range(0, 100, 9), "billing")
        querier = Querier(storage)
        services = querier.select_services([Matcher("service", "=~", "shop-.*")])
        assert services == ("shop-api", "shop-web")
        query = Query("~shop-.*", CPU, *ALL_TIME, services=services)
        alone = [replace(query, service=service, services=()) for service in services]
        profiles = [meta for own in alone for meta in querier.find(own).profiles]
        assert list(querier.find(query).profiles) == sorted(profiles, key=lambda meta: meta.position)
        assert querier.find(query).profiles[0].service != querier.find(query).profiles[4].service
        for matchers in ((), parse_matchers("v=1")):
            merge = querier.merge(replace(query, matchers=matchers))
            merges = [querier.merge(replace(own, matchers=matchers)) for own in alone]
            assert merge.found == sum(own.found for own in merges)
            parts = Merger()
            for own in merges:
                parts.add(own.data)
            assert canonicalize(merge.data).samples == canonicalize(parts.result()).samples
            labeled = querier.merge(replace(query, matchers=matchers), MergeOptions(service_label=True))
            parts = Merger()
            for own, service in zip(merges, services, strict=True):
                parts.add(own.data, label=("service", service))
            assert canonicalize(labeled.data).samples == canonicalize(parts.result()).samples
        [api, web] = querier.timeline(replace(query, end=MIDNIGHT + 2 * HOUR), ["service"], 60)["groups"]
        assert [sum(group["profiles"]) for group in (api, web)] == [40, 23]
        assert api["labels"] == [{"key": "service", "value": "shop-api"}]

    def test_an_hour_is_compacted_after_a_delay(self, storage: Storage) -> None:
        post_profiles(storage, [0, 59])
        assert compact(storage, MIDNIGHT + HOUR + 600 * SECOND - 1) == []
        assert count_actions(compact(storage, MIDNIGHT + HOUR + 600 * SECOND)) == {Action.COMPACTED: 1}

    def test_the_blocks_of_a_finished_day_become_one(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 1600, 32))
        uncompacted = copy_uncompacted(storage)
        steps = compact(storage, MIDNIGHT + 30 * HOUR)
        assert count_actions(steps) == {Action.COMPACTED: 27, Action.MERGED: 1}
        periods = [block.period for block in storage.index.blocks("api", CPU, *ALL_TIME)]
        assert periods == [86400, 3600, 3600, 3600]
        assert_same_answers(storage, uncompacted)
        assert compact(storage, MIDNIGHT + 30 * HOUR) == []

    def test_late_profiles_are_compacted_by_the_next_run(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 120, 4))
        compact(storage, MIDNIGHT + 30 * HOUR)
        post_profiles(storage, range(1, 120, 8))
        uncompacted = copy_uncompacted(storage)
        assert_same_answers(storage, uncompacted)
        steps = compact(storage, MIDNIGHT + 31 * HOUR)
        assert count_actions(steps)[Action.MERGED] == 1
        [block] = storage.index.blocks("api", CPU, *ALL_TIME)
        assert block.count == 45
        assert_same_answers(storage, uncompacted)

    def test_a_profile_posted_again_after_it_was_compacted_counts_once(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 60, 3))
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 2 * HOUR)
        post_profiles(storage, [3, 30])
        assert_same_answers(storage, uncompacted)
        post_profiles(uncompacted, [3, 4])
        post_profiles(storage, [4])
        assert_same_answers(storage, uncompacted)
        assert count_states(storage) == {State.OK: 1 + 1, State.DUPLICATE: 2}
        steps = compact(storage, MIDNIGHT + 2 * HOUR)
        assert count_actions(steps) == {Action.DEDUPLICATED: 1, Action.COMPACTED: 1}
        assert_same_answers(storage, uncompacted)

    def test_an_expired_profile_is_restored_from_its_block(self, storage: Storage) -> None:
        metas = post_profiles(storage, range(0, 1500, 30))
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 30 * HOUR)
        for meta in metas:
            storage.bucket.delete(ProfileId.parse(meta.id).object_key)
        assert_same_answers(storage, uncompacted)
        profile_id = ProfileId.parse(metas[7].id)
        restored = canonicalize(Querier(storage).read(profile_id))
        posted = canonicalize(uncompacted.read(profile_id))
        assert restored.samples == posted.samples
        assert replace(restored.header, comments=()) == posted.header
        ids = [ProfileId.parse(metas[i].id) for i in (3, 9)]
        restored_merge, posted_merge = (
            canonicalize(Querier(queried).merge_ids(ids).data) for queried in (storage, uncompacted)
        )
        assert restored_merge == posted_merge

    def test_aggregates_are_equal_in_heads_blocks_and_both(self, storage: Storage) -> None:
        collector = Collector(storage)
        types = ((b"alloc_space", b"bytes"), (b"inuse_space", b"bytes"))
        for number in range(24):
            minute = 7 * number
            samples = tuple(
                Sample(stack(name), (number * factor + number % 5, 100 * factor + number))
                for name, factor in (("main.a", 1), (f"main.{number % 3}", 10))
            )
            data = encode(Profile(samples, sample_types=types, time_nanos=MIDNIGHT + minute * 60 * SECOND))
            labels = Labels.from_pairs([("pod", "ab"[number % 2])])
            collector.collect("api", ProfileType.HEAP, labels, data)
        queries = [
            Query("api", ProfileType.HEAP, *ALL_TIME),
            Query("api", ProfileType.HEAP, *ALL_TIME, parse_matchers("pod=a")),
            Query("api", ProfileType.HEAP, MIDNIGHT + HOUR // 2, MIDNIGHT + 2 * HOUR),
        ]
        answers = []
        for hours in (0, 2, 30):
            compact(storage, MIDNIGHT + hours * HOUR)
            querier = Querier(storage)
            options = [MergeOptions(aggregate=aggregate) for aggregate in Aggregate]
            answers.append(
                [
                    (
                        canonicalize(querier.merge(query, own).data).samples,
                        querier.timeline(query, ("pod",), aggregate=own.aggregate),
                    )
                    for query in queries
                    for own in options
                ]
            )
        assert answers[0] == answers[1] == answers[2]

    def test_kinds_that_agents_say_are_kept_in_the_index_and_in_blocks(self, storage: Storage) -> None:
        collector = Collector(storage)
        types = ((b"contentions", b"count"), (b"delay", b"nanoseconds"))
        for number in range(4):
            time_nanos = MIDNIGHT + number * 3600 * SECOND
            data = encode(Profile((Sample(stack("main.a"), (5, 50)),), sample_types=types, time_nanos=time_nanos))
            kinds = {"contentions": Kind.SUM, "delay": Kind.SUM}
            collector.collect("api", ProfileType.MUTEX, Labels(), data, kinds=kinds)
        query = Query("api", ProfileType.MUTEX, *ALL_TIME)
        for hours in (0, 2, 30):
            compact(storage, MIDNIGHT + hours * HOUR)
            querier = Querier(storage)
            [series] = storage.index.series(SeriesSelection("api"))
            assert [item.kind for item in series.sample_types] == [Kind.SUM, Kind.SUM]
            for meta in storage.lookup.find(query):
                assert [total.kind for total in meta.totals] == [Kind.SUM, Kind.SUM]
            merged = querier.merge(query, MergeOptions(aggregate=Aggregate.AUTO))
            assert list(canonicalize(merged.data).samples.values()) == [(20, 200)]
            timeline = querier.timeline(query, aggregate=Aggregate.AUTO)
            assert timeline["aggregates"] == ["sum", "sum"]
            assert sum(timeline["groups"][0]["values"][0]) == 20

    def test_a_large_answer_with_expired_profiles_is_published(self, storage: Storage) -> None:
        """If the bucket has signed URLs; one profile by its id, or merged with another."""
        metas = post_profiles(storage, range(3))
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 2 * HOUR)
        for meta in metas[:2]:
            storage.bucket.delete(ProfileId.parse(meta.id).object_key)
        limits = Limits(answer_bytes=1)
        api = create_app(Config("memory:", limits), Role.QUERY, querier=Querier(storage, limits)).test_client()
        for rows in ([0], [2], [0, 1], [0, 2]):
            response = api.get(f"{PROFILES_PATH}/{'+'.join(metas[i].id for i in rows)}")
            url = response.headers.get("Location")
            assert response.status_code == (200 if url is None else 302)
            data = response.data if url is None else urllib3.request("GET", url).data
            expected = Querier(uncompacted).merge_ids([ProfileId.parse(metas[i].id) for i in rows])
            assert canonicalize(data).samples == canonicalize(expected.data).samples

    def test_profiles_with_different_sample_types_go_into_different_blocks(self, storage: Storage) -> None:
        post_profiles(storage, range(10))
        post_profiles(storage, range(10, 20), sample_types=((b"wall", b"ns"), (b"n", b"count")))
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 30 * HOUR)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)
        assert sorted(block.count for block in blocks) == [10, 10]
        assert len({block.measures for block in blocks}) == 2
        for first, last in ((0, 9), (10, 19)):
            query = Query("api", CPU, MIDNIGHT + first * 60 * SECOND, MIDNIGHT + last * 60 * SECOND)
            assert merge_canonically(storage, query) == merge_canonically(uncompacted, query)
        with pytest.raises(Exception, match=r"sample types differ.*cannot be merged"):
            Querier(storage).merge(Query("api", CPU, *ALL_TIME))

    def test_blocks_with_different_sample_types_merge_by_the_common_ones(self, storage: Storage) -> None:
        """As profiles do; a head profile, labels and times included."""
        samples, cpu, wall = (b"samples", b"count"), (b"cpu", b"nanoseconds"), (b"wall", b"ms")
        sets = [(samples, cpu), ((b"cpu", b"microseconds"), wall), (wall, samples, cpu)]
        collector = Collector(storage)

        def post(number: int) -> None:
            types = sets[number // 10 % 3]
            stacks = (Sample(stack(f"f{number % 4}", "main"), tuple(range(number, number + len(types)))),)
            data = encode(profile(*stacks, sample_types=types, time_nanos=MIDNIGHT + number * 60 * SECOND))
            collector.collect("api", CPU, Labels.from_pairs([("v", str(number % 3))]), data)

        for number in range(50):
            post(number)
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 30 * HOUR)
        post(52)
        [last] = storage.lookup.find(Query("api", CPU, MIDNIGHT + 52 * 60 * SECOND, LATEST))
        uncompacted.write(last, storage.read(ProfileId.parse(last.id)))
        assert len({block.measures for block in storage.index.blocks("api", CPU, *ALL_TIME)}) == 3
        for query in (*QUERIES[:4], *QUERIES[5:7], QUERIES[8]):
            for sample_type in (None, "cpu", "wall"):
                merged, expected = (
                    Querier(source).merge(query, MergeOptions(sample_type)) for source in (storage, uncompacted)
                )
                ours, theirs = canonicalize(merged.data), canonicalize(expected.data)
                assert ours.samples == theirs.samples, (query, sample_type)
                assert replace(ours.header, comments=()) == replace(theirs.header, comments=())
                assert merged.merged == expected.merged

    def test_samples_that_cancel_out_in_a_block_are_kept_for_merges_of_a_part(self, storage: Storage) -> None:
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
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 20 * HOUR)
        assert_same_answers(storage, uncompacted)
        assert count_actions(compact(storage, MIDNIGHT + 60 * HOUR))[Action.MERGED] == 1
        assert_same_answers(storage, uncompacted)

    def test_concurrent_runs_put_each_profile_into_one_block(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 240, 2))
        post_profiles(storage, range(0, 100, 5), service="web")
        uncompacted = copy_uncompacted(storage)
        with ThreadPoolExecutor(3) as threads:
            runs = [threads.submit(compact, storage, MIDNIGHT + 30 * HOUR) for _ in range(3)]
            for run in runs:
                run.result()
        compact(storage, MIDNIGHT + 30 * HOUR)
        assert_same_answers(storage, uncompacted)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)
        assert sum(block.count for block in blocks) == 120
        compact(storage, MIDNIGHT + 60 * HOUR)
        assert list_block_keys(storage) == {
            block.id for name in ("api", "web") for block in storage.index.blocks(name, CPU, *ALL_TIME)
        }

    def test_a_merge_in_progress_survives_compaction(self, storage: Storage) -> None:
        """Its profiles become blocks, its blocks are merged, and the replaced blocks are deleted at once."""
        post_profiles(storage, range(0, 1500, 25))
        uncompacted = copy_uncompacted(storage)
        clock = count(MIDNIGHT + 3 * HOUR, 9 * HOUR)
        for query in QUERIES:

            def interfere() -> None:
                post_profiles(storage, [next(clock) % 997 + 2000])
                compact(storage, next(clock))
                indexed = {block.id for block in storage.index.blocks("api", CPU, *ALL_TIME)}
                for object_key in list_block_keys(storage) - indexed:
                    storage.bucket.delete(object_key)

            interfered = Storage(InterferingBucket(storage.bucket, interfere), storage.index)
            bounded = replace(query, end=MIDNIGHT + 1600 * 60 * SECOND)
            assert merge_canonically(interfered, bounded) == uncompacted.answer(merge_canonically, bounded)

    def test_a_merge_reads_the_block_that_replaced_its_blocks(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 240, 10))
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 20 * HOUR)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)

        def interfere() -> None:
            compact(storage, MIDNIGHT + 30 * HOUR)
            for block in blocks:
                storage.bucket.delete(block.id)

        interfered = Storage(InterferingBucket(storage.bucket, interfere), storage.index)
        assert merge_canonically(interfered, QUERIES[0]) == merge_canonically(uncompacted, QUERIES[0])
        assert len(storage.index.blocks("api", CPU, *ALL_TIME)) == 1

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_an_expired_profile_is_restored_from_the_block_that_replaced_its_block(
        self, storage: Storage, number: int
    ) -> None:
        """Compaction happens before the profile, the member list or the block is read."""
        metas = post_profiles(storage, range(0, 240, 10))
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 20 * HOUR)
        blocks = storage.index.blocks("api", CPU, *ALL_TIME)
        profile_id = ProfileId.parse(metas[7].id)
        storage.bucket.delete(profile_id.object_key)
        interfered = []

        def interfere() -> None:
            interfered.append(compact(storage, MIDNIGHT + 30 * HOUR))
            for block in blocks:
                storage.bucket.delete(block.id)

        data = Querier(Storage(InterferingBucket(storage.bucket, interfere, number), storage.index)).read(
            profile_id
        )
        assert canonicalize(data).samples == canonicalize(uncompacted.read(profile_id)).samples
        assert count_actions(interfered[0]) == {Action.MERGED: 1}

    def test_a_replaced_block_is_deleted_after_the_grace_period(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 300, 10))
        uncompacted = copy_uncompacted(storage)
        now = MIDNIGHT + 30 * HOUR
        assert Action.DELETED not in count_actions(compact(storage, now))
        assert len(list_block_keys(storage)) == 6
        assert compact(storage, now + HOUR) == []
        assert count_actions(compact(storage, now + HOUR + 1)) == {Action.DELETED: 5}
        assert len(list_block_keys(storage)) == 1
        assert_same_answers(storage, uncompacted)

    def test_a_run_that_is_out_of_time_is_continued_by_the_next(self, storage: Storage) -> None:
        post_profiles(storage, range(0, 200, 10))
        post_profiles(storage, range(0, 200, 10), service="web")
        uncompacted = copy_uncompacted(storage)
        seconds = count()
        compactor = Compactor(storage, clock=lambda: MIDNIGHT + 30 * HOUR, timer=lambda: next(seconds))
        runs: list[int] = []
        while not runs or not compactor.complete:
            runs.append(
                len(list(compactor.run(8)))
            )  # list the types of two services, end two tasks, and four more
            assert_same_answers(storage, uncompacted, QUERIES[:2])
        assert len(runs) > 1
        assert sum(runs) == 2 * (4 + 1)

    def test_services_take_turns(self, storage: Storage) -> None:
        for service in ("a", "b", "c"):
            post_profiles(storage, range(0, 300, 30), service=service)
        steps = compact(storage, MIDNIGHT + 23 * HOUR)
        for turn in range(0, 15, 3):
            assert {step.object_key.split("/")[2] for step in steps[turn : turn + 3]} == {"a", "b", "c"}

    def test_a_block_has_as_many_members_as_its_limits_allow(self, storage: Storage) -> None:
        post_profiles(storage, range(60))
        uncompacted = copy_uncompacted(storage)
        compact(storage, MIDNIGHT + 2 * HOUR, limits=Limits(block_members=25))
        assert [block.count for block in storage.index.blocks("api", CPU, *ALL_TIME)] == [25, 25, 10]
        compact(storage, MIDNIGHT + 30 * HOUR, limits=Limits(block=50))
        assert sorted(block.count for block in storage.index.blocks("api", CPU, *ALL_TIME)) == [10, 50]
        assert_same_answers(storage, uncompacted)
        storage.index.remove([block.id for block in storage.index.blocks("api", CPU, *ALL_TIME)])

    def test_the_index_is_rebuilt_from_the_bucket_alone(self, storage: Storage) -> None:
        """The bucket has profiles, live blocks, and blocks that were replaced."""
        metas = post_profiles(storage, range(0, 1700, 17))
        uncompacted = copy_uncompacted(storage)
        now = MIDNIGHT + 30 * HOUR
        compact(storage, now - 6 * HOUR)
        compact(storage, now)
        compacted = [meta for meta in metas if meta.created_at < MIDNIGHT + DAY]
        for meta in compacted[::2]:
            storage.bucket.delete(ProfileId.parse(meta.id).object_key)
        clear_index(storage)
        assert storage.index.services() == []
        repaired = [finding for finding in reindex(storage) if finding.state is State.MISSING_ENTRY]
        assert {finding.object_key for finding in repaired if finding.object_key.startswith("_/")} == {
            block.id for block in storage.index.blocks("api", CPU, *ALL_TIME)
        }
        assert_same_answers(storage, uncompacted)
        assert set(count_states(storage)) == {State.OK}
        assert Action.COMPACTED not in count_actions(compact(storage, now))

    def test_an_uncommitted_block_changes_no_answer(self, storage: Storage) -> None:
        """A compaction was cut off between the put and the commit."""
        post_profiles(storage, range(0, 180, 12))
        uncompacted = copy_uncompacted(storage)
        index, refused = storage.index, []

        class RefusingIndex:
            def __getattr__(self, name: str) -> Any:
                return getattr(index, name)

            def commit(self, *args: Any) -> bool:
                refused.append(args)
                return False

        compact(Storage(storage.bucket, RefusingIndex()), MIDNIGHT + 2 * HOUR)
        assert refused
        left = list_block_keys(storage)
        compact(
            Storage(storage.bucket, RefusingIndex()), MIDNIGHT + 3 * HOUR
        )  # keeps the object, which may be about to be committed
        assert list_block_keys(storage) > left
        assert_same_answers(storage, uncompacted)
        assert count_states(storage) == {State.OK: 15}
        compact(storage, MIDNIGHT + 3 * HOUR + 600 * SECOND)
        assert_same_answers(storage, uncompacted)
        assert set(count_states(storage)) == {State.OK}
        clear_index(storage)
        list(reindex(storage))
        assert_same_answers(storage, uncompacted)
        compact(storage, MIDNIGHT + 9 * HOUR)
        assert list_block_keys(storage) == {block.id for block in storage.index.blocks("api", CPU, *ALL_TIME)}
        assert_same_answers(storage, uncompacted)


def list_block_keys(storage: Storage) -> set[str]:
    """Return the keys of all objects of blocks, in the index or not."""
    return {obj.key for obj in list_prefix(storage.bucket, BLOCKS)}


def count_states(storage: Storage) -> dict[State, int]:
    return dict(Counter(finding.state for finding in fsck(storage)))


def clear_index(storage: Storage) -> None:
    """Remove all entries and blocks from the index; series may stay."""
    for service in storage.index.services():
        blocks, head = storage.index.snapshot(Selection(service, CPU, *ALL_TIME))
        storage.index.remove([*(block.id for block in blocks), *(meta.id for meta in head)])
