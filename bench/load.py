"""Compaction at ten times the design load: 300,000 profiles in an hour, of 1,000 services and 5 types."""

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Measure, Row, bench
from bench.profiles import list_corpus
from profbucket.maintenance.compactor import Action, Compactor
from profbucket.model.blocks import Block
from profbucket.model.ids import ProfileId, profile_digest
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.pprof import decode
from profbucket.storage.memory import MemoryBucket, MemoryIndex, MemoryQueue
from profbucket.storage.ports import Change, Selection
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.storage.counting_port import count_calls

_SERVICES = 1000
_TYPES = 5
_MINUTES = 60
_CONTENTS = 10  # the smallest of the corpus
_HOUR = 3600 * SECOND


@bench("load")
def load() -> Iterator[Row]:
    """Write an hour, hand its tasks to a queue, do each, and then look for more."""
    storage = Storage(MemoryBucket(), _IndexByService())
    begin_at = time.time_ns() // _HOUR * _HOUR
    list(Compactor(storage, clock=lambda: begin_at).run_due())  # the daily visit
    profiles = _SERVICES * _TYPES * _MINUTES
    seconds = _write(storage, begin_at)
    yield Row(f"write {profiles:,} profiles", Measure(seconds), note="to memory, not validated; one process")

    now = begin_at + _HOUR + (CompactionPolicy().wait + 1) * SECOND
    queue = MemoryQueue()
    begin = time.perf_counter()
    count = Compactor(storage, clock=lambda: now).enqueue_due(queue)
    yield Row(f"enqueue {count:,} tasks", Measure(time.perf_counter() - begin), note="the scheduled call")

    times, compacted = [], 0
    cpu = time.process_time()
    for task in iter(queue.take, None):
        begin = time.perf_counter()
        steps = list(Compactor(storage, clock=lambda: now).run_task(task))
        compacted += sum(step.profiles for step in steps if step.action is Action.COMPACTED)
        times.append(time.perf_counter() - begin)
    cpu = time.process_time() - cpu
    assert (count, compacted) == (_SERVICES * _TYPES, profiles)
    total = Measure(sum(times), cpu_seconds=cpu)
    note = f"{cpu / profiles * 1000:.1f} ms of CPU a profile: {cpu / 3600:.2f} processors at this load"
    yield Row(f"compact {profiles:,} profiles", total, note=note)
    yield Row("- the slowest task", Measure(max(times)), note=f"of {count:,}; its budget is 480 s")

    counted, calls = count_calls(storage)
    begin = time.perf_counter()
    assert list(Compactor(counted, clock=lambda: now).run_due()) == []
    note = f"calls of bucket and index: {', '.join(calls)}"
    yield Row(f"idle run over {count:,} services and types", Measure(time.perf_counter() - begin), note=note)


def _write(storage: Storage, begin_at: int) -> float:
    """Write an hour of profiles, and return the seconds that it took."""
    messages = [(data, decode(data).message) for data in (Path(file).read_bytes() for file in list_corpus())]
    contents = sorted((data for data, message in messages if message.sample), key=len)[:_CONTENTS]
    totals = {data: tuple(Total(*total) for total in decode(data).totals) for data in contents}
    begin = time.perf_counter()
    for minute in range(_MINUTES):
        for service in range(_SERVICES):
            for number in range(_TYPES):
                data = contents[(minute + service + number) % len(contents)]
                created_at = begin_at + (minute * 60 * _SERVICES + service * 60) * SECOND // _SERVICES
                profile_type = ProfileType(f"type-{number}")
                labels = Labels.from_pairs([("pod", str(minute % 4))])
                name = f"service-{service}"
                digest = profile_digest(name, profile_type, labels, created_at, data)
                profile_id = ProfileId(name, profile_type, created_at, digest)
                meta = Meta(str(profile_id), name, profile_type, labels, created_at, len(data), totals[data])
                storage.write(meta, data)
    return time.perf_counter() - begin


class _IndexByService(MemoryIndex):
    """An index in memory for each service, because each find looks at all entries; the tasks are in one."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: defaultdict[str, MemoryIndex] = defaultdict(MemoryIndex)

    def add(self, meta: Meta) -> bool:
        return self._parts[meta.service].add(meta)

    def snapshot(self, selection: Selection) -> tuple[list[Block], Iterator[Meta]]:
        return self._parts[selection.service].snapshot(selection)

    def blocks(self, service: str, profile_type: ProfileType | None, start: int, end: int) -> list[Block]:
        return self._parts[service].blocks(service, profile_type, start, end)

    def commit(self, *changes: Change) -> bool:
        assert changes[0].block is not None
        return self._parts[changes[0].block.service].commit(*changes)

    def services(self) -> list[str]:
        return sorted(self._parts)
