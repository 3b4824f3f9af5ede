"""A year of one service, compacted: 525,600 profiles, one a minute."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.http import DELAY_SECONDS
from bench.measure import ROUNDS, Measure, Row, bench
from bench.profiles import list_corpus
from bench.storage import run_emulators
from bench.week import SlowCollector, to_stored
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.model import blocks
from profbucket.model.blocks import MERGED, METAS, Block, make_block
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode, encode
from profbucket.pprof.block.container import decode_members, encode_members
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.ports import Change, SeriesSelection
from profbucket.storage.store import Storage
from profbucket.times import DAY, LATEST, SECOND, format_time
from tests.support.storage.unique_names import new_gcs_bucket, new_name

_SERVICE = "year"
_MINUTES_A_DAY = 24 * 60
_MONTH = 30 * DAY
_MONTHS = 12
_DAYS = 5  # that are not in a month yet


@bench("year")
def year() -> Iterator[Row]:
    """Merge 12 blocks of 30 days, which are copies of one with other times, and 5 of a day."""
    end = (time.time_ns() // _MONTH - 1) * _MONTH  # of the months
    begin = time.perf_counter()
    storage = _compact_a_month(end)
    compacted = Measure(time.perf_counter() - begin)
    note = "and write and compact that day; one process, in memory"
    yield Row("merge the blocks of 30 days, 43,200 profiles", compacted, note=note)
    [month, *days] = storage.index.blocks(_SERVICE, ProfileType.CPU, 0, LATEST)
    assert (month.count, [day.count for day in days]) == (30 * _MINUTES_A_DAY, [_MINUTES_A_DAY] * _DAYS)
    with run_emulators() as (gcs, firestore):
        url = f"gs://{new_gcs_bucket(gcs)}?project={new_name()}"
        target = open_storage(url)
        for number in range(_MONTHS):
            _copy(storage, target, month, number * _MONTH)
        for day in days:
            _copy(storage, target, day, 0)
        for series in storage.index.series(SeriesSelection(_SERVICE, ProfileType.CPU)):
            target.index.add_series(series)
        first, last = format_time(end - _MONTHS * _MONTH), format_time(end + _DAYS * DAY)
        selection = f"service={_SERVICE}&type=cpu&from={first}&to={last}"
        with SlowCollector(url, gcs, firestore) as measure:
            for name, request in {
                "merge": f"profiles/merge?{selection}",
                "merge of one version": f"profiles/merge?{selection}&version=0.0.1",
                "timeline": f"series?{selection}",
                "timeline by version": f"series?{selection}&group_by=version",
            }.items():
                _, before = _collector_usage()
                result = measure(request)
                peak, after = _collector_usage()
                result = replace(result, peak_mb=peak, cpu_seconds=(after - before) / (ROUNDS + 1))
                note = f"HTTP, {DELAY_SECONDS * 1000:.0f} ms added to each request; CPU and peak of the collector"
                yield Row(f"{name} of a year, 525,600 profiles", result, note=note)


def _compact_a_month(end: int) -> Storage:
    """Return a storage in memory with the 30 days before *end*, and the first days after it, compacted.

    All days are copies of the first, with other times.
    """
    day, storage = Storage(MemoryBucket(), MemoryIndex()), Storage(MemoryBucket(), MemoryIndex())
    contents = [
        message
        for message in (decode(Path(file).read_bytes()).message for file in list_corpus())
        if message.sample
    ]
    for minute in range(_MINUTES_A_DAY):
        message = contents[minute % len(contents)]
        message.time_nanos = end - _MONTH + minute * 60 * SECOND
        day.write(*to_stored(_SERVICE, message.time_nanos, encode(message)))
    now = end + _DAYS * DAY + 1800 * SECOND
    list(Compactor(day, clock=lambda: now).run())
    [block] = day.index.blocks(_SERVICE, ProfileType.CPU, 0, LATEST)
    for number in range(30 + _DAYS):
        _copy(day, storage, block, -number * DAY)
    for series in day.index.series(SeriesSelection(_SERVICE, ProfileType.CPU)):
        storage.index.add_series(series)
    list(Compactor(storage, clock=lambda: now).run())
    return storage


def _copy(source: Storage, target: Storage, block: Block, shift: int) -> None:
    """Copy *block*, as if its profiles had been taken *shift* nanoseconds earlier."""
    data, limits = source.bucket.get(block.id), Limits()
    members = decode_members(data[block.ends[MERGED] : block.ends[METAS]], limits)
    members = replace(members, created_at=[created_at - shift for created_at in members.created_at])
    part = encode_members(members)
    growth = len(part) - (block.ends[METAS] - block.ends[MERGED])
    ends = [block.ends[MERGED], *(end + growth for end in block.ends[METAS:])]
    copied = make_block(members, block.period, ends, block.measures, block.written_at)
    data = data[: block.ends[MERGED]] + part + data[block.ends[METAS] :]
    target.bucket.put(copied.id, data, blocks.to_metadata(copied))
    assert target.index.commit(Change(copied, (), ()))


def _collector_usage() -> tuple[float, float]:
    """Return the peak of memory in MB and the CPU seconds so far of the collector's largest process."""
    usages = [(0.0, 0.0)]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text, stat = status.read_text(), status.with_name("stat").read_text()
            command = status.with_name("cmdline").read_bytes()
            environment = status.with_name("environ").read_bytes()
        except OSError:  # it has ended, or belongs to another user
            continue
        if b"functions-framework" in command and f"PROFBUCKET_BENCH={os.getpid()}".encode() in environment:
            [peak] = re.findall(r"VmHWM:\s+(\d+) kB", text)
            ticks = stat.rpartition(")")[2].split()[11:13]
            usages.append((int(peak) / 1024, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")))
    return max(usages)
