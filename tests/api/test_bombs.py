"""Small bodies that decompress to gigabytes are refused before they take memory, on each route."""

import gzip
from collections.abc import Callable, Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from backports import zstd

from tests.support.agents import make_form
from tests.support.memory_limit import MemoryLimit, limit_memory
from tests.support.serving import served

MEMORY_BYTES = 150_000_000
BOMB_BYTES = 2 << 30


def make_zstd_bomb() -> bytes:
    compressor, chunk = zstd.ZstdCompressor(), bytes(1 << 20)
    return b"".join(compressor.compress(chunk) for _ in range(BOMB_BYTES >> 20)) + compressor.flush()


def make_gzip_bomb() -> bytes:
    """Return gzip of many members, each of a megabyte."""
    return gzip.compress(bytes(1 << 20)) * (BOMB_BYTES >> 20)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryLimit]:
    with limit_memory(MEMORY_BYTES, tmp_path_factory.mktemp("limited") / "bin") as limit:
        yield limit


@pytest.fixture(scope="module")
def collector(inside: MemoryLimit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("bombs")
    with served(
        f"file://{directory}/profiles",
        directory / "log",
        scripts=inside.scripts,
        program="profbucket",
        PROFBUCKET_BLOCK_EVERY="0",
        MALLOC_ARENA_MAX="1",
    ) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/0/profiles?service=shop&type=cpu", {}),
        ("/ingest?name=shop&format=pprof", {}),
        ("/push.v1.PusherService/Push", {"Content-Type": "application/proto"}),
        ("/v1development/profiles", {"Content-Type": "application/x-protobuf"}),
        ("/v2/projects/any/profiles", {}),
    ],
    ids=["post", "ingest", "push", "otlp", "cloud profiler"],
)
@pytest.mark.parametrize("coding", ["zstd", "gzip"])
def test_a_body_with_a_content_encoding(
    collector: str, inside: MemoryLimit, path: str, headers: dict[str, str], coding: str
) -> None:
    bomb = make_zstd_bomb() if coding == "zstd" else make_gzip_bomb()
    check(collector, inside, path, bomb, {**headers, "Content-Encoding": coding})


@pytest.mark.parametrize(
    "path", ["/api/0/profiles?service=shop&type=cpu", "/ingest?name=shop&format=pprof"], ids=["post", "ingest"]
)
def test_a_gzipped_profile(collector: str, inside: MemoryLimit, path: str) -> None:
    check(collector, inside, path, make_gzip_bomb(), {})


@pytest.mark.parametrize("make_bomb", [make_zstd_bomb, make_gzip_bomb])
def test_a_part_of_a_form(collector: str, inside: MemoryLimit, make_bomb: Callable[[], bytes]) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    check(collector, inside, "/profiling/v1/input", make_form(make_bomb()), headers)


def check(collector: str, inside: MemoryLimit, path: str, body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(collector + path, body, headers))
    refused.value.close()
    assert refused.value.code == 413
    assert inside.measure_peak() < MEMORY_BYTES
    assert not inside.count_killed()
