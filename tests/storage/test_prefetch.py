"""Prefetching: in order, with bounded count and bytes, until the first error."""

import threading
from collections.abc import Callable
from itertools import islice

import pytest

from profbucket.storage.prefetch import prefetch

TIMEOUT_SECONDS = 30.0  # reached only if a test fails


def test_results_are_yielded_in_order_whatever_the_order_of_the_fetches() -> None:
    """The first fetch waits for the last of the concurrent ones."""
    last = threading.Event()

    def fetch(key: str, reserve: Callable[[int], None]) -> bytes | None:
        reserve(1)
        if key == "0":
            assert last.wait(TIMEOUT_SECONDS)
        if key == "3":
            last.set()
        return None if key == "2" else key.encode()

    assert list(prefetch(fetch, list("01234"), workers=4)) == [b"0", b"1", None, b"3", b"4"]


def test_the_bytes_held_are_bounded() -> None:
    held_bytes, max_held_bytes, lock = 0, 0, threading.Lock()

    def fetch(key: str, reserve: Callable[[int], None]) -> bytes:
        nonlocal held_bytes, max_held_bytes
        reserve(40)
        with lock:
            held_bytes += 40
            max_held_bytes = max(max_held_bytes, held_bytes)
        return key.encode()

    keys = [f"{number}" for number in range(100)]
    for key, data in zip(keys, prefetch(fetch, keys, workers=8, max_bytes=100), strict=True):
        assert data == key.encode()
        with lock:
            held_bytes -= 40
    assert 40 <= max_held_bytes <= 120  # two at a time, and one that was taken and is not subtracted yet


def test_an_object_larger_than_the_bound_is_admitted_alone() -> None:
    def fetch(key: str, reserve: Callable[[int], None]) -> bytes:
        reserve(1000)
        return key.encode()

    assert list(prefetch(fetch, list("abcdef"), workers=3, max_bytes=10)) == [b"a", b"b", b"c", b"d", b"e", b"f"]


def test_the_number_of_fetches_ahead_is_bounded() -> None:
    fetched: list[str] = []

    def fetch(key: str, reserve: Callable[[int], None]) -> bytes:
        reserve(0)
        fetched.append(key)
        return b""

    results = prefetch(fetch, [f"{number}" for number in range(1000)], workers=4)
    next(results)
    assert len(fetched) <= 2 * 4
    results.close()  # type: ignore[attr-defined]


def test_the_first_error_is_raised_in_order_and_cancels_the_rest() -> None:
    fetched: list[str] = []

    def fetch(key: str, reserve: Callable[[int], None]) -> bytes:
        reserve(1)
        fetched.append(key)
        if key == "5":
            raise LookupError(key)
        return key.encode()

    results = prefetch(fetch, [f"{number}" for number in range(500)], workers=2)
    assert list(islice(results, 5)) == [b"0", b"1", b"2", b"3", b"4"]
    with pytest.raises(LookupError, match="5"):
        next(results)
    assert list(results) == []
    assert len(fetched) < 50


def test_waiting_fetches_are_released_when_the_consumer_stops() -> None:
    waiting, finished = threading.Semaphore(0), threading.Semaphore(0)

    def fetch(key: str, reserve: Callable[[int], None]) -> bytes:
        waiting.release()
        try:
            reserve(100)
        finally:
            finished.release()
        return b""

    results = prefetch(fetch, list("abcd"), workers=4, max_bytes=100)
    next(results)
    for _ in range(4):
        assert waiting.acquire(timeout=TIMEOUT_SECONDS)
    results.close()  # type: ignore[attr-defined]
    for _ in range(4):
        assert finished.acquire(timeout=TIMEOUT_SECONDS)
