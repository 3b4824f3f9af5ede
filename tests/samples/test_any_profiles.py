"""Tables of any profiles add up to what their merge shows: inlined functions, frames to drop, values that wrap."""

import io
from collections import Counter
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import samples_key
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode
from profbucket.pprof.merge import Merger
from profbucket.pprof.numbers import wrap_int64
from profbucket.pprof.report.top import build_top_report
from profbucket.samples.export import Exporter
from profbucket.samples.frames import name_package
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.profiles import (
    Function,
    Label,
    Line,
    Location,
    Profile,
    Sample,
    encode,
    profile,
    profile_sets,
    stack,
)
from tests.support.property_tests import examples
from tests.support.storage.compaction_suite import MIDNIGHT

CPU = ProfileType.CPU
HOUR = 3600 * SECOND

Values = dict[str, tuple[int, int]]  # flat and cumulative, by function


def export_rows(profiles: list[Profile], *, compact: bool) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Store *profiles* of one day, an hour apart; return those that are valid, and the rows of their table."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    stored = []
    for number, content in enumerate(profiles):
        data = encode(replace(content, time_nanos=MIDNIGHT + number * HOUR))
        try:
            Collector(storage).collect("s", CPU, Labels.from_pairs([("n", str(number % 2))]), data)
        except Invalid:  # it has no samples
            continue
        stored.append(data)
    if compact:
        list(Compactor(storage, clock=lambda: MIDNIGHT + 3 * HOUR).run())
    if not stored:
        return [], []
    Exporter(storage).export_day("s", CPU, MIDNIGHT)
    return stored, pq.read_table(io.BytesIO(storage.bucket.get(samples_key("s", CPU, MIDNIGHT)))).to_pylist()


def sum_rows(rows: list[dict[str, Any]], sample_type: str) -> Values:
    flat, cumulative = Counter[str](), Counter[str]()
    for row in rows:
        frames, value = row["stack"], row["value"]
        if row["sample_type"] == sample_type and frames:
            assert frames[-1] == row["function"]
            assert [frame for frame, is_first in zip(frames, row["is_first"], strict=True) if is_first] == list(
                dict.fromkeys(frames)
            )
            flat[frames[-1]] += value
            for function in set(frames):
                cumulative[function] += value
    return keep_values({name: (wrap_int64(flat[name]), wrap_int64(value)) for name, value in cumulative.items()})


def sum_merge(stored: list[bytes], index: int) -> tuple[Values, set[str]]:
    """Return the values of a sample type in the merge, and the names that several functions have there.

    pprof keeps nameless functions apart that begin at different lines; a table has their names only.
    """
    merger = Merger()
    for data in stored:
        merger.add(data)
    report = build_top_report(decode(merger.result()), str(index), fraction=0)
    counts = Counter(row.name for row in report.rows)
    values = {row.name: (row.flat, row.cum) for row in report.rows if counts[row.name] == 1}
    return keep_values(values), {name for name, count in counts.items() if count > 1}


def keep_values(values: Values) -> Values:
    return {name: pair for name, pair in values.items() if any(pair)}


@examples(12)
@given(profile_sets(), st.booleans())
def test_sums_equal_those_of_the_merge(profiles: list[Profile], compact: bool) -> None:
    stored, rows = export_rows(profiles, compact=compact)
    for index, (name, _) in enumerate(profiles[0].sample_types if stored else ()):
        expected, ambiguous = sum_merge(stored, index)
        sums = sum_rows(rows, name.decode())
        assert {function: pair for function, pair in sums.items() if function not in ambiguous} == expected


def test_frames_to_drop_are_dropped() -> None:
    samples = [Sample(stack("inner", "alloc", "work", "main"), (1, 5)), Sample(stack("work", "main"), (1, 7))]
    _, rows = export_rows([profile(*samples, drop_frames=b"alloc")], compact=True)
    assert [(row["stack"], row["value"]) for row in rows] == [(["main", "work"], 2), (["main", "work"], 12)]


def test_a_row_describes_frames_and_labels() -> None:
    inlined = Location(lines=(Line(Function(b"a/b.inner", filename=b"i.go"), 3), Line(Function(b"a/b.outer"), 4)))
    labels = (Label(b"k", b"v"), Label(b"k", b"w"), Label(b"n", number=-5), Label(b"t", number=5, unit=b"seconds"))
    samples = [Sample((inlined, *stack("main")), (0, 5), labels), Sample((), (1, 0))]
    _, rows = export_rows([profile(*samples)], compact=False)
    empty, row = rows
    assert (empty["function"], empty["stack"], empty["mapping"], empty["value"]) == ("", [], "", 1)
    assert row["stack"] == ["main", "a/b.outer", "a/b.inner"]
    assert (row["files"], row["lines"]) == (["main.go", "", "i.go"], [10, 4, 3])
    assert (row["function"], row["package"], row["sample_type"], row["unit"]) == (
        "a/b.inner",
        "a/b",
        "cpu",
        "nanoseconds",
    )
    assert row["sample_labels"] == [("k", "v,w"), ("n", "-5"), ("t", "5 seconds")]
    assert (row["service_name"], row["labels"], row["profiles"]) == ("s", [("n", "0")], 1)


@pytest.mark.parametrize(
    ("function", "package"),
    [
        ("github.com/a/b.(*T).Run", "github.com/a/b"),
        ("main.main", "main"),
        ("std::vector::push_back", "std"),
        ("com.shop.Cart.total", "com"),
        ("gopkg.in/yaml.v2.Marshal", "gopkg.in/yaml"),
        ("malloc", ""),
        ("[libc.so.6]", ""),
        ("", ""),
    ],
)
def test_packages_are_those_of_pprof(function: str, package: str) -> None:
    assert name_package(function) == package
