"""Sums over tables of samples equal what ``go tool pprof -top`` shows of the same profiles."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import samples_key
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode, encode
from profbucket.samples.export import Exporter, Outcome
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.go_tool import GoPprof, read_top
from tests.support.paths import CORPUS, DATA

CPU, HEAP = ProfileType.CPU, ProfileType.HEAP
DAY = 86_400 * SECOND
MIDNIGHT = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z

# What of a row is one stack: a function of the stack counts once, however often it is in it.
CUMULATIVE = """
    SELECT function, sum(value) FROM (SELECT unnest(list_distinct(stack)) AS function, value FROM {}) GROUP BY 1
"""
FLAT = "SELECT function, sum(value) FROM {} WHERE len(stack) > 0 GROUP BY 1"


def top_of_table(path: Path, condition: str) -> dict[str, tuple[int, int]]:
    table = f"(SELECT * FROM '{path}' WHERE {condition})"
    with duckdb.connect() as connection:
        flat = Counter(dict(connection.sql(FLAT.format(table)).fetchall()))
        cumulative = dict(connection.sql(CUMULATIVE.format(table)).fetchall())
    return {function: (flat[function], value) for function, value in cumulative.items() if flat[function] or value}


def export_files(files: Sequence[Path], profile_type: ProfileType, target: Path) -> Path:
    """Store *files* a minute apart, each with the name of its directory as version, and export their day."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    for number, file in enumerate(files):
        message = decode(file.read_bytes()).message
        message.time_nanos = MIDNIGHT + 60 * SECOND * number
        labels = Labels.from_pairs([("version", file.parent.name)])
        Collector(storage).collect("shop", profile_type, labels, encode(message))
    compacted = list(Compactor(storage, clock=lambda: MIDNIGHT + DAY).run())
    assert compacted  # all but the last hour is in blocks, the rest in the head
    export = Exporter(storage).export_day("shop", profile_type, MIDNIGHT)
    assert (export.outcome, export.profiles) == (Outcome.EXPORTED, len(files))
    target.write_bytes(storage.bucket.get(samples_key("shop", profile_type, MIDNIGHT)))
    return target


@pytest.fixture(scope="module")
def cpu_files() -> list[Path]:
    return sorted(DATA.glob("shop-*/cpu-[0-9].pb.gz"))


@pytest.fixture(scope="module")
def cpu_table(cpu_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_files(cpu_files, CPU, tmp_path_factory.mktemp("samples") / "cpu.parquet")


@pytest.mark.parametrize(
    ("flags", "condition"),
    [
        ((), "true"),
        (("-tagfocus=pool=payments",), "sample_labels['pool'] = 'payments'"),
        (("-tagignore=pool=payments",), "sample_labels['pool'] IS DISTINCT FROM 'payments'"),
    ],
)
def test_cpu_equals_top(
    go_pprof: GoPprof, cpu_files: list[Path], cpu_table: Path, flags: Sequence[str], condition: str
) -> None:
    expected = read_top(go_pprof, cpu_files, "-unit=ns", *flags)
    assert len(expected) > 50
    assert top_of_table(cpu_table, f"sample_type = 'cpu' AND {condition}") == expected


def test_labels_of_series_select_profiles(go_pprof: GoPprof, cpu_files: list[Path], cpu_table: Path) -> None:
    files = [file for file in cpu_files if file.parent.name == "shop-0.0.2"]
    expected = read_top(go_pprof, files, "-unit=ns")
    assert top_of_table(cpu_table, "sample_type = 'cpu' AND labels['version'] = 'shop-0.0.2'") == expected


@pytest.mark.parametrize("sample_type", ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"])
def test_heap_equals_top(go_pprof: GoPprof, tmp_path: Path, sample_type: str) -> None:
    files = sorted(DATA.glob("shop-*/heap-[0-9].pb.gz"))
    table = export_files(files, HEAP, tmp_path / "heap.parquet")
    expected = read_top(go_pprof, files, "-unit=B", f"-sample_index={sample_type}")
    assert len(expected) > 10
    assert top_of_table(table, f"sample_type = '{sample_type}'") == expected


def test_heap_of_a_sample_label_equals_top(go_pprof: GoPprof, tmp_path: Path) -> None:
    files = sorted(DATA.glob("shop-*/heap-[0-9].pb.gz"))
    table = export_files(files, HEAP, tmp_path / "heap.parquet")
    expected = read_top(go_pprof, files, "-unit=B", "-sample_index=alloc_space", "-tagfocus=64B:64B")
    assert expected
    assert top_of_table(table, "sample_type = 'alloc_space' AND sample_labels['bytes'] = '64'") == expected


@pytest.mark.skipif(not CORPUS.exists(), reason="needs ../shared/corpus")
def test_corpus_equals_top(go_pprof: GoPprof, tmp_path: Path) -> None:
    files = [file for file in sorted(CORPUS.glob("*.pb.gz"))[::40] if decode(file.read_bytes()).has_samples]
    table = export_files(files, CPU, tmp_path / "corpus.parquet")
    assert top_of_table(table, "sample_type = 'cpu'") == read_top(go_pprof, files, "-unit=ns")
