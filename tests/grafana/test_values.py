"""Values mean what their sample type says, and time series open no profile."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.model.blocks import PROFILES
from profbucket.periods import CompactionPolicy
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import ObjectRange
from profbucket.storage.store import Storage
from tests.grafana.test_calls import CPU, MS, SECOND, Grafana, heap
from tests.pprof.report.test_flame_levels import collapsed
from tests.support.api import NOW, Api, pprof
from tests.support.hour_of_heap import BEGIN, hour_of_heap

MINUTE, MB = 60 * SECOND, 1 << 20
INUSE = "memory:inuse_space:bytes:space:bytes"
ALLOC = "memory:alloc_space:bytes:space:bytes"
HOUR: dict[str, Any] = {
    "start": (NOW - 60 * MINUTE) // MS,
    "end": NOW // MS,
    "labelSelector": '{service_name="api"}',
}


class CountingBucket(MemoryBucket):
    """A bucket that notes what is read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[ObjectRange] = []

    def get(self, object_key: str) -> bytes:
        self.reads.append(ObjectRange(object_key))
        return super().get(object_key)

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        for object_range in ranges:
            before = list(self.reads)
            [data] = super().get_many([object_range])
            self.reads = [*before, object_range]  # without what it is made of
            yield data


@pytest.fixture
def hour() -> Grafana:
    """Return a collector with 52 heap profiles of an hour of one process, which holds 50 MB."""
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    for number in range(52):
        api.posted(heap(50 * MB, at=NOW - number * MINUTE), type="heap", version="1")
    return Grafana(api)


def points(grafana: Grafana, profile_type_id: str, **fields: Any) -> list[float]:
    answer = grafana.json("SelectSeries", profileTypeID=profile_type_id, **{**HOUR, "step": 300, **fields})
    return [point.get("value", 0) for one in answer.get("series", []) for point in one["points"]]


def total(grafana: Grafana, profile_type_id: str, **fields: Any) -> int:
    answer = grafana.json("SelectMergeStacktraces", profileTypeID=profile_type_id, **{**HOUR, **fields})
    return int(answer["flamegraph"].get("total", 0)) if answer else 0


