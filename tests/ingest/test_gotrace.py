"""When a Go trace was begun: what the runtime wrote, what older versions did not, and what nobody should send."""

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
def test_it_is_what_go_itself_reads_in_a_real_trace(go: Go, path: Path) -> None:
    text = go.run("tool", "trace", "-d=wire", str(path)).check().text
    snapshot = re.search(r"ClockSnapshot .*sec=(\d+) nsec=(\d+)", text)
    assert snapshot
    assert started_at(path.read_bytes()) == int(snapshot[1]) * SECOND + int(snapshot[2])


def test_it_is_when_the_trace_of_this_moment_was_taken(shop: Path, tmp_path: Path) -> None:
    """A trace that a program takes now is not older than the test and not from the future."""
    before = tmp_path.stat().st_ctime_ns
    run(str(shop), "-out", str(tmp_path), "-cpu-seconds", "0.05").check()
    traces = list(tmp_path.glob("**/*.trace"))
    assert traces
    for path in traces:
        assert before - SECOND <= started_at(path.read_bytes()) <= path.stat().st_mtime_ns


@given(st.integers(1, LATEST))
def test_every_time_that_can_be_stored_is_read(time: int) -> None:
    assert started_at(header() + batch(sync(*divmod(time, SECOND)))) == time


def test_a_full_batch_of_another_thread_in_front_does_not_hide_it() -> None:
    others = batch(bytes(60_000), thread=3) + batch(b"\x32 of an experiment", head=b"\x31\x01")
    assert started_at(header() + others + batch(sync(5, 7))) == 5 * SECOND + 7


def test_a_sync_batch_without_a_frequency_has_a_clock_all_the_same() -> None:
    assert started_at(header() + batch(sync(5, 7, frequency=b""))) == 5 * SECOND + 7


@pytest.mark.parametrize("version", [11, 22, 23, 24])
def test_a_trace_of_an_older_go_does_not_say(version: int) -> None:
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
def test_a_trace_whose_clock_makes_no_sense_does_not_say(rest: bytes) -> None:
    assert started_at(header() + rest) == 0


@given(st.binary(max_size=200), st.sampled_from([b"", header(), header(999), header() + batch(sync(5, 7))[:9]]))
def test_whatever_is_sent_is_a_time_or_no_trace(rest: bytes, begin: bytes) -> None:
    data = begin + rest
    try:
        assert 0 <= started_at(data) <= LATEST
    except Invalid:
        assert not begin


@given(st.data())
def test_a_real_trace_with_wrong_bytes_is_a_time_still(drawn: st.DataObject) -> None:
    data = bytearray(TRACES[0].read_bytes()[:200])
    for _ in range(drawn.draw(st.integers(1, 4))):
        data[drawn.draw(st.integers(16, 70))] = drawn.draw(st.integers(0, 255))
    assert 0 <= started_at(bytes(data)) <= LATEST


@pytest.mark.parametrize("data", [b"", b"go 1.26 trace", b"go 1.26 trace\0\0", b"go 1.x trace".ljust(40, b"\0")])
def test_what_does_not_begin_as_a_trace_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match=r"the header 'go 1\.N trace' is missing"):
        started_at(data)


class TestStored:
    """What an agent sends again because it saw no answer is one trace, whenever it comes."""

    @pytest.fixture
    def storage(self) -> Storage:
        return Storage(MemoryBucket(), MemoryIndex())

    def stored(self, storage: Storage, data: bytes, created_at: int | None = None) -> list[int]:
        """The times of all traces after *data* was posted twice, a second apart."""
        clock = iter((10**18, 10**18 + SECOND))
        for _ in range(2):
            Collector(storage, clock=lambda: next(clock)).collect(
                "api", ProfileType.TRACE, Labels(), data, created_at
            )
        return [meta.created_at for meta in storage.lookup.find(Query("api", None, 0, LATEST))]

    def test_a_trace_with_a_clock_is_dated_by_it_and_stored_once(self, storage: Storage) -> None:
        assert self.stored(storage, header() + batch(sync(5, 7))) == [5 * SECOND + 7]

    def test_its_own_clock_wins_over_created_at(self, storage: Storage) -> None:
        assert self.stored(storage, header() + batch(sync(5, 7)), 9) == [5 * SECOND + 7]

    def test_an_older_trace_is_dated_by_created_at_and_stored_once(self, storage: Storage) -> None:
        assert self.stored(storage, header(23), 9) == [9]

    def test_an_older_trace_without_created_at_is_dated_by_the_clock_each_time(self, storage: Storage) -> None:
        assert self.stored(storage, header(23)) == [10**18, 10**18 + SECOND]
