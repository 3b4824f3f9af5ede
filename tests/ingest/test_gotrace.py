"""The start time of Go traces: of real ones, of older versions, and of malformed ones."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.ingest.collector import Collector
from profbucket.ingest.gotrace import started_at
from profbucket.model.labels import Labels
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.go_tool import Go, run
from tests.support.paths import DATA

TRACES = sorted(DATA.glob("*/trace-*.trace"))
NO_THREAD = 2**64 - 1


def uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def batch(content: bytes, *, head: bytes = b"\x01", thread: int = NO_THREAD) -> bytes:
    return head + b"".join(map(uvarint, (1, thread, 9, len(content)))) + content


def sync(seconds: int, nanos: int, *, frequency: bytes = b"\x08" + uvarint(15_625_000)) -> bytes:
    return b"\x32" + frequency + b"\x33" + b"".join(map(uvarint, (86, 2**45, seconds, nanos)))


def header(version: int = 26) -> bytes:
    return f"go 1.{version} trace".encode().ljust(16, b"\0")


@pytest.mark.parametrize("path", TRACES, ids=lambda path: str(path.relative_to(DATA)))
def test_the_start_of_a_real_trace_is_the_one_that_go_reads(go: Go, path: Path) -> None:
    text = go.run("tool", "trace", "-d=wire", str(path)).check().text
    snapshot = re.search(r"ClockSnapshot .*sec=(\d+) nsec=(\d+)", text)
    assert snapshot
    assert started_at(path.read_bytes()) == int(snapshot[1]) * SECOND + int(snapshot[2])


def test_the_start_of_a_new_trace_is_now(shop: Path, tmp_path: Path) -> None:
    before = tmp_path.stat().st_ctime_ns
    run(str(shop), "-out", str(tmp_path), "-cpu-seconds", "0.05").check()
    traces = list(tmp_path.glob("**/*.trace"))
    assert traces
    for path in traces:
        assert before - SECOND <= started_at(path.read_bytes()) <= path.stat().st_mtime_ns


@given(st.integers(1, LATEST))
def test_all_valid_times_are_read(time: int) -> None:
    assert started_at(header() + batch(sync(*divmod(time, SECOND)))) == time


def test_the_sync_batch_is_found_behind_other_batches() -> None:
    others = batch(bytes(60_000), thread=3) + batch(b"\x32 of an experiment", head=b"\x31\x01")
    assert started_at(header() + others + batch(sync(5, 7))) == 5 * SECOND + 7


def test_a_sync_batch_without_a_frequency_has_a_clock() -> None:
    assert started_at(header() + batch(sync(5, 7, frequency=b""))) == 5 * SECOND + 7


@pytest.mark.parametrize("version", [11, 22, 23, 24])
def test_a_trace_of_an_older_go_has_no_start(version: int) -> None:
    assert started_at(header(version) + batch(sync(5, 7))) == 0


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\x02",
        b"\x01" + b"\xff" * 40,
        batch(b"\x32"),
        batch(b"\x32\x08"),
        batch(b"\x32\x09\x33"),
        batch(sync(5, 10**9)),
        batch(sync(2**63, 0)),
        batch(sync(LATEST // SECOND, 999_999_999)),
        batch(sync(5, 7))[:-1],
        batch(sync(5, 7)[:-1]) + b"\x07",
        batch(b"") * 2000 + batch(sync(5, 7)),
        batch(b"\x01" * 10)[:-5],
    ],
)
def test_a_trace_with_an_invalid_clock_has_no_start(rest: bytes) -> None:
    assert started_at(header() + rest) == 0


@given(st.binary(max_size=200), st.sampled_from([b"", header(), header(999), header() + batch(sync(5, 7))[:9]]))
def test_any_bytes_have_a_start_or_are_invalid(rest: bytes, head: bytes) -> None:
    data = head + rest
    try:
        assert 0 <= started_at(data) <= LATEST
    except Invalid:
        assert not head


@given(st.data())
def test_a_corrupt_trace_still_has_a_valid_start(drawn: st.DataObject) -> None:
    data = bytearray(TRACES[0].read_bytes()[:200])
    for _ in range(drawn.draw(st.integers(1, 4))):
        data[drawn.draw(st.integers(16, 70))] = drawn.draw(st.integers(0, 255))
    assert 0 <= started_at(bytes(data)) <= LATEST


@pytest.mark.parametrize("data", [b"", b"go 1.26 trace", b"go 1.26 trace\0\0", b"go 1.x trace".ljust(40, b"\0")])
def test_data_without_the_header_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        started_at(data)
    assert caught.value.code == "invalid_trace"


class TestStored:
    """A retried upload of a trace is stored once."""

    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())

    def upload_twice(self, storage: Storage, data: bytes, created_at: int | None = None) -> list[int]:
        """Upload *data* twice, a second apart; return the times of all stored traces."""
        clock = iter((10**18, 10**18 + SECOND))
        for _ in range(2):
            Collector(storage, clock=lambda: next(clock)).collect(
                "api", ProfileType.TRACE, Labels(), data, created_at
            )
        return [meta.created_at for meta in storage.lookup.find(Query("api", None, 0, LATEST))]

    def test_a_trace_with_a_clock_has_its_time_and_is_stored_once(self, storage: Storage) -> None:
        assert self.upload_twice(storage, header() + batch(sync(5, 7))) == [5 * SECOND + 7]

    def test_the_clock_takes_precedence_over_created_at(self, storage: Storage) -> None:
        assert self.upload_twice(storage, header() + batch(sync(5, 7)), 9) == [5 * SECOND + 7]

    def test_an_older_trace_has_the_time_created_at_and_is_stored_once(self, storage: Storage) -> None:
        assert self.upload_twice(storage, header(23), 9) == [9]

    def test_an_older_trace_without_created_at_has_the_time_of_each_upload(self, storage: Storage) -> None:
        assert self.upload_twice(storage, header(23)) == [10**18, 10**18 + SECOND]
