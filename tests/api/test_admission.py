"""The memory limit for concurrent posts, and the lock for profiles that inflate to much more."""

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Event, Thread

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from profbucket.api.admission import Admission, Reservation
from profbucket.errors import Unavailable
from profbucket.ingest import datadog, upload
from profbucket.ingest.collector import Collector
from profbucket.ingest.decompression import decompress
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.pprof.codec import Profile, decode_inflated
from profbucket.storage.open import open_storage
from tests.support.agents import make_form
from tests.support.api import pprof


def reserve(admission: Admission, size: int, max_bytes: int | None = None) -> Reservation:
    """Return a reservation of *size* bytes that may grow to *max_bytes*; by default its body is complete."""
    reservation = admission.open(size if max_bytes is None else max_bytes)
    assert reservation.try_grow(size)
    return reservation


def test_posts_that_fit_are_admitted_together() -> None:
    admission = Admission(Limits(inflight_bytes=10))
    with reserve(admission, 4), reserve(admission, 6):
        assert (admission.reserved_bytes, admission.posts) == (10, 2)
    assert (admission.reserved_bytes, admission.posts) == (0, 0)


def test_a_post_that_does_not_fit_waits_for_room() -> None:
    admission = Admission(Limits(inflight_bytes=10, inflight_seconds=600))
    started, order = Event(), list[str]()

    def reserve_second() -> None:
        with admission.open(5) as reservation:
            started.set()
            reservation.grow(5)
            order.append("second")

    with ThreadPoolExecutor(1) as threads:
        with reserve(admission, 6):
            waiting = threads.submit(reserve_second)
            started.wait()
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]


def test_without_room_in_time_a_post_is_unavailable_and_the_error_names_both_limits() -> None:
    clock = iter([0, 11.0])
    admission = Admission(Limits(inflight_bytes=10, inflight_seconds=11), lambda: next(clock))
    with reserve(admission, 6):
        with pytest.raises(Unavailable) as caught, admission.open(5) as reservation:
            reservation.grow(5)
        assert caught.value.code == "too_many_posts_in_flight"
        assert "posts of 6 bytes are in flight" in str(caught.value)
        assert "10 bytes (PROFBUCKET_MAX_INFLIGHT_BYTES)" in str(caught.value)
        assert "11 seconds (PROFBUCKET_MAX_INFLIGHT_SECONDS)" in str(caught.value)
        assert (admission.reserved_bytes, admission.posts) == (6, 1)


def test_a_lone_post_is_admitted_whatever_its_size() -> None:
    with reserve(Admission(Limits(inflight_bytes=10)), 11):
        pass


def test_a_failed_post_releases_its_bytes() -> None:
    admission = Admission(Limits(inflight_bytes=10))
    with pytest.raises(KeyError), reserve(admission, 10):
        raise KeyError
    assert admission.reserved_bytes == 0


def test_stalled_posts_hold_only_what_has_arrived_and_room_for_the_oldest() -> None:
    admission = Admission(Limits(inflight_bytes=100))
    stalled = [reserve(admission, 1, 50) for _ in range(9)]
    assert admission.reserved_bytes == 9
    with reserve(admission, 40):
        assert not admission.open(3).try_grow(3)  # 49 of the 51 others bytes are for the oldest
        assert stalled[0].try_grow(50)


def test_a_release_is_announced() -> None:
    admission = Admission(Limits())
    released = list[int]()
    reservation = reserve(admission, 10)
    admission.on_release = lambda: released.append(admission.reserved_bytes)
    reservation.settle(5)
    reservation.close()
    reservation.close()
    assert released == [5, 0]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_bodies_of_any_sizes_arriving_in_any_order_all_finish(sizes: list[int], random: Random) -> None:
    """None waits for ever, and together they exceed the limit by at most one body."""
    admission = Admission(Limits(inflight_bytes=100))
    arriving = {admission.open(random.choice((size, 60))): size for size in sizes}
    complete = list[Reservation]()
    while arriving or complete:
        if complete and random.random() < 0.3:
            complete.pop(random.randrange(len(complete))).close()
            continue
        movable = [
            reservation
            for reservation, size in arriving.items()
            if reservation.try_grow(min(size, reservation.size + random.randrange(1, 20)))
        ]
        assert movable or complete  # the latter free memory
        assert admission.reserved_bytes <= 100 + 60
        for reservation in movable:
            if reservation.size == arriving[reservation]:
                del arriving[reservation]
                reservation.settle(reservation.size)
                complete.append(reservation)
        if not movable:
            complete.pop().close()
    assert (admission.reserved_bytes, admission.posts) == (0, 0)


@pytest.mark.parametrize(
    ("data", "alone"),
    [
        (pprof(), False),
        (gzip.decompress(pprof()), False),
        (gzip.compress(gzip.decompress(pprof(name="f" * 70_000))), True),
        (gzip.decompress(pprof(name="f" * 70_000)), True),
    ],
    ids=["small", "small and raw", "small, and large once inflated", "large"],
)
def test_a_profile_that_inflates_to_much_more_is_checked_alone(
    monkeypatch: pytest.MonkeyPatch, data: bytes, alone: bool
) -> None:
    """A few kilobytes can inflate to hundreds of megabytes: one such profile fits in memory, a dozen do not."""
    seen = []

    def watched(raw: bytes, limits: Limits) -> Profile:
        seen.append(large_lock_is_held())
        return decode_inflated(raw, limits)

    monkeypatch.setattr(upload, "decode_inflated", watched)
    Collector(open_storage("memory:")).collect("api", ProfileType.CPU, Labels(), data)
    assert seen == [alone]
    assert not large_lock_is_held()


def test_a_part_that_decompresses_to_much_more_is_decompressed_and_split_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def watched(name: str, data: bytes) -> Iterator[bytes]:
        seen.append(large_lock_is_held())
        return decompress(name, data)

    monkeypatch.setattr(datadog, "decompress", watched)
    part = zstd.compress(gzip.decompress(pprof(name="f" * 70_000)))
    assert len(list(datadog.read_input(make_form(part), "multipart/form-data; boundary=b", Limits()))) == 1
    assert seen == [False, True]
    assert not large_lock_is_held()


def large_lock_is_held() -> bool:
    """Return whether any thread holds the lock."""
    held = []

    def acquire() -> None:
        held.append(not upload.LARGE_LOCK.acquire(blocking=False))
        if not held[0]:
            upload.LARGE_LOCK.release()

    thread = Thread(target=acquire)
    thread.start()
    thread.join()
    return held[0]
