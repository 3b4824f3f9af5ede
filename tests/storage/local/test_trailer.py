"""Trailers: the metadata of a gzip object behind its bytes, in a file that all tools open."""

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from profbucket.errors import Damaged
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import reindex
from profbucket.pprof import inflate
from profbucket.storage.open import open_storage
from profbucket.storage.ports import ObjectRange
from storage_local import LocalBucket
from storage_local.trailer import make_trailer, read_trailer
from tests.support.go_tool import GoPprof
from tests.support.paths import DATA
from tests.support.storage.examples import NOW, make_meta
from tests.support.storage.index_suite import select_all
from tests.support.storage.local_files import metadata_file

CPU = (DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()
KEY = "api/cpu/1.pb.gz"
METADATA = {"labels": "a=1", "digest": "0123"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "storage" / KEY


def test_a_gzip_object_is_one_file(bucket: LocalBucket, file: Path) -> None:
    bucket.put(KEY, CPU, METADATA)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes().startswith(CPU)
    assert bucket.get(KEY) == CPU
    assert bucket.stat(KEY).metadata == METADATA
    [listed] = bucket.list("", "~")
    assert (listed.key, listed.size, listed.metadata) == (KEY, len(CPU), METADATA)


@pytest.mark.parametrize(
    ("key", "data", "metadata"),
    [
        ("api/cpu/1.pb.gz", gzip.decompress(CPU), METADATA),
        ("api/cpu/1.pb.gz", b"", METADATA),
        ("api/cpu/1.pb.gz", b"\x1f", METADATA),
        ("api/cpu/1.pb.gz", CPU, {"labels": "a" * 5000}),
        ("api/trace/1.trace", b"\x1f\x8b", METADATA),
        ("_/blocks/1.block", CPU, METADATA),
    ],
    ids=["raw", "empty", "one byte", "long metadata", "trace", "block"],
)
def test_other_objects_have_a_file_for_their_metadata(
    bucket: LocalBucket, tmp_path: Path, key: str, data: bytes, metadata: dict[str, str]
) -> None:
    bucket.put(key, data, metadata)
    path = tmp_path / "storage" / key
    assert path.read_bytes() == data == bucket.get(key)
    assert metadata_file(path).exists()
    assert bucket.stat(key).metadata == metadata


def test_ranges_end_before_the_trailer(bucket: LocalBucket) -> None:
    bucket.put(KEY, CPU, METADATA)
    size = len(CPU)
    ranges = [(0, None), (size - 1, None), (size - 1, size + 5), (size, size + 5), (size + 3, None), (3, 9)]
    assert list(bucket.get_many([ObjectRange(KEY, *ends) for ends in ranges])) == [
        CPU[begin:end] for begin, end in ranges
    ]


def test_bytes_that_look_like_a_trailer_are_content(bucket: LocalBucket) -> None:
    """Only the last trailer of a file is one: it is always added."""
    forged = CPU + make_trailer(KEY, CPU, b'{"labels": "forged=1"}')
    bucket.put(KEY, forged, METADATA)
    assert bucket.get(KEY) == forged
    assert bucket.stat(KEY).metadata == METADATA
    raw = gzip.decompress(CPU) + make_trailer(KEY, CPU, b"{}")
    bucket.put("api/cpu/2.pb.gz", raw, METADATA)
    assert bucket.get("api/cpu/2.pb.gz") == raw


def test_objects_of_earlier_versions_are_read_and_deleted(bucket: LocalBucket, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(CPU)
    metadata_file(file).write_bytes(b'{"labels": "a=1"}')
    assert bucket.get(KEY) == CPU
    assert bucket.stat(KEY).metadata == {"labels": "a=1"}
    assert [obj.size for obj in bucket.list("", "~")] == [len(CPU)]
    bucket.delete(KEY)
    assert list(file.parent.iterdir()) == []


def test_a_copied_file_brings_its_metadata(bucket: LocalBucket, file: Path, tmp_path: Path) -> None:
    bucket.put(KEY, CPU, METADATA)
    other = tmp_path / "other" / KEY
    other.parent.mkdir(parents=True)
    other.write_bytes(file.read_bytes())
    assert LocalBucket(tmp_path / "other").stat(KEY).metadata == METADATA


def test_a_file_is_a_profile_for_every_tool(
    bucket: LocalBucket, file: Path, go_pprof: GoPprof, tmp_path: Path
) -> None:
    bucket.put(KEY, CPU, METADATA)
    assert gzip.decompress(file.read_bytes()) == gzip.decompress(CPU) == inflate(file.read_bytes())
    subprocess.run(["gzip", "--test", file], check=True)
    original = tmp_path / "cpu.pb.gz"
    original.write_bytes(CPU)
    ours, theirs = (go_pprof("-raw", path).check().text for path in (file, original))
    assert ours == theirs


def test_damage_to_the_metadata_leaves_the_bytes_alone(bucket: LocalBucket, file: Path) -> None:
    bucket.put(KEY, CPU, METADATA)
    data = bytearray(file.read_bytes())
    data[len(CPU) + 20] ^= 1
    file.write_bytes(data)
    with pytest.raises(Damaged, match="checksum"):
        bucket.stat(KEY)
    assert bucket.get(KEY) == CPU
    assert [obj.metadata for obj in bucket.list("", "~")] == [None]


@pytest.mark.parametrize("cut", [*range(1, 60), len(CPU) + 1])
def test_a_file_that_was_cut_off_has_no_trailer(tmp_path: Path, cut: int) -> None:
    data = CPU + make_trailer(KEY, CPU, b'{"labels": "a=1"}')
    path = tmp_path / "cut"
    path.write_bytes(data[:-cut])
    with path.open("rb") as file:
        assert read_trailer(file.fileno(), os.fstat(file.fileno()).st_size).size == 0


def test_the_index_is_rebuilt_from_trailers_alone(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/storage"
    storage = open_storage(url)
    metas = [make_meta(NOW + number, data=CPU, labels=f"n={number}") for number in range(3)]
    for meta in metas:
        storage.write(meta, CPU)
    assert not list((tmp_path / "storage/api").rglob("*.json"))
    (tmp_path / "storage/.index.sqlite").unlink()
    storage = open_storage(url)
    assert [finding.state for finding in reindex(storage)] == [State.MISSING_ENTRY] * 3
    assert list(storage.index.find(select_all())) == metas