class TestKinds:
    def test_memory_in_use_is_an_average(self, hour: Grafana) -> None:
        assert total(hour, INUSE) == 50 * MB
        assert set(points(hour, INUSE)) == {50 * MB}
        assert set(points(hour, INUSE, step=15)) == {50 * MB}

    def test_an_hour_with_about_50_mb_in_use(self) -> None:
        """The hour that `profbucket top` shows as 50 MB: 49.5 and 50.5 MB in turn."""
        grafana = Grafana(Api(Storage(MemoryBucket(), MemoryIndex())))
        for data in hour_of_heap():
            grafana.api.posted(data, type="heap")
        hour = {"start": (BEGIN - SECOND) // MS, "end": (BEGIN + 3599 * SECOND) // MS}
        assert total(grafana, INUSE, **hour) == 50 * MB
        assert points(grafana, INUSE, step=3600, **hour) == [50 * MB]
        each_minute = points(grafana, INUSE, step=60, **hour)
        assert (len(each_minute), set(each_minute)) == (52, {49.5 * MB, 50.5 * MB})

    def test_memory_of_several_processes_adds_up(self, hour: Grafana) -> None:
        for number in range(52):
            hour.api.posted(heap(10 * MB, at=NOW - number * MINUTE), type="heap", version="2")
        assert total(hour, INUSE) == 60 * MB
        assert set(points(hour, INUSE)) == {60 * MB}
        assert set(points(hour, INUSE, groupBy=["version"])) == {50 * MB, 10 * MB}

    def test_sums_wrap_in_graphs_as_in_merges(self) -> None:
        grafana = Grafana(Api(Storage(MemoryBucket(), MemoryIndex())))
        for number in range(3):
            grafana.api.posted(pprof(2**62, at=NOW - number * MINUTE))
        assert total(grafana, CPU) == -(2**62)
        assert points(grafana, CPU, step=3600) == [-(2**62)]

    def test_counters_are_increases(self) -> None:
        """Allocations since the start: 10, 20, 30, then a restart, 5, 15."""
        grafana = Grafana(Api(Storage(MemoryBucket(), MemoryIndex())))
        for number, value in enumerate((1, 2, 3, 0.5, 1.5)):
            at = NOW - (5 - number) * MINUTE
            grafana.api.posted(heap(int(value * MB), at=at), type="heap")
        assert points(grafana, ALLOC, step=60) == [0, 10 * MB, 10 * MB, 5 * MB, 10 * MB]
        assert total(grafana, ALLOC) == 35 * MB

    @pytest.mark.parametrize(
        ("profile_type_id", "values", "is_refused"),
        [(INUSE, 3, True), (INUSE, 4, False), (ALLOC, 51, True), (ALLOC, 52, False)],
    )
    def test_the_values_that_are_kept_are_limited(
        self, hour: Grafana, profile_type_id: str, values: int, is_refused: bool
    ) -> None:
        """An average for each of four steps, or each of 52 counters."""
        grafana = Grafana(Api(hour.api.storage, Limits(timeline_values=values)))
        fields = {**HOUR, "profileTypeID": profile_type_id, "step": 900}
        if is_refused:
            answer = grafana.error("SelectSeries", **fields)
            assert answer == (422, "invalid_argument", "max_timeline_values_exceeded")
        else:
            assert grafana.json("SelectSeries", **fields) == hour.json("SelectSeries", **fields)
        average = {**fields, "aggregation": "TIME_SERIES_AGGREGATION_TYPE_AVERAGE"}
        assert grafana.json("SelectSeries", **average) == hour.json("SelectSeries", **average)

    def test_time_adds_up(self) -> None:
        grafana = Grafana(Api(Storage(MemoryBucket(), MemoryIndex())))
        for number in range(4):
            grafana.api.posted(collapsed("main 5"), created_at=str((NOW - number * MINUTE) // SECOND))
        assert points(grafana, CPU, step=3600) == [20]
        assert total(grafana, CPU) == 20

    def test_a_setting_says_what_values_mean(self, hour: Grafana) -> None:

        limits = Limits(sample_kinds=(("heap", "inuse_space", "*", "sum"),))
        grafana = Grafana(Api(hour.api.storage, limits))
        assert total(grafana, INUSE) == 52 * 50 * MB


def test_pushed_allocations_are_found_by_the_id_of_pyroscope() -> None:
    """Clients push allocations of an interval, as the type "alloc", but the id is that of Go's heap profiles."""
    grafana = Grafana(Api(Storage(MemoryBucket(), MemoryIndex())))
    for number in range(2):
        grafana.api.posted(heap(3, at=NOW - number * MINUTE), type="alloc")
    assert total(grafana, ALLOC) == total(grafana, "alloc:alloc_space:bytes:space:bytes") == 60
    grafana.api.posted(heap(4, at=NOW - MINUTE), service="go", type="heap")
    grafana.api.posted(heap(5, at=NOW), service="go", type="heap")
    assert total(grafana, ALLOC, labelSelector='{service_name="go"}') == 10


def test_sample_types_beyond_those_that_a_series_keeps_have_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists lack them; they are found by their id."""
    monkeypatch.setattr("profbucket.model.series.MAX_SAMPLE_TYPES", 2)
    grafana = Grafana(Api(Storage(MemoryBucket(), MemoryIndex())))
    for number in range(4):
        grafana.api.posted(pprof(5, at=NOW - number * MINUTE, sample_type=f"t{number}"))
    ids = [f"process_cpu:t{number}:nanoseconds:cpu:nanoseconds" for number in range(5)]
    listed = [one["ID"] for one in grafana.json("ProfileTypes")["profileTypes"]]
    assert listed == ids[:2]
    for type_id in ids[:4]:
        assert total(grafana, type_id) == 5
        assert points(grafana, type_id, step=3600) == [5]
        assert points(grafana, type_id, labelSelector=f'{{__profile_type__="{type_id}"}}', step=3600) == [5]
    fields = {**HOUR, "profileTypeID": ids[4]}
    assert (
        grafana.json("SelectSeries", step=15, **fields) == grafana.json("SelectMergeStacktraces", **fields) == {}
    )


@pytest.mark.parametrize("is_compacted", [False, True], ids=["head", "blocks"])
def test_a_time_series_of_a_week_opens_no_profile(is_compacted: bool) -> None:
    bucket = CountingBucket()
    storage = Storage(bucket, MemoryIndex(), policy=CompactionPolicy())
    api = Api(storage)
    hours = 7 * 24
    for number in range(hours):
        at = NOW - number * 60 * MINUTE
        api.posted(collapsed("main 5"), created_at=str(at // SECOND), version=str(number % 3))
    if is_compacted:
        assert list(Compactor(storage, clock=lambda: NOW).run())
    bucket.reads.clear()
    fields = {**HOUR, "start": (NOW - (hours - 1) * 60 * MINUTE) // MS, "profileTypeID": CPU, "step": 3600}
    answer = json.dumps(Grafana(api).json("SelectSeries", groupBy=["version"], **fields))
    assert answer.count('"value": 5') == hours
    for method in ("ProfileTypes", "LabelNames", "Series", "GetProfileStats"):
        Grafana(api).json(method)
    assert all(read.key.startswith("_/blocks/") for read in bucket.reads)
    for read in bucket.reads:  # the lists of members only
        [block] = [block for block in storage.index.blocks("api", None, 0, NOW) if block.id == read.key]
        assert block.ends[0] <= read.begin < (read.end or 0) <= block.ends[1] < block.ends[PROFILES]
    assert bool(bucket.reads) == is_compacted
