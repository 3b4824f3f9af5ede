"""Tables of samples: the export of a week of one service, and SQL over a week of many services."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Measure, Row, bench, run_process, take_median
from bench.profiles import list_corpus
from bench.week import to_stored
from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import samples_key
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.pprof import decode, encode
from profbucket.samples.export import Export, Exporter
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import DAY, DAY_SECONDS, LATEST, SECOND
from tests.support.storage.fleet import MIDNIGHT, make_fleet, name_services

_CPU = ProfileType.CPU
_DAYS = 7
_MINUTES = _DAYS * 24 * 60
_SERVICES, _PROFILES = 200, 48
_ROUNDS = 3

_TOP_FUNCTIONS = """
SELECT function, sum(value) AS ns FROM samples WHERE sample_type = 'cpu' GROUP BY 1 ORDER BY 2 DESC LIMIT 20
"""
_TOP_CUMULATIVE = """
SELECT function, sum(self) AS ns, sum(cumulative) AS cum FROM functions WHERE sample_type = 'cpu'
GROUP BY 1 ORDER BY 3 DESC LIMIT 20
"""
_QUERY = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from tests.support.sample_fleet import open_tables
tables, query = sys.argv[1:]
with TemporaryDirectory(dir=tables) as opened, open_tables(Path(tables), Path(opened)) as database:
    list(database.query(query)[1])
"""


@bench("samples")
def samples() -> Iterator[Row]:
    """Export a week of 10,080 profiles, and query the tables of a week of 200 services."""
    contents = [decode(Path(file).read_bytes()).message for file in list_corpus()]
    contents = [message for message in contents if message.sample]
    storage = Storage(MemoryBucket(), MemoryIndex())
    raw = 0
    for minute in range(_MINUTES):
        message = contents[minute % len(contents)]
        message.time_nanos = MIDNIGHT + minute * 60 * SECOND
        data = encode(message)
        raw += len(data)
        storage.write(*to_stored("week", message.time_nanos, data))
    compaction = _measure(lambda: list(Compactor(storage, clock=lambda: MIDNIGHT + 8 * DAY).run()))
    exporter = Exporter(storage)
    exports: list[Export] = []
    export = _measure(
        lambda: exports.extend(exporter.export_day("week", _CPU, MIDNIGHT + day * DAY) for day in range(_DAYS))
    )
    blocks = sum(block.ends[-1] for block in storage.index.blocks("week", _CPU, 0, LATEST))
    tables, rows = sum(own.size for own in exports), sum(own.rows for own in exports)
    sizes = {"tables": tables, "blocks": blocks, "objects": raw}
    per_profile = ", ".join(f"{size / _MINUTES:,.0f} in {name}" for name, size in sizes.items())
    note = f"{rows:,} rows; bytes per profile: {per_profile}; peer: compaction"
    yield Row("export a week of 10,080 profiles", export, compaction, note)
    for message in contents:
        message.time_nanos = 0
    with TemporaryDirectory() as directory:
        size = _make_tables(Path(directory), [encode(message) for message in contents])
        for name, query in (("top functions", _TOP_FUNCTIONS), ("top functions, cumulative", _TOP_CUMULATIVE)):
            runs = [run_process([sys.executable, "-c", _QUERY, directory, query]) for _ in range(_ROUNDS)]
            note = f"whole process; {_SERVICES * _DAYS} tables of {size >> 20} MB"
            yield Row(f"{name} of {_SERVICES} services in a week", take_median(runs), note=note)


def _make_tables(directory: Path, contents: list[bytes]) -> int:
    """Export a day of many services into *directory*, and copy it to six more days; return the size of all."""
    storage = Storage(MemoryBucket(), MemoryIndex(), policy=CompactionPolicy(short=DAY_SECONDS))
    make_fleet(storage, _SERVICES, _PROFILES, contents)
    exporter, size = Exporter(storage), 0
    for service in name_services(_SERVICES):
        key = exporter.export_day(service, _CPU, MIDNIGHT).object_key
        data = storage.bucket.get(key)
        for day in range(_DAYS):
            path = directory / samples_key(service, _CPU, MIDNIGHT + day * DAY)
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            size += len(data)
    return size


def _measure(function: Callable[[], object]) -> Measure:
    begin, cpu = time.perf_counter(), time.process_time()
    function()
    return Measure(time.perf_counter() - begin, cpu_seconds=time.process_time() - cpu)
