"""Merges of a day of many services with one URL, next to a merge of one of them."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.measure import Measure, Row, alternate, bench
from bench.profiles import list_corpus
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.pprof import decode, encode
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import DAY, DAY_SECONDS
from tests.support.storage.fleet import MIDNIGHT, make_fleet, name_services

_SERVICES, _PROFILES = 200, 48


@bench("fleet")
def fleet() -> Iterator[Row]:
    """Merge a day of 200 services of Go compilers' profiles: a block each, in memory, in this process."""
    contents = []
    for file in list_corpus():
        message = decode(Path(file).read_bytes()).message
        message.time_nanos = 0
        contents.append(encode(message))
    storage = Storage(MemoryBucket(), MemoryIndex(), policy=CompactionPolicy(short=DAY_SECONDS))
    make_fleet(storage, _SERVICES, _PROFILES, contents)
    querier = Querier(storage)
    one = Query(name_services(1)[0], ProfileType.CPU, MIDNIGHT, MIDNIGHT + DAY)
    whole = replace(one, service="~.*", services=tuple(name_services(_SERVICES)))

    def measure(query: Query, options: MergeOptions = MergeOptions()) -> Measure:
        begin, cpu = time.perf_counter(), time.process_time()
        querier.merge(query, options)
        return Measure(time.perf_counter() - begin, cpu_seconds=time.process_time() - cpu)

    labeled, all_services, one_service = alternate(
        lambda: measure(whole, MergeOptions(service_label=True)),
        lambda: measure(whole),
        lambda: measure(one),
        rounds=3,
    )
    note = f"{_SERVICES * _PROFILES:,} profiles; peer: of one service, {_PROFILES}"
    yield Row(f"merge of a day of {_SERVICES} services", all_services, one_service, note)
    yield Row("the same, with the service as a label", labeled, one_service, note)
